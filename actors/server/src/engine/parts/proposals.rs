//! The operations that are proposed to the store: many at a time in one entry, several entries on their way.
//!
//! An idle engine proposes at once. While as many entries are on their way as may be, operations collect, and the next
//! entry carries all of them, up to its limit. Three lines: operations of consumers and queues go first, then settlements
//! (which free space), then those of producers, each line in its order. So the operations of one producer stay in order,
//! and deliveries do not wait behind a backlog of sends.

use std::collections::VecDeque;

use baton_domain::{ChangeId, EngineOp, MessageId, QueueId};

use super::purpose::Purpose;
use super::turns::Turns;
use crate::engine::config::EngineConfig;
use crate::engine::message::{EntryId, RequestId};

/// An operation, and what is done with its result.
#[derive(Debug)]
pub(in crate::engine) struct Proposal {
    pub(in crate::engine) op: EngineOp,
    pub(in crate::engine) purpose: Purpose,
    pub(in crate::engine) bytes: usize,
}

/// An entry on its way.
#[derive(Debug)]
pub(in crate::engine) struct Entry {
    id: EntryId,
    pub(in crate::engine) purposes: Vec<Purpose>,
    bytes: usize,
    /// Time of its proposal, as it says itself, in Unix milliseconds.
    pub(in crate::engine) at_ms: u64,
}

/// Approximate bytes of an operation in an entry, without its content.
pub(in crate::engine) const OP_BYTES: usize = 64;
/// Approximate bytes of a message in an entry, without its own.
pub(in crate::engine) const MESSAGE_BYTES: usize = 16;
/// Approximate bytes of a message's id in an entry.
pub(in crate::engine) const ID_BYTES: usize = 16;

/// Maximum number of messages that one operation requeues.
const REQUEUE_IDS: usize = 4_096;

#[derive(Debug, Default)]
pub(in crate::engine) struct Proposals {
    control: VecDeque<Proposal>,
    produce: VecDeque<Proposal>,
    /// Bytes that wait in `produce`.
    produce_bytes: usize,
    /// Ids that wait in the queues' settlements.
    settle_ids: usize,
    /// Queues with settlements.
    settling: Turns,
    /// Entries on their way, the oldest first.
    in_flight: VecDeque<Entry>,
    in_flight_bytes: usize,
}

impl Proposals {
    /// Puts an operation of consumers or queues in line.
    pub(in crate::engine) fn control(&mut self, op: EngineOp, purpose: Purpose) {
        self.control_of(op, purpose, OP_BYTES);
    }

    /// The same for a large one, of about so many bytes.
    pub(in crate::engine) fn control_of(&mut self, op: EngineOp, purpose: Purpose, bytes: usize) {
        self.control.push_back(Proposal { op, purpose, bytes });
    }

    /// Puts in line that these messages had a failed delivery: their consumer is gone. In parts: many such consumers must
    /// not make one entry larger than a link carries.
    pub(in crate::engine) fn requeue(&mut self, queue: QueueId, messages: &[MessageId]) {
        for part in messages.chunks(REQUEUE_IDS) {
            let op = EngineOp::Requeue { queue, messages: part.to_vec() };
            let purpose = Purpose::Requeue { queue, messages: part.to_vec() };
            self.control_of(op, purpose, OP_BYTES + part.len() * ID_BYTES);
        }
    }

    /// Puts an operation of a producer in line.
    pub(in crate::engine) fn produce(&mut self, op: EngineOp, purpose: Purpose, bytes: usize) {
        self.produce_bytes += bytes;
        self.produce.push_back(Proposal { op, purpose, bytes });
    }

    /// True if another operation of a producer, of so many bytes, has to wait: backpressure. The first one never has to.
    pub(in crate::engine) fn is_full(&self, bytes: usize, config: &EngineConfig) -> bool {
        self.produce_bytes > 0 && self.produce_bytes + bytes > config.pending_bytes
    }

    /// True if another settlement of so many ids has to wait. The first one never has to.
    pub(in crate::engine) fn settlements_full(&self, ids: usize, config: &EngineConfig) -> bool {
        self.settle_ids > 0 && self.settle_ids + ids > config.pending_settles
    }

    /// A queue has one more settlement, of so many ids.
    pub(in crate::engine) fn settlement_added(&mut self, queue: QueueId, ids: usize) {
        self.settle_ids += ids;
        self.settling.insert(queue);
    }

    /// Settlements of so many ids are proposed, or nobody waits for them.
    pub(in crate::engine) fn settlements_taken(&mut self, ids: usize) {
        self.settle_ids -= ids;
    }

    /// The next queue whose settlements are to be proposed.
    pub(in crate::engine) fn next_settling(&mut self) -> Option<QueueId> {
        self.settling.next()
    }

    /// A queue has settlements left.
    pub(in crate::engine) fn still_settling(&mut self, queue: QueueId) {
        self.settling.insert(queue);
    }

    /// A queue is gone.
    pub(in crate::engine) fn forget_queue(&mut self, queue: QueueId) {
        self.settling.remove(queue);
    }

    /// Number of operations of consumers and queues that wait.
    pub(in crate::engine) fn control_len(&self) -> usize {
        self.control.len()
    }

    /// Makes the operations of a change, those in line since there were `before` of them, happen at most once.
    pub(in crate::engine) fn once(&mut self, before: usize, change: ChangeId) {
        for proposal in self.control.iter_mut().skip(before) {
            let op = std::mem::replace(&mut proposal.op, EngineOp::Recall { change });
            proposal.op = EngineOp::Once { change, op: Box::new(op) };
        }
    }

    /// True if another entry may be proposed now.
    pub(in crate::engine) fn may_propose(&self, config: &EngineConfig) -> bool {
        // Settlements alone wait for the entry before: an entry has its price, and they are in less of a hurry than who
        // waits for a confirm.
        let urgent = !self.control.is_empty() || !self.produce.is_empty();
        self.in_flight.is_empty()
            || (urgent
                && self.in_flight.len() < config.entries_in_flight
                && self.in_flight_bytes < config.bytes_in_flight)
    }

    /// Takes the next operation of consumers and queues, if an entry of `taken` bytes has room for it under `limit`; an
    /// empty entry takes any.
    pub(in crate::engine) fn take_control(&mut self, taken: usize, limit: usize) -> Option<Proposal> {
        self.control.pop_front_if(|next| taken == 0 || taken + next.bytes <= limit)
    }

    /// The same for producers.
    pub(in crate::engine) fn take_produce(&mut self, taken: usize, limit: usize) -> Option<Proposal> {
        let next = self.produce.pop_front_if(|next| taken == 0 || taken + next.bytes <= limit)?;
        self.produce_bytes -= next.bytes;
        Some(next)
    }

    /// An entry is on its way.
    pub(in crate::engine) fn proposed(&mut self, id: EntryId, purposes: Vec<Purpose>, bytes: usize, at_ms: u64) {
        self.in_flight_bytes += bytes;
        self.in_flight.push_back(Entry { id, purposes, bytes, at_ms });
    }

    pub(in crate::engine) fn is_in_flight(&self, entry: EntryId) -> bool {
        self.in_flight.iter().any(|known| known.id == entry)
    }

    /// True if no entry is on its way.
    pub(in crate::engine) fn all_landed(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// The entry whose outcome came; `None` if it is not ours.
    pub(in crate::engine) fn landed(&mut self, entry: EntryId) -> Option<Entry> {
        assert!(
            !self.is_in_flight(entry) || self.in_flight.front().is_some_and(|first| first.id == entry),
            "outcomes come in the order of the entries"
        );
        let entry = self.in_flight.pop_front_if(|first| first.id == entry)?;
        self.in_flight_bytes -= entry.bytes;
        Some(entry)
    }

    /// Takes back all that was not proposed: the requests that waited for it. Settlements are the queues'.
    pub(in crate::engine) fn take_unproposed(&mut self) -> Vec<RequestId> {
        (self.produce_bytes, self.settle_ids) = (0, 0);
        self.settling.clear();
        let waiting = self.control.drain(..).chain(self.produce.drain(..));
        waiting.flat_map(|proposal| proposal.purpose.requests()).collect()
    }

    /// The engine ends: the requests whose entries are on their way. Nobody knows what becomes of them.
    pub(in crate::engine) fn take_in_flight(&mut self) -> Vec<RequestId> {
        self.in_flight_bytes = 0;
        let purposes = self.in_flight.drain(..).flat_map(|entry| entry.purposes);
        purposes.flat_map(Purpose::requests).collect()
    }

    /// Number of requests that wait for operations.
    #[cfg(test)]
    pub(in crate::engine) fn requests_len(&self) -> usize {
        let waiting = self.control.iter().chain(&self.produce).map(|next| &next.purpose);
        waiting.chain(self.in_flight.iter().flat_map(|entry| &entry.purposes)).map(Purpose::requests_len).sum()
    }

    #[cfg(test)]
    pub(in crate::engine) fn assert_invariants(&self, settlements: usize) {
        let bytes = |line: &VecDeque<Proposal>| line.iter().map(|next| next.bytes).sum::<usize>();
        assert_eq!(self.produce_bytes, bytes(&self.produce), "bytes of producers that wait");
        assert_eq!(self.in_flight_bytes, self.in_flight.iter().map(|entry| entry.bytes).sum::<usize>());
        assert_eq!(self.settle_ids, settlements, "ids that wait in settlements");
    }
}
