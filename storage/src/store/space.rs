//! How much of the disk a store needs for its own work, and which of its files hold nothing any more.

use crate::disk::COMPACTION_BYTES;
use crate::machine::{lane_end, message_key};
use crate::{MessageId, QueueId};

/// Of the peak rate this part is forgotten with each look.
const FORGOTTEN: u64 = 16;

/// The log's growth between two looks, at its recent peak.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Growth {
    appended: u64,
    peak: u64,
}

impl Growth {
    /// Takes a look: `appended` bytes were appended in all.
    pub(super) fn look(&mut self, appended: u64) {
        let grown = appended.saturating_sub(self.appended);
        self.appended = appended;
        self.peak = grown.max(self.peak - self.peak.div_ceil(FORGOTTEN));
    }
}

/// What must be free so that nothing that was accepted already runs into the end of the disk.
///
/// - What is in memory is put on disk by the next flush: `unflushed`.
/// - Whoever decides whether there is room knows a free space that is up to two looks old. In that time the log grows
///   twice by its peak, and what it grew by is written a second time, to the state.
/// - A compaction writes what replaces its files before they go: at most all `files`, and not more than one
///   compaction is let take. Several at once may need more; what is configured as the reserve is beside this.
pub(super) fn needed(unflushed: u64, growth: Growth, files: u64) -> u64 {
    unflushed.saturating_add(growth.peak.saturating_mul(4)).saturating_add(files.min(COMPACTION_BYTES))
}

/// The ranges of message keys that hold nothing any more: before the queues' heads, and of queues that are gone.
/// `heads` are in order of their queues' numbers, then of their lanes.
pub(super) fn consumed(heads: &[(QueueId, MessageId)]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut ranges = Vec::with_capacity(heads.len() + 1);
    let mut from = Vec::new();
    for (queue, head) in heads {
        ranges.push((from, message_key(*queue, *head).to_vec()));
        from = lane_end(*queue, head.lane());
    }
    ranges.push((from, vec![0xff; 21]));
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let (first, second) = (QueueId(3), QueueId(4));
        let head = MessageId { generation: 0, index: 7, position: 0 };
        let ranges = consumed(&[(first, head), (second, MessageId::default())]);
        let within = |key: &[u8]| ranges.iter().any(|(from, to)| from.as_slice() <= key && key < to.as_slice());
        let before = MessageId { index: 6, ..head };
        assert!(within(&message_key(QueueId(1), head)), "a queue that is gone");
        assert!(within(&message_key(first, before)) && !within(&message_key(first, head)));
        assert!(!within(&message_key(first, MessageId { index: u64::MAX, ..head })));
        assert!(!within(&message_key(second, MessageId::default())));
        assert!(within(&message_key(QueueId(5), head)));
    }
}
