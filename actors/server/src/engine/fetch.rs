//! From the store to the ready messages, and how queues share the memory for those.
//!
//! A page is read for a queue when memory is left for it. If none is, a queue whose consumers can take what it brings gets
//! that of queues whose consumers cannot, and goes before them; these have theirs read again when nobody else needs it.
//! No queue whose consumers take nothing gets another's memory: two of them would take it from each other for ever.

use baton_domain::{MessageId, QueueId, StoredMessage};

use super::message::{Effect, ReadId};
use super::queue::{Queue, Want};
use super::running::{Context, Halt, Link, Running};
use super::turns::Turns;

/// Queues that wait for memory.
#[derive(Debug, Default)]
pub(super) struct Starved {
    /// Their consumers can take what is read.
    urgent: Turns,
    /// Those of these cannot, now.
    patient: Turns,
}

impl Starved {
    fn of(&mut self, urgent: bool) -> &mut Turns {
        if urgent { &mut self.urgent } else { &mut self.patient }
    }

    pub(super) fn remove(&mut self, queue: QueueId) {
        self.urgent.remove(queue);
        self.patient.remove(queue);
    }
}

impl Running {
    /// Serves the queues that wait for memory, until there is none for the next: then nor is there for those after it.
    pub(super) fn serve_starved(&mut self, cx: &mut Context<'_>) {
        for urgent in [true, false] {
            while let Some(queue) = self.starved.of(urgent).next() {
                self.serve(queue, cx);
                if self.starved.of(urgent).contains(queue) {
                    return;
                }
            }
        }
    }

    /// Reads the next page of a queue, if it has room and somebody takes what it brings.
    pub(super) fn fetch(&mut self, id: QueueId, cx: &mut Context<'_>) {
        self.starved.remove(id);
        let Some(queue) = self.queues.get(&id) else { return };
        let wanted = queue.consumers.iter().any(|consumer| {
            self.consumers.get(consumer).is_some_and(|state| matches!(state.link, Link::Up(_)) && state.credit > 0)
        });
        if queue.is_reading() || !wanted {
            return;
        }
        let want = queue.wants_read(cx.config.ready_messages / 2, cx.config.ready_bytes / 2);
        let Some(Want { lane, forward, low }) = want else { return };
        let full = queue.ready_len() > cx.config.ready_messages / 2 || queue.ready_bytes() > cx.config.ready_bytes / 2;
        let urgent = self.takes(queue, cx);
        if (!low || full)
            && let Some(queue) = self.queues.get_mut(&id)
        {
            // What was handed back, and what is of a higher priority, goes in front; the back of a full queue makes room.
            self.ready_bytes -= queue.evict(queue.ready_len() / 2);
        }
        let max_bytes = cx.config.page_bytes.min(cx.config.ready_total_bytes);
        let room = if urgent { self.make_room(id, max_bytes, cx) } else { self.starved.urgent.is_empty() };
        if !room || self.ready_bytes + max_bytes > cx.config.ready_total_bytes {
            self.starved.of(urgent).insert(id);
            return;
        }
        let Some(queue) = self.queues.get_mut(&id) else { return };
        let room = cx.config.ready_messages.saturating_sub(queue.ready_len()).max(1);
        let max_messages = cx.config.page_messages.min(room);
        let read = ReadId(cx.ids.next());
        let from = queue.window(lane.start()).start_read(read, max_bytes, forward);
        self.ready_bytes += max_bytes;
        cx.effects.push(Effect::ReadPage { read, queue: id, from, max_messages, max_bytes });
    }

    /// Whether consumers of a queue can take what is read for it.
    fn takes(&self, queue: &Queue, cx: &Context<'_>) -> bool {
        let mut consumers = queue.consumers.iter().filter_map(|consumer| self.consumers.get(consumer));
        !queue.stuck && consumers.any(|state| state.can_take(cx.config))
    }

    /// Gives bodies back to the store, of queues whose consumers take nothing now, until `bytes` fit. Answers whether they
    /// do.
    fn make_room(&mut self, id: QueueId, bytes: usize, cx: &Context<'_>) -> bool {
        let fits = |ready_bytes: usize| ready_bytes + bytes <= cx.config.ready_total_bytes;
        if fits(self.ready_bytes) {
            return true;
        }
        let mut idle: Vec<(usize, QueueId)> = self
            .queues
            .iter()
            .filter(|(other, queue)| **other != id && queue.ready_bytes() > 0 && !self.takes(queue, cx))
            .map(|(other, queue)| (queue.ready_bytes(), *other))
            .collect();
        idle.sort_unstable();
        while !fits(self.ready_bytes)
            && let Some((_, victim)) = idle.pop()
        {
            self.ready_bytes -= self.queues.get_mut(&victim).map_or(0, |queue| queue.evict(0));
        }
        fits(self.ready_bytes)
    }

    /// What a read brought.
    pub(super) fn page(
        &mut self,
        read: ReadId,
        id: QueueId,
        result: Result<Vec<(MessageId, StoredMessage)>, String>,
        cx: &mut Context<'_>,
    ) -> Result<(), Halt> {
        let page = result.map_err(|why| Halt { why: format!("cannot read the store: {why}") })?;
        if let Some((request, from)) = self.browses.remove(&read) {
            self.browsed(request, id, from, page, cx);
            return Ok(());
        }
        let Some(queue) = self.queues.get_mut(&id) else { return Ok(()) };
        let Some((reading, window)) = queue.end_read(read) else { return Ok(()) };
        self.ready_bytes -= reading.reserved_bytes;
        let grouped = page.iter().any(|(_, stored)| !stored.message.group().is_empty());
        self.ready_bytes += window.paged(&reading, page);
        queue.grouped |= grouped;
        self.brought.insert(id);
        Ok(())
    }
}
