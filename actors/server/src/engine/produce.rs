//! Producers: what is checked before their messages are proposed. What is refused here was not numbered by the store,
//! so that all that follows is refused there as a gap, until it is sent again (invariant 4).

use baton_client::protocol::{EngineError, Opening};
use baton_domain::{DestinationKind, EngineOp, MessageBatch, ProducerId, QueueId, QueueName, topic};

use super::EngineConfig;
use super::message::RequestId;
use super::running::{Context, Producer, Running, remember};
use super::writer::{MESSAGE_BYTES, OP_BYTES, Then, Write};

impl Running {
    /// Puts a write of a producer's request in its lane.
    pub(super) fn produce(&mut self, op: EngineOp, then: Then, bytes: usize) {
        self.pending += 1;
        self.writer.produce(op, then, bytes);
    }

    pub(super) fn open_producer(
        &mut self,
        request: RequestId,
        producer: ProducerId,
        name: QueueName,
        opening: Opening,
        cx: &mut Context<'_>,
    ) {
        if let Some(queue) = self.names.get(&name).copied() {
            let kind = self.queues.get(&queue).map(|state| &state.kind);
            if let Some(DestinationKind::Subscription(_)) = kind {
                let words = format!("{name} is a subscription: send to its topic space");
                return cx.refuse(request, EngineError::Refused(words));
            }
            // A guess, for what is checked before the store answers.
            self.remember_producer(producer, queue, cx);
        }
        let op = match opening {
            Opening::Again { registration } => {
                // A producer that was registered must not be registered afresh.
                let op = EngineOp::TouchProducer { producer, registration };
                return self.produce(op, Then::TouchProducer { request }, OP_BYTES);
            }
            Opening::First => EngineOp::OpenProducer { producer, queue: name.clone() },
            Opening::Claim { seen } => EngineOp::ClaimProducer { producer, queue: name.clone(), seen },
        };
        self.produce(op, Then::OpenProducer { request, producer, name }, OP_BYTES);
    }

    pub(super) fn close_producer(&mut self, request: RequestId, producer: ProducerId) {
        self.producers.remove(&producer);
        let op = EngineOp::ForgetProducers { producers: vec![producer] };
        self.produce(op, Then::CloseProducer { request }, OP_BYTES);
    }

    pub(super) fn send(
        &mut self,
        request: RequestId,
        producer: ProducerId,
        (registration, first): (u64, u64),
        messages: MessageBatch,
        cx: &mut Context<'_>,
    ) {
        let Some(through) = (messages.len() as u64).checked_sub(1).and_then(|more| first.checked_add(more)) else {
            return cx.refuse(request, EngineError::BadRequest("a send request without messages".to_owned()));
        };
        if first == 0 {
            return cx.refuse(request, EngineError::BadRequest("message numbers start at 1".to_owned()));
        }
        let known = self.producers.get(&producer).map(|known| known.queue);
        if let Err(error) = self.check_sent(known, &messages, true, cx) {
            return cx.refuse(request, error);
        }
        let bytes = OP_BYTES + messages.iter().map(|message| message.size() + MESSAGE_BYTES).sum::<usize>();
        if self.writer.produce_bytes > 0 && self.writer.produce_bytes + bytes > cx.config.pending_bytes {
            return cx.refuse(request, EngineError::Busy);
        }
        if let Some(known) = self.producers.get_mut(&producer) {
            known.used_ms = cx.now.unix_ms;
        }
        // Bytes are shared, not copied.
        let then = Then::Send { request, producer, through, messages: messages.clone(), dispatch: false };
        self.produce(EngineOp::Send { producer, registration, first, messages, dispatch: false }, then, bytes);
    }

    /// Whether messages can be taken, for the store or not.
    pub(super) fn check_sent(
        &self,
        queue: Option<QueueId>,
        messages: &MessageBatch,
        stored: bool,
        cx: &Context<'_>,
    ) -> Result<(), EngineError> {
        let why = cx
            .too_large(messages.iter())
            .or_else(|| cx.store_full().filter(|_| stored))
            .or_else(|| self.refuses(queue?, messages, &|_| 0));
        why.map_or(Ok(()), Err)
    }

    /// Why a queue takes no more messages now. What is on its way is not counted: the bound is where refusing begins.
    /// `leaving`: how many messages leave a queue as these come.
    pub(super) fn refuses(
        &self,
        queue: QueueId,
        messages: &MessageBatch,
        leaving: &dyn Fn(QueueId) -> u64,
    ) -> Option<EngineError> {
        let state = self.queues.get(&queue)?;
        let targets = self.forwarded(queue);
        if targets.iter().any(|target| self.topics.contains_key(target)) {
            let wrong = messages.iter().find_map(|message| topic::check_topic(message.asks().topic()).err());
            if let Some(error) = wrong {
                return Some(EngineError::BadTopic(error.to_string()));
            }
        }
        if state.settings.send_paused {
            return Some(EngineError::SendPaused(state.name.clone()));
        }
        let full = |target: QueueId| {
            let state = self.queues.get(&target)?;
            let limit = state.settings.max_messages;
            let full = limit > 0 && state.all_messages().saturating_sub(leaving(target)) >= limit;
            full.then(|| EngineError::QueueFull { queue: state.name.clone(), limit })
        };
        targets.into_iter().find_map(|target| full(target).or_else(|| self.full_subscription(target, messages, &full)))
    }

    /// Whether what is sent to a destination goes to a topic space: then each message needs a topic.
    pub(super) fn publishes(&self, queue: QueueId) -> bool {
        self.forwarded(queue).iter().any(|target| self.topics.contains_key(target))
    }

    /// Whether a subscription of a topic space is `full` that wants one of these messages.
    fn full_subscription(
        &self,
        space: QueueId,
        messages: &MessageBatch,
        full: &dyn Fn(QueueId) -> Option<EngineError>,
    ) -> Option<EngineError> {
        let topics = self.topics.get(&space).filter(|topics| !topics.is_empty())?;
        messages.iter().find_map(|message| {
            topics.matches(message.asks().topic()).into_iter().find_map(|subscription| {
                let error = full(subscription)?;
                self.selects(subscription, &message.message()).then_some(error)
            })
        })
    }

    /// Lets a send promise delivery in the same entry, if its messages go straight to a consumer.
    pub(super) fn mark_dispatch(&self, write: &mut Write, config: &EngineConfig) {
        let (dispatch, promised, queue) = match (&mut write.op, &mut write.then) {
            (EngineOp::Send { dispatch, .. }, Then::Send { producer, dispatch: promised, .. }) => {
                (dispatch, promised, self.producers.get(producer).map(|known| known.queue))
            }
            (EngineOp::Post { dispatch, queue, .. }, Then::Post { dispatch: promised, .. }) => {
                (dispatch, promised, Some(*queue))
            }
            _ => return,
        };
        if let Some(queue) = queue
            // What goes to several queues is promised by each of them.
            && let [target] = self.forwarded(queue)[..]
            && let Some(queue) = self.queues.get(&target)
        {
            let taken = queue
                .consumers
                .iter()
                .any(|consumer| self.consumers.get(consumer).is_some_and(|state| state.recorded && state.credit > 0));
            let fresh = queue.caught_up() && queue.ready_len() < config.dispatch_ahead;
            let delivers = queue.awaited.is_empty() && !queue.settings.receive_paused;
            *dispatch = taken && fresh && delivers;
            *promised = *dispatch;
        }
    }

    /// Remembers a producer's queue.
    pub(super) fn remember_producer(&mut self, producer: ProducerId, queue: QueueId, cx: &Context<'_>) {
        let known = Producer { queue, used_ms: cx.now.unix_ms };
        remember(&mut self.producers, producer, known, cx.config.producers_remembered);
    }

    /// Forgets producers that were found idle, except those that were heard since.
    pub(super) fn forget_idle(&mut self, mut producers: Vec<ProducerId>, before_ms: u64) {
        let heard =
            |producer: &ProducerId| self.producers.get(producer).is_some_and(|known| known.used_ms >= before_ms);
        producers.retain(|producer| !heard(producer));
        if !producers.is_empty() {
            for producer in &producers {
                self.producers.remove(producer);
            }
            self.writer.control(EngineOp::ForgetProducers { producers }, Then::ForgetProducers);
        }
    }
}
