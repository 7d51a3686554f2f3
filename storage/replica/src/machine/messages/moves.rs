//! Messages that go from one place to another as one: handed back, to an exception destination and back, when due.

use std::collections::HashSet;
use std::io;

use baton_domain::message_batch::tail;
use baton_domain::seeded::{self, Bug};
use baton_domain::{
    Changes, DestinationKind, Expired, MessageId, MoveTo, OpResult, QueueId, QueueName, StoredMessage, Subscription,
    Timer, TimerKind, exception_header,
};

use super::super::entry::{Entry, earlier};
use super::super::known_messages::Record;
use super::super::records::{
    MessageHead, counted_bytes, damaged, decode_message, encode_message, lane_end, message_key, raise, reached,
};
use super::super::{Family, Machine, Pack, Tables, Writer};
use super::dead_letters::{Room, strip_exception};

/// How many records are looked at at a time for messages that consumers may have had.
const LOST_AT_ONCE: usize = 16;

impl Machine {
    /// Reads a message that is in its queue. Only what was written before this batch can be.
    fn read_stored(&mut self, queue: QueueId, id: MessageId, tables: &dyn Tables) -> io::Result<Option<StoredMessage>> {
        let Some(known) = self.known(queue, id, tables)? else { return Ok(None) };
        let read = |queue: QueueId, id: MessageId| {
            let value = tables.get(Family::Messages, &message_key(queue, id))?;
            value.ok_or_else(|| damaged("a message that was there is not"))
        };
        let redeliveries = self.redeliveries.get(&message_key(queue, id), tables)?;
        let value = match (known.record, self.kind(queue)) {
            (Record::InPackOf(first), _) => {
                let value = read(queue, first)?;
                let mut stored = Pack::read(&value)?.message(first, id)?;
                stored.redeliveries = redeliveries.unwrap_or_default();
                return Ok(Some(stored));
            }
            (Record::AsShare, Some(DestinationKind::Subscription(Subscription { space, .. }))) => read(*space, id)?,
            (Record::AsShare | Record::Alone, _) => read(queue, id)?,
        };
        // What a subscription has of a message says when it expires there.
        let stored = decode_message(&value, redeliveries)?;
        Ok(Some(StoredMessage { expires_ms: known.expires_ms, ..stored }))
    }

    /// Counts a failed delivery of each.
    pub(in crate::machine) fn requeue(
        &mut self,
        entry: &mut Entry,
        queue: QueueId,
        messages: &[MessageId],
        tables: &dyn Tables,
        writer: &mut Writer<'_>,
    ) -> io::Result<OpResult> {
        let settings = self.settings(queue);
        let Some(state) = self.queues.get(&queue) else { return Ok(OpResult::NoSuchQueue) };
        let before = state.clone();
        let mut changes = Changes::default();
        for id in messages {
            if self.known(queue, *id, tables)?.is_none() {
                continue;
            }
            let failed = self
                .failed_deliveries(queue, *id, tables)?
                .unwrap_or(0)
                .saturating_add(if seeded::is(Bug::FailuresCountTooMuch) { 5 } else { 1 });
            let most = settings.max_failed_deliveries;
            if most > 0 && failed >= most {
                match self.room_for_dead_letter(entry, queue, &mut changes, tables, writer)? {
                    Room::In(target) => {
                        let reason = exception_header::deliveries_failed(failed);
                        self.set_aside(entry, queue, *id, Some(target), &reason, &mut changes, tables, writer)?;
                        continue;
                    }
                    Room::Full => {
                        self.keep(queue, *id, failed, &mut changes, tables, writer)?;
                        continue;
                    }
                    Room::None => {}
                }
            }
            let delay_ms = settings.redelivery_delay_ms(failed);
            if delay_ms > 0 {
                self.delay(entry, queue, *id, failed, delay_ms, &mut changes, tables, writer)?;
                continue;
            }
            self.count_failed(queue, *id, failed, tables, writer)?;
        }
        if let Some(state) = self.queues.get(&queue)
            && *state != before
        {
            writer.queue_changed(state.id);
        }
        Ok(OpResult::Changed(changes))
    }

    /// Counts a failed delivery of the first messages, in the order of delivery, that consumers may have had who are gone.
    #[allow(clippy::too_many_arguments)]
    pub(in crate::machine) fn count_lost(
        &mut self,
        entry: &mut Entry,
        queue: QueueId,
        through: &[MessageId],
        except: &[MessageId],
        consumers: u32,
        tables: &dyn Tables,
        writer: &mut Writer<'_>,
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
                for id in self.next_ids(queue, &mut from, &end, LOST_AT_ONCE, tables)? {
                    if lost.len() == consumers as usize {
                        break 'all;
                    }
                    if id >= head && id <= last && !except.contains(&id) && self.known(queue, id, tables)?.is_some() {
                        lost.push(id);
                    }
                }
            }
        }
        let result = self.requeue(entry, queue, &lost, tables, writer)?;
        let OpResult::Changed(mut changes) = result else { return Ok(result) };
        for id in lost {
            let gone = changes.removed.contains(&(queue, id)) || changes.kept.iter().any(|kept| kept.message == id);
            if !gone && let Some(failed) = self.failed_deliveries(queue, id, tables)? {
                changes.counted.push((queue, id, failed));
            }
        }
        Ok(OpResult::Changed(changes))
    }

    /// Takes a message off its queue, to come back later.
    #[allow(clippy::too_many_arguments)]
    fn delay(
        &mut self,
        entry: &mut Entry,
        queue: QueueId,
        id: MessageId,
        failed: u32,
        delay_ms: u64,
        changes: &mut Changes,
        tables: &dyn Tables,
        writer: &mut Writer<'_>,
    ) -> io::Result<()> {
        let Some(mut stored) = self.read_stored(queue, id, tables)? else { return Ok(()) };
        // It waits for this, and for nothing else again.
        stored.message.without_delay();
        self.leave(queue, id, tables, writer)?;
        changes.removed.push((queue, id));
        let due_ms = entry.at_ms.saturating_add(delay_ms);
        let timer = Timer { due_ms, kind: TimerKind::Enter, queue, message: entry.take_place() };
        let head = MessageHead {
            size: counted_bytes(stored.message.size()),
            at_ms: stored.at_ms,
            expires_ms: stored.expires_ms,
            redeliveries: failed,
        };
        encode_message(&tail(&stored.message), head, &mut entry.buffer);
        writer.put(Family::Timers, &timer.key(), &entry.buffer);
        changes.due_ms = earlier(changes.due_ms, due_ms);
        changes.delayed.push((queue, 1));
        if let Some(state) = self.queues.get_mut(&queue) {
            raise(&mut state.delayed, 1);
        }
        Ok(())
    }

    /// Moves a message to an exception destination, or drops it: without a target.
    #[allow(clippy::too_many_arguments)]
    fn set_aside(
        &mut self,
        entry: &mut Entry,
        queue: QueueId,
        id: MessageId,
        target: Option<QueueId>,
        reason: &str,
        changes: &mut Changes,
        tables: &dyn Tables,
        writer: &mut Writer<'_>,
    ) -> io::Result<()> {
        let Some(stored) = self.read_stored(queue, id, tables)? else { return Ok(()) };
        self.leave(queue, id, tables, writer)?;
        changes.removed.push((queue, id));
        if let Some(target) = target {
            self.enter_exception(entry, queue, target, stored.message, stored.at_ms, reason, changes, writer);
        }
        Ok(())
    }

    pub(in crate::machine) fn move_messages(
        &mut self,
        entry: &mut Entry,
        queue: QueueId,
        messages: &[MessageId],
        to: &MoveTo,
        tables: &dyn Tables,
        writer: &mut Writer<'_>,
    ) -> io::Result<OpResult> {
        if !self.queues.contains_key(&queue) {
            return Ok(OpResult::NoSuchQueue);
        }
        let mut changes = Changes::default();
        for id in messages {
            match to {
                MoveTo::Exception { .. } if self.known(queue, *id, tables)?.is_none() => {}
                MoveTo::Exception { reason } => {
                    match self.room_for_dead_letter(entry, queue, &mut changes, tables, writer)? {
                        Room::In(target) => {
                            self.set_aside(entry, queue, *id, Some(target), reason, &mut changes, tables, writer)?;
                        }
                        Room::Full | Room::None => {
                            let failed = self.failed_deliveries(queue, *id, tables)?.unwrap_or(0).saturating_add(1);
                            self.keep(queue, *id, failed, &mut changes, tables, writer)?;
                        }
                    }
                }
                MoveTo::Origin => self.send_back(entry, queue, *id, &mut changes, tables, writer)?,
            }
        }
        if let Some(state) = self.queues.get(&queue) {
            writer.queue_changed(state.id);
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
        entry: &mut Entry,
        queue: QueueId,
        id: MessageId,
        changes: &mut Changes,
        tables: &dyn Tables,
        writer: &mut Writer<'_>,
    ) -> io::Result<()> {
        let Some(mut stored) = self.read_stored(queue, id, tables)? else { return Ok(()) };
        let origin = stored.message.header(exception_header::FROM).and_then(|name| QueueName::new(name).ok());
        let Some(target) = origin.and_then(|name| self.names.get(&name).copied()).filter(|target| *target != queue)
        else {
            return Ok(());
        };
        if !self.takes_another(target) {
            return Ok(());
        }
        self.leave(queue, id, tables, writer)?;
        changes.removed.push((queue, id));
        strip_exception(&mut stored.message);
        stored.message.without_times();
        let head = self.begins(entry, target, stored.at_ms);
        self.enter(entry, target, &stored.message, head, changes, writer);
        Ok(())
    }

    pub(in crate::machine) fn fire(
        &mut self,
        entry: &mut Entry,
        timers: &[Timer],
        tables: &dyn Tables,
        writer: &mut Writer<'_>,
    ) -> io::Result<OpResult> {
        let mut changes = Changes::default();
        for timer in timers {
            let key = timer.key();
            let Some(value) = tables.get(Family::Timers, &key)?.filter(|_| !self.fired.contains(timer)) else {
                continue;
            };
            let mut target = None;
            if timer.kind == TimerKind::Expire && self.settings(timer.queue).expired == Expired::Exception {
                let (queue, id) = (timer.queue, timer.message);
                match self.room_for_dead_letter(entry, queue, &mut changes, tables, writer)? {
                    Room::In(found) => target = Some(found),
                    // It expires once there is room: its timer stays with it.
                    Room::Full if self.known(queue, id, tables)?.is_some() => {
                        let failed = self.failed_deliveries(queue, id, tables)?.unwrap_or(0);
                        self.keep(queue, id, failed, &mut changes, tables, writer)?;
                        continue;
                    }
                    Room::Full | Room::None => {}
                }
            }
            writer.delete(Family::Timers, &key);
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
                    self.enter(entry, timer.queue, &message, head, &mut changes, writer);
                }
                TimerKind::Expire => {
                    let (queue, id) = (timer.queue, timer.message);
                    self.set_aside(entry, queue, id, target, exception_header::EXPIRED, &mut changes, tables, writer)?;
                }
            }
            if let Some(state) = self.queues.get(&timer.queue) {
                writer.queue_changed(state.id);
            }
        }
        Ok(OpResult::Changed(changes))
    }
}
