//! From the store to the ready messages, and how queues share the memory for those.
//!
//! A page is read for a queue when memory is left for it. If none is, a queue whose consumers can take what it brings gets
//! that of queues whose consumers cannot, and goes before them; these have theirs read again when nobody else needs it.
//! No queue whose consumers take nothing gets another's memory: two of them would take it from each other endlessly.

use baton_domain::{MessageId, QueueId, StoredMessage};

use super::Running;
use crate::engine::context::{Context, Halt};
use crate::engine::message::{Effect, ReadId};
use crate::engine::parts::consumers::Link;
use crate::engine::parts::queue::{Queue, Want};

impl Running {
    /// Serves the queues that wait for memory, until there is none for the next: then nor is there for those after it.
    pub(in crate::engine) fn serve_starved(&mut self, cx: &mut Context<'_>) {
        for urgent in [true, false] {
            while let Some(queue) = self.ready_memory.next_waiting(urgent) {
                self.serve(queue, cx);
                if self.ready_memory.is_waiting(queue, urgent) {
                    return;
                }
            }
        }
    }

    /// Reads the next page of a queue, if it has room and somebody takes what it brings.
    pub(in crate::engine) fn fetch(&mut self, id: QueueId, cx: &mut Context<'_>) {
        self.ready_memory.stop_waiting(id);
        let Some(queue) = self.queues.get(id) else { return };
        let wanted = queue.consumers.iter().any(|consumer| {
            self.consumers.get(*consumer).is_some_and(|state| matches!(state.link, Link::Up(_)) && state.credit > 0)
        });
        if queue.is_reading() || !wanted {
            return;
        }
        let want = queue.wants_read(cx.config.ready_messages / 2, cx.config.ready_bytes / 2);
        let Some(Want { lane, forward, low }) = want else { return };
        let full = queue.ready_len() > cx.config.ready_messages / 2 || queue.ready_bytes() > cx.config.ready_bytes / 2;
        let urgent = self.takes(queue, cx);
        if (!low || full)
            && let Some(queue) = self.queues.get_mut(id)
        {
            // Messages that were handed back, and those of a higher priority, go in front; the back of a full queue makes
            // room.
            self.ready_memory.freed(queue.evict(queue.ready_len() / 2));
        }
        let max_bytes = cx.config.page_bytes.min(cx.config.ready_total_bytes);
        let room = if urgent { self.make_room(id, max_bytes, cx) } else { !self.ready_memory.is_urgent() };
        if !room || !self.ready_memory.fits(max_bytes, cx.config) {
            self.ready_memory.wait(id, urgent);
            return;
        }
        let Some(queue) = self.queues.get_mut(id) else { return };
        let room = cx.config.ready_messages.saturating_sub(queue.ready_len()).max(1);
        let max_messages = cx.config.page_messages.min(room);
        let read = ReadId(cx.ids.next());
        let from = queue.window(lane.start()).start_read(read, max_bytes, forward);
        self.ready_memory.used(max_bytes);
        cx.effects.push(Effect::ReadPage { read, queue: id, from, max_messages, max_bytes });
    }

    /// True if consumers of a queue can take messages that are read for it.
    fn takes(&self, queue: &Queue, cx: &Context<'_>) -> bool {
        let mut consumers = queue.consumers.iter().filter_map(|consumer| self.consumers.get(*consumer));
        !queue.stuck && consumers.any(|state| state.can_take(cx.config))
    }

    /// Gives bodies back to the store, of queues whose consumers take nothing now, until `bytes` fit. False if they do not.
    fn make_room(&mut self, id: QueueId, bytes: usize, cx: &Context<'_>) -> bool {
        if self.ready_memory.fits(bytes, cx.config) {
            return true;
        }
        let mut idle: Vec<(usize, QueueId)> = self
            .queues
            .iter()
            .filter(|(other, queue)| *other != id && queue.ready_bytes() > 0 && !self.takes(queue, cx))
            .map(|(other, queue)| (queue.ready_bytes(), other))
            .collect();
        idle.sort_unstable();
        while !self.ready_memory.fits(bytes, cx.config)
            && let Some((_, victim)) = idle.pop()
        {
            self.ready_memory.freed(self.queues.get_mut(victim).map_or(0, |queue| queue.evict(0)));
        }
        self.ready_memory.fits(bytes, cx.config)
    }

    /// A page was read.
    pub(in crate::engine) fn page(
        &mut self,
        read: ReadId,
        id: QueueId,
        result: Result<Vec<(MessageId, StoredMessage)>, String>,
        cx: &mut Context<'_>,
    ) -> Result<(), Halt> {
        let page = result.map_err(|why| Halt { why: format!("cannot read the store: {why}") })?;
        if let Some((request, from)) = self.browsing.take_page(read) {
            self.browsed(request, id, from, page, cx);
            return Ok(());
        }
        let Some(queue) = self.queues.get_mut(id) else { return Ok(()) };
        let Some((reading, window)) = queue.end_read(read) else { return Ok(()) };
        self.ready_memory.freed(reading.reserved_bytes);
        let grouped = page.iter().any(|(_, stored)| !stored.message.group().is_empty());
        self.ready_memory.used(window.paged(&reading, page));
        queue.grouped |= grouped;
        self.ready_memory.page_arrived(id);
        Ok(())
    }
}
