//! Consumers: attach, settle, go away.

use std::collections::BTreeSet;

use baton_client::protocol::{EngineError, EngineReply, Kind};
use baton_domain::seeded::{self, Bug};
use baton_domain::{ConsumerId, DestinationKind, EngineOp, MessageId, QueueId, QueueName, Selector};

use super::message::{Now, RequestId};
use super::queue::Settlement;
use super::report::Progress;
use super::running::{Awaited, Consumer, Context, Link, NEW_CONSUMERS, Running};
use super::writer::Then;

/// A request to take up a queue.
#[derive(Debug)]
pub(super) struct Attach {
    pub(super) client: String,
    pub(super) connection: Option<u64>,
    pub(super) consumer: ConsumerId,
    pub(super) queue: QueueName,
    pub(super) credit: u32,
    pub(super) unsettled: Vec<MessageId>,
    pub(super) received: u32,
    pub(super) groups: Vec<(MessageId, String)>,
    pub(super) selector: String,
    pub(super) temporary: Option<Box<Kind>>,
}

impl Running {
    /// A consumer takes up a queue, or comes back to it with what it holds.
    pub(super) fn attach(&mut self, request: RequestId, mut attach: Attach, cx: &mut Context<'_>) {
        let Some(queue) = self.names.get(&attach.queue).copied() else {
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
        if self.queues.get(&queue).is_some_and(|state| state.kind == DestinationKind::TopicSpace) {
            let words = format!("{name} is a topic space: consume from one of its subscriptions");
            return cx.refuse(request, EngineError::Refused(words));
        }
        let before = self.consumers.get(&consumer).map(|state| state.queue);
        let awaited = self.awaited.get(&consumer).map(|awaited| awaited.queue);
        if before.or(awaited).is_some_and(|other| other != queue) {
            let words = "the consumer is attached to another queue: detach it first".to_owned();
            return cx.refuse(request, EngineError::BadRequest(words));
        }
        // It parses: that was looked at above.
        let selector = (!selector.is_empty()).then(|| Selector::parse(&selector).ok()).flatten();
        // The engine before recorded it: no commit is needed.
        let awaited = self.awaited.remove(&consumer);
        let attachment = cx.ids.next();
        let link = connection.map_or(Link::Unknown, Link::Up);
        let gone = connection.is_none().then(|| cx.grace_ends());
        let state = self.consumers.entry(consumer).or_insert_with(|| Consumer {
            queue,
            order: awaited.map_or(NEW_CONSUMERS + attachment, |awaited| awaited.order),
            client: String::new(),
            link,
            credit: 0,
            held: 0,
            progress: Progress::new(cx.now.boot),
            handed: 0,
            received: 0,
            calls: 0,
            recorded: awaited.is_some(),
            instance: attachment,
            attachment,
            gone: None,
            selector: None,
        });
        (state.client, state.link, state.attachment, state.selector) = (client, link, attachment, selector);
        state.credit = credit.min(cx.config.consumer_credit);
        state.progress.takes(state.held, cx.now.boot);
        let (recorded, was_gone) = (state.recorded, std::mem::replace(&mut state.gone, gone));
        was_gone.map(|when| self.gone.remove(&(when, consumer)));
        gone.map(|when| self.gone.insert((when, consumer)));
        if let Some(state) = self.queues.get_mut(&queue) {
            state.awaited.remove(&consumer);
            if before.is_none() {
                state.consumers.push_back(consumer);
            }
        }
        self.compare_holdings(consumer, queue, &unsettled, groups, cx.now);
        // Not all of it may be known here any more.
        for message in unsettled.iter().take(received as usize) {
            self.note_received(consumer, Some(*message));
        }
        self.consumers_changed(queue);
        if recorded {
            cx.reply(request, EngineReply::Attached { epoch: self.epoch, limits: cx.limits() });
        } else {
            let op = EngineOp::Attach { queue: name.clone(), consumer };
            self.control(op, Then::Attach { request, consumer, name });
        }
    }

    /// The refusal of an attach request, whatever its queue; `None` if it can be accepted.
    pub(super) fn cannot_attach(&self, attach: &Attach, cx: &Context<'_>) -> Option<EngineError> {
        if attach.unsettled.len() > cx.config.pending_settles {
            let words = format!("a consumer that holds more than {} messages", cx.config.pending_settles);
            return Some(EngineError::BadRequest(words));
        }
        if !self.consumers.contains_key(&attach.consumer) && self.consumers.len() >= cx.config.consumers {
            let words = format!(
                "the engine has {} consumers, the limit of max_consumers: raise it under [limits] in the servers' files",
                cx.config.consumers
            );
            return Some(EngineError::BadRequest(words));
        }
        let selector = (!attach.selector.is_empty()).then(|| Selector::parse(&attach.selector));
        selector?.err().map(|error| EngineError::Refused(format!("invalid selector: {error}")))
    }

    /// What the consumer says that it holds is withheld. What the engine thought it holds goes back, unless it may
    /// still be on its way: then the delivery's answer decides.
    fn compare_holdings(
        &mut self,
        consumer: ConsumerId,
        id: QueueId,
        unsettled: &[MessageId],
        groups: Vec<(MessageId, String)>,
        now: Now,
    ) {
        let says: BTreeSet<MessageId> = unsettled.iter().copied().collect();
        let mut on_the_way = BTreeSet::new();
        for call in self.calls.values_mut().filter(|call| call.consumer == consumer) {
            on_the_way.extend(call.messages.iter().copied());
            call.messages.retain(|message| !says.contains(message));
        }
        let mut held = 0;
        for (message, _) in self.held_by(consumer, id) {
            if says.contains(&message) || on_the_way.contains(&message) {
                held += 1;
            } else {
                self.give_back(consumer, id, message, true, now);
            }
        }
        let Some(queue) = self.queues.get_mut(&id) else { return };
        let Some(state) = self.consumers.get_mut(&consumer) else { return };
        // What an earlier engine had in memory alone is gone with it.
        for message in unsettled.iter().copied().filter(|message| !message.is_nonpersistent()) {
            let window = queue.window(message);
            if window.plausible(message) {
                let (withheld, bytes) = window.withhold(message, consumer, state.next_place());
                held += u32::from(withheld);
                self.ready_bytes -= bytes;
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

    /// What a consumer holds of its queue, each with its place among all that it was handed.
    pub(super) fn held_by(&self, consumer: ConsumerId, id: QueueId) -> Vec<(MessageId, u64)> {
        self.queues.get(&id).map_or_else(Vec::new, |queue| queue.held_by(consumer))
    }

    /// A queue has other consumers, or a consumer has another selector.
    fn consumers_changed(&mut self, id: QueueId) {
        if let Some(queue) = self.queues.get_mut(&id) {
            let mut consumers = queue.consumers.iter().filter_map(|consumer| self.consumers.get(consumer));
            let selective = consumers.any(|state| state.selector.is_some());
            queue.consumers_changed(selective);
            self.active.insert(id);
        }
    }

    pub(super) fn credit(&mut self, request: RequestId, consumer: ConsumerId, credit: u32, cx: &mut Context<'_>) {
        let Some(state) = self.consumers.get_mut(&consumer) else {
            return cx.refuse(request, EngineError::ConsumerUnknown);
        };
        state.credit = credit.min(cx.config.consumer_credit);
        self.active.insert(state.queue);
        cx.reply(request, EngineReply::Done);
    }

    /// Credit is free at once; the answer comes when it is committed.
    pub(super) fn settle(&mut self, consumer: ConsumerId, mut settlement: Settlement, cx: &mut Context<'_>) {
        let request = settlement.request;
        let Some(id) = self.consumers.get(&consumer).map(|state| state.queue) else {
            return cx.refuse(request, EngineError::ConsumerUnknown);
        };
        if self.writer.settle_ids > 0 && self.writer.settle_ids + settlement.len() > cx.config.pending_settles {
            return cx.refuse(request, EngineError::Busy);
        }
        let mut returned = self.settle_in_memory(consumer, id, &mut settlement, cx.now);
        let Some(queue) = self.queues.get_mut(&id) else {
            return cx.refuse(request, EngineError::ConsumerUnknown);
        };
        // What a prepared transaction has waits for its decision. An id newer than all messages names none of them, and must
        // not hit one that comes.
        settlement.acknowledged.retain(|message| {
            let window = queue.window(*message);
            window.plausible(*message) && !window.is_in_doubt(*message)
        });
        for message in &settlement.acknowledged {
            let (holder, bytes) = queue.window(*message).settling(*message);
            queue.groups.let_go(*message);
            self.ready_bytes -= bytes;
            if let Some(holder) = holder.and_then(|holder| self.consumers.get_mut(&holder)) {
                holder.held -= 1;
            }
        }
        settlement.refused.retain(|message| {
            let returning = queue.window(*message).returning(*message, consumer);
            if returning {
                queue.groups.returning(*message);
            }
            returning
        });
        settlement.rejected.retain(|(message, _)| {
            let window = queue.window(*message);
            let has = window.is_held_by(*message, consumer);
            if has {
                // It may stay: until that is known, the queue's head is not above it.
                window.leaving(*message);
                queue.groups.let_go(*message);
            }
            has
        });
        if let Some(state) = self.consumers.get_mut(&consumer) {
            returned += u32::try_from(settlement.refused.len() + settlement.rejected.len()).unwrap_or(u32::MAX);
            state.held -= returned;
        }
        for message in std::mem::take(&mut settlement.released) {
            let back = self.give_back(consumer, id, message, true, cx.now);
            if let Some(state) = self.consumers.get_mut(&consumer) {
                state.held -= u32::from(back);
            }
        }
        self.active.insert(id);
        if settlement.len() == 0 {
            return cx.reply(request, EngineReply::Done);
        }
        if let Some(state) = self.consumers.get_mut(&consumer) {
            state.progress.settles(settlement.acknowledged.len(), cx.now.boot);
        }
        if seeded::is(Bug::AcknowledgeBeforeCommit) {
            cx.reply(request, EngineReply::Done);
        }
        let Some(queue) = self.queues.get_mut(&id) else { return };
        self.writer.settle_ids += settlement.len();
        self.pending += 1;
        queue.settlements.push_back(settlement);
        self.settling.insert(id);
    }

    /// A consumer says that it goes. Of one that is not there that is done.
    pub(super) fn detach_asked(
        &mut self,
        request: RequestId,
        consumer: ConsumerId,
        untouched: &[MessageId],
        cx: &mut Context<'_>,
    ) {
        if let Some(Awaited { queue, .. }) = self.awaited.remove(&consumer) {
            if let Some(state) = self.queues.get_mut(&queue) {
                state.awaited.remove(&consumer);
            }
            self.active.insert(queue);
            self.control(EngineOp::Detach { consumer }, Then::Detach { request: Some(request) });
        } else if self.consumers.contains_key(&consumer) {
            self.pending += 1;
            self.detach(consumer, &untouched.iter().copied().collect(), false, Some(request), cx.now);
        } else {
            cx.reply(request, EngineReply::Done);
        }
    }

    /// Takes a consumer off its queue. What it held goes back: counted, except what it never touched. `guessed`: it may have
    /// touched that all the same.
    pub(super) fn detach(
        &mut self,
        consumer: ConsumerId,
        untouched: &BTreeSet<MessageId>,
        guessed: bool,
        request: Option<RequestId>,
        now: Now,
    ) {
        let Some(state) = self.consumers.remove(&consumer) else { return };
        state.gone.map(|when| self.gone.remove(&(when, consumer)));
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
            } else if let Some(queue) = self.queues.get_mut(&state.queue) {
                queue.window(*message).returning(*message, consumer);
                queue.groups.returning(*message);
            }
            counted
        });
        self.writer.requeue(state.queue, &messages);
        if let Some(queue) = self.queues.get_mut(&state.queue) {
            queue.consumers.retain(|other| *other != consumer);
        }
        self.consumers_changed(state.queue);
        self.writer.control(EngineOp::Detach { consumer }, Then::Detach { request });
    }

    /// A consumer's link is gone, or it does not answer: it has a while to attach again.
    pub(super) fn lose(&mut self, consumer: ConsumerId, cx: &Context<'_>) {
        if let Some(state) = self.consumers.get_mut(&consumer) {
            state.link = Link::Lost;
            let ends = *state.gone.get_or_insert(cx.grace_ends());
            self.gone.insert((ends, consumer));
        }
    }

    /// A link came up: consumers that attached over it before it was known can be reached.
    pub(super) fn peer_up(&mut self, name: &str, connection: u64) {
        for (consumer, state) in &mut self.consumers {
            if state.link == Link::Unknown && state.client == name {
                state.link = Link::Up(connection);
                state.gone.take().map(|when| self.gone.remove(&(when, *consumer)));
                self.active.insert(state.queue);
            }
        }
    }

    /// Loses the consumers whose link `is_gone` says so.
    pub(super) fn peers_down(&mut self, is_gone: impl Fn(&str, u64) -> bool, cx: &Context<'_>) {
        let lost = self.consumers.iter().filter_map(|(consumer, state)| match state.link {
            Link::Up(connection) => is_gone(&state.client, connection).then_some(*consumer),
            Link::Unknown | Link::Lost => None,
        });
        for consumer in lost.collect::<Vec<_>>() {
            self.lose(consumer, cx);
        }
    }
}
