//! State that the operations of one log entry share: its time, and the places of its messages.

use baton_domain::{Lane, MessageId, QueueId};

/// Where an entry stands and how many messages it has stored so far.
pub(super) struct Entry {
    /// The place of the next message, in lane 0.
    pub(super) next: MessageId,
    pub(super) at_ms: u64,
    ops: u16,
    /// What came into queues one by one: no table shows it before the entry is written.
    pub(super) entered: Vec<(QueueId, MessageId)>,
    pub(super) buffer: Vec<u8>,
}

impl Entry {
    pub(super) fn new(generation: u32, index: u64, at_ms: u64) -> Self {
        let next = MessageId { generation, index, position: 0 };
        Self { next, at_ms, ops: 0, entered: Vec::new(), buffer: Vec::new() }
    }

    /// A number that grows with each op and each entry.
    pub(super) fn order(&mut self) -> u64 {
        self.ops = self.ops.saturating_add(1);
        (self.next.index << 16) | u64::from(self.ops)
    }

    pub(super) fn take_place(&mut self) -> MessageId {
        let place = self.next;
        self.next = place.after(1, Lane::default());
        place
    }
}

/// The earlier of two times of which 0 is none.
pub(super) fn earlier(a: u64, b: u64) -> u64 {
    if a == 0 || (b != 0 && b < a) { b } else { a }
}
