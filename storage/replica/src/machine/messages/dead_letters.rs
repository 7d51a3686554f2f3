//! Dead letters: messages that their queue cannot deliver. A dead letter goes to the exception destination, or stays
//! where it is if there is none that takes it; it never gets lost on the way.

use std::io;

use baton_domain::{
    Changes, DeadLetterOverflow, Destinations, Kept, Message, MessageBatch, MessageId, OpResult, Prepared, QueueId,
    exception_header,
};

use super::super::apply::Apply;
use super::super::records::{MessageHead, decode, lane_end, message_key, raise, reached};
use super::super::{Family, Machine, Tables};

/// Number of records that are read at once in the search for the oldest message.
const AT_ONCE: usize = 4;

/// Maximum number of messages that are dropped for one dead letter: a bound that was lowered by far is reached in
/// steps.
const DROPPED_AT_ONCE: usize = 64;

/// A message for an exception destination, and why it goes there.
pub(super) struct DeadLetter<'a> {
    pub(super) message: Message,
    /// Time at which the store took it, in Unix milliseconds.
    pub(super) at_ms: u64,
    pub(super) reason: &'a str,
}

/// Destination of a dead letter.
pub(super) enum Room {
    /// Into that queue.
    In(QueueId),
    /// Nowhere for now: the exception destination is full.
    Full,
    /// Nowhere: the queue has no exception destination.
    None,
}

impl Machine {
    /// Finds the destination of a dead letter; drops the oldest messages there if it is full and set so.
    pub(super) fn room_for_dead_letter(
        &mut self,
        apply: &mut Apply<'_>,
        of: QueueId,
        changes: &mut Changes,
    ) -> io::Result<Room> {
        let Some(target) = self.exception_queue(of, &mut apply.writer) else { return Ok(Room::None) };
        if !self.is_full_for_dead_letters(target) {
            return Ok(Room::In(target));
        }
        let waits = self.settings_of(target).dead_letter_overflow == DeadLetterOverflow::Wait;
        if waits || self.is_settled_in_doubt(target, apply.tables)? {
            return Ok(Room::Full);
        }
        for _ in 0..DROPPED_AT_ONCE {
            if !self.is_full_for_dead_letters(target) {
                return Ok(Room::In(target));
            }
            if !self.drop_oldest(apply, target, changes)? {
                return Ok(Room::Full);
            }
        }
        Ok(Room::Full)
    }

    /// True if a transaction in doubt takes messages off a queue: none of them may be dropped.
    fn is_settled_in_doubt(&self, queue: QueueId, tables: &dyn Tables) -> io::Result<bool> {
        for name in &self.in_doubt {
            let record = tables.get(Family::InDoubt, name.as_str().as_bytes())?;
            let settles = record.map(|record| decode::<Prepared>(&record)).transpose()?.map(|known| known.settles);
            if settles.is_none_or(|settles| settles.iter().any(|(of, _)| *of == queue)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn is_full_for_dead_letters(&self, target: QueueId) -> bool {
        let (Some(state), Some(record)) = (self.queues.get(&target), self.settings.get(&target)) else { return false };
        reached(state.all_messages(), record.settings.max_messages)
            || reached(state.bytes, record.settings.max_dead_letter_bytes)
    }

    /// Drops the oldest message of a queue. False if there is none.
    fn drop_oldest(&mut self, apply: &mut Apply<'_>, queue: QueueId, changes: &mut Changes) -> io::Result<bool> {
        let lanes: Vec<_> = self.queues.get(&queue).into_iter().flat_map(|state| &state.lanes).collect();
        let heads: Vec<_> = lanes.into_iter().filter(|(_, lane)| lane.depth > 0).map(|(_, lane)| lane.head).collect();
        let mut oldest: Option<MessageId> = None;
        for head in heads {
            let first = self.first_of_lane(queue, head, apply.tables)?;
            oldest = [oldest, first].into_iter().flatten().min_by_key(|id| (id.generation, id.index, id.count()));
        }
        // Otherwise a message that this entry moved there.
        for (_, id) in apply.entered.iter().filter(|(of, _)| *of == queue) {
            if oldest.is_none() && self.known(queue, *id, apply.tables)?.is_some() {
                oldest = Some(*id);
            }
        }
        let Some(id) = oldest else { return Ok(false) };
        self.leave(apply, queue, id)?;
        changes.removed.push((queue, id));
        match changes.dropped.iter_mut().find(|(of, _)| *of == queue) {
            Some((_, dropped)) => *dropped = dropped.saturating_add(1),
            None => changes.dropped.push((queue, 1)),
        }
        if let Some(state) = self.queues.get_mut(&queue) {
            // It was the first of its lane: the next search starts behind it.
            let lane = state.lane(id.lane());
            lane.head = lane.head.max(id.next());
            apply.writer.queue_changed(queue);
        }
        Ok(true)
    }

    fn first_of_lane(&mut self, queue: QueueId, head: MessageId, tables: &dyn Tables) -> io::Result<Option<MessageId>> {
        let mut from = message_key(queue, head.first_of_entry()).to_vec();
        let end = lane_end(queue, head.lane());
        while from < end {
            for id in self.next_ids(queue, &mut from, &end, AT_ONCE, tables)? {
                if id >= head && self.known(queue, id, tables)?.is_some() {
                    return Ok(Some(id));
                }
            }
        }
        Ok(None)
    }

    /// Keeps a message that no exception destination takes in its queue, with `failed` failed deliveries.
    pub(super) fn keep(
        &mut self,
        apply: &mut Apply<'_>,
        queue: QueueId,
        message: MessageId,
        failed: u32,
        changes: &mut Changes,
    ) -> io::Result<()> {
        self.count_failed(apply, queue, message, failed)?;
        changes.kept.push(Kept { queue, message, failed });
        Ok(())
    }

    /// Records the failed deliveries of a message that stays in its queue.
    pub(super) fn count_failed(
        &mut self,
        apply: &mut Apply<'_>,
        queue: QueueId,
        id: MessageId,
        failed: u32,
    ) -> io::Result<()> {
        let key = message_key(queue, id);
        let known = self.failed_deliveries(queue, id, apply.tables)?;
        if failed == 0 || known == Some(failed) {
            return Ok(());
        }
        if let Some(state) = self.queues.get_mut(&queue) {
            raise(&mut state.redelivered, u64::from(known.is_none()));
            apply.writer.queue_changed(queue);
        }
        apply.writer.put(Family::Redeliveries, &key, &failed.to_be_bytes());
        self.redeliveries.set(key, Some(failed));
        Ok(())
    }

    /// Failed deliveries of a message, if any.
    pub(super) fn failed_deliveries(
        &mut self,
        queue: QueueId,
        id: MessageId,
        tables: &dyn Tables,
    ) -> io::Result<Option<u32>> {
        match self.queues.get(&queue) {
            Some(state) if state.redelivered > 0 => self.redeliveries.get(&message_key(queue, id), tables),
            Some(_) | None => Ok(None),
        }
    }

    /// Moves a message that left a queue, or was not stored, to an exception destination: its own times are
    /// over, and that destination defines its time to live.
    pub(super) fn enter_exception(
        &mut self,
        apply: &mut Apply<'_>,
        queue: QueueId,
        target: QueueId,
        letter: DeadLetter<'_>,
        changes: &mut Changes,
    ) {
        let DeadLetter { mut message, at_ms, reason } = letter;
        let Some(from) = self.queues.get(&queue).map(|state| state.name.clone()) else { return };
        strip_exception(&mut message);
        message.without_times();
        for (name, value) in [
            (exception_header::REASON, exception_header::cut_reason(reason).to_owned()),
            (exception_header::FROM, from.as_str().to_owned()),
            (exception_header::AT_MS, apply.at_ms.to_string()),
        ] {
            message.headers.push((name.to_owned(), value));
        }
        let head = self.begins(apply, target, at_ms);
        self.enter(apply, target, &message, head, changes);
    }

    /// The head of a message that enters a queue now, and was taken at `at_ms`.
    pub(super) fn begins(&self, apply: &Apply<'_>, queue: QueueId, at_ms: u64) -> MessageHead {
        let expires_ms = match self.time_to_live_ms(queue) {
            0 => 0,
            live_ms => apply.at_ms.saturating_add(live_ms),
        };
        MessageHead { at_ms, expires_ms, ..MessageHead::default() }
    }

    /// Stores nonpersistent messages in an exception destination. They cannot wait: the engine checks
    /// for room before, and messages that find none are dropped.
    pub(in crate::machine) fn set_aside_new(
        &mut self,
        apply: &mut Apply<'_>,
        queue: QueueId,
        reason: &str,
        messages: &MessageBatch,
    ) -> io::Result<OpResult> {
        if !self.queues.contains_key(&queue) {
            return Ok(OpResult::NoSuchQueue);
        }
        let mut changes = Changes::default();
        let at_ms = apply.at_ms;
        for message in messages.read() {
            match self.room_for_dead_letter(apply, queue, &mut changes)? {
                Room::In(target) => {
                    let letter = DeadLetter { message, at_ms, reason };
                    self.enter_exception(apply, queue, target, letter, &mut changes);
                }
                Room::Full => changes.dropped.push((queue, 1)),
                Room::None => {}
            }
        }
        Ok(OpResult::Changed(changes))
    }
}

/// Removes the headers that an exception destination added.
pub(super) fn strip_exception(message: &mut Message) {
    message.headers.retain(|(name, _)| !exception_header::is_one(name));
}
