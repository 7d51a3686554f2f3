//! Receives the messages of one queue, and settles them.
//!
//! Owns the ids of what its user was given and has not settled, and of what is settled and not known to be committed.
//! Promises (invariant 3 of the design) that an acknowledgement is sent until the engine has committed it, and that a
//! failover alone brings no message to the user twice while the consumer lives: it attaches to the next engine with
//! the ids that it holds, and drops and acknowledges anew what it has settled before.

mod handle;
mod inbox;
mod recent;
mod settling;
mod shell;
mod state;
mod stream;

#[cfg(test)]
mod simulation;

use std::time::Duration;

use baton_domain::{Epoch, Message, MessageId, QueueName};

use crate::protocol::{Delivery, Kind};
use settling::Settling;

pub use handle::Consumer;
pub use inbox::Inbox;
pub use shell::{ConsumerActor, ConsumerArguments, ConsumerMessage, Output};
pub use stream::ConsumerStream;

/// A message that was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// What it is settled by.
    pub id: MessageId,
    /// The epoch of the engine that delivered it: never older than that of a message received before.
    pub epoch: Epoch,
    /// How often it was handed back before.
    pub redeliveries: u32,
    /// Whether it may have been delivered before.
    pub redelivered: bool,
    /// The message.
    pub message: Message,
    /// How it is settled; not part of what it is.
    settling: Settling,
}

impl Received {
    /// A delivery of that engine. It is settled by its consumer once that gives it out.
    #[doc(hidden)]
    #[must_use]
    pub fn new(epoch: Epoch, delivery: Delivery) -> Self {
        let Delivery { id, redeliveries, redelivered, message } = delivery;
        Self { id, epoch, redeliveries, redelivered, message, settling: Settling::default() }
    }
}

/// How a consumer works.
#[derive(Debug, Clone)]
pub struct ConsumerOptions {
    /// The most messages that the consumer holds unsettled, in memory or at its user. The engine may allow fewer.
    pub credit: u32,
    /// How many settled ids are remembered, so that a late second copy is not given to the user again.
    pub remember: usize,
    /// How long the engine has to answer a request before the consumer looks for it anew and attaches again.
    pub call_timeout: Duration,
    /// If there is no such queue, it is created as one of these, and goes when the consumer goes: a place for answers, or
    /// a subscription that is not durable.
    pub temporary: Option<Kind>,
    /// Which messages it wants: what a [`baton_domain::Selector`] selects; empty: all. The others stay for other
    /// consumers.
    pub selector: String,
    /// How often an idle consumer asks whether the engine still knows it; if not, it attaches again.
    pub keep_alive: Duration,
    /// For how long a consumer whose queue was deleted goes on asking for a queue of that name before it ends: one that is
    /// created anew in that time gets its consumers back. 0: it ends at once.
    pub deleted_grace: Duration,
}

impl Default for ConsumerOptions {
    fn default() -> Self {
        Self {
            credit: 1_000,
            remember: 100_000,
            call_timeout: Duration::from_secs(5),
            temporary: None,
            selector: String::new(),
            keep_alive: Duration::from_secs(2),
            deleted_grace: Duration::from_secs(10),
        }
    }
}

/// What a consumer reports, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConsumerEvent {
    /// The engine delivers.
    Connected {
        /// The engine's host.
        server: String,
        /// The engine's epoch.
        epoch: Epoch,
    },
    /// The engine went away; what is held stays held.
    Disconnected,
    /// These messages are settled for good: a majority has it on disk.
    Settled {
        /// The messages, acknowledged or refused.
        messages: Vec<MessageId>,
    },
    /// The consumer ended by itself; nothing more is delivered, and what is not settled yet never will be by it. The last event.
    Failed(ConsumerFailure),
    /// The consumer ended as it was told: it was closed, or its session was. The last event.
    Closed,
}

/// Why a consumer ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConsumerFailure {
    /// There is no such queue.
    #[error("there is no queue {0}: create it with `baton queue create {0}`")]
    NoSuchQueue(QueueName),
    /// The queue was deleted, with what the consumer held of it, and was not created again in time.
    #[error("queue {0} was deleted")]
    QueueDeleted(QueueName),
    /// The engine refused, or engine and consumer do not understand each other.
    #[error("the engine refused: {0}")]
    Protocol(String),
    /// The consumer was closed, or its actor is gone.
    #[error("the consumer is closed")]
    Closed,
}
