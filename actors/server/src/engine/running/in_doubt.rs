//! Transactions that are prepared for an outside coordinator and not decided: the messages that they take are there, and
//! nobody gets them.

use std::time::Duration;

use baton_client::protocol::{EngineError, EngineReply, InDoubtStatus};
use baton_domain::{Destinations, EngineOp, InDoubt, OpResult, QueueName, SessionId, TransactionName};

use super::Running;
use crate::engine::config::EngineConfig;
use crate::engine::context::Context;
use crate::engine::message::{Effect, RequestId};
use crate::engine::parts::purpose::{Purpose, Resolved};

impl Running {
    /// True if that very transaction is prepared already.
    pub(in crate::engine) fn is_prepared(
        &self,
        name: &TransactionName,
        session: SessionId,
        number: u64,
        config: &EngineConfig,
    ) -> Result<bool, EngineError> {
        match self.transactions.in_doubt(name) {
            Some(known) if (known.session, known.number) == (session, number) => Ok(true),
            Some(_) => Err(EngineError::Refused(format!("another transaction {name} is in doubt"))),
            None if self.transactions.in_doubt_len() >= config.in_doubt => {
                let words = format!(
                    "the limit of {} prepared transactions is reached: decide some with `baton transaction resolve`; \
                     `baton transaction list` shows the oldest first, and `[timing] in_doubt_timeout_ms` in the servers' \
                     files makes the engine roll back old ones",
                    config.in_doubt
                );
                Err(EngineError::Refused(words))
            }
            None => Ok(false),
        }
    }

    /// A transaction is in doubt: the messages that it takes are withheld.
    pub(in crate::engine) fn add_in_doubt(&mut self, transaction: InDoubt, cx: &Context<'_>) {
        for (queue, messages) in &transaction.settles {
            let Some(state) = self.queues.wake_mut(*queue) else { continue };
            for message in messages {
                self.ready_memory.freed(state.window(*message).put_in_doubt(*message));
                state.groups.let_go(*message);
            }
        }
        let timeout_ms = cx.config.in_doubt_timeout_ms;
        let due = (timeout_ms > 0).then(|| cx.now.boot + Duration::from_millis(timeout_ms));
        self.transactions.add_in_doubt(transaction, due);
    }

    /// Rolls back transactions that nobody decided in time.
    pub(in crate::engine) fn time_out_in_doubt(&mut self, cx: &mut Context<'_>) {
        while let Some(InDoubt { name, at_ms, .. }) = self.transactions.next_timed_out(cx.now.boot) {
            let (name, at_ms) = (name.clone(), *at_ms);
            cx.effects.push(Effect::TransactionTimedOut { name: name.clone(), at_ms });
            let op = EngineOp::Resolve { name: name.clone(), commit: false };
            self.proposals.control(op, Purpose::Decide { request: None, name });
        }
    }

    pub(in crate::engine) fn decide(
        &mut self,
        request: RequestId,
        name: TransactionName,
        commit: bool,
        cx: &mut Context<'_>,
    ) {
        if self.transactions.in_doubt(&name).is_none() {
            // Under the lease: an engine that was left behind does not know the newest ones.
            return cx.reply(request, EngineReply::Resolved { found: false });
        }
        let op = EngineOp::Resolve { name: name.clone(), commit };
        self.control(op, Purpose::Decide { request: Some(request), name });
    }

    /// A decision was carried out, or there was none to make.
    pub(in crate::engine) fn decided(
        &mut self,
        request: Option<RequestId>,
        name: &TransactionName,
        result: OpResult,
        cx: &mut Context<'_>,
    ) -> Resolved {
        let found = match result {
            OpResult::Changed(changes) => {
                self.changed(changes, cx);
                self.transactions.decided(name);
                true
            }
            OpResult::Done => {
                self.rolled_back(name);
                true
            }
            OpResult::NoSuchTransaction => false,
            other => return Err(other.into()),
        };
        if let Some(request) = request {
            self.answer(request, EngineReply::Resolved { found }, cx);
        }
        Ok(())
    }

    /// A transaction was not done: its messages can be delivered again.
    fn rolled_back(&mut self, name: &TransactionName) {
        let Some(transaction) = self.transactions.decided(name) else { return };
        for (queue, messages) in &transaction.settles {
            let Some(state) = self.queues.wake_mut(*queue) else { continue };
            messages.iter().for_each(|message| state.window(*message).back_from_doubt(*message));
        }
    }

    /// The reason why a destination cannot be purged or deleted: a transaction in doubt needs it as it is.
    pub(in crate::engine) fn waits_for_decision(&self, destination: &QueueName) -> Option<EngineError> {
        let queue = self.queues.id(destination);
        let needs = |transaction: &&InDoubt| {
            transaction.settles.iter().any(|(settled, _)| Some(*settled) == queue)
                || transaction.sends.iter().any(|(sent, _)| sent == destination)
        };
        let InDoubt { name, .. } = self.transactions.all_in_doubt().find(needs)?;
        let words = format!(
            "transaction {name} is in doubt and needs {destination}: decide it with `baton transaction resolve {name} commit` or `rollback`"
        );
        Some(EngineError::Refused(words))
    }

    pub(in crate::engine) fn list_in_doubt(&self, request: RequestId, cx: &mut Context<'_>) {
        let status = |transaction: &InDoubt| InDoubtStatus {
            name: transaction.name.clone(),
            at_ms: transaction.at_ms,
            sends: transaction.sends.iter().map(|(queue, count)| (queue.clone(), *count as u64)).collect(),
            acknowledges: transaction
                .settles
                .iter()
                .filter_map(|(queue, messages)| Some((self.queues.get(*queue)?.name.clone(), messages.len() as u64)))
                .collect(),
        };
        cx.reply(request, EngineReply::InDoubt(self.transactions.all_in_doubt().map(status).collect()));
    }
}
