//! The Raft log in files of its own, so that each entry is written once.
//!
//! A segment is a file `NNNNNN.log` of records. Only the newest is written to, and only behind its end. Each begins
//! with notes, in one record, so that it does not need those before it: segments of purged entries are removed. The
//! first record that is not sound ends the log: behind it nothing was synced, which the caller checks by the sequence
//! number that was reached.
//!
//! The active segment is preallocated (sparse) to its final size, and holds zeros behind its end, for which the disk
//! has no blocks yet: a sync after which the length is another one has to write that, too.

mod record;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(crate) use self::record::LogBatch;
use baton_domain::msgpack;
use baton_domain::seeded::{self, Bug};

use self::record::{COMMIT, CUT, ENTRY, HEAD, NOTES, Notes, PURGE, Record, VOTE, read_record};
use super::layout::names;
use super::removal::remove_gently;
use super::spare::Spare;
use super::sync_dir;
use crate::machine::{damaged, newer};

/// Size of a full segment. Small in tests, so that segments come and go in each of them.
const SEGMENT_BYTES: u64 = if cfg!(test) { 16 * 1024 } else { 16 * 1024 * 1024 };

/// End of a segment's name while it is being removed.
const GONE: &str = "gone";

/// Extends a segment that ends at `end` to its final size.
fn lengthen(file: &File, end: u64) -> io::Result<()> {
    file.set_len(SEGMENT_BYTES.max(end))
}

struct Segment {
    number: u64,
    path: PathBuf,
    file: Arc<File>,
    bytes: u64,
    /// The highest index of an entry in it.
    last: Option<u64>,
}

/// Place of the body of an entry.
#[derive(Clone)]
struct Place {
    file: Arc<File>,
    at: u64,
    length: u32,
}

#[derive(Default)]
struct Written {
    /// The oldest first; the last one is written to.
    segments: VecDeque<Segment>,
    /// The index of the first entry, if there is one.
    first: u64,
    places: VecDeque<Place>,
    notes: Notes,
    sequence: u64,
    /// Full segments that are not yet synced.
    unsynced: Vec<Arc<File>>,
    /// True if there are names that are not durable.
    new_names: bool,
    /// Space and descriptors that are reserved for writes that must not fail.
    spare: Spare,
    /// With a seeded defect: data that the process has not written yet.
    held_back: Vec<(Arc<File>, Vec<u8>, u64)>,
}

impl Written {
    /// Takes a record at the end of the last segment into account.
    fn take(&mut self, record: &Record, body: &[u8]) -> io::Result<()> {
        let Some(segment) = self.segments.back_mut() else { return Ok(()) };
        let at = segment.bytes + HEAD as u64;
        segment.bytes = at + u64::from(record.length);
        let number = record.number;
        match record.kind {
            ENTRY => {
                let next = self.first + self.places.len() as u64;
                if self.places.is_empty() {
                    self.first = number;
                } else if number != next {
                    return Err(damaged(format!("log entry {next} is missing")));
                }
                segment.last = segment.last.max(Some(number));
                self.places.push_back(Place { file: segment.file.clone(), at, length: record.length });
            }
            CUT => {
                let left = usize::try_from(number.saturating_sub(self.first)).unwrap_or(usize::MAX);
                self.places.truncate(left);
            }
            PURGE => {
                let gone = usize::try_from((number + 1).saturating_sub(self.first)).unwrap_or(usize::MAX);
                self.places.drain(..gone.min(self.places.len()));
                self.first = self.first.max(number + 1);
                self.notes.purged = Some((number, body.to_vec()));
            }
            VOTE => self.notes.vote = Some(body.to_vec()),
            COMMIT => self.notes.committed = Some(body.to_vec()),
            NOTES => {
                self.notes = msgpack::read(body).map_err(damaged)?;
                self.first = self.first.max(self.notes.first_kept());
            }
            kind => return Err(newer("log record kind", kind)),
        }
        self.sequence += 1;
        Ok(())
    }

    /// Reads a segment; returns true if it is sound to its end.
    fn read_segment(
        &mut self,
        number: u64,
        path: PathBuf,
        check: &mut dyn FnMut(u64, &[u8]) -> io::Result<()>,
    ) -> io::Result<bool> {
        let bytes = fs::read(&path)?;
        let file = Arc::new(File::options().read(true).write(true).open(&path)?);
        self.segments.push_back(Segment { number, path, file, bytes: 0, last: None });
        let mut at = 0;
        while at < bytes.len() {
            let Some((record, sequence)) = read_record(&bytes, at) else {
                // Nothing was written from there on; what should have been, the next segment's numbers tell.
                return Ok(bytes[at..].iter().all(|byte| *byte == 0));
            };
            // The first that there is may have any: those before it are gone with their segments.
            if self.sequence == 0 && at == 0 {
                self.sequence = sequence.saturating_sub(1);
            }
            if sequence != self.sequence + 1 {
                return Ok(false);
            }
            let body = record.body(&bytes);
            if record.kind == ENTRY {
                match check(record.number, body) {
                    Err(error) if error.kind() == io::ErrorKind::InvalidData => return Ok(false),
                    checked => checked?,
                }
            }
            self.take(&record, body)?;
            at += HEAD + body.len();
        }
        Ok(true)
    }

    /// Begins a segment with the notes of those before it.
    fn begin_segment(&mut self, dir: &Path) -> io::Result<()> {
        let number = self.segments.back().map_or(1, |segment| segment.number + 1);
        let path = dir.join(format!("{number:06}.log"));
        let mut batch = LogBatch::default();
        batch.notes(&self.notes)?;
        let create = || File::options().read(true).write(true).create(true).truncate(true).open(&path);
        let file = Arc::new(self.spare.with(create)?);
        self.spare.with(|| lengthen(&file, 0))?;
        self.unsynced.extend(self.segments.back().map(|segment| segment.file.clone()));
        self.segments.push_back(Segment { number, path, file, bytes: 0, last: None });
        self.new_names = true;
        let begun = self.append(batch);
        if begun.is_err() {
            // Without notes it must not be written to.
            self.segments.pop_back();
        }
        begun
    }

    /// Writes records behind the end of the last segment.
    fn append(&mut self, mut batch: LogBatch) -> io::Result<()> {
        batch.seal(self.sequence);
        let Some(segment) = self.segments.back() else { return Err(io::Error::other("a log without a segment")) };
        let (file, end) = (segment.file.clone(), segment.bytes);
        if seeded::is(Bug::ConfirmBeforeSync) {
            self.held_back.push((file, batch.bytes.clone(), end));
        } else if let Err(error) = self.spare.with(|| file.write_all_at(&batch.bytes, end)) {
            // Half a record would end the log there.
            let _ = file.set_len(end).and_then(|()| lengthen(&file, end));
            return Err(error);
        }
        batch.records.iter().try_for_each(|record| self.take(record, record.body(&batch.bytes)))
    }

    fn write_held_back(&mut self) -> io::Result<()> {
        self.held_back.drain(..).try_for_each(|(file, bytes, at)| file.write_all_at(&bytes, at))
    }
}

/// The log's files. Shared by the writer, the readers and the flusher.
pub(crate) struct LogFiles {
    dir: PathBuf,
    written: Mutex<Written>,
}

impl LogFiles {
    /// Makes an empty log in a directory that is not there.
    ///
    /// # Errors
    /// If it is there, or cannot be made.
    pub(crate) fn create(dir: &Path) -> io::Result<Self> {
        fs::create_dir(dir)?;
        let mut written = Written::default();
        written.begin_segment(dir)?;
        let log = Self { dir: dir.to_owned(), written: Mutex::new(written) };
        log.sync()?;
        Ok(log)
    }

    /// Reads all records; `check` looks at each entry. Answers [`io::ErrorKind::InvalidData`] if entries are missing,
    /// or records that were `synced` (a sequence number); then nothing was changed.
    ///
    /// # Errors
    /// Other I/O errors.
    pub(crate) fn open(
        dir: &Path,
        synced: u64,
        mut check: impl FnMut(u64, &[u8]) -> io::Result<()>,
    ) -> io::Result<Self> {
        let mut written = Written::default();
        let names = names(dir)?;
        let mut numbers: Vec<u64> = names.iter().filter_map(|name| name.strip_suffix(".log")?.parse().ok()).collect();
        numbers.sort_unstable();
        let path = |number: u64| dir.join(format!("{number:06}.log"));
        // Those of purged entries are removed one after the other, and a crash may bring back any of them.
        let gap = numbers.windows(2).rposition(|pair| pair[0] + 1 != pair[1]).map_or(0, |at| at + 1);
        let (stray, numbers) = numbers.split_at(gap);
        let mut unsound = numbers.len();
        for (at, number) in numbers.iter().enumerate() {
            if !written.read_segment(*number, path(*number), &mut check)? {
                unsound = at;
                break;
            }
        }
        // It was made with a record, and whatever a crash cuts off, one is left.
        if written.sequence == 0 {
            return Err(damaged("its log is missing"));
        }
        if written.sequence < synced {
            return Err(damaged("the end of its log, which was synced, is missing"));
        }
        let expected = written.notes.first_kept();
        if !written.places.is_empty() && written.first != expected {
            return Err(damaged(format!("log entry {expected} is missing")));
        }
        written.first = expected;
        // What a crash cut off goes for good: the next records take its sequence numbers.
        if let Some(last) = written.segments.back() {
            last.file.set_len(last.bytes)?;
            last.file.sync_all()?;
        }
        let beyond = numbers.iter().skip(unsound + 1);
        let gone = names.iter().filter(|name| name.ends_with(GONE)).map(|name| dir.join(name));
        beyond.chain(stray).map(|number| path(*number)).chain(gone).try_for_each(fs::remove_file)?;
        written.new_names = true;
        // One that was cut off may have lost its notes.
        match written.segments.back() {
            Some(last) if unsound == numbers.len() && last.bytes > 0 => lengthen(&last.file, last.bytes)?,
            Some(_) | None => written.begin_segment(dir)?,
        }
        let log = Self { dir: dir.to_owned(), written: Mutex::new(written) };
        log.sync()?;
        Ok(log)
    }

    fn lock(&self) -> MutexGuard<'_, Written> {
        // Its content is never left half-changed.
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Their directory.
    #[cfg(test)]
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Space and descriptors that are reserved for the log.
    pub(crate) fn spare(&self) -> Spare {
        self.lock().spare.clone()
    }

    /// The sequence number of the newest record.
    pub(crate) fn sequence(&self) -> u64 {
        self.lock().sequence
    }

    /// The index of the last entry, if there is one.
    pub(crate) fn last(&self) -> Option<u64> {
        let written = self.lock();
        written.places.len().checked_sub(1).map(|before| written.first + before as u64)
    }

    /// The newest vote, commit and purge.
    pub(crate) fn notes(&self) -> Notes {
        self.lock().notes.clone()
    }

    /// Writes records as one. They can be read at once, and are durable after the next [`Self::sync`].
    ///
    /// # Errors
    /// I/O errors; then nothing was written.
    pub(crate) fn write(&self, batch: LogBatch) -> io::Result<()> {
        let mut written = self.lock();
        if written.segments.back().is_none_or(|segment| segment.bytes >= SEGMENT_BYTES) {
            written.begin_segment(&self.dir)?;
        }
        written.append(batch)
    }

    /// Makes everything durable that was written before the call.
    ///
    /// # Errors
    /// I/O errors; then it is unknown which records are durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        let (files, new_names) = {
            let mut written = self.lock();
            written.write_held_back()?;
            let mut files = std::mem::take(&mut written.unsynced);
            files.extend(written.segments.back().map(|segment| segment.file.clone()));
            (files, std::mem::take(&mut written.new_names))
        };
        // In their order: what is in a later one counts only with what is in those before it.
        files.iter().try_for_each(|file| file.sync_data())?;
        if new_names { sync_dir(&self.dir) } else { Ok(()) }
    }

    /// Removes segments that hold nothing but purged entries. What says that they are purged must be durable.
    ///
    /// # Errors
    /// I/O errors.
    pub(crate) fn remove_purged(&self, through: u64) -> io::Result<()> {
        let mut removed = Vec::new();
        {
            let mut written = self.lock();
            while written.segments.len() > 1
                && let Some(oldest) = written.segments.pop_front_if(|oldest| oldest.last <= Some(through))
            {
                removed.push(oldest);
            }
        }
        if removed.is_empty() {
            return Ok(());
        }
        // A crash may leave it cut short: it must not be taken for a segment.
        let gone = |path: &Path| path.with_extension(GONE);
        removed.iter().try_for_each(|segment| fs::rename(&segment.path, gone(&segment.path)))?;
        sync_dir(&self.dir)?;
        removed.into_iter().try_for_each(|Segment { path, file, .. }| match Arc::into_inner(file) {
            Some(_) => remove_gently(&gone(&path)),
            // Open readers still read all of it.
            None => fs::remove_file(gone(&path)),
        })
    }

    /// The entries from `start` up to `end` that there are, up to `max_bytes` but at least one, as `(index, body)`.
    ///
    /// # Errors
    /// I/O errors.
    pub(crate) fn read(&self, start: u64, end: u64, max_bytes: usize) -> io::Result<Vec<(u64, Vec<u8>)>> {
        let mut places = Vec::new();
        {
            let mut written = self.lock();
            written.write_held_back()?;
            let skip = usize::try_from(start.saturating_sub(written.first)).unwrap_or(usize::MAX);
            let first = start.max(written.first);
            let mut bytes = 0;
            for (index, place) in (first..end).zip(written.places.iter().skip(skip)) {
                bytes += place.length as usize;
                if bytes > max_bytes && !places.is_empty() {
                    break;
                }
                places.push((index, place.clone()));
            }
        }
        let body = |(index, place): (u64, Place)| {
            let mut body = vec![0; place.length as usize];
            place.file.read_exact_at(&mut body, place.at)?;
            Ok((index, body))
        };
        places.into_iter().map(body).collect()
    }
}
