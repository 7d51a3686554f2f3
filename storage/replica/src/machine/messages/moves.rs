//! Moves of messages in one step: handed back, to an exception destination and back, when due.

use std::collections::HashSet;
use std::io;

use baton_domain::message_batch::tail;
use baton_domain::seeded::{self, Bug};
use baton_domain::{
    Changes, DestinationKind, Destinations, Expired, MessageId, MoveTo, OpResult, QueueId, QueueName, StoredMessage,
    Subscription, Timer, TimerKind, exception_header,
};

use super::super::apply::{Apply, earlier};
use super::super::known_messages::StoredAs;
use super::super::records::{
    MessageHead, counted_bytes, damaged, decode_message, encode_message, lane_end, message_key, raise, reached,
};
use super::super::{Family, Machine, Pack, Tables};
use super::dead_letters::{DeadLetter, Room, strip_exception};

/// Number of records that are read at once in the search for messages that consumers may have had.
const LOST_AT_ONCE: usize = 16;

impl Machine {
    /// Reads a message of a queue; it must have been written before this batch.
    fn read_stored(&mut self, queue: QueueId, id: MessageId, tables: &dyn Tables) -> io::Result<Option<StoredMessage>> {
        let Some(known) = self.known(queue, id, tables)? else { return Ok(None) };
        let read = |queue: QueueId, id: MessageId| {
            let value = tables.get(Family::Messages, &message_key(queue, id))?;
            value.ok_or_else(|| damaged("a message that was there is not"))
        };
        let redeliveries = self.redeliveries.get(&message_key(queue, id), tables)?;
        let value = match (known.stored_as, self.kind(queue)) {
            (StoredAs::InPack(first), _) => {
                let value = read(queue, first)?;
                let mut stored = Pack::read(&value)?.message(first, id)?;
                stored.redeliveries = redeliveries.unwrap_or_default();
                return Ok(Some(stored));
            }
            (StoredAs::Share, Some(DestinationKind::Subscription(Subscription { space, .. }))) => read(*space, id)?,
            (StoredAs::Share | StoredAs::Alone, _) => read(queue, id)?,
        };
        // The share of a subscription has its own time of expiry.
        let stored = decode_message(&value, redeliveries)?;
        Ok(Some(StoredMessage { expires_ms: known.expires_ms, ..stored }))
    }

    /// Counts one failed delivery of each message.
    pub(in crate::machine) fn requeue(
        &mut self,
        apply: &mut Apply<'_>,
        queue: QueueId,
        messages: &[MessageId],
    ) -> io::Result<OpResult> {
        let settings = self.settings_of(queue);
        let Some(state) = self.queues.get(&queue) else { return Ok(OpResult::NoSuchQueue) };
        let before = state.clone();
        let mut changes = Changes::default();
        for id in messages {
            if self.known(queue, *id, apply.tables)?.is_none() {
                continue;
            }
            let failed = self
                .failed_deliveries(queue, *id, apply.tables)?
                .unwrap_or(0)
                .saturating_add(if seeded::is(Bug::FailuresCountTooMuch) { 5 } else { 1 });
            let most = settings.max_failed_deliveries;
            if most > 0 && failed >= most {
                match self.room_for_dead_letter(apply, queue, &mut changes)? {
                    Room::In(target) => {
                        let reason = exception_header::deliveries_failed(failed);
                        self.set_aside(apply, queue, *id, Some(target), &reason, &mut changes)?;
                        continue;
                    }
                    Room::Full => {
                        self.keep(apply, queue, *id, failed, &mut changes)?;
                        continue;
                    }
                    Room::None => {}
                }
            }
            let delay_ms = settings.redelivery_delay_ms(failed);
            if delay_ms > 0 {
                self.delay(apply, queue, *id, failed, delay_ms, &mut changes)?;
                continue;
            }
            self.count_failed(apply, queue, *id, failed)?;
        }
        if let Some(state) = self.queues.get(&queue)
            && *state != before
        {
            apply.writer.queue_changed(state.id);
        }
        Ok(OpResult::Changed(changes))
    }

    /// Counts a failed delivery of the first messages, in the order of delivery, that lost consumers may have
    /// had.
    pub(in crate::machine) fn count_lost(
        &mut self,
        apply: &mut Apply<'_>,
        queue: QueueId,
        through: &[MessageId],
        except: &[MessageId],
        consumers: u32,
    ) -> io::Result<OpResult> {
        let Some(state) = self.queues.get(&queue) else { return Ok(OpResult::NoSuchQueue) };
        let mut lanes: Vec<_> =
            through.iter().filter_map(|last| state.lanes.get(&last.lane()).map(|lane| (lane.head, *last))).collect();
        lanes.sort_by_key(|(_, last)| std::cmp::Reverse(last.lane().priority()));
        let except: HashSet<&MessageId> = except.iter().collect();
        let mut lost = Vec::new();
        'all: for (head, last) in lanes {
            let mut from = message_key(queue, head.first_of_entry()).to_vec();
            let end = message_key(queue, last.next()).to_vec().min(lane_end(queue, last.lane()));
            while from < end {
                for id in self.next_ids(queue, &mut from, &end, LOST_AT_ONCE, apply.tables)? {
                    if lost.len() == consumers as usize {
                        break 'all;
                    }
                    if id >= head
                        && id <= last
                        && !except.contains(&id)
                        && self.known(queue, id, apply.tables)?.is_some()
                    {
                        lost.push(id);
                    }
                }
            }
        }
        let result = self.requeue(apply, queue, &lost)?;
        let OpResult::Changed(mut changes) = result else { return Ok(result) };
        for id in lost {
            let gone = changes.removed.contains(&(queue, id)) || changes.kept.iter().any(|kept| kept.message == id);
            if !gone && let Some(failed) = self.failed_deliveries(queue, id, apply.tables)? {
                changes.counted.push((queue, id, failed));
            }
        }
        Ok(OpResult::Changed(changes))
    }

    /// Removes a message from its queue until its redelivery delay is over.
    fn delay(
        &mut self,
        apply: &mut Apply<'_>,
        queue: QueueId,
        id: MessageId,
        failed: u32,
        delay_ms: u64,
        changes: &mut Changes,
    ) -> io::Result<()> {
        let Some(mut stored) = self.read_stored(queue, id, apply.tables)? else { return Ok(()) };
        // Its own delay is over.
        stored.message.without_delay();
        self.leave(apply, queue, id)?;
        changes.removed.push((queue, id));
        let due_ms = apply.at_ms.saturating_add(delay_ms);
        let timer = Timer { due_ms, kind: TimerKind::Enter, queue, message: apply.take_id() };
        let head = MessageHead {
            size: counted_bytes(stored.message.size()),
            at_ms: stored.at_ms,
            expires_ms: stored.expires_ms,
            redeliveries: failed,
        };
        encode_message(&tail(&stored.message), head, &mut apply.buffer);
        apply.writer.put(Family::Timers, &timer.key(), &apply.buffer);
        changes.due_ms = earlier(changes.due_ms, due_ms);
        changes.delayed.push((queue, 1));
        if let Some(state) = self.queues.get_mut(&queue) {
            raise(&mut state.delayed, 1);
        }
        Ok(())
    }

    /// Moves a message to an exception destination, or drops it without one.
    fn set_aside(
        &mut self,
        apply: &mut Apply<'_>,
        queue: QueueId,
        id: MessageId,
        target: Option<QueueId>,
        reason: &str,
        changes: &mut Changes,
    ) -> io::Result<()> {
        let Some(stored) = self.read_stored(queue, id, apply.tables)? else { return Ok(()) };
        self.leave(apply, queue, id)?;
        changes.removed.push((queue, id));
        if let Some(target) = target {
            let letter = DeadLetter { message: stored.message, at_ms: stored.at_ms, reason };
            self.enter_exception(apply, queue, target, letter, changes);
        }
        Ok(())
    }

    pub(in crate::machine) fn move_messages(
        &mut self,
        apply: &mut Apply<'_>,
        queue: QueueId,
        messages: &[MessageId],
        to: &MoveTo,
    ) -> io::Result<OpResult> {
        if !self.queues.contains_key(&queue) {
            return Ok(OpResult::NoSuchQueue);
        }
        let mut changes = Changes::default();
        for id in messages {
            match to {
                MoveTo::Exception { .. } if self.known(queue, *id, apply.tables)?.is_none() => {}
                MoveTo::Exception { reason } => match self.room_for_dead_letter(apply, queue, &mut changes)? {
                    Room::In(target) => {
                        self.set_aside(apply, queue, *id, Some(target), reason, &mut changes)?;
                    }
                    Room::Full | Room::None => {
                        let failed = self.failed_deliveries(queue, *id, apply.tables)?.unwrap_or(0).saturating_add(1);
                        self.keep(apply, queue, *id, failed, &mut changes)?;
                    }
                },
                MoveTo::Origin => self.send_back(apply, queue, *id, &mut changes)?,
            }
        }
        if let Some(state) = self.queues.get(&queue) {
            apply.writer.queue_changed(state.id);
        }
        Ok(OpResult::Changed(changes))
    }

    /// True if a queue is neither paused nor full.
    fn takes_another(&self, queue: QueueId) -> bool {
        let (Some(state), Some(record)) = (self.queues.get(&queue), self.settings.get(&queue)) else { return true };
        !record.settings.send_paused && !reached(state.all_messages(), record.settings.max_messages)
    }

    fn send_back(
        &mut self,
        apply: &mut Apply<'_>,
        queue: QueueId,
        id: MessageId,
        changes: &mut Changes,
    ) -> io::Result<()> {
        let Some(mut stored) = self.read_stored(queue, id, apply.tables)? else { return Ok(()) };
        let origin = stored.message.header(exception_header::FROM).and_then(|name| QueueName::new(name).ok());
        let Some(target) = origin.and_then(|name| self.names.get(&name).copied()).filter(|target| *target != queue)
        else {
            return Ok(());
        };
        if !self.takes_another(target) {
            return Ok(());
        }
        self.leave(apply, queue, id)?;
        changes.removed.push((queue, id));
        strip_exception(&mut stored.message);
        stored.message.without_times();
        let head = self.begins(apply, target, stored.at_ms);
        self.enter(apply, target, &stored.message, head, changes);
        Ok(())
    }

    pub(in crate::machine) fn fire(&mut self, apply: &mut Apply<'_>, timers: &[Timer]) -> io::Result<OpResult> {
        let mut changes = Changes::default();
        for timer in timers {
            let key = timer.key();
            let Some(value) = apply.tables.get(Family::Timers, &key)?.filter(|_| !self.fired.contains(timer)) else {
                continue;
            };
            let mut target = None;
            if timer.kind == TimerKind::Expire && self.settings_of(timer.queue).expired == Expired::Exception {
                let (queue, id) = (timer.queue, timer.message);
                match self.room_for_dead_letter(apply, queue, &mut changes)? {
                    Room::In(found) => target = Some(found),
                    // It expires once there is room: its timer stays with it.
                    Room::Full if self.known(queue, id, apply.tables)?.is_some() => {
                        let failed = self.failed_deliveries(queue, id, apply.tables)?.unwrap_or(0);
                        self.keep(apply, queue, id, failed, &mut changes)?;
                        continue;
                    }
                    Room::Full | Room::None => {}
                }
            }
            apply.writer.delete(Family::Timers, &key);
            self.fired.insert(*timer);
            match timer.kind {
                TimerKind::Enter => {
                    let Some(state) = self.queues.get_mut(&timer.queue) else { continue };
                    state.delayed = state.delayed.saturating_sub(1);
                    changes.delayed.push((timer.queue, -1));
                    let stored = decode_message(&value, None)?;
                    let StoredMessage { mut message, at_ms, expires_ms, redeliveries } = stored;
                    message.without_delay();
                    let head = MessageHead { size: 0, at_ms, expires_ms, redeliveries };
                    self.enter(apply, timer.queue, &message, head, &mut changes);
                }
                TimerKind::Expire => {
                    let (queue, id) = (timer.queue, timer.message);
                    self.set_aside(apply, queue, id, target, exception_header::EXPIRED, &mut changes)?;
                }
            }
            if let Some(state) = self.queues.get(&timer.queue) {
                apply.writer.queue_changed(state.id);
            }
        }
        Ok(OpResult::Changed(changes))
    }
}
