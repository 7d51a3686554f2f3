//! The transactions that a started engine knows: the last one of each session, and those that are prepared and not decided.

use std::collections::{BTreeMap, BTreeSet};

use baton_domain::clock::BootTime;
use baton_domain::{ConsumerId, InDoubt, MessageId, QueueId, SessionId, TransactionName, TransactionSend};

use super::cache::Cache;
use super::hold::Having;

/// A message that a transaction takes from a consumer; if the transaction is not done, the consumer has it again.
#[derive(Debug, Clone, Copy)]
pub(in crate::engine) struct TransactionHold {
    pub(in crate::engine) queue: QueueId,
    pub(in crate::engine) consumer: ConsumerId,
    pub(in crate::engine) message: MessageId,
    pub(in crate::engine) having: Having,
}

#[derive(Debug, Default)]
pub(in crate::engine) struct Transactions {
    /// The last transaction of each session that this engine did. Its messages are with nobody any more: asked for again,
    /// as its answer was lost, it would seem one that cannot be done. The store is asked about sessions that are not here.
    last: Cache<SessionId, u64>,
    in_doubt: BTreeMap<TransactionName, InDoubt>,
    /// Deadlines after which they are rolled back, for those that have one.
    due: BTreeSet<(BootTime, TransactionName)>,
}

impl Transactions {
    /// The last transaction of a session, if this engine remembers it.
    pub(in crate::engine) fn last(&self, session: SessionId) -> Option<u64> {
        self.last.get(&session).copied()
    }

    /// A session's transaction is done; `most` sessions are remembered.
    pub(in crate::engine) fn done(&mut self, session: SessionId, number: u64, most: usize) {
        self.last.insert(session, number, most);
    }

    #[cfg(test)]
    pub(in crate::engine) fn sessions_len(&self) -> usize {
        self.last.len()
    }

    /// Number of transactions in doubt.
    pub(in crate::engine) fn in_doubt_len(&self) -> usize {
        self.in_doubt.len()
    }

    pub(in crate::engine) fn in_doubt(&self, name: &TransactionName) -> Option<&InDoubt> {
        self.in_doubt.get(name)
    }

    /// All in doubt, by name.
    pub(in crate::engine) fn all_in_doubt(&self) -> impl Iterator<Item = &InDoubt> {
        self.in_doubt.values()
    }

    /// A transaction is in doubt, and is rolled back if it still is at `due`.
    pub(in crate::engine) fn add_in_doubt(&mut self, transaction: InDoubt, due: Option<BootTime>) {
        due.map(|due| self.due.insert((due, transaction.name.clone())));
        self.in_doubt.insert(transaction.name.clone(), transaction);
    }

    /// A transaction is not in doubt any more.
    pub(in crate::engine) fn decided(&mut self, name: &TransactionName) -> Option<InDoubt> {
        self.due.retain(|(_, other)| other != name);
        self.in_doubt.remove(name)
    }

    /// The next transaction whose time is over; each is answered once.
    pub(in crate::engine) fn next_timed_out(&mut self, now: BootTime) -> Option<&InDoubt> {
        while self.due.first().is_some_and(|(due, _)| *due <= now) {
            let (_, name) = self.due.pop_first()?;
            if self.in_doubt.contains_key(&name) {
                return self.in_doubt.get(&name);
            }
        }
        None
    }

    pub(in crate::engine) fn deadline(&self) -> Option<BootTime> {
        self.due.first().map(|(due, _)| *due)
    }
}

/// A transaction as a client asks for it.
#[derive(Debug)]
pub(in crate::engine) struct TransactionRequest {
    pub(in crate::engine) session: SessionId,
    pub(in crate::engine) number: u64,
    pub(in crate::engine) sends: Vec<TransactionSend>,
    pub(in crate::engine) acknowledged: Vec<(ConsumerId, Vec<MessageId>)>,
    /// If it is only to be prepared: an outside coordinator's name for it.
    pub(in crate::engine) name: Option<TransactionName>,
}
