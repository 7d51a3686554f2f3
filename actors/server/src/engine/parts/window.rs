//! The messages of one priority of a queue, as the engine has them in memory: a window onto the store, and the holders of
//! messages.
//!
//! Every live message (stored and not settled) is in exactly one place: `ready` (in memory with its body), `returned`
//! (handed back; its body is in the store), `held` (with a consumer, or its settlement or return is being committed), or
//! in the store at or after `cursor`. No live message is below the lowest id of these.

use std::collections::{BTreeMap, BTreeSet};

use baton_domain::{Epoch, Lane, Message, MessageId};
use baton_replica::LaneRecord;

use super::hold::Hold;
use super::ready::Ready;
use crate::engine::message::ReadId;

mod holds;
mod reading;

/// A message that can be delivered again as soon as its body is read.
#[derive(Debug, Clone, Copy)]
struct Returned {
    redelivered: bool,
    redeliveries: u32,
}

/// A read of the store in flight.
#[derive(Debug)]
pub(in crate::engine) struct Reading {
    pub(in crate::engine) read: ReadId,
    pub(in crate::engine) from: MessageId,
    /// Its reservation in the memory of all queues.
    pub(in crate::engine) reserved_bytes: usize,
    /// The newest message known when the read started.
    newest: MessageId,
    /// True if it continues from the cursor; false if it fetches returned messages.
    pub(in crate::engine) forward: bool,
    /// Messages at or after the cursor that were settled during the read: its page may still contain them.
    settled: BTreeSet<MessageId>,
}

#[derive(Debug)]
pub(in crate::engine) struct Window {
    ready: BTreeMap<MessageId, Ready>,
    ready_bytes: usize,
    /// Messages that were handed back; their bodies are in the store.
    returned: BTreeMap<MessageId, Returned>,
    held: BTreeMap<MessageId, Hold>,
    /// Number of messages of `held` that are with a consumer.
    pub(in crate::engine) in_flight: u64,
    /// Messages from this id on have not been read.
    cursor: MessageId,
    /// The first message that was read and left out because no consumer selects it.
    skipped_from: Option<MessageId>,
    /// True if the store has nothing at or after the cursor, by the commits reported so far.
    caught_up: bool,
    /// The newest message known. At the start of the engine: an upper bound of the stored messages.
    newest: MessageId,
    /// The last message that an earlier engine may have delivered.
    flagged_through: MessageId,
    /// The dispatch watermark: messages up to this one may be delivered. Committed.
    pub(in crate::engine) dispatched: MessageId,
    /// The dispatch watermark that was proposed last.
    pub(in crate::engine) dispatch_proposed: MessageId,
    pub(in crate::engine) reading: Option<Reading>,
}

impl Window {
    /// A lane in the store, at the start of the engine of `epoch`.
    pub(in crate::engine) fn recorded(lane: Lane, record: LaneRecord, epoch: Epoch) -> Self {
        // All stored messages have a smaller log index than the activation.
        let newest = lane.end_of(epoch.generation, epoch.index);
        let caught_up = record.depth == 0;
        Self {
            ready: BTreeMap::new(),
            ready_bytes: 0,
            returned: BTreeMap::new(),
            held: BTreeMap::new(),
            in_flight: 0,
            cursor: if caught_up { newest.next() } else { record.head },
            skipped_from: None,
            caught_up,
            newest,
            flagged_through: record.dispatched,
            dispatched: record.dispatched,
            dispatch_proposed: record.dispatched,
            reading: None,
        }
    }

    pub(in crate::engine) fn ready_len(&self) -> usize {
        self.ready.len()
    }

    pub(in crate::engine) fn ready_bytes(&self) -> usize {
        self.ready_bytes
    }

    pub(in crate::engine) fn caught_up(&self) -> bool {
        self.caught_up
    }

    /// A lower bound of the lane's live messages. Messages whose settlement is being committed count as gone: their entry
    /// is the one that carries this bound, or an earlier one.
    pub(in crate::engine) fn head(&self) -> MessageId {
        let held = self.held.iter().find(|(_, hold)| **hold != Hold::Settling).map(|(id, _)| *id);
        [held, self.ready.keys().next().copied(), self.returned.keys().next().copied(), self.skipped_from]
            .into_iter()
            .flatten()
            .fold(self.cursor, MessageId::min)
    }

    fn put_ready(&mut self, id: MessageId, ready: Ready) -> usize {
        let bytes = ready.bytes();
        self.ready_bytes += bytes;
        self.ready.insert(id, ready);
        bytes
    }

    fn take_ready(&mut self, id: MessageId) -> Option<Ready> {
        let ready = self.ready.remove(&id)?;
        self.ready_bytes -= ready.bytes();
        Some(ready)
    }

    /// A message was stored. It stays in memory if there is `room` and no earlier message waits in the store. Returns the
    /// bytes added to memory.
    pub(in crate::engine) fn stored(&mut self, id: MessageId, message: Message, expires_ms: u64, room: bool) -> usize {
        self.newest = self.newest.max(id);
        if id < self.cursor {
            // A read of the store returned it before the commit was reported.
            return 0;
        }
        if !self.caught_up || !room {
            self.caught_up = false;
            return 0;
        }
        self.cursor = id.next();
        if self.held.contains_key(&id) {
            return 0;
        }
        let ready = Ready { message, redeliveries: 0, redelivered: false, expires_ms, may_be_dropped: false };
        self.put_ready(id, ready)
    }

    /// Messages were stored in the lane, the newest with this id; their bodies are not in memory.
    pub(in crate::engine) fn arrived(&mut self, last: MessageId) {
        self.newest = self.newest.max(last);
        self.caught_up &= last < self.cursor;
    }

    /// True if the next message to deliver must be read first.
    pub(in crate::engine) fn wants_returned(&self) -> bool {
        match (self.returned.keys().next(), self.ready.keys().next()) {
            (Some(returned), Some(ready)) => returned < ready,
            (Some(_), None) => true,
            (None, _) => false,
        }
    }

    /// The next message to deliver, if it may be delivered.
    pub(in crate::engine) fn peek(&self) -> Option<(MessageId, &Ready)> {
        let (id, ready) = self.ready.first_key_value()?;
        (*id <= self.dispatched && !self.wants_returned()).then_some((*id, ready))
    }

    /// True if messages wait for delivery, in memory or in the store.
    pub(in crate::engine) fn is_waiting(&self) -> bool {
        !self.ready.is_empty() || !self.returned.is_empty() || !self.caught_up
    }

    /// The newest message known.
    pub(in crate::engine) fn newest(&self) -> MessageId {
        self.newest
    }

    /// The store counted a failed delivery of a message that no consumer holds.
    pub(in crate::engine) fn counted(&mut self, id: MessageId, failed: u32) {
        if let Some(ready) = self.ready.get_mut(&id) {
            (ready.redeliveries, ready.redelivered) = (failed, true);
        } else if let Some(returned) = self.returned.get_mut(&id) {
            (returned.redeliveries, returned.redelivered) = (failed, true);
        }
    }

    /// The last message that earlier engines may have delivered; `None` if they delivered nothing.
    pub(in crate::engine) fn delivered_before(&self) -> Option<MessageId> {
        (self.flagged_through > self.flagged_through.lane().start()).then_some(self.flagged_through)
    }

    /// Ready messages that may be delivered, in order.
    pub(in crate::engine) fn deliverable(&self) -> impl Iterator<Item = (MessageId, &Ready)> {
        let before = self.returned.keys().next().copied();
        let ready = self.ready.range(..=self.dispatched);
        ready.take_while(move |(id, _)| before.is_none_or(|before| **id < before)).map(|(id, ready)| (*id, ready))
    }

    /// True if all waiting messages may be delivered: none must be read first, and none is past the dispatch watermark.
    pub(in crate::engine) fn is_all_deliverable(&self) -> bool {
        let promised = self.ready.keys().next_back().is_none_or(|last| *last <= self.dispatched);
        promised && self.returned.is_empty() && self.caught_up
    }

    /// The next dispatch watermark to propose, if messages wait for one.
    pub(in crate::engine) fn dispatch_wanted(&self, ahead: usize) -> Option<MessageId> {
        let last = *self.ready.last_key_value()?.0;
        if last <= self.dispatch_proposed
            || self.ready.range(..=self.dispatch_proposed).take(ahead / 2 + 1).count() > ahead / 2
        {
            return None;
        }
        self.ready.keys().take(ahead.max(1)).last().copied().filter(|id| *id > self.dispatch_proposed)
    }

    /// True if a message can have this id: it is not newer than the newest known one.
    pub(in crate::engine) fn plausible(&self, id: MessageId) -> bool {
        id <= self.newest
    }

    /// The page of a read in flight may contain a message that is gone now.
    fn passed(&mut self, id: MessageId) {
        if let Some(reading) = self.reading.as_mut()
            && reading.forward
            && id >= self.cursor
        {
            reading.settled.insert(id);
        }
    }

    /// Drops bodies from memory, the last message first, until `keep` messages have theirs. Returns the bytes freed.
    pub(in crate::engine) fn evict(&mut self, keep: usize) -> usize {
        let before = self.ready_bytes;
        while self.ready.len() > keep
            && let Some((id, ready)) = self.ready.pop_last()
        {
            self.ready_bytes -= ready.bytes();
            let Ready { redelivered, redeliveries, .. } = ready;
            self.returned.insert(id, Returned { redelivered, redeliveries });
        }
        before - self.ready_bytes
    }

    /// True if messages that were handed back wait for their bodies.
    pub(in crate::engine) fn has_returned(&self) -> bool {
        !self.returned.is_empty()
    }

    #[cfg(test)]
    pub(in crate::engine) fn assert_invariants(&self) {
        let places =
            [self.ready.keys().collect::<BTreeSet<_>>(), self.returned.keys().collect(), self.held.keys().collect()];
        let all: BTreeSet<_> = places.iter().flatten().collect();
        assert_eq!(all.len(), places.iter().map(BTreeSet::len).sum::<usize>(), "each message is in one place");
        assert_eq!(self.ready_bytes, self.ready.values().map(Ready::bytes).sum::<usize>(), "bytes of ready messages");
        let with = self.held.values().filter(|hold| matches!(hold, Hold::With { .. })).count();
        assert_eq!(self.in_flight, with as u64, "messages with consumers");
    }

    /// Entries in memory: with bodies, and ids alone.
    #[cfg(test)]
    pub(in crate::engine) fn sizes(&self) -> (usize, usize, usize) {
        (self.ready.len(), self.returned.len(), self.held.len())
    }
}
