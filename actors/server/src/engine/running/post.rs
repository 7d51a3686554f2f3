//! Messages below the assured level: accepted without a number. Those that are in no store are also delivered, settled,
//! dropped, delayed and expired in memory.

use baton_client::protocol::{EngineError, EngineReply};
use baton_domain::{
    ConsumerId, Destinations, EngineOp, ExceptionDestination, Expired, Lane, Message, MessageBatch, MessageId,
    OpResult, QueueId, QueueName, Reliability, exception_header,
};

use super::Running;
use crate::engine::context::Context;
use crate::engine::message::{Now, RequestId};
use crate::engine::parts::dead_letters::DeadLetters;
use crate::engine::parts::memory::Later;
use crate::engine::parts::proposals::{MESSAGE_BYTES, OP_BYTES};
use crate::engine::parts::purpose::{Purpose, Resolved};
use crate::engine::parts::queue::Settlement;
use crate::engine::parts::ready::Ready;

impl Running {
    /// Accepts messages of one level for one destination.
    pub(in crate::engine) fn post(
        &mut self,
        request: RequestId,
        name: QueueName,
        level: Reliability,
        messages: MessageBatch,
        cx: &mut Context<'_>,
    ) {
        let Some(queue) = self.queues.id(&name) else {
            return cx.reply(request, EngineReply::Error(EngineError::NoSuchQueue(name)));
        };
        if self.queues.is_subscription(queue) {
            let words = format!("{name} is a subscription: send to its topic space");
            return cx.refuse(request, EngineError::Refused(words));
        }
        let droppable = level == Reliability::BestEffortNonpersistent;
        match self.queues.check_sent(Some(queue), &messages, level.is_persistent(), cx) {
            Err(EngineError::QueueFull { .. }) if droppable => {}
            Err(error) => return cx.refuse(request, error),
            Ok(()) => {}
        }
        if !level.is_persistent() {
            let bytes = messages.iter().map(|message| message.size()).sum::<usize>();
            let used = self.memory.bytes();
            if !droppable && used > 0 && used + bytes > cx.config.nonpersistent_bytes {
                return cx.refuse(request, EngineError::Busy);
            }
            self.totals.confirmed += messages.len() as u64;
            let targets = self.queues.forwarded(queue);
            for message in messages.read() {
                match targets[..] {
                    [target] if !self.queues.is_topic_space(target) => {
                        self.put_in_memory(target, message, droppable, cx);
                    }
                    _ => {
                        for target in self.queues.takers(&targets, &message) {
                            self.put_in_memory(target, message.clone(), droppable, cx);
                        }
                    }
                }
            }
            return cx.reply(request, EngineReply::Posted);
        }
        let bytes = OP_BYTES + messages.iter().map(|message| message.size() + MESSAGE_BYTES).sum::<usize>();
        if self.proposals.is_full(bytes, cx.config) {
            return cx.refuse(request, EngineError::Busy);
        }
        let early = level == Reliability::ReliablePersistent;
        let purpose =
            Purpose::Post { request: Some(request), early, name, messages: messages.clone(), dispatch: false };
        self.produce(EngineOp::Post { queue, messages, dispatch: false }, purpose, bytes);
    }

    /// Messages without numbers were stored. Their sender has its answer already if it was answered early.
    pub(in crate::engine) fn posted(
        &mut self,
        posted: Posted<'_>,
        result: OpResult,
        at_ms: u64,
        cx: &mut Context<'_>,
    ) -> Resolved {
        let Posted { request, name, messages, dispatch } = posted;
        let reply = match result {
            OpResult::Sent { .. } => {
                self.totals.confirmed += messages.len() as u64;
                self.stored(messages, dispatch, &result, at_ms, cx);
                EngineReply::Posted
            }
            OpResult::Published { .. } => {
                self.totals.confirmed += messages.len() as u64;
                self.published(messages, result, at_ms, cx);
                EngineReply::Posted
            }
            OpResult::NoSuchQueue => EngineReply::Error(EngineError::NoSuchQueue(name)),
            other => return Err(other.into()),
        };
        if let Some(request) = request {
            self.answer(request, reply, cx);
        }
        Ok(())
    }

    fn put_in_memory(&mut self, id: QueueId, message: Message, droppable: bool, cx: &Context<'_>) {
        let expires_ms = message.expires_ms(cx.now.unix_ms, self.queues.time_to_live_ms(id));
        let Some(queue) = self.queues.get_mut(id) else { return };
        let delay_ms = message.delay_ms();
        let lane = Lane::of_priority(message.priority());
        let ready = Ready { message, redeliveries: 0, redelivered: false, expires_ms, may_be_dropped: droppable };
        let limit = queue.settings.max_messages;
        while droppable
            && ((limit > 0 && queue.all_messages() >= limit)
                || self.memory.bytes() + ready.bytes() > cx.config.nonpersistent_bytes)
        {
            let Some((dropped, of)) = queue.nonpersistent.drop_oldest() else {
                queue.nonpersistent.dropped += 1;
                return;
            };
            self.memory.forget(dropped, &of);
        }
        let message = self.memory.add(&ready, self.epoch, lane);
        if expires_ms != 0 {
            self.memory.schedule(expires_ms, message, Later::Expire(id), cx.now);
        }
        self.enter_memory(id, message, ready, delay_ms, cx.now);
    }

    /// A message waits in its queue, or for its time.
    fn enter_memory(&mut self, id: QueueId, message: MessageId, ready: Ready, delay_ms: u64, now: Now) {
        let Some(queue) = self.queues.get_mut(id) else { return };
        if delay_ms > 0 {
            queue.delayed += 1;
            let due_ms = now.unix_ms.saturating_add(delay_ms);
            return self.memory.schedule(due_ms, message, Later::Enter(id, Box::new(ready)), now);
        }
        queue.grouped |= !ready.message.group().is_empty();
        queue.nonpersistent.put(message, ready);
        self.queues.wake(id);
    }

    /// Does everything that is due in memory.
    pub(in crate::engine) fn tick_memory(&mut self, cx: &Context<'_>) {
        while let Some((message, later)) = self.memory.next_due(cx.now) {
            match later {
                Later::Expire(queue) => self.expire_in_memory(queue, message),
                Later::Enter(queue, ready) => {
                    if let Some(state) = self.queues.get_mut(queue) {
                        state.delayed = state.delayed.saturating_sub(1);
                        self.enter_memory(queue, message, *ready, 0, cx.now);
                    }
                }
            }
        }
    }

    /// A message's time to live is over. One that a consumer has was delivered in time.
    pub(in crate::engine) fn expire_in_memory(&mut self, id: QueueId, message: MessageId) {
        let Some(queue) = self.queues.get_mut(id) else { return };
        let expired = queue.settings.expired;
        let Some(ready) = queue.nonpersistent.take_out(message) else { return };
        self.memory.forget(message, &ready);
        match expired {
            Expired::Drop => {}
            Expired::Exception => self.set_aside(id, ready.message, exception_header::EXPIRED.to_owned()),
        }
    }

    /// From memory into the exception destination, which is in the store; dropped if the queue has none.
    fn set_aside(&mut self, id: QueueId, message: Message, reason: String) {
        let none = self.queues.get(id).is_none_or(|state| state.settings.exception == ExceptionDestination::None);
        if !none {
            let bytes = OP_BYTES + MESSAGE_BYTES + message.size() + reason.len();
            let op = EngineOp::SetAside { queue: id, reason, messages: vec![message].into() };
            self.proposals.control_of(op, Purpose::SetAside, bytes);
        }
    }

    /// Messages from memory are in the exception destination.
    pub(in crate::engine) fn was_set_aside(&mut self, result: OpResult, cx: &Context<'_>) -> Resolved {
        match result {
            OpResult::Changed(changes) => self.changed(changes, cx),
            OpResult::NoSuchQueue => {}
            other => return Err(other.into()),
        }
        Ok(())
    }

    /// A delivery failed, or a consumer rejected the message for a `reason`. It is delivered again, at once or after a
    /// while, or becomes a dead letter.
    fn failed_in_memory(
        &mut self,
        id: QueueId,
        message: MessageId,
        mut ready: Ready,
        reason: Option<String>,
        now: Now,
    ) {
        let Some(queue) = self.queues.get(id) else { return };
        let settings = &queue.settings;
        ready.redeliveries = ready.redeliveries.saturating_add(1);
        ready.redelivered = true;
        let most = settings.max_failed_deliveries;
        let rejected = reason.is_some();
        let mut delay_ms = settings.redelivery_delay_ms(ready.redeliveries);
        if rejected || (most > 0 && ready.redeliveries >= most) {
            match self.queues.dead_letters(id, now) {
                DeadLetters::Taken => {
                    self.memory.forget(message, &ready);
                    let reason = reason.unwrap_or_else(|| exception_header::deliveries_failed(ready.redeliveries));
                    return self.set_aside(id, ready.message, reason);
                }
                DeadLetters::Stay if !rejected => {}
                DeadLetters::Wait | DeadLetters::Stay => delay_ms = settings.kept_ms(ready.redeliveries),
            }
        }
        self.enter_memory(id, message, ready, delay_ms, now);
    }

    /// Settles the part of a settlement that is in memory alone, and takes it off the settlement. The number of messages
    /// that the consumer holds less.
    pub(in crate::engine) fn settle_in_memory(
        &mut self,
        consumer: ConsumerId,
        id: QueueId,
        settlement: &mut Settlement,
        now: Now,
    ) -> u32 {
        let mut held = 0;
        let acknowledged = settlement.acknowledged.extract_if(.., |message| message.is_nonpersistent());
        for message in acknowledged.collect::<Vec<_>>() {
            if let Some(ready) = self.take_from_memory(consumer, id, message) {
                self.memory.forget(message, &ready);
                self.totals.acknowledged += 1;
                held += 1;
            }
        }
        let done = held;
        let refused = settlement.refused.extract_if(.., |message| message.is_nonpersistent());
        let refused = refused.map(|message| (message, None)).collect::<Vec<_>>();
        let rejected = settlement.rejected.extract_if(.., |(message, _)| message.is_nonpersistent());
        let rejected = rejected.map(|(message, reason)| (message, Some(reason))).collect::<Vec<_>>();
        for (message, reason) in refused.into_iter().chain(rejected) {
            if let Some(ready) = self.take_from_memory(consumer, id, message) {
                self.failed_in_memory(id, message, ready, reason, now);
                held += 1;
            }
        }
        if let Some(state) = self.consumers.get_mut(consumer).filter(|_| held > 0) {
            state.progress.settles(done as usize, now.boot);
        }
        held
    }

    fn take_from_memory(&mut self, consumer: ConsumerId, id: QueueId, message: MessageId) -> Option<Ready> {
        let queue = self.queues.get_mut(id)?;
        let ready = queue.nonpersistent.take_from(message, consumer)?;
        queue.groups.let_go(message);
        Some(ready)
    }

    /// A message that a consumer never had, or never gave to its user, waits again; `counted`: a delivery failed. False
    /// if the consumer does not hold it.
    pub(in crate::engine) fn back_to_memory(
        &mut self,
        consumer: ConsumerId,
        id: QueueId,
        message: MessageId,
        counted: bool,
        now: Now,
    ) -> bool {
        let Some(mut ready) = self.take_from_memory(consumer, id, message) else { return false };
        if counted {
            self.failed_in_memory(id, message, ready, None, now);
        } else {
            ready.redelivered = true;
            self.enter_memory(id, message, ready, 0, now);
        }
        true
    }

    /// A transaction that took a message is done (`gone`), or the consumer that it took it from is gone.
    pub(in crate::engine) fn left_memory(&mut self, id: QueueId, message: MessageId, gone: bool, now: Now) {
        let Some(queue) = self.queues.get_mut(id) else { return };
        let Some(mut ready) = queue.nonpersistent.take_left(message) else { return };
        queue.groups.let_go(message);
        if gone {
            self.memory.forget(message, &ready);
        } else {
            ready.redelivered = true;
            self.enter_memory(id, message, ready, 0, now);
        }
    }

    /// Deletes all messages of a queue that are in memory alone, whoever has them. Their number.
    pub(in crate::engine) fn purge_memory(&mut self, id: QueueId) -> u64 {
        let Some(queue) = self.queues.get_mut(id) else { return 0 };
        let all = queue.nonpersistent.take_all();
        for (message, ready) in &all {
            queue.groups.let_go(*message);
            self.memory.forget(*message, ready);
        }
        all.len() as u64
    }

    /// A queue is about to go, with the messages that wait for their time there. Their number.
    pub(in crate::engine) fn drop_memory(&mut self, id: QueueId) -> u64 {
        self.purge_memory(id) + self.memory.forget_queue(id)
    }
}

/// Messages without numbers whose result came.
pub(in crate::engine) struct Posted<'a> {
    pub(in crate::engine) request: Option<RequestId>,
    pub(in crate::engine) name: QueueName,
    pub(in crate::engine) messages: &'a MessageBatch,
    pub(in crate::engine) dispatch: bool,
}
