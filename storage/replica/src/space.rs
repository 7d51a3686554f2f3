//! Disk space that a store needs for its own work, and files that hold no messages any more.

use baton_domain::{MessageId, QueueId};

use crate::disk::{COMPACTION_BYTES, KeyRange};
use crate::machine::{message_key, queue_bounds};

/// Part of the peak rate that is forgotten with each check.
const FORGOTTEN: u64 = 16;

/// The log's growth between two looks, at its recent peak.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Growth {
    appended: u64,
    peak: u64,
}

impl Growth {
    /// Takes a look: `appended` bytes were appended in all.
    pub(crate) fn look(&mut self, appended: u64) {
        let grown = appended.saturating_sub(self.appended);
        self.appended = appended;
        self.peak = grown.max(self.peak - self.peak.div_ceil(FORGOTTEN));
    }
}

/// Space that must be free so that accepted data never fills the disk.
///
/// - What is in memory is put on disk by the next flush: `unflushed`.
/// - Whoever decides whether there is room knows a free space that is up to two looks old. In that time the log grows
///   twice by its peak, and what it grew by is written a second time, to the state.
/// - A compaction writes what replaces its files before they go: at most all `files`, and not more than one
///   compaction is let take. Several at once may need more; what is configured as the reserve is beside this.
pub(crate) fn needed(unflushed: u64, growth: Growth, files: u64) -> u64 {
    unflushed.saturating_add(growth.peak.saturating_mul(4)).saturating_add(files.min(COMPACTION_BYTES))
}

/// Bytes that are written until the next check even if nothing new is taken: the flush of the data in memory, and what
/// the log grows by until then, once there and once in memory.
pub(crate) fn due(unflushed: u64, growth: Growth) -> u64 {
    unflushed.saturating_add(growth.peak.saturating_mul(2))
}

/// Ranges of message keys that will never hold messages again: before the queues' heads, and of queues that are
/// deleted. `next` is the number of the next queue; the queues are sorted by number, each with the heads of its lanes.
pub(crate) fn consumed(queues: &[(QueueId, Vec<MessageId>)], next: QueueId) -> Vec<KeyRange> {
    let mut ranges = Vec::new();
    let mut behind = Vec::new();
    for (queue, heads) in queues {
        let (begin, end) = queue_bounds(*queue);
        ranges.push((behind, begin.to_vec()));
        ranges.extend(heads.iter().map(|head| {
            // The head may lie in a record that begins before it: all of a record is of one entry.
            let (from, to) = (head.lane().start(), head.first_of_entry());
            (message_key(*queue, from).to_vec(), message_key(*queue, to).to_vec())
        }));
        behind = end;
    }
    ranges.push((behind, queue_bounds(next).0.to_vec()));
    ranges.retain(|(from, to)| from < to);
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_domain::Lane;

    const MIB: u64 = 1 << 20;

    #[test]
    fn what_is_needed_follows_what_is_written_and_is_bounded() {
        let mut growth = Growth::default();
        assert_eq!(needed(0, growth, 0), 0, "an idle and empty store needs nothing");
        growth.look(50 * MIB);
        assert_eq!(needed(30 * MIB, growth, 10 * MIB), (30 + 200 + 10) * MIB);
        assert_eq!(needed(0, growth, 1 << 40), (200 + 256) * MIB, "a compaction takes a part of a large state");
        growth.look(50 * MIB);
        assert!(growth.peak < 50 * MIB && growth.peak > 40 * MIB, "a peak is remembered for a while");
        (0..400).for_each(|_| growth.look(50 * MIB));
        assert_eq!(needed(0, growth, 0), 0, "and forgotten");
    }

    #[test]
    fn the_ranges_leave_out_every_message_that_is_left() {
        let (first, second, empty) = (QueueId(3), QueueId(4), QueueId(6));
        let head = MessageId { generation: 0, index: 7, position: 3 };
        let urgent = MessageId { index: 9, ..head }.in_lane(Lane(2));
        let queues = [(first, vec![head, urgent]), (second, vec![MessageId::default()]), (empty, vec![])];
        let ranges = consumed(&queues, QueueId(8));
        let within = |queue: QueueId, id: MessageId| {
            let key = message_key(queue, id);
            ranges.iter().any(|(from, to)| from.as_slice() <= &key[..] && &key[..] < to.as_slice())
        };
        let entry = |id: MessageId, index| MessageId { index, ..id };
        assert!(within(first, entry(head, 6)) && within(first, entry(urgent, 8)));
        for left in [head, MessageId { position: 0, ..head }, entry(head, u64::MAX), urgent, entry(urgent, 1 << 40)] {
            assert!(!within(first, left), "{left}: the head, what lies in its record, and what is behind it");
        }
        let other = entry(head, 1).in_lane(Lane(1));
        assert!(!within(first, other), "a lane that may come to be meanwhile");
        assert!(!within(second, MessageId::default()) && !within(empty, MessageId::default()));
        assert!([1, 5, 7].into_iter().all(|queue| within(QueueId(queue), other)), "queues that are gone");
        assert!(!within(QueueId(8), entry(head, 1)), "a queue that may come to be meanwhile");
    }
}
