//! Transactions: what consumers acknowledge and what is sent with it, as one entry.

use baton_client::protocol::{EngineError, EngineReply};
use baton_domain::{
    ConsumerId, EngineOp, InDoubt, MessageId, Prepared, QueueId, SessionId, TransactionName, TransactionSend,
};

use super::message::{Now, RequestId};
use super::running::{Context, Running, remember};
use super::window::Having;
use super::writer::{ID_BYTES, MESSAGE_BYTES, OP_BYTES, Then, Write};

/// A transaction as it was asked for.
#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) session: SessionId,
    pub(super) number: u64,
    pub(super) sends: Vec<TransactionSend>,
    pub(super) acknowledged: Vec<(ConsumerId, Vec<MessageId>)>,
    /// If it is only to be prepared: an outside coordinator's name for it.
    pub(super) name: Option<TransactionName>,
}

/// A message that a transaction takes from a consumer: if it is not done, the consumer has it again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taken {
    queue: QueueId,
    consumer: ConsumerId,
    message: MessageId,
    having: Having,
}

impl Running {
    pub(super) fn open_session(&mut self, request: RequestId, session: SessionId) {
        self.control(EngineOp::OpenSession { session }, Then::OpenSession { request });
    }

    pub(super) fn transact(&mut self, request: RequestId, transaction: Transaction, cx: &mut Context<'_>) {
        let Transaction { session, number, sends, acknowledged, name } = transaction;
        match name.as_ref().map(|name| self.is_prepared(name, session, number, cx.config)) {
            Some(Ok(true)) => return cx.reply(request, EngineReply::Done),
            Some(Err(error)) => return cx.refuse(request, error),
            Some(Ok(false)) | None => {}
        }
        if name.is_none() && self.sessions.get(&session).is_some_and(|last| number <= *last) {
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
            let Some(queue) = self.consumers.get(consumer).map(|state| state.queue) else {
                return cx.refuse(request, EngineError::ConsumerUnknown);
            };
            let Some(state) = self.queues.get_mut(&queue) else {
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
                if name.is_none() && !self.sessions.contains_key(&session) {
                    let op = EngineOp::OpenSession { session };
                    return self.control(op, Then::CheckTransaction { request, session, number, words });
                }
                return cx.reply(request, EngineReply::Error(EngineError::Refused(words)));
            }
            settles.push((queue, messages.iter().copied().filter(|id| !id.is_nonpersistent()).collect()));
        }
        let leaving = |queue: QueueId| {
            let of_it = |consumer| self.consumers.get(consumer).is_some_and(|state| state.queue == queue);
            let leaving = acknowledged.iter().filter(|(consumer, _)| of_it(consumer));
            leaving.map(|(_, messages)| messages.len() as u64).sum()
        };
        let full = sends.iter().find_map(|send| self.refuses(*self.names.get(&send.queue)?, &send.messages, &leaving));
        if let Some(error) = full {
            return cx.refuse(request, error);
        }
        let mut taken = Vec::new();
        for ((consumer, messages), (queue, _)) in acknowledged.into_iter().zip(&settles) {
            if let Some(state) = self.consumers.get_mut(&consumer).filter(|_| !messages.is_empty()) {
                state.progress.settles(messages.len(), cx.now.boot);
            }
            for message in messages {
                taken.extend(self.take_for_transaction(*queue, consumer, message));
            }
            self.active.insert(*queue);
        }
        self.pending += 1;
        settles.retain(|(_, messages)| !messages.is_empty());
        let (op, then) = match name {
            None => {
                let op = EngineOp::Transact { session, number, sends, settles };
                (op, Then::Transact { request, session, number, taken })
            }
            Some(name) => {
                let prepared = Prepared { session, number, at_ms: cx.now.unix_ms, sends, settles };
                let transaction = InDoubt::of(name.clone(), &prepared);
                let Prepared { sends, settles, .. } = prepared;
                let op = EngineOp::Prepare { name, session, number, sends, settles };
                (op, Then::Prepare { request, transaction: Box::new(transaction), taken })
            }
        };
        self.writer.control.push_back(Write { op, then, bytes });
    }

    fn take_for_transaction(&mut self, queue: QueueId, consumer: ConsumerId, message: MessageId) -> Option<Taken> {
        let state = self.queues.get_mut(&queue)?;
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
        if let Some(state) = self.consumers.get_mut(&consumer) {
            state.held -= 1;
        }
        Some(Taken { queue, consumer, message, having })
    }

    /// A transaction was not done: its consumers have their messages again, or if they are gone, the queue has.
    pub(super) fn give_back_taken(&mut self, taken: &[Taken], now: Now) {
        for Taken { queue, consumer, message, having } in taken.iter().copied() {
            let Some(state) = self.queues.get_mut(&queue) else { continue };
            self.active.insert(queue);
            if message.is_nonpersistent() {
                match self.consumers.get_mut(&consumer) {
                    Some(holder) => {
                        state.nonpersistent.hold_again(message, consumer, having.order);
                        holder.held += 1;
                        holder.progress.takes_back();
                    }
                    None => self.left_memory(queue, message, false, now),
                }
                continue;
            }
            match self.consumers.get_mut(&consumer) {
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

    /// The store said which transaction of a session is next: one before it is done, and the others cannot be.
    pub(super) fn checked(
        &mut self,
        request: RequestId,
        (session, number, words): (SessionId, u64, String),
        next: u64,
        cx: &mut Context<'_>,
    ) {
        if number < next {
            remember(&mut self.sessions, session, next - 1, cx.config.producers_remembered);
            return self.answer(request, EngineReply::Done, cx);
        }
        self.answer(request, EngineReply::Error(EngineError::Refused(words)), cx);
    }

    /// A session's transaction is done, now or before.
    pub(super) fn transacted(&mut self, session: SessionId, number: u64, taken: &[Taken], cx: &Context<'_>) {
        remember(&mut self.sessions, session, number, cx.config.producers_remembered);
        self.taken_for_good(taken, cx.now);
    }

    fn taken_for_good(&mut self, taken: &[Taken], now: Now) {
        for Taken { queue, message, .. } in taken {
            if message.is_nonpersistent() {
                self.left_memory(*queue, *message, true, now);
            } else if let Some(state) = self.queues.get_mut(queue) {
                state.window(*message).settled(*message);
                state.groups.let_go(*message);
                self.active.insert(*queue);
            }
        }
        self.totals.acknowledged += taken.len() as u64;
    }
}
