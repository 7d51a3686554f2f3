//! State that the parts of one command share while it is applied.

use baton_domain::{Lane, MessageId, QueueId};

use super::{Sink, Tables, Writer};

/// One command on its way into the state: where it reads and writes, and which ids its messages get.
pub(super) struct Apply<'a> {
    /// The state without the writes of this batch.
    pub(super) tables: &'a dyn Tables,
    pub(super) writer: Writer<'a>,
    /// Id of the next message, in lane 0.
    pub(super) next: MessageId,
    /// Time of an engine's writes, in Unix milliseconds by the engine's clock.
    pub(super) at_ms: u64,
    ops: u16,
    /// Messages that were moved into queues: the tables do not show them before the batch is written.
    pub(super) entered: Vec<(QueueId, MessageId)>,
    /// Reused for each message that is encoded.
    pub(super) buffer: Vec<u8>,
}

impl<'a> Apply<'a> {
    /// Begins with the command at `index` of the log; `hash` is the running hash before it.
    pub(super) fn new(generation: u32, index: u64, hash: u128, tables: &'a dyn Tables, sink: &'a mut dyn Sink) -> Self {
        Self {
            tables,
            writer: Writer::new(hash, sink),
            next: MessageId { generation, index, position: 0 },
            at_ms: 0,
            ops: 0,
            entered: Vec::new(),
            buffer: Vec::new(),
        }
    }

    /// The command's log index.
    pub(super) fn index(&self) -> u64 {
        self.next.index
    }

    /// A number that grows with each op and each log entry.
    pub(super) fn order(&mut self) -> u64 {
        self.ops = self.ops.saturating_add(1);
        (self.next.index << 16) | u64::from(self.ops)
    }

    /// An id for one more message.
    pub(super) fn take_id(&mut self) -> MessageId {
        let id = self.next;
        self.next = id.after(1, Lane::default());
        id
    }
}

/// The earlier of two times; 0 means none.
pub(super) fn earlier(a: u64, b: u64) -> u64 {
    if a == 0 || (b != 0 && b < a) { b } else { a }
}
