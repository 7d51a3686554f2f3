//! Keeps the log short: takes a snapshot after a number of bytes or entries, and purges the log behind the one before
//! it. Reclaims the space of consumed messages: all of it where space is short, else only whole files.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use baton_domain::QueueId;
use baton_domain::clock::BootTime;
use openraft::async_runtime::watch::WatchReceiver;
use tokio::sync::watch;

use crate::disk::{Room, free_bytes};
use crate::machine::{Family, NEXT_QUEUE_KEY, QueueState, Tables, decode};
use crate::replicated::{LogStore, Raft, SharedState, SnapshotHolds};
use crate::space::{Growth, consumed, due, needed};
use crate::status::StoreStatus;

/// Interval between two checks.
const PERIOD: Duration = Duration::from_millis(500);
/// A snapshot is taken after this many entries, however small.
const ENTRIES: u64 = 50_000;
/// Interval at which space is reclaimed: acknowledgements of such a time are worth a flush.
const RECLAIM: Duration = Duration::from_secs(5);
/// Minimum to reclaim while space is not short. Compactions would read all of it to see that nothing is left,
/// when the first message comes after a long queue was drained: half of all that was sent and received then.
const RECLAIM_BYTES: u64 = 256 * 1024 * 1024;
/// A range of less is left to compactions: what is taken off as a range is looked at by each reader until then.
const RANGE_BYTES: u64 = 16 * 1024 * 1024;

/// Takes snapshots and purges the log.
pub(crate) struct Housekeeping {
    pub(crate) raft: Raft,
    pub(crate) state: Arc<SharedState>,
    pub(crate) log: LogStore,
    pub(crate) status: watch::Receiver<StoreStatus>,
    pub(crate) holds: SnapshotHolds,
    pub(crate) snapshot_log_bytes: u64,
    /// New messages are refused when less is free beside what the store needs.
    pub(crate) reserve_bytes: u64,
    /// Disk space that the store needs for its own work, in bytes; published for requests for free space.
    pub(crate) needed: Arc<AtomicU64>,
    pub(crate) room: Room,
}

/// State between two checks.
#[derive(Default)]
struct Done {
    growth: Growth,
    /// Appended and applied when the last snapshot was asked for.
    bytes: u64,
    applied: u64,
    /// Applied, and the time, when space was taken back last.
    reclaimed: Option<(u64, BootTime)>,
    purged: u64,
}

impl Housekeeping {
    pub(crate) async fn run(self) {
        let mut done = Done { applied: self.applied(), ..Done::default() };
        // The log is kept back to the snapshot before the newest: a replica that was away for a short while then
        // needs a piece of log, not all of the state.
        let (mut before, mut newest) = (None, self.snapshot());
        loop {
            tokio::time::sleep(PERIOD).await;
            let short = self.look(&mut done);
            let reclaimed = self.reclaim(short, &mut done).await && short;
            let (bytes, applied) = (self.log.appended_bytes(), self.applied());
            let due = bytes - done.bytes >= self.snapshot_log_bytes || applied.saturating_sub(done.applied) >= ENTRIES;
            if (due || reclaimed) && self.state.has_room_for_snapshot() {
                (done.bytes, done.applied) = (bytes, applied);
                if self.raft.trigger().snapshot().await.is_err() {
                    return;
                }
            }
            let snapshot = self.snapshot();
            if snapshot > newest {
                (before, newest) = (newest, snapshot);
            }
            if self.purge(if short { newest } else { before }, short, &mut done).await.is_err() {
                return;
            }
            let state = self.state.clone();
            match tokio::task::spawn_blocking(move || state.release_bloated_snapshot()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "cannot remove an old snapshot"),
                Err(_) => return,
            }
        }
    }

    /// Updates the needed space; returns true if space is short.
    fn look(&self, done: &mut Done) -> bool {
        done.growth.look(self.log.appended_bytes());
        let Ok(db) = self.state.db() else { return false };
        let unflushed = db.unflushed_bytes();
        self.room.expect(due(unflushed, done.growth));
        let needed = needed(unflushed, done.growth, db.file_bytes());
        self.needed.store(needed, Ordering::Relaxed);
        // Before anybody is refused.
        free_bytes(self.state.dir()) < needed.saturating_add(self.reserve_bytes.saturating_mul(2))
    }

    /// Flushes deletions, and removes the files of consumed messages; returns true if it did. The space is
    /// free once a new snapshot has replaced the old one and the log before it is purged.
    async fn reclaim(&self, short: bool, done: &mut Done) -> bool {
        let (applied, now) = (self.applied(), crate::clock::boot_time());
        let again = |(before, at): (u64, BootTime)| applied > before && now.since(at) >= RECLAIM;
        if !done.reclaimed.is_none_or(again) || !self.state.has_room_for_snapshot() {
            return false;
        }
        let state = self.state.clone();
        let outcome = tokio::task::spawn_blocking(move || reclaim(&state, short)).await;
        // From its end: it may take long.
        done.reclaimed = Some((applied, crate::clock::boot_time()));
        match outcome.map_err(io::Error::other).and_then(|reclaimed| reclaimed) {
            Ok(reclaimed) => reclaimed,
            Err(error) => {
                tracing::warn!(%error, "cannot reclaim the space of consumed messages");
                false
            }
        }
    }

    /// Purges the log up to `wanted`, but keeps entries for replicas that receive a snapshot; not if space
    /// is short.
    async fn purge(&self, wanted: Option<u64>, short: bool, done: &mut Done) -> Result<(), ()> {
        let Some(wanted) = wanted else { return Ok(()) };
        let limit = self.holds.limit(wanted, &self.status.borrow(), crate::clock::boot_time());
        let upto = if short { wanted } else { limit };
        if upto <= done.purged {
            return Ok(());
        }
        done.purged = upto;
        self.raft.trigger().purge_log(upto).await.map_err(|_| ())
    }

    fn applied(&self) -> u64 {
        self.raft.metrics().borrow_watched().last_applied.as_ref().map_or(0, |applied| applied.index)
    }

    fn snapshot(&self) -> Option<u64> {
        self.raft.metrics().borrow_watched().snapshot.as_ref().map(|snapshot| snapshot.index)
    }
}

/// Reclaims the space of consumed messages, if space is short or it is much; returns true if it did.
fn reclaim(state: &SharedState, short: bool) -> io::Result<bool> {
    let db = state.db()?;
    if !short && db.file_bytes() < RECLAIM_BYTES {
        return Ok(false);
    }
    // Read before the queues: a lower number that is not among them belongs to a deleted queue.
    let next = db.get(Family::Meta, NEXT_QUEUE_KEY)?.map(|value| decode::<u32>(&value)).transpose()?.unwrap_or(0);
    // In order of their numbers, as they lie.
    let states = db.scan(Family::Queues)?.into_iter().map(|(_, value)| decode::<QueueState>(&value));
    let queues = states.map(|state| {
        state.map(|QueueState { id, lanes, .. }| (id, lanes.values().map(|lane| lane.head).collect::<Vec<_>>()))
    });
    let ranges = consumed(&queues.collect::<io::Result<Vec<_>>>()?, QueueId(next));
    let bytes = db.file_bytes_within(Family::Messages, &ranges);
    let large = ranges.iter().zip(&bytes).filter(|(_, bytes)| **bytes >= RANGE_BYTES);
    if !short && large.clone().map(|(_, bytes)| bytes).sum::<u64>() < RECLAIM_BYTES {
        return Ok(false);
    }
    db.drop_ranges(Family::Messages, large.map(|(range, _)| range))?;
    if short {
        db.compact(Family::Messages, &ranges);
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Layout, MemoryBudget, StateDb};
    use crate::machine::{Sink, encode, message_key, queue_key};
    use crate::queue::LaneRecord;
    use baton_domain::{Lane, MessageId, QueueId, QueueName};

    /// Full disk: acknowledged messages give their space back when it is needed, not some time later.
    #[test]
    fn what_was_consumed_gives_its_space_back_and_what_was_not_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (layout, memory) = (Layout::new(dir.path()), MemoryBudget::new(32 << 20));
        let db = StateDb::open(&layout.new_state(), &memory, true).unwrap();
        let id = |index| MessageId { generation: 0, index, position: 0 };
        let key = |index| message_key(QueueId(1), id(index));
        let put = |from: u64, to: u64| {
            for index in from..to {
                let mut sink = db.batch();
                sink.put(Family::Messages, &key(index), &[index.to_be_bytes()[7]; 10_000]);
                sink.write().unwrap();
            }
            db.flush().unwrap();
        };
        put(1, 500);
        put(500, 1_001);
        let full = db.file_bytes();
        assert!(full > 9_000_000, "{full}");
        let mut sink = db.batch();
        (1..=900).for_each(|index| sink.delete(Family::Messages, &key(index)));
        let record = QueueState {
            id: QueueId(1),
            name: QueueName::new("orders").unwrap(),
            bytes: 1_000_000,
            redelivered: 0,
            delayed: 0,
            lanes: [(Lane(0), LaneRecord { depth: 100, head: id(901), dispatched: id(901) })].into(),
        };
        sink.put(Family::Queues, &queue_key(QueueId(1)), &encode(&record));
        sink.write().unwrap();
        let state = SharedState::new(db, Arc::default(), layout, memory);
        assert!(!reclaim(&state, false).unwrap(), "while there is room, it is too little");
        assert!(reclaim(&state, true).unwrap());
        let db = state.db().unwrap();
        assert!(db.file_bytes() < full / 3, "{} of {full} bytes are left", db.file_bytes());
        let kept = db.scan(Family::Messages).unwrap();
        assert_eq!(kept.len(), 100);
        assert_eq!(kept[0].0, key(901));
    }

    /// Files that are removed as a whole are gone for good: nothing comes back from a file that has to stay, and what
    /// the disk has does not need it.
    #[test]
    fn files_of_what_was_consumed_go_unread() {
        let dir = tempfile::tempdir().unwrap();
        let (layout, memory) = (Layout::new(dir.path()), MemoryBudget::new(32 << 20));
        let path = layout.new_state();
        let db = StateDb::open(&path, &memory, true).unwrap();
        let key = |index: u64| message_key(QueueId(1), MessageId { generation: 0, index, position: 0 }).to_vec();
        // Each in a file of its own, below the level where files wait to be merged.
        for from in [1, 501] {
            let mut sink = db.batch();
            (from..from + 500).for_each(|index| sink.put(Family::Messages, &key(index), &[7; 10_000]));
            sink.write().unwrap();
            db.flush().unwrap();
            db.compact(Family::Messages, &[(key(from), key(from + 500))]);
        }
        let full = db.file_bytes();
        let range = (key(1), key(601));
        let within = db.file_bytes_within(Family::Messages, std::slice::from_ref(&range))[0];
        assert!(within > full / 2 && within < full * 3 / 4, "{within} of {full} bytes");
        let mut sink = db.batch();
        sink.put(Family::Meta, b"written", b"before");
        sink.write().unwrap();
        db.drop_ranges(Family::Messages, [&range].into_iter()).unwrap();
        assert!(db.file_bytes() < full * 2 / 3, "{} of {full} bytes are left", db.file_bytes());
        for seen in [&db, &StateDb::look(&path, &memory).unwrap()] {
            let left = seen.scan(Family::Messages).unwrap();
            assert!(left.iter().map(|(key, _)| key.to_vec()).eq((601..=1_000).map(key)), "{} are left", left.len());
            assert!(seen.get(Family::Meta, b"written").unwrap().is_some(), "what was written before is on the disk");
        }
    }
}
