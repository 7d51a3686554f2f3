//! The contract of a shared log, as tests. Each implementation includes this file and runs [`for_each_rule`]: `api` has
//! the items of the shared log, `ClusterId`, `ServerName` and `Bytes`.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::api::*;

/// A new, empty log.
pub(crate) trait Subject {
    fn logs(&self) -> &dyn SharedLogs;
    fn cluster(&self) -> ClusterId;
}

/// Calls a macro with the name of each rule.
macro_rules! for_each_rule {
    ($rule:ident) => {
        $rule!(a_new_log_is_empty_and_has_no_holder);
        $rule!(entries_are_read_back_as_they_were_appended);
        $rule!(the_lease_is_taken_by_compare_and_set);
        $rule!(nothing_is_appended_after_a_take_over);
        $rule!(a_take_over_and_the_appends_in_flight_agree);
        $rule!(a_lease_that_was_given_up_is_for_the_nominee);
        $rule!(an_append_that_does_not_follow_the_last_entry_writes_nothing);
        $rule!(the_same_append_twice_is_found_in_the_log);
        $rule!(appends_in_flight_are_done_in_order_and_fail_together);
        $rule!(entries_that_are_put_back_keep_their_terms);
        $rule!(a_read_stops_at_its_size_and_says_when_the_history_is_another);
        $rule!(many_entries_are_read_in_order);
        $rule!(only_what_a_snapshot_contains_is_trimmed);
        $rule!(a_snapshot_counts_when_all_parts_are_there);
        $rule!(sessions_are_seen_until_they_end);
        $rule!(a_new_session_ends_the_earlier_one_of_its_process);
        $rule!(each_server_has_a_row);
        $rule!(the_log_of_another_cluster_is_refused);
    };
}
pub(crate) use for_each_rule;

/// Long enough for what must happen, when the machine is busy.
const DEADLINE: Duration = Duration::from_secs(20);

type Log = Arc<dyn SharedLog>;

fn server(number: u64) -> ServerName {
    ServerName::new(format!("server{number}")).expect("a name")
}

/// A session of the server with that number, whose incarnation is the number, too.
async fn open(subject: &impl Subject, number: u64) -> Log {
    let claimant = Claimant { server: server(number), incarnation: number };
    let (log, identity) = subject.logs().open(claimant, subject.cluster()).await.expect("the log opens");
    assert_eq!(identity.cluster, subject.cluster());
    log
}

/// Takes the lease by force; its term.
async fn take(log: &Log) -> u64 {
    let row = log.look().await.expect("the row");
    log.acquire(row.term, row.beat, 0, true).await.expect("an answer").expect("nobody else takes it").term
}

/// Entries that follow a position, with bodies of so many bytes.
fn entries(after: Position, term: u64, count: u8, bytes: usize) -> Arc<[LogEntry]> {
    let mut last = after;
    let entry = |number: u8| {
        let entry = last.entry(term, vec![number; bytes].into());
        last = entry.position();
        entry
    };
    (0..count).map(entry).collect()
}

fn end(entries: &[LogEntry]) -> Position {
    entries.last().expect("there are some").position()
}

/// Appends entries that follow the last one; the position behind them.
async fn append(log: &Log, term: u64, count: u8, bytes: usize) -> Position {
    let tail = log.tail().await.expect("the tail");
    let entries = entries(tail, term, count, bytes);
    assert_eq!(log.append(term, tail, entries.clone()).await, Ok(Append::Written));
    end(&entries)
}

/// All entries behind a position.
async fn read_all(log: &Log, mut after: Position) -> Vec<LogEntry> {
    let mut all = Vec::new();
    loop {
        match log.read(after, 1000).await.expect("an answer") {
            Read::Entries(more) if more.is_empty() => return all,
            Read::Entries(more) => {
                after = end(&more);
                all.extend(more);
            }
            other => panic!("behind {after:?}: {other:?}"),
        }
    }
}

/// Polls a future once, which sends its call.
async fn send<T: Send + 'static>(mut call: Answer<'_, T>) -> Answer<'_, T> {
    let first = std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut call).poll(cx))).await;
    match first {
        Poll::Ready(answer) => Box::pin(std::future::ready(answer)),
        Poll::Pending => call,
    }
}

/// Waits until a process has no sessions.
async fn wait_until_gone(log: &Log, incarnation: u64) {
    let gone = async {
        while log.sessions_of(incarnation).await.expect("an answer") != Sessions::Gone {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DEADLINE, gone).await.expect("the sessions of a process that closed them are gone");
}

pub(crate) async fn a_new_log_is_empty_and_has_no_holder(subject: &impl Subject) {
    let log = open(subject, 1).await;
    let row = log.look().await.unwrap();
    assert_eq!((row.term, row.holder, row.nominee), (0, None, Nominee::None));
    assert_eq!(log.tail().await, Ok(Position::default()));
    assert_eq!(log.read(Position::default(), 1000).await, Ok(Read::Entries(Vec::new())));
    assert_eq!(log.newest_snapshot().await, Ok(None));
    assert_eq!(log.renew(0).await, Ok(None));
    assert_eq!(log.acquire(0, row.beat, 0, false).await, Ok(None), "nobody gave it up");
}

pub(crate) async fn entries_are_read_back_as_they_were_appended(subject: &impl Subject) {
    let (one, two) = (open(subject, 1).await, open(subject, 2).await);
    let term = take(&one).await;
    let mut written = Vec::new();
    for bytes in [0, 1, 3000, 100_000] {
        let tail = one.tail().await.unwrap();
        let more = entries(tail, term, 3, bytes);
        assert_eq!(one.append(term, tail, more.clone()).await, Ok(Append::Written));
        written.extend(more.iter().cloned());
    }
    assert_eq!(two.tail().await, Ok(end(&written)));
    assert_eq!(read_all(&two, Position::default()).await, written);
    assert_eq!(read_all(&two, written[4].position()).await, written[5..]);
    assert!(two.size().await.unwrap().entries >= 300_000);
}

pub(crate) async fn the_lease_is_taken_by_compare_and_set(subject: &impl Subject) {
    let (one, two) = (open(subject, 1).await, open(subject, 2).await);
    let term = take(&one).await;
    let seen = two.look().await.unwrap();
    assert_eq!((seen.term, seen.holder.clone(), seen.incarnation), (term, Some(server(1)), 1));
    assert_eq!(two.acquire(seen.term, seen.beat, 0, false).await, Ok(None), "the holder did not give it up");
    let beat = one.renew(term).await.unwrap().expect("it holds it");
    assert!(beat > seen.beat);
    assert_eq!(two.acquire(seen.term, seen.beat, 0, true).await, Ok(None), "it was renewed meanwhile");
    assert_eq!(two.acquire(seen.term - 1, beat, 0, true).await, Ok(None), "another term");
    let row = two.acquire(seen.term, beat, 0, true).await.unwrap().expect("nothing changed");
    assert!(row.term > term && row.beat > beat);
    assert_eq!((row.holder.clone(), row.incarnation, row.nominee.clone()), (Some(server(2)), 2, Nominee::None));
    assert_eq!(two.look().await, Ok(row.clone()));
    assert_eq!(one.renew(term).await, Ok(None));
    assert_eq!(one.renew(row.term).await, Ok(None), "its term is another's");
    assert!(two.renew(row.term).await.unwrap().is_some());

    let row = one.look().await.unwrap();
    let above = one.acquire(row.term, row.beat, row.term + 10, true).await.unwrap().expect("nothing changed");
    assert!(above.term > row.term + 10, "above the highest term that it knows");
    assert!(one.renew(above.term).await.unwrap().is_some());
}

pub(crate) async fn nothing_is_appended_after_a_take_over(subject: &impl Subject) {
    let (one, two) = (open(subject, 1).await, open(subject, 2).await);
    let term = take(&one).await;
    let tail = append(&one, term, 2, 10).await;
    let newer = take(&two).await;
    let late = entries(tail, term, 1, 10);
    let row = two.look().await.unwrap();
    assert_eq!(one.append(term, tail, late.clone()).await, Ok(Append::Deposed(row.clone())));
    assert_eq!(one.append(newer, tail, late).await, Ok(Append::Deposed(row)), "the term of another's lease");
    assert_eq!(two.tail().await, Ok(tail));
    append(&two, newer, 1, 10).await;
    assert_eq!(read_all(&one, tail).await.len(), 1);
}

pub(crate) async fn a_take_over_and_the_appends_in_flight_agree(subject: &impl Subject) {
    let (one, two) = (open(subject, 1).await, open(subject, 2).await);
    for round in 0..20 {
        let (log, other) = if round % 2 == 0 { (&one, &two) } else { (&two, &one) };
        let term = take(log).await;
        let seen = other.look().await.unwrap();
        let tail = log.tail().await.unwrap();
        let first = entries(tail, term, 3, 50_000);
        let second = entries(end(&first), term, 3, 50_000);
        let first_sent = send(log.append(term, tail, first.clone())).await;
        let second_sent = send(log.append(term, end(&first), second.clone())).await;
        for _ in 0..round {
            tokio::task::yield_now().await;
        }
        let taken = async {
            let row = other.acquire(seen.term, seen.beat, 0, true).await.unwrap();
            row.expect("nobody renewed it");
            other.tail().await.unwrap()
        };
        let (first_done, second_done, found) = tokio::join!(first_sent, second_sent, taken);
        let expected = match (first_done.unwrap(), second_done.unwrap()) {
            (Append::Written, Append::Written) => end(&second),
            (Append::Written, Append::Deposed(_)) => end(&first),
            (Append::Deposed(_), Append::Deposed(_)) => tail,
            others => panic!("{others:?}"),
        };
        assert_eq!(found, expected, "the new holder finds what the old one confirms, and nothing comes later");
        assert_eq!(log.tail().await, Ok(expected));
    }
}

pub(crate) async fn a_lease_that_was_given_up_is_for_the_nominee(subject: &impl Subject) {
    let (one, two, three) = (open(subject, 1).await, open(subject, 2).await, open(subject, 3).await);
    let term = take(&one).await;
    let tail = append(&one, term, 1, 10).await;
    assert_eq!(two.give(term, Nominee::Server(server(3))).await, Ok(false), "it is not the holder's");
    assert_eq!(one.give(term, Nominee::None).await, Ok(false));
    assert_eq!(one.give(term, Nominee::Server(server(3))).await, Ok(true));
    let row = three.look().await.unwrap();
    assert_eq!(row.nominee, Nominee::Server(server(3)));
    assert_eq!(one.renew(term).await, Ok(None));
    assert_eq!(one.append(term, tail, entries(tail, term, 1, 10)).await, Ok(Append::Deposed(row.clone())));
    assert_eq!(two.acquire(row.term, row.beat, 0, false).await, Ok(None), "it is for another");
    let taken = three.acquire(row.term, row.beat, 0, false).await.unwrap().expect("it is for this one");
    assert_eq!(three.give(taken.term, Nominee::Anybody).await, Ok(true));
    let row = two.look().await.unwrap();
    assert_eq!(row.nominee, Nominee::Anybody);
    let taken = two.acquire(row.term, row.beat, 0, false).await.unwrap().expect("it is for anybody");
    append(&two, taken.term, 1, 10).await;
}

pub(crate) async fn an_append_that_does_not_follow_the_last_entry_writes_nothing(subject: &impl Subject) {
    let log = open(subject, 1).await;
    let term = take(&log).await;
    let first = append(&log, term, 2, 10).await;
    let tail = append(&log, term, 1, 10).await;
    let other = Position { index: tail.index, chain: Chain(7) };
    let beyond = Position { index: tail.index + 1, chain: tail.chain };
    let earlier = Position { index: first.index, chain: Chain(7) };
    for after in [other, beyond, first, earlier, Position::default()] {
        let refused = log.append(term, after, entries(after, term, 2, 20)).await;
        assert_eq!(refused, Ok(Append::Mismatch { tail }), "{after:?}");
    }
    assert_eq!(log.tail().await, Ok(tail));
    append(&log, term, 1, 10).await;
}

pub(crate) async fn the_same_append_twice_is_found_in_the_log(subject: &impl Subject) {
    let log = open(subject, 1).await;
    let term = take(&log).await;
    let after = append(&log, term, 1, 10).await;
    let batch = entries(after, term, 3, 10);
    assert_eq!(log.append(term, after, batch.clone()).await, Ok(Append::Written));
    assert_eq!(log.append(term, after, batch.clone()).await, Ok(Append::Mismatch { tail: end(&batch) }));
    assert_eq!(read_all(&log, after).await, batch.to_vec());
}

pub(crate) async fn appends_in_flight_are_done_in_order_and_fail_together(subject: &impl Subject) {
    let log = open(subject, 1).await;
    let term = take(&log).await;
    let mut last = append(&log, term, 1, 10).await;
    let mut flight = Vec::new();
    for _ in 0..8 {
        let batch = entries(last, term, 2, 20_000);
        flight.push(send(log.append(term, last, batch.clone())).await);
        last = end(&batch);
    }
    let renewed = send(log.renew(term)).await;
    for call in flight {
        assert_eq!(call.await, Ok(Append::Written));
    }
    assert!(renewed.await.unwrap().is_some());
    assert_eq!(log.tail().await, Ok(last));

    let wrong = Position { chain: Chain(7), ..last };
    let first = send(log.append(term, wrong, entries(wrong, term, 1, 10))).await;
    let behind = end(&entries(wrong, term, 1, 10));
    let second = send(log.append(term, behind, entries(behind, term, 1, 10))).await;
    assert_eq!(first.await, Ok(Append::Mismatch { tail: last }));
    assert_eq!(second.await, Ok(Append::Mismatch { tail: last }));
    append(&log, term, 1, 10).await;
}

pub(crate) async fn entries_that_are_put_back_keep_their_terms(subject: &impl Subject) {
    let (one, two) = (open(subject, 1).await, open(subject, 2).await);
    let term = take(&one).await;
    let after = append(&one, term, 1, 10).await;
    let newer = take(&two).await;
    let lost = entries(after, term, 2, 10);
    assert_eq!(two.append(newer, after, lost.clone()).await, Ok(Append::Written));
    append(&two, newer, 1, 10).await;
    let terms: Vec<u64> = read_all(&one, after).await.iter().map(|entry| entry.term).collect();
    assert_eq!(terms, [term, term, newer]);
}

pub(crate) async fn a_read_stops_at_its_size_and_says_when_the_history_is_another(subject: &impl Subject) {
    let log = open(subject, 1).await;
    let term = take(&log).await;
    let start = Position::default();
    let written = entries(start, term, 10, 1000);
    assert_eq!(log.append(term, start, written.clone()).await, Ok(Append::Written));
    let count = async |bytes| match log.read(start, bytes).await.unwrap() {
        Read::Entries(entries) => entries.len(),
        other => panic!("{other:?}"),
    };
    assert_eq!(count(1).await, 1, "at least one");
    assert!((2..=4).contains(&count(3000).await));
    assert_eq!(count(1_000_000).await, 10);

    let tail = end(&written);
    let third = written[2].position();
    let other = Position { chain: Chain(7), ..third };
    assert_eq!(log.read(other, 1000).await, Ok(Read::Elsewhere { tail, at: Some(third.chain) }));
    let other = Position { chain: Chain(7), ..tail };
    assert_eq!(log.read(other, 1000).await, Ok(Read::Elsewhere { tail, at: Some(tail.chain) }));
    let beyond = Position { index: tail.index + 5, chain: Chain(7) };
    assert_eq!(log.read(beyond, 1000).await, Ok(Read::Elsewhere { tail, at: None }));
    assert_eq!(log.read(tail, 1000).await, Ok(Read::Entries(Vec::new())));
}

pub(crate) async fn many_entries_are_read_in_order(subject: &impl Subject) {
    let (one, two) = (open(subject, 1).await, open(subject, 2).await);
    let term = take(&one).await;
    let mut ends = vec![Position::default()];
    for _ in 0..40 {
        ends.push(append(&one, term, 10, 2000).await);
    }
    let all = read_all(&two, Position::default()).await;
    assert_eq!(all.len(), 400);
    for &after in ends.iter().rev() {
        let rest = read_all(&two, after).await;
        assert_eq!(rest, all[usize::try_from(after.index).unwrap()..]);
    }
}

/// A snapshot at a position, with one file of so many parts whose content depends on the digest.
fn snapshot(id: u64, position: Position, maker: u64, digests: &[u128]) -> LogSnapshot {
    let bytes = SNAPSHOT_PART_BYTES as u64 + 10;
    let file = |&digest: &u128| SnapshotFile { name: format!("{digest}.sst"), bytes, digest };
    let files = digests.iter().map(file).collect();
    LogSnapshot { id, position, term: 1, generation: 0, server: server(maker), files }
}

fn parts(digest: u128) -> [Bytes; 2] {
    let byte = u8::try_from(digest).expect("a small one");
    [vec![byte; SNAPSHOT_PART_BYTES].into(), vec![byte; 10].into()]
}

/// Announces a snapshot and writes its missing parts.
async fn put(log: &Log, snapshot: &LogSnapshot) -> Vec<u128> {
    let mut missing = log.begin_snapshot(snapshot.clone()).await.expect("it begins");
    missing.sort_unstable();
    for &digest in &missing {
        for (number, part) in (0..).zip(parts(digest)) {
            log.put_part(digest, number, part).await.expect("a part is written");
        }
    }
    missing
}

pub(crate) async fn a_snapshot_counts_when_all_parts_are_there(subject: &impl Subject) {
    let (one, two) = (open(subject, 1).await, open(subject, 2).await);
    let term = take(&one).await;
    let early = append(&one, term, 3, 10).await;
    let first = snapshot(1, early, 2, &[1, 2]);
    let mut missing = two.begin_snapshot(first.clone()).await.unwrap();
    missing.sort_unstable();
    assert_eq!(missing, [1, 2]);
    assert_eq!(two.complete_snapshot(1).await, Ok(false), "nothing is there");
    let [whole, rest] = parts(1);
    two.put_part(1, 0, whole).await.unwrap();
    assert_eq!(two.complete_snapshot(1).await, Ok(false), "parts are missing");
    assert_eq!(one.newest_snapshot().await, Ok(None));
    two.put_part(1, 1, rest.clone()).await.unwrap();
    two.put_part(1, 1, rest).await.expect("the same part again");
    for (number, part) in (0..).zip(parts(2)) {
        two.put_part(2, number, part).await.unwrap();
    }
    assert_eq!(two.complete_snapshot(1).await, Ok(true));
    assert_eq!(two.complete_snapshot(77).await, Ok(false), "there is no such snapshot");
    assert_eq!(one.newest_snapshot().await, Ok(Some(first)));
    assert_eq!(one.get_parts(1, 0, 1).await, Ok(parts(1)[..1].to_vec()));
    assert_eq!(one.get_parts(1, 0, 9 * SNAPSHOT_PART_BYTES).await, Ok(parts(1).to_vec()));
    assert_eq!(one.get_parts(1, 1, 9 * SNAPSHOT_PART_BYTES).await, Ok(parts(1)[1..].to_vec()));
    assert_eq!(one.get_parts(1, 2, 1).await, Ok(Vec::new()));

    let late = append(&one, term, 3, 10).await;
    let second = snapshot(2, late, 2, &[2, 3]);
    assert_eq!(put(&two, &second).await, [3], "files with the same content are kept once");
    assert_eq!(two.complete_snapshot(2).await, Ok(true));
    assert_eq!(one.newest_snapshot().await, Ok(Some(second)));
}

pub(crate) async fn only_what_a_snapshot_contains_is_trimmed(subject: &impl Subject) {
    let (one, two) = (open(subject, 1).await, open(subject, 2).await);
    let term = take(&one).await;
    let mut ends = Vec::new();
    for _ in 0..20 {
        ends.push(append(&one, term, 10, 5000).await);
    }
    let all = read_all(&two, Position::default()).await;
    assert_eq!(one.trim(term).await, Ok(false), "there is no snapshot");
    for (id, at, digest) in [(1, 4, 1), (2, 9, 2), (3, 14, 3)] {
        put(&two, &snapshot(id, ends[at], 2, &[digest, 9])).await;
        assert_eq!(one.trim(term + 1).await, Ok(false), "another's term");
        assert_eq!(two.trim(term).await, Ok(false), "not the holder");
        assert_eq!(two.complete_snapshot(id).await, Ok(true));
        while one.trim(term).await.expect("an answer") {}
        let from = match two.read(Position::default(), 1000).await.unwrap() {
            Read::Trimmed { from } => from,
            Read::Entries(_) => Position::default(),
            other @ Read::Elsewhere { .. } => panic!("{other:?}"),
        };
        assert!(from.index <= ends[at].index, "no more than the snapshot contains");
        let rest = read_all(&two, from).await;
        assert_eq!(rest, all[usize::try_from(from.index).unwrap()..]);
        assert_eq!(two.get_parts(9, 0, 1).await.unwrap().len(), 1, "files of the newest snapshot stay");
    }
    assert_eq!(two.get_parts(1, 0, 1).await, Ok(Vec::new()), "nobody needs the oldest snapshot's file");
    assert_eq!(two.get_parts(2, 0, 1).await.unwrap().len(), 1, "somebody may be reading the one before the newest");
    let tail = append(&one, term, 1, 10).await;
    assert_eq!(two.tail().await, Ok(tail));
}

pub(crate) async fn sessions_are_seen_until_they_end(subject: &impl Subject) {
    let (one, two) = (open(subject, 1).await, open(subject, 2).await);
    assert_ne!(one.sessions_of(2).await, Ok(Sessions::Gone));
    assert_ne!(one.sessions_of(1).await, Ok(Sessions::Gone), "its own");
    assert_eq!(one.sessions_of(3).await, Ok(Sessions::Gone), "never had one");
    drop(two);
    wait_until_gone(&one, 2).await;

    let two = open(subject, 2).await;
    one.evict(2).await.unwrap();
    tokio::time::timeout(DEADLINE, two.ended()).await.expect("a session that was ended notices it");
    assert!(two.look().await.is_err() && two.renew(1).await.is_err());
    wait_until_gone(&one, 2).await;
    one.evict(1).await.unwrap();
    one.look().await.expect("a session does not end itself");
}

pub(crate) async fn a_new_session_ends_the_earlier_one_of_its_process(subject: &impl Subject) {
    let (one, other) = (open(subject, 1).await, open(subject, 2).await);
    let term = take(&one).await;
    let tail = append(&one, term, 1, 10).await;
    let again = open(subject, 1).await;
    tokio::time::timeout(DEADLINE, one.ended()).await.expect("the earlier session ends");
    assert!(again.renew(term).await.unwrap().is_some(), "the lease is the process's, not the session's");
    let batch = entries(tail, term, 1, 10);
    assert_eq!(again.append(term, tail, batch).await, Ok(Append::Written));
    other.look().await.expect("sessions of others stay");
}

pub(crate) async fn each_server_has_a_row(subject: &impl Subject) {
    let (one, two) = (open(subject, 1).await, open(subject, 2).await);
    let row = |number: u64, applied: Position| ServerRow {
        server: server(number),
        incarnation: number,
        address: format!("host{number}:7400"),
        applied,
        program: "1.0".to_owned(),
    };
    let start = Position::default();
    assert_eq!(two.report(row(2, start)).await, Ok(vec![row(2, start)]));
    assert_eq!(one.report(row(1, start)).await, Ok(vec![row(1, start), row(2, start)]));
    let later = Position { index: 7, chain: Chain(9) };
    assert_eq!(two.report(row(2, later)).await, Ok(vec![row(1, start), row(2, later)]));
}

pub(crate) async fn the_log_of_another_cluster_is_refused(subject: &impl Subject) {
    let claimant = Claimant { server: server(1), incarnation: 1 };
    let other = ClusterId([0xab; 16]);
    assert_ne!(subject.cluster(), other);
    match subject.logs().open(claimant, other).await {
        Err(LogError::Foreign(_)) => {}
        Err(error) => panic!("{error:?}"),
        Ok(_) => panic!("it opens"),
    }
}
