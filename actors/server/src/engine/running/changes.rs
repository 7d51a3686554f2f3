//! Changes that the store made to queues, in the engine's memory.

use baton_domain::{
    Changes, DestinationKind, Destinations, Lane, Message, MessageBatch, MessageId, OpResult, QueueId, Settings,
};
use baton_replica::QueueRecord;

use super::Running;
use crate::engine::context::Context;
use crate::engine::parts::kept::WhyKept;
use crate::engine::parts::queue::Queue;

impl Running {
    /// Messages were stored in a queue.
    pub(in crate::engine) fn stored(
        &mut self,
        messages: &MessageBatch,
        dispatch: bool,
        sent: &OpResult,
        at_ms: u64,
        cx: &Context<'_>,
    ) {
        let OpResult::Sent { queue, duplicates, accepted: _, first, due_ms } = *sent else { return };
        let known = duplicates as usize;
        if self.queues.get(queue).is_some_and(Queue::is_taken) {
            let fresh = messages.read().into_iter().skip(known);
            self.put(queue, first, (0..).zip(fresh), dispatch, at_ms, cx);
        } else {
            // None is kept: their properties are enough.
            let fresh = messages.iter().skip(known).map(|message| message.asks());
            self.put(queue, first, (0..).zip(fresh), dispatch, at_ms, cx);
        }
        self.timers.note(due_ms, cx.now);
    }

    /// Messages were published, or forwarded to several queues: each subscription and queue has those that are for it.
    pub(in crate::engine) fn published(
        &mut self,
        messages: &MessageBatch,
        published: OpResult,
        at_ms: u64,
        cx: &Context<'_>,
    ) {
        let OpResult::Published { duplicates, first, due_ms, matched, .. } = published else { return };
        let messages = messages.read();
        let fresh = messages.get(duplicates as usize..).unwrap_or_default();
        for (queue, places) in matched {
            let taken = places.into_iter().filter_map(|at| fresh.get(at as usize).map(|message| (at, message.clone())));
            self.put(queue, first, taken, false, at_ms, cx);
        }
        self.timers.note(due_ms, cx.now);
    }

    /// Messages are in a queue, each with its distance from `first`: those that nothing waits before go straight to the
    /// ready ones.
    fn put(
        &mut self,
        id: QueueId,
        first: MessageId,
        messages: impl Iterator<Item = (u32, Message)>,
        dispatch: bool,
        at_ms: u64,
        cx: &Context<'_>,
    ) {
        let default_ms = self.queues.time_to_live_ms(id);
        let Some(queue) = self.queues.wake_mut(id) else { return };
        let (mut ready_len, mut ready_bytes) = (queue.ready_len(), queue.ready_bytes());
        let taken = queue.is_taken();
        for (at, message) in messages {
            if message.delay_ms() > 0 && queue.kind == DestinationKind::Queue {
                queue.delayed += 1;
                continue;
            }
            let expires_ms = message.expires_ms(at_ms, default_ms);
            queue.depth += 1;
            let message_id = first.after(at, Lane::of_priority(message.priority()));
            queue.grouped |= !message.group().is_empty();
            let room = taken
                && ready_len < cx.config.ready_messages
                && ready_bytes < cx.config.ready_bytes
                && self.ready_memory.bytes() < cx.config.ready_total_bytes;
            let window = queue.window(message_id);
            let bytes = window.stored(message_id, message, expires_ms, room);
            ready_len += usize::from(bytes > 0);
            ready_bytes += bytes;
            self.ready_memory.used(bytes);
            if dispatch {
                window.dispatched = window.dispatched.max(message_id);
                window.dispatch_proposed = window.dispatch_proposed.max(message_id);
            }
        }
    }

    /// Messages changed their places.
    pub(in crate::engine) fn changed(&mut self, changes: Changes, cx: &Context<'_>) {
        self.changed_by(changes, &WhyKept::Failed, cx);
    }

    /// Messages changed their places; `why` those that stayed were to go to an exception destination.
    pub(in crate::engine) fn changed_by(&mut self, changes: Changes, why: &WhyKept<'_>, cx: &Context<'_>) {
        for (queue, message) in changes.removed {
            if let Some(state) = self.queues.wake_mut(queue) {
                self.ready_memory.freed(state.window(message).gone(message));
                if !state.window(message).is_with_consumer(message) {
                    state.groups.let_go(message);
                }
                state.depth = state.depth.saturating_sub(1);
            }
        }
        for arrival in changes.arrived {
            if !self.queues.contains(arrival.queue) {
                // The only queue that the store makes by itself.
                let mut record = QueueRecord::new(arrival.queue, arrival.name);
                record.settings = Settings::of_system_exception_queue();
                record.version = 1;
                self.queues.add(record);
            }
            if let Some(state) = self.queues.wake_mut(arrival.queue) {
                state.window(arrival.last).arrived(arrival.last);
                state.depth += u64::from(arrival.messages);
            }
        }
        self.keep(changes.kept, why, cx);
        for (queue, dropped) in changes.dropped {
            if let Some(state) = self.queues.get_mut(queue) {
                state.dropped += dropped;
            }
        }
        for (queue, message, failed) in changes.counted {
            if let Some(state) = self.queues.get_mut(queue) {
                state.window(message).counted(message, failed);
            }
        }
        for (queue, more) in changes.delayed {
            if let Some(state) = self.queues.get_mut(queue) {
                state.delayed = state.delayed.saturating_add_signed(more);
            }
        }
        self.timers.note(changes.due_ms, cx.now);
    }
}
