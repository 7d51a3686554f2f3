//! The messages of one priority of a queue in the engine's memory: a window onto the store, and who holds what.
//!
//! Every live message (stored and not settled) is in exactly one place: `ready` (here with its body), `returned` (was
//! handed back; its body is in the store), `held` (with a consumer, or its settlement or return is being committed), or
//! it is in the store at or after `cursor`. So the lowest of these is a bound below which no live message is.

use std::collections::{BTreeMap, BTreeSet};

use baton_domain::{ConsumerId, Epoch, Lane, Message, MessageId};
use baton_replica::LaneRecord;

use super::hold::{Having, Hold};
use super::ready::Ready;
use crate::engine::message::ReadId;

mod reading;

/// A message that can be delivered again once its body was read.
#[derive(Debug, Clone, Copy)]
struct Returned {
    redelivered: bool,
    redeliveries: u32,
}

/// A read of the store on its way.
#[derive(Debug)]
pub(in crate::engine) struct Reading {
    pub(in crate::engine) read: ReadId,
    pub(in crate::engine) from: MessageId,
    /// Bytes that it reserves of the memory for all queues.
    pub(in crate::engine) reserved_bytes: usize,
    /// The newest message known when it was asked for.
    newest: MessageId,
    /// True if it goes on from the cursor; otherwise it fetches returned messages.
    pub(in crate::engine) forward: bool,
    /// What was settled at or after the cursor since: it may have read these before.
    settled: BTreeSet<MessageId>,
}

#[derive(Debug)]
pub(in crate::engine) struct Window {
    ready: BTreeMap<MessageId, Ready>,
    ready_bytes: usize,
    /// Handed back, body in the store.
    returned: BTreeMap<MessageId, Returned>,
    held: BTreeMap<MessageId, Hold>,
    /// Number of messages of `held` that are with a consumer.
    pub(in crate::engine) in_flight: u64,
    /// Messages from here on were not read yet.
    cursor: MessageId,
    /// The first message that was read and left out, for no consumer selects it: it is in the store.
    skipped_from: Option<MessageId>,
    /// Whether the store has nothing at or after the cursor, as far as commits were reported.
    caught_up: bool,
    /// The newest message known; at a start a bound of all that was stored before.
    newest: MessageId,
    /// The last message that an earlier engine may have delivered.
    flagged_through: MessageId,
    /// The last message that may be delivered: committed.
    pub(in crate::engine) dispatched: MessageId,
    /// The same, proposed.
    pub(in crate::engine) dispatch_proposed: MessageId,
    pub(in crate::engine) reading: Option<Reading>,
}

impl Window {
    /// A lane as an engine of `epoch` finds it.
    pub(in crate::engine) fn recorded(lane: Lane, record: LaneRecord, epoch: Epoch) -> Self {
        // All that was stored before has a smaller log index than the activation.
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

    /// No live message of the lane is below this. What is being settled counts as gone: its entry is before, or is,
    /// the one that carries this.
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

    /// A message was stored. Keeps it in memory if nothing before it waits in the store and `room` says so. Answers
    /// how many bytes that took.
    pub(in crate::engine) fn stored(&mut self, id: MessageId, message: Message, expires_ms: u64, room: bool) -> usize {
        self.newest = self.newest.max(id);
        if id < self.cursor {
            // A read of the store was faster than the news of the commit.
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

    /// Messages came into the lane, up to that one; their bodies are in the store.
    pub(in crate::engine) fn arrived(&mut self, last: MessageId) {
        self.newest = self.newest.max(last);
        self.caught_up &= last < self.cursor;
    }

    /// True if the lowest message to deliver must be fetched first.
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

    /// True if messages wait here to be delivered, in memory or in the store.
    pub(in crate::engine) fn is_waiting(&self) -> bool {
        !self.ready.is_empty() || !self.returned.is_empty() || !self.caught_up
    }

    /// The newest message known.
    pub(in crate::engine) fn newest(&self) -> MessageId {
        self.newest
    }

    /// A message left the queue in another way than by an acknowledgement. A consumer that has it keeps it. Answers how
    /// many bytes less are in memory.
    pub(in crate::engine) fn gone(&mut self, id: MessageId) -> usize {
        if !self.is_with_consumer(id) {
            self.held.remove(&id);
        }
        self.passed(id);
        self.returned.remove(&id);
        self.take_ready(id).map_or(0, |ready| ready.bytes())
    }

    /// A message was to leave and did not: if it is still there, a read finds it.
    pub(in crate::engine) fn stays(&mut self, id: MessageId) {
        if matches!(self.held.get(&id), Some(Hold::Settling | Hold::Leaving)) {
            self.held.remove(&id);
            // A consumer may have had it, for example one that is gone and acknowledged it in a transaction.
            self.returned.insert(id, Returned { redelivered: true, redeliveries: 0 });
        }
    }

    /// A prepared transaction has it. Answers how many bytes less are in memory.
    pub(in crate::engine) fn put_in_doubt(&mut self, id: MessageId) -> usize {
        let bytes = self.take_ready(id).map_or(0, |ready| ready.bytes());
        self.returned.remove(&id);
        self.held.insert(id, Hold::InDoubt);
        bytes
    }

    /// A prepared transaction was not done: what it had can be delivered again.
    pub(in crate::engine) fn back_from_doubt(&mut self, id: MessageId) {
        if self.is_in_doubt(id) {
            self.held.remove(&id);
            self.returned.insert(id, Returned { redelivered: true, redeliveries: 0 });
        }
    }

    /// True if a prepared transaction has it.
    pub(in crate::engine) fn is_in_doubt(&self, id: MessageId) -> bool {
        self.held.get(&id) == Some(&Hold::InDoubt)
    }

    /// Whether a transaction has it whose outcome is on its way.
    pub(in crate::engine) fn is_leaving(&self, id: MessageId) -> bool {
        self.held.get(&id) == Some(&Hold::Leaving)
    }

    /// True if it is with a consumer, or on its way out or back.
    pub(in crate::engine) fn is_held(&self, id: MessageId) -> bool {
        self.held.contains_key(&id)
    }

    /// True if that consumer has it.
    pub(in crate::engine) fn is_held_by(&self, id: MessageId, consumer: ConsumerId) -> bool {
        self.held.get(&id).is_some_and(|hold| hold.is_with(consumer).is_some())
    }

    /// How that consumer has a message; none if it has it not.
    pub(in crate::engine) fn having(&self, id: MessageId, consumer: ConsumerId) -> Option<Having> {
        self.held.get(&id)?.is_with(consumer)
    }

    /// No exception destination takes a message: it waits here. Answers how many bytes less are in memory.
    pub(in crate::engine) fn keep(&mut self, id: MessageId, redeliveries: u32) -> usize {
        let ready = self.take_ready(id).map(|ready| ready.bytes());
        let returned = self.returned.remove(&id).is_some();
        let on_its_way = matches!(self.held.get(&id), Some(Hold::Returning { .. } | Hold::Settling | Hold::Leaving));
        if on_its_way || returned || ready.is_some() {
            self.held.insert(id, Hold::Kept { redeliveries });
        }
        ready.unwrap_or(0)
    }

    /// True if it waits because no exception destination takes it.
    pub(in crate::engine) fn is_kept(&self, id: MessageId) -> bool {
        matches!(self.held.get(&id), Some(Hold::Kept { .. }))
    }

    /// It waited long enough: it can be delivered again. False if something else became of it.
    pub(in crate::engine) fn kept_long_enough(&mut self, id: MessageId) -> bool {
        let Some(Hold::Kept { redeliveries }) = self.held.get(&id).copied() else { return false };
        self.held.remove(&id);
        self.returned.insert(id, Returned { redelivered: true, redeliveries });
        true
    }

    /// Number of messages that wait because no exception destination takes them.
    pub(in crate::engine) fn kept(&self) -> usize {
        self.held.values().filter(|hold| matches!(hold, Hold::Kept { .. })).count()
    }

    /// A failed delivery of a message was counted that is with nobody.
    pub(in crate::engine) fn counted(&mut self, id: MessageId, failed: u32) {
        if let Some(ready) = self.ready.get_mut(&id) {
            (ready.redeliveries, ready.redelivered) = (failed, true);
        } else if let Some(returned) = self.returned.get_mut(&id) {
            (returned.redeliveries, returned.redelivered) = (failed, true);
        }
    }

    /// What an earlier engine may have delivered, up to that message; none if it delivered nothing.
    pub(in crate::engine) fn delivered_before(&self) -> Option<MessageId> {
        (self.flagged_through > self.flagged_through.lane().start()).then_some(self.flagged_through)
    }

    /// Everything that is neither ready nor handed back.
    pub(in crate::engine) fn held(&self) -> impl Iterator<Item = MessageId> {
        self.held.keys().copied()
    }

    /// A message was to leave and did not: the consumer that had it has it again. False if something else became of it.
    pub(in crate::engine) fn hold_again(&mut self, id: MessageId, consumer: ConsumerId, having: Having) -> bool {
        let waits = self.held.get(&id) == Some(&Hold::Leaving);
        if waits {
            self.hold_with(id, consumer, having);
        }
        waits
    }

    /// True if a consumer has it.
    pub(in crate::engine) fn is_with_consumer(&self, id: MessageId) -> bool {
        matches!(self.held.get(&id), Some(Hold::With { .. }))
    }

    /// Hands a ready message to a consumer.
    pub(in crate::engine) fn take(&mut self, id: MessageId, consumer: ConsumerId, order: u64) -> Option<Ready> {
        let ready = self.take_ready(id)?;
        self.hold_with(id, consumer, Having { redeliveries: ready.redeliveries, order });
        Some(ready)
    }

    /// The ready messages that may be delivered, in order.
    pub(in crate::engine) fn deliverable(&self) -> impl Iterator<Item = (MessageId, &Ready)> {
        let before = self.returned.keys().next().copied();
        let ready = self.ready.range(..=self.dispatched);
        ready.take_while(move |(id, _)| before.is_none_or(|before| **id < before)).map(|(id, ready)| (*id, ready))
    }

    /// Whether all that waits here may be delivered: none has to be read, or promised, first.
    pub(in crate::engine) fn is_all_deliverable(&self) -> bool {
        let promised = self.ready.keys().next_back().is_none_or(|last| *last <= self.dispatched);
        promised && self.returned.is_empty() && self.caught_up
    }

    /// The message through which to promise delivery next, if messages wait for that.
    pub(in crate::engine) fn dispatch_wanted(&self, ahead: usize) -> Option<MessageId> {
        let last = *self.ready.last_key_value()?.0;
        if last <= self.dispatch_proposed
            || self.ready.range(..=self.dispatch_proposed).take(ahead / 2 + 1).count() > ahead / 2
        {
            return None;
        }
        self.ready.keys().take(ahead.max(1)).last().copied().filter(|id| *id > self.dispatch_proposed)
    }

    fn hold_with(&mut self, id: MessageId, consumer: ConsumerId, Having { redeliveries, order }: Having) {
        self.held.insert(id, Hold::With { consumer, redeliveries, order });
        self.in_flight += 1;
    }

    /// Whether this can be the id of a message: nothing newer is stored, as far as is known here.
    pub(in crate::engine) fn plausible(&self, id: MessageId) -> bool {
        id <= self.newest
    }

    /// A consumer that attached says that it has this message. False if somebody else has it, or it is on its way out.
    /// Also answers how many bytes less are in memory.
    pub(in crate::engine) fn withhold(&mut self, id: MessageId, consumer: ConsumerId, order: u64) -> (bool, usize) {
        if self.held.contains_key(&id) {
            return (false, 0);
        }
        let ready = self.take_ready(id);
        let returned = self.returned.remove(&id);
        let redeliveries = ready.as_ref().map(|ready| ready.redeliveries).or(returned.map(|known| known.redeliveries));
        self.hold_with(id, consumer, Having { redeliveries: redeliveries.unwrap_or(0), order });
        (true, ready.map_or(0, |ready| ready.bytes()))
    }

    /// A message was acknowledged. Answers who had it, and how many bytes less are in memory.
    pub(in crate::engine) fn settling(&mut self, id: MessageId) -> (Option<ConsumerId>, usize) {
        let bytes = self.take_ready(id).map_or(0, |ready| ready.bytes());
        self.returned.remove(&id);
        match self.held.insert(id, Hold::Settling) {
            Some(Hold::With { consumer, .. }) => {
                self.in_flight -= 1;
                (Some(consumer), bytes)
            }
            Some(Hold::Settling | Hold::InDoubt | Hold::Leaving | Hold::Returning { .. } | Hold::Kept { .. })
            | None => (None, bytes),
        }
    }

    /// A message may leave: whether it does, the store says. Answers how many bytes less are in memory.
    pub(in crate::engine) fn leaving(&mut self, id: MessageId) -> usize {
        let (_, bytes) = self.settling(id);
        self.held.insert(id, Hold::Leaving);
        bytes
    }

    /// The acknowledgement is committed.
    pub(in crate::engine) fn settled(&mut self, id: MessageId) {
        if matches!(self.held.get(&id), Some(Hold::Settling | Hold::Leaving)) {
            self.held.remove(&id);
        }
        self.passed(id);
    }

    /// A read under way may have seen a message that is gone since.
    fn passed(&mut self, id: MessageId) {
        if let Some(reading) = self.reading.as_mut()
            && reading.forward
            && id >= self.cursor
        {
            reading.settled.insert(id);
        }
    }

    /// A consumer handed a message back, and that is to be counted. False if the consumer does not hold it.
    pub(in crate::engine) fn returning(&mut self, id: MessageId, consumer: ConsumerId) -> bool {
        let Some(Having { redeliveries, .. }) = self.having(id, consumer) else { return false };
        self.held.insert(id, Hold::Returning { redeliveries: redeliveries.saturating_add(1) });
        self.in_flight -= 1;
        true
    }

    /// The count is committed: the message can be delivered again.
    pub(in crate::engine) fn count_committed(&mut self, id: MessageId) {
        if let Some(Hold::Returning { redeliveries }) = self.held.get(&id).copied() {
            self.held.remove(&id);
            self.returned.insert(id, Returned { redelivered: true, redeliveries });
        }
    }

    /// A message that a consumer never had, or never gave to its user, can be delivered again without a count. False
    /// if the consumer does not hold it.
    pub(in crate::engine) fn give_back(&mut self, id: MessageId, consumer: ConsumerId, redelivered: bool) -> bool {
        let Some(Having { redeliveries, .. }) = self.having(id, consumer) else { return false };
        self.held.remove(&id);
        self.in_flight -= 1;
        self.returned.insert(id, Returned { redelivered, redeliveries });
        true
    }

    /// Messages that a consumer holds, each with its place among all that it was handed.
    pub(in crate::engine) fn held_by(&self, consumer: ConsumerId) -> impl Iterator<Item = (MessageId, u64)> {
        self.held.iter().filter_map(move |(id, hold)| Some((*id, hold.is_with(consumer)?.order)))
    }

    /// Gives bodies in memory back to the store, the last first, until `keep` messages have theirs. Answers how many
    /// bytes that frees.
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

    /// True if messages wait that were handed back and whose bodies are in the store.
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

    /// The lane's memory, in entries: bodies, and ids without.
    #[cfg(test)]
    pub(in crate::engine) fn sizes(&self) -> (usize, usize, usize) {
        (self.ready.len(), self.returned.len(), self.held.len())
    }
}
