//! The life of messages: stored, settled, handed back, moved, due, purged.
//!
//! Everything is made of two steps: a message *enters* a queue under a new id, or *leaves* it. An entry does several of
//! them as one, so that a message that moves is never in two places or in none.

mod dead_letters;
mod forwarding;
mod leaving;
mod moves;

use std::io;

use baton_domain::message_batch::{Iter, tail};
use baton_domain::seeded::{self, Bug};
use baton_domain::{
    Arrival, Changes, DestinationKind, Destinations, Lane, Message, MessageBatch, MessageId, OpResult, ProducerId,
    QueueId, Timer, TimerKind, Written,
};

use super::apply::{Apply, earlier};
use super::known_messages::{Known, KnownMessages};
use super::pack::{PackBuilder, PackRemainder};
use super::records::{MessageHead, ProducerRecord, counted_bytes, encode_message, message_key, raise};
use super::topics::Published;
use super::{Family, Machine, Tables, Writer};

/// Records that a message arrived in a queue.
pub(super) fn note_arrival(changes: &mut Changes, queue: QueueId, name: &baton_domain::QueueName, id: MessageId) {
    let same = |arrival: &&mut Arrival| arrival.queue == queue && arrival.last.lane() == id.lane();
    match changes.arrived.iter_mut().find(same) {
        Some(arrival) => (arrival.messages, arrival.last) = (arrival.messages.saturating_add(1), id),
        None => changes.arrived.push(Arrival { queue, name: name.clone(), messages: 1, last: id }),
    }
}

/// Writes the pack that is being built, and begins a new one.
fn write_pack(pack: &mut PackBuilder, known: &mut KnownMessages, writer: &mut Writer<'_>) {
    let Some((queue, first)) = pack.first() else { return };
    let key = message_key(queue, first);
    writer.put(Family::Messages, &key, pack.finish());
    match pack.sizes() {
        [size] => known.stored(queue, first, *size, 0, false),
        sizes => {
            writer.put(Family::Packs, &key, &PackRemainder::write(sizes));
            known.stored_pack(queue, first, sizes.to_vec());
        }
    }
    pack.clear();
}

impl Machine {
    /// Writes the pack that is being built: before anything that looks for messages, or stores them outside of the
    /// pack.
    pub(super) fn write_pack(&mut self, writer: &mut Writer<'_>) {
        write_pack(&mut self.pack, &mut self.messages, writer);
    }

    /// Size, expiry and record of a message, if it exists.
    pub(super) fn known(&mut self, queue: QueueId, id: MessageId, tables: &dyn Tables) -> io::Result<Option<Known>> {
        // The cache may still know messages of a deleted queue.
        if self.queues.contains_key(&queue) { self.messages.get(queue, id, tables) } else { Ok(None) }
    }

    pub(super) fn send(
        &mut self,
        apply: &mut Apply<'_>,
        producer: ProducerId,
        (registration, first): (u64, u64),
        messages: &MessageBatch,
        dispatch: bool,
    ) -> io::Result<OpResult> {
        let Some(known) = self.producer(producer, apply.tables)? else { return Ok(OpResult::ProducerUnknown) };
        if registration != known.registration {
            return Ok(OpResult::Fenced);
        }
        let expected = known.last.saturating_add(1);
        // Numbers start at 1: a zero would pass for a duplicate and hide a message.
        if first == 0 || first > expected {
            return Ok(OpResult::Gap { expected });
        }
        let count =
            u32::try_from(messages.len()).map_err(|_| io::Error::other("an entry of over 4 billion messages"))?;
        let before = if seeded::is(Bug::DuplicateWindowOff) { 0 } else { expected.saturating_sub(first) };
        let duplicates = u32::try_from(before).map_or(count, |before| before.min(count));
        let accepted = count.saturating_sub(duplicates);
        let fresh = messages.iter().behind(duplicates as usize);
        let last = first.saturating_sub(1).saturating_add(u64::from(count));
        let mut record = ProducerRecord { last: known.last.max(last), ..known.heard(apply.at_ms) };
        if registration > 0 {
            let before = Written { last: known.last, digest: known.digest };
            record.digest = fresh.clone().fold(before, |before, message| before.and(message.body())).digest;
        }
        let result = self.take_in(apply, known.queue, fresh, (duplicates, accepted), dispatch);
        if record != known {
            self.write_producer(producer, record, &mut apply.writer);
        }
        Ok(result)
    }

    /// Stores messages without numbers.
    pub(super) fn post(
        &mut self,
        apply: &mut Apply<'_>,
        queue: QueueId,
        messages: &MessageBatch,
        dispatch: bool,
    ) -> OpResult {
        if !self.queues.contains_key(&queue) {
            return OpResult::NoSuchQueue;
        }
        let accepted = u32::try_from(messages.len()).unwrap_or(u32::MAX);
        self.take_in(apply, queue, messages.iter(), (0, accepted), dispatch)
    }

    /// Stores messages where their destination says. The two counts: duplicates, and new messages.
    fn take_in(
        &mut self,
        apply: &mut Apply<'_>,
        queue: QueueId,
        messages: Iter<'_>,
        (duplicates, accepted): (u32, u32),
        dispatch: bool,
    ) -> OpResult {
        let (targets, first) = (self.forwarded(queue), apply.next);
        match targets.as_slice() {
            [queue] if self.kind(*queue) != Some(&DestinationKind::TopicSpace) => {
                let due_ms = self.store(apply, *queue, messages, dispatch, None);
                OpResult::Sent { queue: *queue, duplicates, accepted, first, due_ms }
            }
            targets => {
                let Published { due_ms, matched } = self.send_to_all(apply, targets, messages);
                OpResult::Published { duplicates, accepted, first, due_ms, matched }
            }
        }
    }

    /// Stores new messages in a queue, and returns when the first of their timers is due. `changes` records arrivals
    /// for a transaction; producers need none.
    pub(super) fn store(
        &mut self,
        apply: &mut Apply<'_>,
        queue: QueueId,
        messages: Iter<'_>,
        dispatch: bool,
        mut changes: Option<&mut Changes>,
    ) -> u64 {
        let default_ms = self.time_to_live_ms(queue);
        let Some(state) = self.queues.get_mut(&queue).filter(|_| messages.clone().next().is_some()) else {
            return 0;
        };
        let mut due_ms = 0;
        for message in messages {
            let place = apply.take_id();
            let asks = message.asks();
            let (delay_ms, expires_ms) = (asks.delay_ms(), asks.expires_ms(apply.at_ms, default_ms));
            let size = message.size();
            let head = MessageHead { size: counted_bytes(size), at_ms: apply.at_ms, expires_ms, redeliveries: 0 };
            if delay_ms > 0 {
                encode_message(message.tail(), head, &mut apply.buffer);
                let due = apply.at_ms.saturating_add(if seeded::is(Bug::DelayIgnored) { 0 } else { delay_ms });
                let timer = Timer { due_ms: due, kind: TimerKind::Enter, queue, message: place };
                apply.writer.put(Family::Timers, &timer.key(), &apply.buffer);
                raise(&mut state.delayed, 1);
                due_ms = earlier(due_ms, due);
                if let Some(changes) = changes.as_deref_mut() {
                    changes.delayed.push((queue, 1));
                }
                continue;
            }
            let id = place.in_lane(Lane::of_priority(asks.priority()));
            if expires_ms == 0 {
                if !self.pack.has_room(queue, id, size) {
                    write_pack(&mut self.pack, &mut self.messages, &mut apply.writer);
                }
                self.pack.push(queue, id, message.tail(), head);
            } else {
                write_pack(&mut self.pack, &mut self.messages, &mut apply.writer);
                encode_message(message.tail(), head, &mut apply.buffer);
                apply.writer.put(Family::Messages, &message_key(queue, id), &apply.buffer);
                self.messages.stored(queue, id, head.size, expires_ms, false);
                let timer = Timer { due_ms: expires_ms, kind: TimerKind::Expire, queue, message: id };
                apply.writer.put(Family::Timers, &timer.key(), &[]);
                due_ms = earlier(due_ms, expires_ms);
            }
            let lane = state.lane(id.lane());
            raise(&mut lane.depth, 1);
            if dispatch {
                lane.dispatched = lane.dispatched.max(id);
            }
            raise(&mut state.bytes, u64::from(head.size));
            if let Some(changes) = changes.as_deref_mut() {
                note_arrival(changes, queue, &state.name, id);
            }
        }
        apply.writer.queue_changed(queue);
        due_ms
    }

    /// Moves a message from elsewhere to the end of its priority in a queue.
    fn enter(
        &mut self,
        apply: &mut Apply<'_>,
        queue: QueueId,
        message: &Message,
        head: MessageHead,
        changes: &mut Changes,
    ) {
        self.write_pack(&mut apply.writer);
        let Some(state) = self.queues.get_mut(&queue) else { return };
        let head = MessageHead { size: counted_bytes(message.size()), ..head };
        encode_message(&tail(message), head, &mut apply.buffer);
        let id = apply.take_id().in_lane(Lane::of_priority(message.priority()));
        apply.entered.push((queue, id));
        let key = message_key(queue, id);
        apply.writer.put(Family::Messages, &key, &apply.buffer);
        self.messages.stored(queue, id, head.size, head.expires_ms, false);
        if head.redeliveries > 0 {
            apply.writer.put(Family::Redeliveries, &key, &head.redeliveries.to_be_bytes());
            self.redeliveries.set(key, Some(head.redeliveries));
            raise(&mut state.redelivered, 1);
        }
        if head.expires_ms != 0 {
            let timer = Timer { due_ms: head.expires_ms, kind: TimerKind::Expire, queue, message: id };
            apply.writer.put(Family::Timers, &timer.key(), &[]);
            changes.due_ms = earlier(changes.due_ms, head.expires_ms);
        }
        raise(&mut state.lane(id.lane()).depth, 1);
        raise(&mut state.bytes, u64::from(head.size));
        note_arrival(changes, queue, &state.name, id);
        apply.writer.queue_changed(state.id);
    }
}
