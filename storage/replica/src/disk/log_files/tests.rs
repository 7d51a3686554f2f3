use std::collections::BTreeMap;
use std::io::Write;

use proptest::prelude::*;

use xxhash_rust::xxh3::xxh3_64;

use super::record::Notes;
use super::*;
use crate::simulation::disk::{clear_from, crash_copy, listing};

/// What a log must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Model {
    entries: BTreeMap<u64, Vec<u8>>,
    next: u64,
    notes: Notes,
}

impl Model {
    fn of(log: &LogFiles) -> Self {
        let notes = log.notes();
        let begin = notes.first_kept();
        let entries: BTreeMap<u64, Vec<u8>> = log.read(0, u64::MAX, usize::MAX).unwrap().into_iter().collect();
        let next = log.last().map_or(begin, |last| last + 1);
        assert_eq!(entries.keys().copied().collect::<Vec<_>>(), (begin..next).collect::<Vec<_>>());
        Self { entries, next, notes }
    }
}

/// As an entry of the real log, a body tells whether it is sound.
fn sealed(body: &[u8]) -> Vec<u8> {
    [xxh3_64(body).to_be_bytes().as_slice(), body].concat()
}

fn check(_: u64, body: &[u8]) -> io::Result<()> {
    let (checksum, body) = body.split_first_chunk::<8>().ok_or_else(|| damaged("short"))?;
    if xxh3_64(body).to_be_bytes() == *checksum { Ok(()) } else { Err(damaged("not sound")) }
}

fn open(dir: &Path, synced: u64) -> io::Result<LogFiles> {
    LogFiles::open(dir, synced, check)
}

#[derive(Debug, Clone)]
enum Step {
    Entries(usize, usize),
    /// Back by so many.
    Cut(u64),
    /// Up to so many before the end.
    Purge(u64),
    Vote(u8),
    Sync,
    /// The process dies.
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Some entries fill a segment by themselves.
    let size = prop_oneof![8 => 0..200_usize, 1 => 1_024..6_144_usize];
    let step = prop_oneof![
        6 => (1..5_usize, size).prop_map(|(count, size)| Step::Entries(count, size)),
        1 => (0..6_u64).prop_map(Step::Cut),
        2 => (0..4_u64).prop_map(Step::Purge),
        1 => any::<u8>().prop_map(Step::Vote),
        2 => Just(Step::Sync),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..40)
}

/// Does a step to both. What was purged durably is removed at once.
fn step(log: &LogFiles, model: &mut Model, step: &Step) {
    let mut batch = LogBatch::default();
    match step {
        Step::Entries(count, size) => {
            for _ in 0..*count {
                let body = sealed(&vec![model.next.to_be_bytes()[7]; *size]);
                batch.entry(model.next, |into| into.write_all(&body)).unwrap();
                model.entries.insert(model.next, body);
                model.next += 1;
            }
        }
        Step::Cut(back) => {
            let begin = model.notes.first_kept();
            let from = model.next.saturating_sub(*back).max(begin);
            batch.cut(from).unwrap();
            drop(model.entries.split_off(&from));
            model.next = from;
        }
        Step::Purge(left) => {
            let Some(through) = model.next.checked_sub(left + 1) else { return };
            if model.notes.purged.as_ref().is_some_and(|(purged, _)| *purged >= through) {
                return;
            }
            batch.purge(through, b"purged").unwrap();
            model.entries = model.entries.split_off(&(through + 1));
            model.notes.purged = Some((through, b"purged".to_vec()));
        }
        Step::Vote(vote) => {
            batch.vote(&[*vote]).unwrap();
            batch.commit(&[!*vote]).unwrap();
            (model.notes.vote, model.notes.committed) = (Some(vec![*vote]), Some(vec![!*vote]));
        }
        Step::Sync | Step::Reopen => return,
    }
    log.write(batch).unwrap();
    if matches!(step, Step::Purge(_))
        && let Some((through, _)) = log.notes().purged
    {
        log.sync().unwrap();
        log.remove_purged(through).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Invariant 3, the part of the log's files: what was written is read, over restarts and over segments that come and
    /// go, and of segments no more are kept than what is left needs.
    #[test]
    fn the_files_hold_what_was_written(steps in steps()) {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("log");
        let (mut log, mut model) = (LogFiles::create(&dir).unwrap(), Model::default());
        for next in &steps {
            step(&log, &mut model, next);
            match next {
                Step::Sync => log.sync().unwrap(),
                Step::Reopen => {
                    let sequence = log.sequence();
                    log = open(&dir, sequence).unwrap();
                    prop_assert_eq!(log.sequence(), sequence);
                }
                _ => {}
            }
            prop_assert_eq!(&Model::of(&log), &model);
        }
        let kept: u64 = listing(&dir).values().sum();
        let needed: u64 = model.entries.values().map(|body| body.len() as u64 + HEAD as u64).sum();
        prop_assert!(kept < needed + 3 * (SEGMENT_BYTES + (30 << 10)), "{kept} bytes for {needed}");
    }

    /// A loss of power leaves all that was synced and, of what was written later, a part that is as it was written at some
    /// moment; damage of what was synced is never taken for one. Where something is lost there are zeros: the length of a
    /// file is durable with the first sync.
    #[test]
    fn what_was_synced_outlives_any_cut(steps in steps(), cut in any::<prop::sample::Index>()) {
        let root = tempfile::tempdir().unwrap();
        let (dir, after) = (root.path().join("log"), root.path().join("after"));
        let (log, mut model) = (LogFiles::create(&dir).unwrap(), Model::default());
        let (mut synced, mut files) = (log.sequence(), listing(&dir));
        let mut moments = vec![(synced, model.clone())];
        for next in &steps {
            step(&log, &mut model, next);
            if matches!(next, Step::Sync | Step::Purge(_)) {
                log.sync().unwrap();
                (synced, files) = (log.sequence(), listing(&dir));
            }
            moments.push((log.sequence(), model.clone()));
        }
        crash_copy(&dir, &after);
        // Of all bytes that were not synced, those behind some place are lost, in one file or over several.
        let written: Vec<(PathBuf, u64, u64)> = listing(&dir)
            .into_iter()
            .map(|(path, end)| (after.join(path.file_name().unwrap()), files.get(&path).copied().unwrap_or(0).min(end), end))
            .collect();
        let lost: u64 = written.iter().map(|(_, begin, end)| end - begin).sum();
        let mut keep = if lost == 0 { 0 } else { cut.index(lost as usize + 1) as u64 };
        for (path, begin, end) in written {
            let kept = keep.min(end - begin);
            keep -= kept;
            clear_from(&path, begin + kept);
        }
        let log = open(&after, synced).unwrap();
        prop_assert!(log.sequence() >= synced);
        let found = Model::of(&log);
        prop_assert!(
            moments.iter().any(|(sequence, model)| *sequence >= synced && *model == found)
                || partly(&moments, &found, synced), "{found:?}"
        );
        // And life goes on from there.
        let mut model = found;
        for next in [Step::Entries(2, 10), Step::Vote(1)] {
            step(&log, &mut model, &next);
        }
        let sequence = log.sequence();
        drop(log);
        prop_assert_eq!(&Model::of(&open(&after, sequence).unwrap()), &model);
    }
}

/// Whether a state lies between two moments: a step of several records was cut in its middle.
fn partly(moments: &[(u64, Model)], found: &Model, synced: u64) -> bool {
    moments.windows(2).any(|pair| {
        let [(_, before), (after, model)] = pair else { return false };
        let entries = |of: &Model| of.entries.keys().copied().collect::<Vec<_>>();
        let between = entries(found).starts_with(&entries(before)) && entries(model).starts_with(&entries(found));
        *after >= synced && between && (found.notes.purged == before.notes.purged)
    })
}

/// Invariant 3: a bit that flips in what was synced is found, wherever it is.
#[test]
fn every_flipped_bit_of_a_segment_is_found() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("log");
    let (log, mut model) = (LogFiles::create(&dir).unwrap(), Model::default());
    for next in [Step::Entries(3, 5), Step::Vote(7), Step::Cut(1), Step::Entries(1, 9)] {
        step(&log, &mut model, &next);
    }
    log.sync().unwrap();
    let (synced, path) = (log.sequence(), dir.join("000001.log"));
    drop(log);
    let mut sound = fs::read(&path).unwrap();
    sound.truncate(listing(&dir)[&path] as usize);
    for bit in 0..sound.len() * 8 {
        let mut flipped = sound.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &flipped).unwrap();
        let error = open(&dir, synced).err().expect("a flipped bit");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "bit {bit}: {error}");
        assert_eq!(fs::read(&path).unwrap(), flipped, "what is refused is not touched");
    }
    fs::write(&path, &sound).unwrap();
    assert_eq!(Model::of(&open(&dir, synced).unwrap()), model);
}

/// A segment that is missing between others, or is there again after it was removed.
#[test]
fn a_segment_that_is_missing_is_found_and_one_that_came_back_is_removed() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("log");
    let (log, mut model) = (LogFiles::create(&dir).unwrap(), Model::default());
    for _ in 0..5 {
        step(&log, &mut model, &Step::Entries(3, 6 << 10));
    }
    log.sync().unwrap();
    let (synced, first, second) = (log.sequence(), dir.join("000001.log"), dir.join("000002.log"));
    let whole = root.path().join("whole");
    crash_copy(&dir, &whole);
    fs::remove_file(&second).unwrap();
    let error = open(&dir, synced).err().expect("entries are missing");
    assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");

    crash_copy(&whole, &dir);
    let log = open(&dir, synced).unwrap();
    step(&log, &mut model, &Step::Purge(1));
    assert!(!first.exists() && !second.exists());
    fs::copy(whole.join("000001.log"), &first).unwrap();
    let gone = dir.join("000002.gone");
    fs::write(&gone, b"cut short").unwrap();
    let synced = log.sequence();
    drop(log);
    assert_eq!(Model::of(&open(&dir, synced).unwrap()), model);
    assert!(!first.exists() && !gone.exists());
}

/// An entry that is being read when it is purged is read whole.
#[test]
fn who_reads_in_a_segment_that_is_removed_reads_all_of_it() {
    let root = tempfile::tempdir().unwrap();
    let (log, mut model) = (LogFiles::create(&root.path().join("log")).unwrap(), Model::default());
    for _ in 0..3 {
        step(&log, &mut model, &Step::Entries(3, 6 << 10));
    }
    let read = log.lock().segments[0].file.clone();
    let mut before = vec![0; SEGMENT_BYTES as usize];
    read.read_exact_at(&mut before, 0).unwrap();
    step(&log, &mut model, &Step::Purge(1));
    assert!(log.lock().segments.iter().all(|segment| segment.number > 1));
    let mut after = vec![0; SEGMENT_BYTES as usize];
    read.read_exact_at(&mut after, 0).unwrap();
    assert!(after == before);
}

/// Zeros behind the end of a segment are no record that was lost, whether it is the last one or not.
#[test]
fn a_segment_with_zeros_behind_its_end_is_sound_and_goes_on() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("log");
    let (log, mut model) = (LogFiles::create(&dir).unwrap(), Model::default());
    step(&log, &mut model, &Step::Entries(3, 100));
    log.sync().unwrap();
    let first = dir.join("000001.log");
    let length = || fs::metadata(&first).unwrap().len();
    assert_eq!(length(), SEGMENT_BYTES, "as long as it will be");
    let sequence = log.sequence();
    drop(log);
    let log = open(&dir, sequence).unwrap();
    step(&log, &mut model, &Step::Entries(1, 100));
    assert_eq!((listing(&dir).len(), length()), (1, SEGMENT_BYTES), "it is written to again");
    // A record is torn, so that another segment begins; the first keeps zeros as a file system may have left them.
    let end = listing(&dir)[&first];
    drop(log);
    clear_from(&first, end - 5);
    let log = open(&dir, sequence).unwrap();
    let mut model = Model::of(&log);
    step(&log, &mut model, &Step::Entries(2, 10));
    assert_eq!(listing(&dir).len(), 2);
    log.sync().unwrap();
    let sequence = log.sequence();
    drop(log);
    File::options().write(true).open(&first).and_then(|file| file.set_len(SEGMENT_BYTES)).unwrap();
    assert_eq!(Model::of(&open(&dir, sequence).unwrap()), model);
}

/// An empty log is not taken for a new one, also where nothing is known of what was synced: it had a vote.
#[test]
fn a_log_without_a_sound_record_is_found() {
    let root = tempfile::tempdir().unwrap();
    let (dir, segment) = (root.path().join("log"), root.path().join("log/000001.log"));
    drop(LogFiles::create(&dir).unwrap());
    drop(open(&dir, 0).unwrap());
    for harm in
        [|path: &Path| fs::write(path, [0; 50]), |path: &Path| fs::write(path, []), |path: &Path| fs::remove_file(path)]
    {
        harm(&segment).unwrap();
        let error = open(&dir, 0).err().expect("a log without records");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
    }
}

/// What a program of another day wrote is not taken for damage.
#[test]
fn a_record_of_a_newer_program_is_named_as_such() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("log");
    let log = LogFiles::create(&dir).unwrap();
    let mut batch = LogBatch::default();
    batch.vote(b"mine").unwrap();
    batch.records[0].kind = 99;
    batch.seal(log.sequence());
    let path = dir.join("000001.log");
    let mut bytes = fs::read(&path).unwrap();
    bytes.truncate(listing(&dir)[&path] as usize);
    fs::write(&path, [bytes, batch.bytes].concat()).unwrap();
    let error = open(&dir, 0).err().expect("an unknown record");
    assert!(error.to_string().contains("newer baton"), "{error}");
}
