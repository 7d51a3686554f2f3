//! Disk space of the state: what it needs for its own work, and what consumed messages give back: all of it where space
//! is short, else only whole files.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use baton_domain::QueueId;
use baton_domain::clock::BootTime;

use super::shared_state::SharedState;
use crate::disk::Room;
use crate::machine::{Family, NEXT_QUEUE_KEY, QueueState, Tables, decode};
use crate::space::{Growth, consumed, due, needed};

/// Interval at which space is reclaimed: acknowledgements of such a time are worth a flush.
const RECLAIM: Duration = Duration::from_secs(5);
/// Minimum to reclaim while space is not short. Compactions would read all of it to see that nothing is left,
/// when the first message comes after a long queue was drained: half of all that was sent and received then.
const RECLAIM_BYTES: u64 = 256 * 1024 * 1024;
/// A range of less is left to compactions: what is taken off as a range is looked at by each reader until then.
const RANGE_BYTES: u64 = 16 * 1024 * 1024;

/// Keeps the disk space of a state. To be called twice a second.
pub(crate) struct Upkeep {
    state: Arc<SharedState>,
    room: Room,
    /// New messages are refused when less is free beside what the store needs.
    reserve_bytes: u64,
    /// Disk space that the store needs for its own work, in bytes; published for requests for free space.
    needed: Arc<AtomicU64>,
    growth: Growth,
    /// Applied, and the time, when space was taken back last.
    reclaimed: Option<(u64, BootTime)>,
}

impl Upkeep {
    pub(crate) fn new(state: Arc<SharedState>, room: Room, reserve_bytes: u64) -> Self {
        Self { state, room, reserve_bytes, needed: Arc::default(), growth: Growth::default(), reclaimed: None }
    }

    /// Disk space that the store needs for its own work, in bytes, as of the last look.
    pub(crate) fn needed(&self) -> Arc<AtomicU64> {
        self.needed.clone()
    }

    /// Updates the needed space, now that `appended_bytes` were taken in all; returns true if space is short.
    pub(crate) fn look(&mut self, appended_bytes: u64) -> bool {
        self.growth.look(appended_bytes);
        let Ok(db) = self.state.db() else { return false };
        let unflushed = db.unflushed_bytes();
        self.room.expect(due(unflushed, self.growth));
        let needed = needed(unflushed, self.growth, db.file_bytes());
        self.needed.store(needed, Ordering::Relaxed);
        // Before anybody is refused.
        self.state.free_bytes() < needed.saturating_add(self.reserve_bytes.saturating_mul(2))
    }

    /// Flushes deletions, and removes the files of consumed messages; returns true if it did. The space is
    /// free once a new snapshot has replaced the old one and the log before it is gone.
    pub(crate) async fn reclaim(&mut self, applied: u64, short: bool) -> bool {
        let now = crate::clock::boot_time();
        let again = |(before, at): (u64, BootTime)| applied > before && now.since(at) >= RECLAIM;
        if !self.reclaimed.is_none_or(again) || !self.state.has_room_for_snapshot() {
            return false;
        }
        let state = self.state.clone();
        let outcome = tokio::task::spawn_blocking(move || reclaim(&state, short)).await;
        // From its end: it may take long.
        self.reclaimed = Some((applied, crate::clock::boot_time()));
        match outcome.map_err(io::Error::other).and_then(|reclaimed| reclaimed) {
            Ok(reclaimed) => reclaimed,
            Err(error) => {
                tracing::warn!(%error, "cannot reclaim the space of consumed messages");
                false
            }
        }
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
    use crate::failure::Failure;
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
        let state = SharedState::new(db, Arc::default(), layout, memory, Failure::default());
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
