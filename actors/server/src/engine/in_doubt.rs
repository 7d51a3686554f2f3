//! Transactions that are prepared for an outside coordinator and not decided: what they take is there, and nobody gets it.

use std::time::Duration;

use baton_client::protocol::{EngineError, EngineReply, InDoubtStatus};
use baton_domain::{EngineOp, InDoubt, QueueName, SessionId, TransactionName};

use super::EngineConfig;
use super::message::{Effect, RequestId};
use super::running::{Context, Running};
use super::transact::Taken;
use super::writer::Then;

impl Running {
    /// Whether that very transaction is prepared already.
    pub(super) fn is_prepared(
        &self,
        name: &TransactionName,
        session: SessionId,
        number: u64,
        config: &EngineConfig,
    ) -> Result<bool, EngineError> {
        match self.in_doubt.get(name) {
            Some(known) if (known.session, known.number) == (session, number) => Ok(true),
            Some(_) => Err(EngineError::Refused(format!("another transaction {name} is in doubt"))),
            None if self.in_doubt.len() >= config.in_doubt => {
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

    /// A transaction is in doubt: what it takes is withheld.
    pub(super) fn add_in_doubt(&mut self, transaction: InDoubt, cx: &Context<'_>) {
        for (queue, messages) in &transaction.settles {
            let Some(state) = self.queues.get_mut(queue) else { continue };
            for message in messages {
                self.ready_bytes -= state.window(*message).put_in_doubt(*message);
                state.groups.let_go(*message);
            }
            self.active.insert(*queue);
        }
        if cx.config.in_doubt_timeout_ms > 0 {
            let due = cx.now.boot + Duration::from_millis(cx.config.in_doubt_timeout_ms);
            self.in_doubt_due.insert((due, transaction.name.clone()));
        }
        self.in_doubt.insert(transaction.name.clone(), transaction);
    }

    /// Rolls back what nobody decided in time.
    pub(super) fn time_out_in_doubt(&mut self, cx: &mut Context<'_>) {
        while self.in_doubt_due.first().is_some_and(|(due, _)| *due <= cx.now.boot)
            && let Some((_, name)) = self.in_doubt_due.pop_first()
        {
            let Some(transaction) = self.in_doubt.get(&name) else { continue };
            cx.effects.push(Effect::TransactionTimedOut { name: name.clone(), at_ms: transaction.at_ms });
            self.writer.control(
                EngineOp::Resolve { name: name.clone(), commit: false },
                Then::Resolve { request: None, name },
            );
        }
    }

    /// What it took from consumers, it has.
    pub(super) fn prepared(&mut self, transaction: InDoubt, taken: &[Taken], cx: &Context<'_>) {
        self.totals.acknowledged += taken.len() as u64;
        self.add_in_doubt(transaction, cx);
    }

    pub(super) fn resolve_transaction(
        &mut self,
        request: RequestId,
        name: TransactionName,
        commit: bool,
        cx: &mut Context<'_>,
    ) {
        if !self.in_doubt.contains_key(&name) {
            // Under the lease: an engine that was left behind does not know the newest ones.
            return cx.reply(request, EngineReply::Resolved { found: false });
        }
        self.control(EngineOp::Resolve { name: name.clone(), commit }, Then::Resolve { request: Some(request), name });
    }

    /// Tells whoever asked for a decision that it was carried out, or that there was none to make.
    pub(super) fn resolved(&mut self, request: Option<RequestId>, found: bool, cx: &mut Context<'_>) {
        if let Some(request) = request {
            self.answer(request, EngineReply::Resolved { found }, cx);
        }
    }

    /// A transaction is not in doubt any more.
    pub(super) fn decided(&mut self, name: &TransactionName) -> Option<InDoubt> {
        self.in_doubt_due.retain(|(_, other)| other != name);
        self.in_doubt.remove(name)
    }

    /// It was not done: what it had can be delivered again.
    pub(super) fn rolled_back(&mut self, name: &TransactionName) {
        let Some(transaction) = self.decided(name) else { return };
        for (queue, messages) in &transaction.settles {
            let Some(state) = self.queues.get_mut(queue) else { continue };
            messages.iter().for_each(|message| state.window(*message).back_from_doubt(*message));
            self.active.insert(*queue);
        }
    }

    /// Why a destination cannot be purged or deleted: a transaction in doubt needs it as it is.
    pub(super) fn waits_for_decision(&self, destination: &QueueName) -> Option<EngineError> {
        let queue = self.names.get(destination);
        let needs = |transaction: &&InDoubt| {
            transaction.settles.iter().any(|(settled, _)| Some(settled) == queue)
                || transaction.sends.iter().any(|(sent, _)| sent == destination)
        };
        let InDoubt { name, .. } = self.in_doubt.values().find(needs)?;
        let words = format!(
            "transaction {name} is in doubt and needs {destination}: decide it with `baton transaction resolve {name} commit` or `rollback`"
        );
        Some(EngineError::Refused(words))
    }

    pub(super) fn list_in_doubt(&self, request: RequestId, cx: &mut Context<'_>) {
        let status = |transaction: &InDoubt| InDoubtStatus {
            name: transaction.name.clone(),
            at_ms: transaction.at_ms,
            sends: transaction.sends.iter().map(|(queue, count)| (queue.clone(), *count as u64)).collect(),
            acknowledges: transaction
                .settles
                .iter()
                .filter_map(|(queue, messages)| Some((self.queues.get(queue)?.name.clone(), messages.len() as u64)))
                .collect(),
        };
        cx.reply(request, EngineReply::InDoubt(self.in_doubt.values().map(status).collect()));
    }
}
