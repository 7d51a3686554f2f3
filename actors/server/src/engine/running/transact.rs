//! Transactions: acknowledgements of consumers and messages that are sent with them, as one entry.

use baton_client::protocol::{EngineError, EngineReply};
use baton_domain::{ConsumerId, Destinations, EngineOp, InDoubt, MessageId, OpResult, Prepared, QueueId, SessionId};

use super::Running;
use crate::engine::context::Context;
use crate::engine::message::{Now, RequestId};
use crate::engine::parts::hold::Having;
use crate::engine::parts::proposals::{ID_BYTES, MESSAGE_BYTES, OP_BYTES};
use crate::engine::parts::purpose::{Purpose, Resolved};
use crate::engine::parts::transactions::{TransactionHold, TransactionRequest};

impl Running {
    pub(in crate::engine) fn open_session(&mut self, request: RequestId, session: SessionId) {
        self.control(EngineOp::OpenSession { session }, Purpose::OpenSession { request });
    }

    pub(in crate::engine) fn session_opened(
        &mut self,
        request: RequestId,
        result: OpResult,
        cx: &mut Context<'_>,
    ) -> Resolved {
        let OpResult::Producer { next, .. } = result else { return Err(result.into()) };
        let reply = self.registered(None, next, (0, 0, false), cx);
        self.answer(request, reply, cx);
        Ok(())
    }

    pub(in crate::engine) fn transact(
        &mut self,
        request: RequestId,
        transaction: TransactionRequest,
        cx: &mut Context<'_>,
    ) {
        let TransactionRequest { session, number, sends, acknowledged, name } = transaction;
        match name.as_ref().map(|name| self.is_prepared(name, session, number, cx.config)) {
            Some(Ok(true)) => return cx.reply(request, EngineReply::Done),
            Some(Err(error)) => return cx.refuse(request, error),
            Some(Ok(false)) | None => {}
        }
        let last = self.transactions.last(session);
        if name.is_none() && last.is_some_and(|last| number <= last) {
            return cx.reply(request, EngineReply::Done);
        }
        let messages = || sends.iter().flat_map(|send| &send.messages);
        if let Some(error) = cx.too_large(messages()) {
            return cx.refuse(request, error);
        }
        let bytes = OP_BYTES
            + messages().map(|message| message.size() + MESSAGE_BYTES).sum::<usize>()
            + acknowledged.iter().map(|(_, messages)| messages.len() * ID_BYTES).sum::<usize>();
        if bytes > cx.config.pending_bytes {
            let (bytes, limit) = (bytes as u64, cx.config.pending_bytes as u64);
            return cx.refuse(request, EngineError::TransactionTooLarge { bytes, limit });
        }
        if let Some(error) = cx.store_full().filter(|_| !sends.is_empty()) {
            return cx.refuse(request, error);
        }
        // All or nothing here too: nothing is taken from a consumer before all that it is to give is there.
        let mut settles: Vec<(QueueId, Vec<MessageId>)> = Vec::new();
        for (consumer, messages) in &acknowledged {
            let Some(queue) = self.consumers.queue(*consumer) else {
                return cx.refuse(request, EngineError::ConsumerUnknown);
            };
            let Some(state) = self.queues.get_mut(queue) else {
                return cx.refuse(request, EngineError::ConsumerUnknown);
            };
            if messages.iter().any(|id| state.window(*id).is_leaving(*id)) {
                // It was asked for before, and the answer is on its way.
                return cx.refuse(request, EngineError::Busy);
            }
            if let Some(id) = messages.iter().find(|id| name.is_some() && id.is_nonpersistent()) {
                let words = format!("message {id} is in memory only and cannot be part of a prepared transaction");
                return cx.reply(request, EngineReply::Error(EngineError::Refused(words)));
            }
            let mut lacks = |id: &MessageId| match id.is_nonpersistent() {
                true => !state.nonpersistent.is_held_by(*id, *consumer),
                false => !state.window(*id).is_held_by(*id, *consumer),
            };
            if let Some(other) = messages.iter().find(|id| lacks(id)) {
                let words = format!("message {other} is not held by the consumer that acknowledges it");
                // It may have been done already, by an engine that has forgotten it: the store knows.
                if name.is_none() && last.is_none() {
                    let op = EngineOp::OpenSession { session };
                    return self.control(op, Purpose::CheckTransaction { request, session, number, words });
                }
                return cx.reply(request, EngineReply::Error(EngineError::Refused(words)));
            }
            settles.push((queue, messages.iter().copied().filter(|id| !id.is_nonpersistent()).collect()));
        }
        let leaving = |queue: QueueId| {
            let leaving = acknowledged.iter().filter(|(consumer, _)| self.consumers.queue(*consumer) == Some(queue));
            leaving.map(|(_, messages)| messages.len() as u64).sum()
        };
        let full = sends.iter().find_map(|send| {
            let queue = self.queues.id(&send.queue)?;
            self.queues.refuses(queue, &send.messages, &leaving)
        });
        if let Some(error) = full {
            return cx.refuse(request, error);
        }
        let mut holds = Vec::new();
        for ((consumer, messages), (queue, _)) in acknowledged.into_iter().zip(&settles) {
            if let Some(state) = self.consumers.get_mut(consumer).filter(|_| !messages.is_empty()) {
                state.progress.settles(messages.len(), cx.now.boot);
            }
            for message in messages {
                holds.extend(self.take_for_transaction(*queue, consumer, message));
            }
            self.queues.wake(*queue);
        }
        self.pending += 1;
        settles.retain(|(_, messages)| !messages.is_empty());
        let (op, purpose) = match name {
            None => {
                let op = EngineOp::Transact { session, number, sends, settles };
                (op, Purpose::Transact { request, session, number, holds })
            }
            Some(name) => {
                let prepared = Prepared { session, number, at_ms: cx.now.unix_ms, sends, settles };
                let transaction = InDoubt::of(name.clone(), &prepared);
                let Prepared { sends, settles, .. } = prepared;
                let op = EngineOp::Prepare { name, session, number, sends, settles };
                (op, Purpose::Prepare { request, transaction: Box::new(transaction), holds })
            }
        };
        self.proposals.control_of(op, purpose, bytes);
    }

    /// The store did a transaction, now or before, or did nothing of it.
    pub(in crate::engine) fn transacted(
        &mut self,
        request: RequestId,
        (session, number): (SessionId, u64),
        holds: &[TransactionHold],
        result: OpResult,
        cx: &mut Context<'_>,
    ) -> Resolved {
        match result {
            OpResult::Changed(changes) => self.changed(changes, cx),
            OpResult::Done => {}
            other => return self.not_transacted(request, holds, other, cx),
        }
        self.transactions.done(session, number, cx.config.producers_remembered);
        self.taken_for_good(holds, cx.now);
        self.answer(request, EngineReply::Done, cx);
        Ok(())
    }

    /// The store prepared a transaction, or did nothing of it.
    pub(in crate::engine) fn prepared(
        &mut self,
        request: RequestId,
        transaction: InDoubt,
        holds: &[TransactionHold],
        result: OpResult,
        cx: &mut Context<'_>,
    ) -> Resolved {
        let OpResult::Done = result else { return self.not_transacted(request, holds, result, cx) };
        self.totals.acknowledged += holds.len() as u64;
        self.add_in_doubt(transaction, cx);
        self.answer(request, EngineReply::Done, cx);
        Ok(())
    }

    fn not_transacted(
        &mut self,
        request: RequestId,
        holds: &[TransactionHold],
        result: OpResult,
        cx: &mut Context<'_>,
    ) -> Resolved {
        let error = match result {
            OpResult::Refused { why } => EngineError::Refused(why),
            OpResult::Gone { message } => EngineError::MessageGone { message },
            OpResult::Gap { expected } => EngineError::Gap { expected },
            OpResult::ProducerUnknown => EngineError::ProducerUnknown,
            other => return Err(other.into()),
        };
        self.give_back_holds(holds, cx.now);
        self.answer_error(request, error, cx);
        Ok(())
    }

    fn take_for_transaction(
        &mut self,
        queue: QueueId,
        consumer: ConsumerId,
        message: MessageId,
    ) -> Option<TransactionHold> {
        let state = self.queues.get_mut(queue)?;
        let having = if message.is_nonpersistent() {
            let order = state.nonpersistent.order_of(message, consumer)?;
            state.nonpersistent.leaving(message);
            Having { redeliveries: 0, order }
        } else {
            let window = state.window(message);
            let having = window.having(message, consumer)?;
            window.leaving(message);
            having
        };
        if let Some(state) = self.consumers.get_mut(consumer) {
            state.held -= 1;
        }
        Some(TransactionHold { queue, consumer, message, having })
    }

    /// A transaction was not done: its consumers have their messages again, or if they are gone, the queue has.
    fn give_back_holds(&mut self, holds: &[TransactionHold], now: Now) {
        for TransactionHold { queue, consumer, message, having } in holds.iter().copied() {
            let Some(state) = self.queues.wake_mut(queue) else { continue };
            if message.is_nonpersistent() {
                match self.consumers.get_mut(consumer) {
                    Some(holder) => {
                        state.nonpersistent.hold_again(message, consumer, having.order);
                        holder.held += 1;
                        holder.progress.takes_back();
                    }
                    None => self.left_memory(queue, message, false, now),
                }
                continue;
            }
            match self.consumers.get_mut(consumer) {
                Some(holder) if state.window(message).hold_again(message, consumer, having) => {
                    holder.held += 1;
                    holder.progress.takes_back();
                }
                Some(_) | None => {
                    state.window(message).stays(message);
                    state.groups.let_go(message);
                }
            }
        }
    }

    fn taken_for_good(&mut self, holds: &[TransactionHold], now: Now) {
        for TransactionHold { queue, message, .. } in holds {
            if message.is_nonpersistent() {
                self.left_memory(*queue, *message, true, now);
            } else if let Some(state) = self.queues.wake_mut(*queue) {
                state.window(*message).settled(*message);
                state.groups.let_go(*message);
            }
        }
        self.totals.acknowledged += holds.len() as u64;
    }

    /// The store said which transaction of a session is next: one before it is done, and the others cannot be.
    pub(in crate::engine) fn transaction_checked(
        &mut self,
        request: RequestId,
        (session, number): (SessionId, u64),
        words: String,
        result: OpResult,
        cx: &mut Context<'_>,
    ) -> Resolved {
        let OpResult::Producer { next, .. } = result else { return Err(result.into()) };
        let reply = if number < next {
            self.transactions.done(session, next - 1, cx.config.producers_remembered);
            EngineReply::Done
        } else {
            EngineReply::Error(EngineError::Refused(words))
        };
        self.answer(request, reply, cx);
        Ok(())
    }
}
