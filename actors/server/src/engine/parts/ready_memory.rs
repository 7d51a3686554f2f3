//! The memory that all queues share for bodies of stored messages, and the queues that wait for some.

use std::collections::BTreeSet;

use baton_domain::QueueId;

use super::turns::Turns;
use crate::engine::config::EngineConfig;

#[derive(Debug, Default)]
pub(in crate::engine) struct ReadyMemory {
    /// Bytes in use, with those that reads under way may bring.
    bytes: usize,
    /// Queues for which a read brought something since the last flush.
    arrived: BTreeSet<QueueId>,
    /// Queues that wait for memory, and whose consumers can take what is read.
    urgent: Turns,
    /// Those whose consumers cannot, now.
    patient: Turns,
}

impl ReadyMemory {
    pub(in crate::engine) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(in crate::engine) fn used(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    pub(in crate::engine) fn freed(&mut self, bytes: usize) {
        self.bytes -= bytes;
    }

    pub(in crate::engine) fn fits(&self, bytes: usize, config: &EngineConfig) -> bool {
        self.bytes + bytes <= config.ready_total_bytes
    }

    /// A read brought something for a queue.
    pub(in crate::engine) fn page_arrived(&mut self, queue: QueueId) {
        self.arrived.insert(queue);
    }

    /// The queues for which reads brought something.
    pub(in crate::engine) fn take_arrived(&mut self) -> BTreeSet<QueueId> {
        std::mem::take(&mut self.arrived)
    }

    /// A queue waits for memory.
    pub(in crate::engine) fn wait(&mut self, queue: QueueId, urgent: bool) {
        self.waiting(urgent).insert(queue);
    }

    /// The next queue in turn of those that wait.
    pub(in crate::engine) fn next_waiting(&mut self, urgent: bool) -> Option<QueueId> {
        self.waiting(urgent).next()
    }

    pub(in crate::engine) fn is_waiting(&mut self, queue: QueueId, urgent: bool) -> bool {
        self.waiting(urgent).contains(queue)
    }

    /// True if a queue waits whose consumers can take what is read.
    pub(in crate::engine) fn is_urgent(&self) -> bool {
        !self.urgent.is_empty()
    }

    /// A queue waits no more.
    pub(in crate::engine) fn stop_waiting(&mut self, queue: QueueId) {
        self.urgent.remove(queue);
        self.patient.remove(queue);
    }

    fn waiting(&mut self, urgent: bool) -> &mut Turns {
        if urgent { &mut self.urgent } else { &mut self.patient }
    }
}
