//! Transactions that are prepared for an outside coordinator, and not decided yet.

use serde::{Deserialize, Serialize};

use super::{MessageId, QueueId, QueueName, SessionId, TransactionName, TransactionSend};

/// A prepared transaction as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepared {
    /// The session that prepared it.
    pub session: SessionId,
    /// Its number in that session.
    pub number: u64,
    /// When, in Unix milliseconds by the engine's clock.
    pub at_ms: u64,
    /// What is sent if it is committed.
    pub sends: Vec<TransactionSend>,
    /// What is taken off queues if it is committed. Until it is decided, it is there and nobody gets it.
    pub settles: Vec<(QueueId, Vec<MessageId>)>,
}

/// A prepared transaction without the bodies of what it sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InDoubt {
    /// The outside coordinator's name for it.
    pub name: TransactionName,
    /// The session that prepared it.
    pub session: SessionId,
    /// Its number in that session.
    pub number: u64,
    /// When, in Unix milliseconds by the engine's clock.
    pub at_ms: u64,
    /// How many messages it sends where.
    pub sends: Vec<(QueueName, usize)>,
    /// What it takes off queues.
    pub settles: Vec<(QueueId, Vec<MessageId>)>,
}

impl InDoubt {
    /// What is left of a prepared transaction without the bodies.
    #[must_use]
    pub fn of(name: TransactionName, prepared: &Prepared) -> Self {
        let Prepared { session, number, at_ms, ref sends, ref settles } = *prepared;
        let sends = sends.iter().map(|send| (send.queue.clone(), send.messages.len())).collect();
        Self { name, session, number, at_ms, sends, settles: settles.clone() }
    }
}
