//! Producers: checks before their messages are proposed. Messages refused here were not numbered by the store, so that all
//! that follow are refused there as a gap, until they are sent again (invariant 4).

use baton_client::protocol::{EngineError, EngineReply, Opening};
use baton_domain::seeded::{self, Bug};
use baton_domain::{Destinations, EngineOp, MessageBatch, OpResult, ProducerId, QueueId, QueueName};

use super::Running;
use crate::engine::context::Context;
use crate::engine::message::RequestId;
use crate::engine::parts::proposals::{MESSAGE_BYTES, OP_BYTES};
use crate::engine::parts::purpose::{Purpose, Resolved};

impl Running {
    pub(in crate::engine) fn open_producer(
        &mut self,
        request: RequestId,
        producer: ProducerId,
        name: QueueName,
        opening: Opening,
        cx: &mut Context<'_>,
    ) {
        if let Some(queue) = self.queues.id(&name) {
            if self.queues.is_subscription(queue) {
                let words = format!("{name} is a subscription: send to its topic space");
                return cx.refuse(request, EngineError::Refused(words));
            }
            // A guess, for checks before the store answers.
            self.producers.remember(producer, queue, cx.config, cx.now);
        }
        let op = match opening {
            Opening::Again { registration } => {
                // A producer that was registered must not be registered afresh.
                let op = EngineOp::TouchProducer { producer, registration };
                return self.produce(op, Purpose::TouchProducer { request }, OP_BYTES);
            }
            Opening::First => EngineOp::OpenProducer { producer, queue: name.clone() },
            Opening::Claim { seen } => EngineOp::ClaimProducer { producer, queue: name.clone(), seen },
        };
        self.produce(op, Purpose::OpenProducer { request, producer, name }, OP_BYTES);
    }

    pub(in crate::engine) fn producer_opened(
        &mut self,
        request: RequestId,
        producer: ProducerId,
        name: QueueName,
        result: OpResult,
        cx: &mut Context<'_>,
    ) -> Resolved {
        let reply = match result {
            OpResult::Producer { queue, next, registration, digest, claimed } => {
                self.producers.remember(producer, queue, cx.config, cx.now);
                let next = if seeded::is(Bug::NumberTooLow) { next.max(2) - 1 } else { next };
                self.registered(Some(queue), next, (registration, digest, claimed), cx)
            }
            OpResult::NoSuchQueue => EngineReply::Error(EngineError::NoSuchQueue(name)),
            other => return Err(other.into()),
        };
        self.answer(request, reply, cx);
        Ok(())
    }

    pub(in crate::engine) fn producer_touched(
        &mut self,
        request: RequestId,
        result: OpResult,
        cx: &mut Context<'_>,
    ) -> Resolved {
        let reply = match result {
            OpResult::Producer { queue, next, registration, .. } => {
                self.registered(Some(queue), next, (registration, 0, false), cx)
            }
            OpResult::Fenced => EngineReply::Error(EngineError::Fenced),
            OpResult::ProducerUnknown => EngineReply::Error(EngineError::ProducerUnknown),
            other => return Err(other.into()),
        };
        self.answer(request, reply, cx);
        Ok(())
    }

    /// The reply to a producer, or to a session of transactions (without a queue), that is registered.
    pub(in crate::engine) fn registered(
        &self,
        queue: Option<QueueId>,
        next: u64,
        (registration, digest, claimed): (u64, u64, bool),
        cx: &Context<'_>,
    ) -> EngineReply {
        let state = queue.and_then(|queue| self.queues.get(queue));
        let reliability = state.map(|state| state.settings.reliability).unwrap_or_default();
        let publishes = queue.is_some_and(|queue| self.queues.publishes(queue));
        let (epoch, limits) = (self.epoch, cx.limits());
        EngineReply::Producer { epoch, next, limits, reliability, publishes, registration, digest, claimed }
    }

    pub(in crate::engine) fn close_producer(&mut self, request: RequestId, producer: ProducerId) {
        self.producers.forget(producer);
        let op = EngineOp::ForgetProducers { producers: vec![producer] };
        self.produce(op, Purpose::CloseProducer { request }, OP_BYTES);
    }

    pub(in crate::engine) fn producer_closed(
        &mut self,
        request: RequestId,
        result: OpResult,
        cx: &mut Context<'_>,
    ) -> Resolved {
        let OpResult::Done = result else { return Err(result.into()) };
        self.answer(request, EngineReply::Done, cx);
        Ok(())
    }

    pub(in crate::engine) fn send(
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
        let known = self.producers.queue(producer);
        if let Err(error) = self.queues.check_sent(known, &messages, true, cx) {
            return cx.refuse(request, error);
        }
        let bytes = OP_BYTES + messages.iter().map(|message| message.size() + MESSAGE_BYTES).sum::<usize>();
        if self.proposals.is_full(bytes, cx.config) {
            return cx.refuse(request, EngineError::Busy);
        }
        self.producers.heard(producer, cx.now);
        // Bytes are shared, not copied.
        let purpose = Purpose::Send { request, producer, through, messages: messages.clone(), dispatch: false };
        self.produce(EngineOp::Send { producer, registration, first, messages, dispatch: false }, purpose, bytes);
    }

    /// Messages were stored, or refused by the store.
    pub(in crate::engine) fn sent(
        &mut self,
        sent: Sent<'_>,
        result: OpResult,
        at_ms: u64,
        cx: &mut Context<'_>,
    ) -> Resolved {
        let Sent { request, producer, through, messages, dispatch } = sent;
        let reply = match result {
            OpResult::Sent { queue, .. } => {
                if self.producers.queue(producer).is_none() {
                    // A guess too: its messages may be forwarded.
                    self.producers.remember(producer, queue, cx.config, cx.now);
                }
                self.totals.confirmed += messages.len() as u64;
                self.stored(messages, dispatch, &result, at_ms, cx);
                EngineReply::Sent { through }
            }
            OpResult::Published { .. } => {
                self.totals.confirmed += messages.len() as u64;
                self.published(messages, result, at_ms, cx);
                EngineReply::Sent { through }
            }
            OpResult::Fenced => EngineReply::Error(EngineError::Fenced),
            OpResult::Gap { expected } => EngineReply::Error(EngineError::Gap { expected }),
            OpResult::ProducerUnknown | OpResult::NoSuchQueue => EngineReply::Error(EngineError::ProducerUnknown),
            other => return Err(other.into()),
        };
        self.answer(request, reply, cx);
        Ok(())
    }

    /// Forgets producers that were found idle, except those that were heard since.
    pub(in crate::engine) fn forget_idle(&mut self, producers: Vec<ProducerId>, before_ms: u64) {
        let producers = self.producers.forget_idle(producers, before_ms);
        if !producers.is_empty() {
            self.proposals.control(EngineOp::ForgetProducers { producers }, Purpose::ForgetProducers);
        }
    }
}

/// A send whose result came.
pub(in crate::engine) struct Sent<'a> {
    pub(in crate::engine) request: RequestId,
    pub(in crate::engine) producer: ProducerId,
    pub(in crate::engine) through: u64,
    pub(in crate::engine) messages: &'a MessageBatch,
    pub(in crate::engine) dispatch: bool,
}
