//! Messages that go from one place to another as one: handed back, to an exception destination and back, when due.

use std::io;

use super::super::known_messages::Record;
use super::super::records::{MessageHead, counted_bytes, damaged, decode_message, encode_message, message_key};
use super::super::{Family, Machine, Pack, Tables, Writer};
use super::{Entry, earlier};
use crate::domain::message_batch::tail;
use crate::seeded::{self, Bug};
use crate::{
    Changes, DestinationKind, Expired, Message, MessageBatch, MessageId, MoveTo, OpResult, QueueId, QueueName,
    StoredMessage, Subscription, Timer, TimerKind, exception_header,
};

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
            let key = message_key(queue, *id);
            if self.known(queue, *id, tables)?.is_none() {
                continue;
            }
            let redelivered = self.queues.get(&queue).map_or(0, |state| state.redelivered);
            let count = if redelivered == 0 { None } else { self.redeliveries.get(&key, tables)? };
            let failed = count.unwrap_or(0).saturating_add(if seeded::is(Bug::FailuresCountTooMuch) { 5 } else { 1 });
            if settings.max_failed_deliveries > 0
                && failed >= settings.max_failed_deliveries
                && let Some(target) = self.exception_queue(queue, writer)
            {
                let reason = format!("{failed} deliveries failed");
                self.set_aside(entry, queue, *id, Some(target), &reason, &mut changes, tables, writer)?;
                continue;
            }
            let delay_ms = settings.redelivery_delay_ms(failed);
            if delay_ms > 0 {
                self.delay(entry, queue, *id, failed, delay_ms, &mut changes, tables, writer)?;
                continue;
            }
            if let Some(state) = self.queues.get_mut(&queue) {
                state.redelivered += u64::from(count.is_none());
            }
            writer.put(Family::Redeliveries, &key, &failed.to_be_bytes());
            self.redeliveries.set(key, Some(failed));
        }
        if let Some(state) = self.queues.get(&queue)
            && *state != before
        {
            writer.queue_changed(state.id);
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
        let Some(stored) = self.read_stored(queue, id, tables)? else { return Ok(()) };
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
            state.delayed += 1;
        }
        Ok(())
    }

    /// Moves a message to an exception destination, or drops it if there is none.
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

    /// A message that left a queue, or was in no store, enters an exception destination.
    #[allow(clippy::too_many_arguments)]
    fn enter_exception(
        &mut self,
        entry: &mut Entry,
        queue: QueueId,
        target: QueueId,
        mut message: Message,
        at_ms: u64,
        reason: &str,
        changes: &mut Changes,
        writer: &mut Writer<'_>,
    ) {
        let Some(from) = self.queues.get(&queue).map(|state| state.name.clone()) else { return };
        strip_exception(&mut message);
        for (name, value) in [
            (exception_header::REASON, reason.to_owned()),
            (exception_header::FROM, from.as_str().to_owned()),
            (exception_header::AT_MS, entry.at_ms.to_string()),
        ] {
            message.headers.push((name.to_owned(), value));
        }
        let head = MessageHead { at_ms, ..MessageHead::default() };
        self.enter(entry, target, &message, head, changes, writer);
    }

    /// Stores messages that were in no store in an exception destination.
    pub(in crate::machine) fn set_aside_new(
        &mut self,
        entry: &mut Entry,
        queue: QueueId,
        reason: &str,
        messages: &MessageBatch,
        writer: &mut Writer<'_>,
    ) -> OpResult {
        if !self.queues.contains_key(&queue) {
            return OpResult::NoSuchQueue;
        }
        let mut changes = Changes::default();
        if let Some(target) = self.exception_queue(queue, writer) {
            let at_ms = entry.at_ms;
            for message in messages.read() {
                self.enter_exception(entry, queue, target, message, at_ms, reason, &mut changes, writer);
            }
        }
        OpResult::Changed(changes)
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
                MoveTo::Exception { reason } => {
                    let target = self.exception_queue(queue, writer);
                    self.set_aside(entry, queue, *id, target, reason, &mut changes, tables, writer)?;
                }
                MoveTo::Origin => self.send_back(entry, queue, *id, &mut changes, tables, writer)?,
            }
        }
        if let Some(state) = self.queues.get(&queue) {
            writer.queue_changed(state.id);
        }
        Ok(OpResult::Changed(changes))
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
        self.leave(queue, id, tables, writer)?;
        changes.removed.push((queue, id));
        strip_exception(&mut stored.message);
        let head = MessageHead { at_ms: stored.at_ms, ..MessageHead::default() };
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
            writer.delete(Family::Timers, &key);
            self.fired.insert(*timer);
            match timer.kind {
                TimerKind::Enter => {
                    let Some(state) = self.queues.get_mut(&timer.queue) else { continue };
                    state.delayed = state.delayed.saturating_sub(1);
                    changes.delayed.push((timer.queue, -1));
                    let stored = decode_message(&value, None)?;
                    let StoredMessage { message, at_ms, expires_ms, redeliveries } = stored;
                    let head = MessageHead { size: 0, at_ms, expires_ms, redeliveries };
                    self.enter(entry, timer.queue, &message, head, &mut changes, writer);
                }
                TimerKind::Expire => {
                    let target = match self.settings(timer.queue).expired {
                        Expired::Drop => None,
                        Expired::Exception => self.exception_queue(timer.queue, writer),
                    };
                    let (queue, id) = (timer.queue, timer.message);
                    self.set_aside(
                        entry,
                        queue,
                        id,
                        target,
                        "its time to live was over",
                        &mut changes,
                        tables,
                        writer,
                    )?;
                }
            }
            if let Some(state) = self.queues.get(&timer.queue) {
                writer.queue_changed(state.id);
            }
        }
        Ok(OpResult::Changed(changes))
    }
}

/// Takes off what an exception destination put on.
fn strip_exception(message: &mut Message) {
    let ours = [exception_header::REASON, exception_header::FROM, exception_header::AT_MS];
    message.headers.retain(|(name, _)| !ours.contains(&name.as_str()));
}
