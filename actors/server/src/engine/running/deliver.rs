//! From the ready messages of a queue to its consumers.

use baton_client::protocol::{ClientReply, ClientRequest, Delivery};
use baton_domain::{ConsumerId, EngineOp, MessageId, OpResult, QueueId};

use super::Running;
use crate::engine::context::Context;
use crate::engine::message::{CallId, Now, Release};
use crate::engine::parts::consumers::Link;
use crate::engine::parts::deliveries;
use crate::engine::parts::purpose::{Purpose, Resolved};
use crate::engine::parts::queue::Queue;

impl Running {
    /// Serves all queues where something changed.
    pub(in crate::engine) fn serve_active(&mut self, cx: &mut Context<'_>) {
        self.serve_starved(cx);
        let before = self.ready_memory.bytes();
        for queue in self.queues.take_active() {
            if let Some(state) = self.queues.get_mut(queue) {
                state.stuck = false;
            }
            self.serve(queue, cx);
        }
        for queue in self.ready_memory.take_arrived() {
            self.serve(queue, cx);
        }
        if self.ready_memory.bytes() < before {
            // Freed memory is for those that wait.
            self.serve_starved(cx);
        }
    }

    pub(in crate::engine) fn serve(&mut self, id: QueueId, cx: &mut Context<'_>) {
        let Some(queue) = self.queues.get_mut(id) else { return };
        if !queue.is_taken() {
            // Nobody takes anything: the store keeps it.
            self.ready_memory.freed(queue.evict(0));
            return;
        }
        // Each message that waits for an exception destination takes memory: with many of them, the queue waits too.
        if queue.awaited.is_empty() && queue.kept_len < 4 * cx.config.ready_messages {
            self.deliver(id, cx);
        }
        self.promise(id, cx);
        self.fetch(id, cx);
    }

    /// Hands messages to consumers in turn, in small batches if there are several. An exclusive queue has one turn: that
    /// of the consumer that attached first.
    fn deliver(&mut self, id: QueueId, cx: &mut Context<'_>) {
        self.expire(id, cx);
        if self.queues.get_mut(id).is_some_and(Queue::has_choice) {
            return self.deliver_chosen(id, cx);
        }
        let Some(only) = self.queues.get(id).map(|queue| self.only_consumer(queue)) else { return };
        let Some(mut queue) = self.queues.get_mut(id) else { return };
        let can_take =
            |consumer: &ConsumerId| self.consumers.get(*consumer).is_some_and(|state| state.can_take(cx.config));
        let has_turn = |consumer: &ConsumerId| only.is_none_or(|only| only == *consumer);
        let mut able = queue.consumers.iter().filter(|consumer| has_turn(consumer) && can_take(consumer)).count();
        let share = queue.waiting_len().div_ceil(able.max(1)).clamp(1, cx.config.deliver_messages.max(1));
        while able > 0 && queue.peek().is_some() {
            if self.deliveries.bytes() >= cx.config.deliver_total_bytes {
                self.queues.wake(id);
                return;
            }
            let Some(consumer) = queue.consumers.pop_front() else { return };
            queue.consumers.push_back(consumer);
            let turn =
                self.consumers.get_mut(consumer).filter(|state| has_turn(&consumer) && state.can_take(cx.config));
            let Some(state) = turn else { continue };
            let most = share.min((state.credit - state.held) as usize);
            let (mut deliveries, mut bytes) = (Vec::new(), 0);
            while deliveries.len() < most
                && let Some((message, next)) = queue.peek()
                && (deliveries.is_empty() || bytes + next.bytes() <= cx.config.deliver_bytes)
                && let Some(ready) = queue.take(message, consumer, state.next_place())
            {
                bytes += ready.bytes();
                if !message.is_nonpersistent() {
                    self.ready_memory.freed(ready.bytes());
                }
                deliveries.push(ready.delivery(message));
            }
            able -= usize::from(!self.hand_out(consumer, deliveries, bytes, cx));
            let Some(still) = self.queues.get_mut(id) else { return };
            queue = still;
        }
    }

    /// The consumer of an exclusive queue that is served: the one that attached first.
    pub(in crate::engine) fn only_consumer(&self, queue: &Queue) -> Option<ConsumerId> {
        let order = |consumer: &ConsumerId| self.consumers.get(*consumer).map_or(u64::MAX, |state| state.order);
        queue.consumers.iter().copied().min_by_key(order).filter(|_| queue.settings.exclusive)
    }

    /// Sends a consumer messages that it holds from now on. False if it can take no more.
    pub(in crate::engine) fn hand_out(
        &mut self,
        consumer: ConsumerId,
        messages: Vec<Delivery>,
        bytes: usize,
        cx: &mut Context<'_>,
    ) -> bool {
        let Some(state) = self.consumers.get_mut(consumer) else { return false };
        let Link::Up(connection) = state.link else { return false };
        self.totals.delivered += messages.len() as u64;
        state.progress.takes(state.held, cx.now.boot);
        state.held += u32::try_from(messages.len()).unwrap_or(u32::MAX);
        state.calls += 1;
        let call = CallId(cx.ids.next());
        let (instance, attachment) = (state.instance, state.attachment);
        let ids = messages.iter().map(|delivery| delivery.id).collect();
        let request = ClientRequest::Deliver { consumer, epoch: self.epoch, deliveries: messages };
        let release = Release::Deliver { call, client: state.client.clone(), connection, request };
        self.deliveries.insert(call, deliveries::Delivery { consumer, instance, attachment, messages: ids, bytes });
        cx.gate.push(release, cx.now);
        state.can_take(cx.config)
    }

    /// Records ahead of delivery which messages may be delivered.
    fn promise(&mut self, id: QueueId, cx: &Context<'_>) {
        let Some(queue) = self.queues.get_mut(id) else { return };
        if !queue.consumers.iter().any(|consumer| self.consumers.wants(*consumer)) {
            return;
        }
        // Messages that wait for one consumer must not keep those for others from being promised.
        let ahead = if queue.has_choice() { cx.config.ready_messages } else { cx.config.dispatch_ahead };
        for through in queue.dispatch_wanted(ahead) {
            let purpose = Purpose::Dispatch { queue: id, through };
            self.proposals.control(EngineOp::Dispatch { queue: id, through }, purpose);
        }
    }

    /// Messages up to this one may be delivered.
    pub(in crate::engine) fn dispatched(&mut self, id: QueueId, through: MessageId, result: OpResult) -> Resolved {
        match result {
            OpResult::Done => {
                if let Some(queue) = self.queues.wake_mut(id) {
                    let window = queue.window(through);
                    window.dispatched = window.dispatched.max(through);
                }
                Ok(())
            }
            OpResult::NoSuchQueue => Ok(()),
            other => Err(other.into()),
        }
    }

    /// A delivery was answered, or its link broke.
    pub(in crate::engine) fn delivered(&mut self, call: CallId, answer: Option<ClientReply>, cx: &Context<'_>) {
        let Some(call) = self.deliveries.remove(call) else { return };
        let Some(state) = self.consumers.get_mut(call.consumer).filter(|state| state.instance == call.instance) else {
            return;
        };
        state.calls -= 1;
        let (id, current) = (state.queue, state.attachment == call.attachment);
        self.queues.wake(id);
        match answer {
            Some(ClientReply::Done) => {}
            // A client that says so of the current attachment knows better than the table. One that has seen a newer
            // epoch proves nothing by itself: if it is right, the commit of the detaching is refused.
            Some(ClientReply::ConsumerUnknown | ClientReply::Stale) if current => {
                self.undelivered(&call, id, cx);
                self.detach_lost(call.consumer, cx.now);
            }
            None if current => self.consumers.lose(call.consumer, cx.grace_ends()),
            // It attached again since, and did not have these.
            Some(ClientReply::ConsumerUnknown | ClientReply::Stale) | None => self.undelivered(&call, id, cx),
        }
    }

    fn undelivered(&mut self, call: &deliveries::Delivery, id: QueueId, cx: &Context<'_>) {
        for message in &call.messages {
            let back = self.give_back(call.consumer, id, *message, true, cx.now);
            if let Some(state) = self.consumers.get_mut(call.consumer) {
                state.held -= u32::from(back);
            }
        }
    }

    /// A message that a consumer never had, or never gave to its user, can be delivered again without a count. False if
    /// the consumer does not hold it.
    pub(in crate::engine) fn give_back(
        &mut self,
        consumer: ConsumerId,
        id: QueueId,
        message: MessageId,
        redelivered: bool,
        now: Now,
    ) -> bool {
        if message.is_nonpersistent() {
            return self.back_to_memory(consumer, id, message, false, now);
        }
        let Some(queue) = self.queues.get_mut(id) else { return false };
        let back = queue.window(message).give_back(message, consumer, redelivered);
        if back {
            queue.groups.let_go(message);
        }
        back
    }
}
