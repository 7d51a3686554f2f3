//! Consumers: attachment, and the ways in which they go.

use std::collections::BTreeSet;

use baton_client::protocol::{EngineError, EngineReply};
use baton_domain::{ConsumerId, Destinations, EngineOp, MessageId, OpResult, QueueId, QueueName, Selector};

use super::Running;
use crate::engine::context::Context;
use crate::engine::message::{Now, RequestId};
use crate::engine::parts::attach::Attach;
use crate::engine::parts::consumers::{Awaited, Consumer, Link, NEW_CONSUMERS};
use crate::engine::parts::purpose::{Purpose, Resolved};

impl Running {
    /// A consumer takes up a queue, or comes back to it with the messages that it holds.
    pub(in crate::engine) fn attach(&mut self, request: RequestId, mut attach: Attach, cx: &mut Context<'_>) {
        let Some(queue) = self.queues.id(&attach.queue) else {
            return match attach.temporary.take() {
                Some(kind) => self.create_for(request, attach, *kind, cx),
                // Under the lease: an engine that was left behind does not know the newest queues, and this answer is
                // final.
                None => cx.reply(request, EngineReply::Error(EngineError::NoSuchQueue(attach.queue))),
            };
        };
        if let Some(error) = self.cannot_attach(&attach, cx) {
            return cx.refuse(request, error);
        }
        let Attach {
            client,
            connection,
            consumer,
            queue: name,
            credit,
            unsettled,
            received,
            groups,
            selector,
            temporary: _,
        } = attach;
        if self.queues.is_topic_space(queue) {
            let words = format!("{name} is a topic space: consume from one of its subscriptions");
            return cx.refuse(request, EngineError::Refused(words));
        }
        let before = self.consumers.queue(consumer);
        let awaited = self.consumers.awaited(consumer).map(|awaited| awaited.queue);
        if before.or(awaited).is_some_and(|other| other != queue) {
            let words = "the consumer is attached to another queue: detach it first".to_owned();
            return cx.refuse(request, EngineError::BadRequest(words));
        }
        // It parses: `cannot_attach` checked it.
        let selector = (!selector.is_empty()).then(|| Selector::parse(&selector).ok()).flatten();
        // If the engine before recorded it, no commit is needed.
        let awaited = self.consumers.take_awaited(consumer);
        let attachment = cx.ids.next();
        let order = awaited.map_or(NEW_CONSUMERS + attachment, |awaited| awaited.order);
        let new = || Consumer::new(queue, order, attachment, awaited.is_some(), cx.now.boot);
        let state = self.consumers.entry(consumer, new);
        state.link = connection.map_or(Link::Unknown, Link::Up);
        (state.client, state.attachment, state.selector) = (client, attachment, selector);
        state.credit = credit.min(cx.config.consumer_credit);
        state.progress.takes(state.held, cx.now.boot);
        let recorded = state.recorded;
        self.consumers.set_gone(consumer, connection.is_none().then(|| cx.grace_ends()));
        if let Some(state) = self.queues.get_mut(queue) {
            state.awaited.remove(&consumer);
            if before.is_none() {
                state.consumers.push_back(consumer);
            }
        }
        self.compare_holdings(consumer, queue, &unsettled, groups, cx.now);
        // Some of these may not be known here any more.
        for message in unsettled.iter().take(received as usize) {
            self.note_received(consumer, Some(*message));
        }
        self.consumers_changed(queue);
        if recorded {
            cx.reply(request, EngineReply::Attached { epoch: self.epoch, limits: cx.limits() });
        } else {
            let op = EngineOp::Attach { queue: name.clone(), consumer };
            self.control(op, Purpose::Attach { request, consumer, name });
        }
    }

    pub(in crate::engine) fn attached(
        &mut self,
        request: RequestId,
        consumer: ConsumerId,
        name: QueueName,
        result: OpResult,
        cx: &mut Context<'_>,
    ) -> Resolved {
        let reply = match result {
            OpResult::Done | OpResult::Queue { .. } => match self.consumers.get_mut(consumer) {
                Some(state) => {
                    state.recorded = true;
                    self.queues.wake(state.queue);
                    EngineReply::Attached { epoch: self.epoch, limits: cx.limits() }
                }
                None => EngineReply::Error(EngineError::ConsumerUnknown),
            },
            OpResult::NoSuchQueue => EngineReply::Error(EngineError::NoSuchQueue(name)),
            other => return Err(other.into()),
        };
        self.answer(request, reply, cx);
        Ok(())
    }

    /// The refusal of an attach request, whatever its queue; `None` if it can be accepted.
    pub(in crate::engine) fn cannot_attach(&self, attach: &Attach, cx: &Context<'_>) -> Option<EngineError> {
        if attach.unsettled.len() > cx.config.pending_settles {
            let words = format!("a consumer that holds more than {} messages", cx.config.pending_settles);
            return Some(EngineError::BadRequest(words));
        }
        if !self.consumers.contains(attach.consumer) && self.consumers.len() >= cx.config.consumers {
            let words = format!(
                "the engine has {} consumers, the limit of max_consumers: raise it under [limits] in the servers' files",
                cx.config.consumers
            );
            return Some(EngineError::BadRequest(words));
        }
        let selector = (!attach.selector.is_empty()).then(|| Selector::parse(&attach.selector));
        selector?.err().map(|error| EngineError::Refused(format!("invalid selector: {error}")))
    }

    /// Messages that the consumer says it holds are withheld. Those that the engine thought it holds go back, unless they
    /// may still be on their way: then the delivery's answer decides.
    fn compare_holdings(
        &mut self,
        consumer: ConsumerId,
        id: QueueId,
        unsettled: &[MessageId],
        groups: Vec<(MessageId, String)>,
        now: Now,
    ) {
        let says: BTreeSet<MessageId> = unsettled.iter().copied().collect();
        let on_the_way = self.deliveries.arrived(consumer, &says);
        let mut held = 0;
        for (message, _) in self.held_by(consumer, id) {
            if says.contains(&message) || on_the_way.contains(&message) {
                held += 1;
            } else {
                self.give_back(consumer, id, message, true, now);
            }
        }
        let Some(queue) = self.queues.get_mut(id) else { return };
        let Some(state) = self.consumers.get_mut(consumer) else { return };
        // Messages that an earlier engine had in memory alone are gone with it.
        for message in unsettled.iter().copied().filter(|message| !message.is_nonpersistent()) {
            let window = queue.window(message);
            if window.plausible(message) {
                let (withheld, bytes) = window.withhold(message, consumer, state.next_place());
                held += u32::from(withheld);
                self.ready_memory.freed(bytes);
            }
        }
        for (message, group) in groups {
            if !message.is_nonpersistent() && queue.window(message).is_held_by(message, consumer) {
                queue.groups.hold(message, &group, consumer);
                queue.grouped = true;
            }
        }
        state.held = held;
    }

    /// The messages of its queue that a consumer holds, each with its place among all that it was handed.
    pub(in crate::engine) fn held_by(&self, consumer: ConsumerId, id: QueueId) -> Vec<(MessageId, u64)> {
        self.queues.get(id).map_or_else(Vec::new, |queue| queue.held_by(consumer))
    }

    /// A queue has other consumers, or a consumer has another selector.
    fn consumers_changed(&mut self, id: QueueId) {
        if let Some(queue) = self.queues.wake_mut(id) {
            let mut consumers = queue.consumers.iter().filter_map(|consumer| self.consumers.get(*consumer));
            let selective = consumers.any(|state| state.selector.is_some());
            queue.consumers_changed(selective);
        }
    }

    pub(in crate::engine) fn credit(
        &mut self,
        request: RequestId,
        consumer: ConsumerId,
        credit: u32,
        cx: &mut Context<'_>,
    ) {
        let Some(state) = self.consumers.get_mut(consumer) else {
            return cx.refuse(request, EngineError::ConsumerUnknown);
        };
        state.credit = credit.min(cx.config.consumer_credit);
        self.queues.wake(state.queue);
        cx.reply(request, EngineReply::Done);
    }

    /// A consumer says that it goes. For one that is not there that is done.
    pub(in crate::engine) fn detach_asked(
        &mut self,
        request: RequestId,
        consumer: ConsumerId,
        untouched: &[MessageId],
        cx: &mut Context<'_>,
    ) {
        if let Some(Awaited { queue, .. }) = self.consumers.take_awaited(consumer) {
            if let Some(state) = self.queues.wake_mut(queue) {
                state.awaited.remove(&consumer);
            }
            self.control(EngineOp::Detach { consumer }, Purpose::Detach { request: Some(request) });
        } else if self.consumers.contains(consumer) {
            self.pending += 1;
            self.detach(consumer, &untouched.iter().copied().collect(), false, Some(request), cx.now);
        } else {
            cx.reply(request, EngineReply::Done);
        }
    }

    /// Takes a consumer off its queue. The messages that it held go back: counted as failed deliveries, except those that
    /// it never touched. `guessed`: it may have touched these all the same.
    pub(in crate::engine) fn detach(
        &mut self,
        consumer: ConsumerId,
        untouched: &BTreeSet<MessageId>,
        guessed: bool,
        request: Option<RequestId>,
        now: Now,
    ) {
        let Some(state) = self.consumers.remove(consumer) else { return };
        let held = self.held_by(consumer, state.queue).into_iter();
        let mut messages: Vec<MessageId> = held.map(|(message, _)| message).collect();
        messages.retain(|message| {
            let counted = !untouched.contains(message);
            if message.is_nonpersistent() {
                self.back_to_memory(consumer, state.queue, *message, counted, now);
                return false;
            }
            if !counted {
                self.give_back(consumer, state.queue, *message, guessed, now);
            } else if let Some(queue) = self.queues.get_mut(state.queue) {
                queue.window(*message).returning(*message, consumer);
                queue.groups.returning(*message);
            }
            counted
        });
        self.proposals.requeue(state.queue, &messages);
        if let Some(queue) = self.queues.get_mut(state.queue) {
            queue.consumers.retain(|other| *other != consumer);
        }
        self.consumers_changed(state.queue);
        self.proposals.control(EngineOp::Detach { consumer }, Purpose::Detach { request });
    }

    pub(in crate::engine) fn detached(
        &mut self,
        request: Option<RequestId>,
        result: OpResult,
        cx: &mut Context<'_>,
    ) -> Resolved {
        let OpResult::Detached { deleted } = result else { return Err(result.into()) };
        for queue in deleted {
            self.queue_deleted(queue, cx);
        }
        if let Some(request) = request {
            self.answer(request, EngineReply::Done, cx);
        }
        Ok(())
    }

    /// A link came up.
    pub(in crate::engine) fn peer_up(&mut self, name: &str, connection: u64) {
        for queue in self.consumers.link_up(name, connection) {
            self.queues.wake(queue);
        }
    }

    /// Gives the consumers over links of which `is_gone` says so a while to attach again.
    pub(in crate::engine) fn peers_down(&mut self, is_gone: impl Fn(&str, u64) -> bool, cx: &Context<'_>) {
        for consumer in self.consumers.over(is_gone) {
            self.consumers.lose(consumer, cx.grace_ends());
        }
    }
}
