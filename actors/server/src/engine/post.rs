//! Messages below the assured level: taken without a number, and those that are in no store also delivered, settled,
//! dropped, delayed and expired in memory.

use std::collections::BTreeMap;
use std::time::Duration;

use baton_client::protocol::{EngineError, EngineReply};
use baton_domain::clock::BootTime;
use baton_domain::{
    ConsumerId, DestinationKind, EngineOp, ExceptionDestination, Expired, Lane, Message, MessageBatch, MessageId,
    QueueId, QueueName, Reliability, exception_header,
};

use super::lost::DeadLetters;
use super::message::{Now, RequestId};
use super::queue::Settlement;
use super::running::{Context, Running};
use super::window::Ready;
use super::writer::{MESSAGE_BYTES, OP_BYTES, Then, Write};

/// What becomes of a message at a time.
#[derive(Debug)]
enum Later {
    Expire(QueueId),
    Enter(QueueId, Box<Ready>),
}

/// What all queues have in memory alone.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// How many messages came so far.
    count: u64,
    /// What all of them take, in bytes.
    pub(super) bytes: usize,
    /// By the time at which it is due, in Unix milliseconds.
    later: BTreeMap<(u64, MessageId), Later>,
    due: Option<BootTime>,
}

impl Memory {
    pub(super) fn deadline(&self) -> Option<BootTime> {
        self.due
    }

    fn set(&mut self, due_ms: u64, now: Now) {
        let due = now.boot + Duration::from_millis(due_ms.saturating_sub(now.unix_ms));
        self.due = Some(self.due.map_or(due, |known| known.min(due)));
    }

    fn add(&mut self, due_ms: u64, id: MessageId, later: Later, now: Now) {
        self.later.insert((due_ms, id), later);
        self.set(due_ms, now);
    }

    /// A message is gone.
    fn forget(&mut self, id: MessageId, ready: &Ready) {
        self.bytes -= ready.bytes();
        if ready.expires_ms != 0 {
            self.later.remove(&(ready.expires_ms, id));
        }
    }
}

impl Running {
    /// Takes messages of one level for one destination.
    pub(super) fn post(
        &mut self,
        request: RequestId,
        name: QueueName,
        level: Reliability,
        messages: MessageBatch,
        cx: &mut Context<'_>,
    ) {
        let Some(queue) = self.names.get(&name).copied() else {
            return cx.reply(request, EngineReply::Error(EngineError::NoSuchQueue(name)));
        };
        let kind = self.queues.get(&queue).map(|state| &state.kind);
        if let Some(DestinationKind::Subscription(_)) = kind {
            let words = format!("{name} is a subscription: send to its topic space");
            return cx.refuse(request, EngineError::Refused(words));
        }
        let droppable = level == Reliability::BestEffortNonpersistent;
        match self.check_sent(Some(queue), &messages, level.is_persistent(), cx) {
            Err(EngineError::QueueFull { .. }) if droppable => {}
            Err(error) => return cx.refuse(request, error),
            Ok(()) => {}
        }
        if !level.is_persistent() {
            let bytes = messages.iter().map(|message| message.size()).sum::<usize>();
            if !droppable && self.memory.bytes > 0 && self.memory.bytes + bytes > cx.config.nonpersistent_bytes {
                return cx.refuse(request, EngineError::Busy);
            }
            self.totals.confirmed += messages.len() as u64;
            let targets = self.forwarded(queue);
            for message in messages.read() {
                match targets[..] {
                    [target] if !self.topics.contains_key(&target) => {
                        self.put_in_memory(target, message, droppable, cx);
                    }
                    _ => {
                        for target in self.takers(&targets, &message) {
                            self.put_in_memory(target, message.clone(), droppable, cx);
                        }
                    }
                }
            }
            return cx.reply(request, EngineReply::Posted);
        }
        let bytes = OP_BYTES + messages.iter().map(|message| message.size() + MESSAGE_BYTES).sum::<usize>();
        if self.writer.produce_bytes > 0 && self.writer.produce_bytes + bytes > cx.config.pending_bytes {
            return cx.refuse(request, EngineError::Busy);
        }
        let early = level == Reliability::ReliablePersistent;
        let then = Then::Post { request: Some(request), early, name, messages: messages.clone(), dispatch: false };
        self.produce(EngineOp::Post { queue, messages, dispatch: false }, then, bytes);
    }

    /// Answers the senders of an entry that is proposed, if they do not wait for its commit.
    pub(super) fn answer_early(&mut self, then: &mut [Then], cx: &mut Context<'_>) {
        for then in then {
            if let Then::Post { request, early: true, .. } = then
                && let Some(request) = request.take()
            {
                self.answer(request, EngineReply::Posted, cx);
            }
        }
    }

    /// The queues among these destinations, and the subscriptions of the topic spaces among them that want a message.
    fn takers(&self, targets: &[QueueId], message: &Message) -> Vec<QueueId> {
        let one = |target: &QueueId| match self.topics.get(target) {
            None => vec![*target],
            Some(topics) => {
                let mut wanted = topics.matches(message.topic());
                wanted.retain(|subscription| self.selects(*subscription, message));
                wanted
            }
        };
        targets.iter().flat_map(one).collect()
    }

    /// Whether a subscription wants a message of its topics.
    pub(super) fn selects(&self, subscription: QueueId, message: &Message) -> bool {
        let selector = self.queues.get(&subscription).and_then(|state| state.selector.as_ref());
        selector.is_none_or(|selector| selector.selects(message))
    }

    fn put_in_memory(&mut self, id: QueueId, message: Message, droppable: bool, cx: &Context<'_>) {
        let expires_ms = message.expires_ms(cx.now.unix_ms, self.time_to_live_ms(id));
        let Some(queue) = self.queues.get_mut(&id) else { return };
        let delay_ms = message.delay_ms();
        let lane = Lane::of_priority(message.priority());
        let ready = Ready { message, redeliveries: 0, redelivered: false, expires_ms, may_be_dropped: droppable };
        let limit = queue.settings.max_messages;
        while droppable
            && ((limit > 0 && queue.all_messages() >= limit)
                || self.memory.bytes + ready.bytes() > cx.config.nonpersistent_bytes)
        {
            let Some((dropped, of)) = queue.nonpersistent.drop_oldest() else {
                queue.nonpersistent.dropped += 1;
                return;
            };
            self.memory.forget(dropped, &of);
        }
        self.memory.count += 1;
        self.memory.bytes += ready.bytes();
        let message = MessageId::nonpersistent(self.epoch, self.memory.count, lane);
        if expires_ms != 0 {
            self.memory.add(expires_ms, message, Later::Expire(id), cx.now);
        }
        self.enter_memory(id, message, ready, delay_ms, cx.now);
    }

    /// A message waits in its queue, or for its time.
    fn enter_memory(&mut self, id: QueueId, message: MessageId, ready: Ready, delay_ms: u64, now: Now) {
        let Some(queue) = self.queues.get_mut(&id) else { return };
        if delay_ms > 0 {
            queue.delayed += 1;
            let due_ms = now.unix_ms.saturating_add(delay_ms);
            return self.memory.add(due_ms, message, Later::Enter(id, Box::new(ready)), now);
        }
        queue.grouped |= !ready.message.group().is_empty();
        queue.nonpersistent.put(message, ready);
        self.active.insert(id);
    }

    /// Does what is due in memory.
    pub(super) fn tick_memory(&mut self, cx: &Context<'_>) {
        if self.memory.due.is_none_or(|due| due > cx.now.boot) {
            return;
        }
        self.memory.due = None;
        while let Some(((due_ms, _), _)) = self.memory.later.first_key_value() {
            if *due_ms > cx.now.unix_ms {
                let due_ms = *due_ms;
                self.memory.set(due_ms, cx.now);
                break;
            }
            match self.memory.later.pop_first() {
                Some(((_, message), Later::Expire(queue))) => self.expire_in_memory(queue, message),
                Some(((_, message), Later::Enter(queue, ready))) => {
                    if let Some(state) = self.queues.get_mut(&queue) {
                        state.delayed = state.delayed.saturating_sub(1);
                        self.enter_memory(queue, message, *ready, 0, cx.now);
                    }
                }
                None => break,
            }
        }
    }

    /// A message's time to live is over. One that a consumer has was delivered in time.
    pub(super) fn expire_in_memory(&mut self, id: QueueId, message: MessageId) {
        let Some(queue) = self.queues.get_mut(&id) else { return };
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
        let none = self.queues.get(&id).is_none_or(|state| state.settings.exception == ExceptionDestination::None);
        if !none {
            let bytes = OP_BYTES + MESSAGE_BYTES + message.size() + reason.len();
            let op = EngineOp::SetAside { queue: id, reason, messages: vec![message].into() };
            self.writer.control.push_back(Write { op, then: Then::SetAside, bytes });
        }
    }

    /// A delivery failed. The message is delivered again: at once, after a while, or not any more.
    fn failed_in_memory(&mut self, id: QueueId, message: MessageId, mut ready: Ready, now: Now) {
        let Some(queue) = self.queues.get(&id) else { return };
        let settings = &queue.settings;
        ready.redeliveries = ready.redeliveries.saturating_add(1);
        ready.redelivered = true;
        let most = settings.max_failed_deliveries;
        let mut delay_ms = settings.redelivery_delay_ms(ready.redeliveries);
        if most > 0 && ready.redeliveries >= most {
            match self.dead_letters(id, now) {
                DeadLetters::Taken => {
                    self.memory.forget(message, &ready);
                    let reason = exception_header::deliveries_failed(ready.redeliveries);
                    return self.set_aside(id, ready.message, reason);
                }
                DeadLetters::Wait => delay_ms = settings.kept_ms(ready.redeliveries),
                DeadLetters::Stay => {}
            }
        }
        self.enter_memory(id, message, ready, delay_ms, now);
    }

    /// A consumer rejected a message that is in memory alone.
    fn rejected_in_memory(&mut self, id: QueueId, message: MessageId, mut ready: Ready, reason: String, now: Now) {
        if self.dead_letters(id, now) == DeadLetters::Taken {
            self.memory.forget(message, &ready);
            return self.set_aside(id, ready.message, reason);
        }
        let Some(queue) = self.queues.get(&id) else { return };
        ready.redeliveries = ready.redeliveries.saturating_add(1);
        ready.redelivered = true;
        let delay_ms = queue.settings.kept_ms(ready.redeliveries);
        self.enter_memory(id, message, ready, delay_ms, now);
    }

    /// Settles what of a settlement is in memory alone, and takes it off the settlement. Answers how many a consumer
    /// holds less.
    pub(super) fn settle_in_memory(
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
        for message in refused.collect::<Vec<_>>() {
            if let Some(ready) = self.take_from_memory(consumer, id, message) {
                self.failed_in_memory(id, message, ready, now);
                held += 1;
            }
        }
        let rejected = settlement.rejected.extract_if(.., |(message, _)| message.is_nonpersistent());
        for (message, reason) in rejected.collect::<Vec<_>>() {
            if let Some(ready) = self.take_from_memory(consumer, id, message) {
                self.rejected_in_memory(id, message, ready, reason, now);
                held += 1;
            }
        }
        if let Some(state) = self.consumers.get_mut(&consumer).filter(|_| held > 0) {
            state.progress.settles(done as usize, now.boot);
        }
        held
    }

    fn take_from_memory(&mut self, consumer: ConsumerId, id: QueueId, message: MessageId) -> Option<Ready> {
        let queue = self.queues.get_mut(&id)?;
        let ready = queue.nonpersistent.take_from(message, consumer)?;
        queue.groups.let_go(message);
        Some(ready)
    }

    /// A message that a consumer never had, or never gave to its user, waits again; `counted`: a delivery failed. False
    /// if the consumer does not hold it.
    pub(super) fn back_to_memory(
        &mut self,
        consumer: ConsumerId,
        id: QueueId,
        message: MessageId,
        counted: bool,
        now: Now,
    ) -> bool {
        let Some(mut ready) = self.take_from_memory(consumer, id, message) else { return false };
        if counted {
            self.failed_in_memory(id, message, ready, now);
        } else {
            ready.redelivered = true;
            self.enter_memory(id, message, ready, 0, now);
        }
        true
    }

    /// A transaction that took a message is done (`gone`), or the consumer that it took it from is gone.
    pub(super) fn left_memory(&mut self, id: QueueId, message: MessageId, gone: bool, now: Now) {
        let Some(queue) = self.queues.get_mut(&id) else { return };
        let Some(mut ready) = queue.nonpersistent.take_left(message) else { return };
        queue.groups.let_go(message);
        if gone {
            self.memory.forget(message, &ready);
        } else {
            ready.redelivered = true;
            self.enter_memory(id, message, ready, 0, now);
        }
    }

    /// Deletes all that a queue has in memory alone, whoever has it. Answers how many that were.
    pub(super) fn purge_memory(&mut self, id: QueueId) -> u64 {
        let Some(queue) = self.queues.get_mut(&id) else { return 0 };
        let all = queue.nonpersistent.take_all();
        for (message, ready) in &all {
            queue.groups.let_go(*message);
            self.memory.forget(*message, ready);
        }
        all.len() as u64
    }

    /// A queue is about to go, with what waits for its time there. How many messages that are.
    pub(super) fn drop_memory(&mut self, id: QueueId) -> u64 {
        let mut dropped = self.purge_memory(id);
        let of = |later: &Later| matches!(later, Later::Expire(queue) | Later::Enter(queue, _) if *queue == id);
        let bytes = &mut self.memory.bytes;
        self.memory.later.retain(|_, later| {
            let gone = of(later);
            if let Later::Enter(_, ready) = later
                && gone
            {
                *bytes -= ready.bytes();
                dropped += 1;
            }
            !gone
        });
        dropped
    }
}
