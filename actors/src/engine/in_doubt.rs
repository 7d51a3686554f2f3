//! Transactions that are prepared for an outside coordinator and not decided: what they take is there, and nobody gets it.

use baton_storage::{EngineOp, InDoubt, ProducerId, QueueName, TransactionName};

use super::EngineConfig;
use super::message::RequestId;
use super::running::{Context, Running};
use super::transact::Taken;
use super::writer::Then;
use crate::protocol::{EngineError, EngineReply, InDoubtStatus};

impl Running {
    /// Whether that very transaction is prepared already.
    pub(super) fn is_prepared(
        &self,
        name: &TransactionName,
        session: ProducerId,
        number: u64,
        config: &EngineConfig,
    ) -> Result<bool, EngineError> {
        match self.in_doubt.get(name) {
            Some(known) if (known.session, known.number) == (session, number) => Ok(true),
            Some(_) => Err(EngineError::Refused(format!("another transaction {name} is in doubt"))),
            None if self.in_doubt.len() >= config.in_doubt => {
                let words =
                    format!("{} transactions are in doubt: `baton transaction list` names them", config.in_doubt);
                Err(EngineError::Refused(words))
            }
            None => Ok(false),
        }
    }

    /// A transaction is in doubt: what it takes is withheld.
    pub(super) fn add_in_doubt(&mut self, transaction: InDoubt) {
        for (queue, messages) in &transaction.settles {
            let Some(state) = self.queues.get_mut(queue) else { continue };
            for message in messages {
                self.ready_bytes -= state.window(*message).put_in_doubt(*message);
                state.groups.let_go(*message);
            }
            self.active.insert(*queue);
        }
        self.in_doubt.insert(transaction.name.clone(), transaction);
    }

    /// What it took from consumers, it has.
    pub(super) fn prepared(&mut self, transaction: InDoubt, taken: &[Taken]) {
        self.totals.acknowledged += taken.len() as u64;
        self.add_in_doubt(transaction);
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
        self.control(EngineOp::Resolve { name: name.clone(), commit }, Then::Resolve { request, name });
    }

    /// It was not done: what it had can be delivered again.
    pub(super) fn rolled_back(&mut self, name: &TransactionName) {
        let Some(transaction) = self.in_doubt.remove(name) else { return };
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
            "the transaction {name} is in doubt and needs {destination}: decide it with `baton transaction resolve {name} commit` or `rollback`"
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
