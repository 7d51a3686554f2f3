//! Receives the messages of one queue, and settles them.
//!
//! Owns the ids of the messages that its user received and has not settled, and of those whose settlement is not known
//! to be committed. Promises (invariant 3 of the design) that an acknowledgement is sent until the engine has committed
//! it, and that a failover alone brings no message to the user twice while the consumer lives: it attaches to the next
//! engine with the ids that it holds, and drops copies of settled messages and acknowledges them again.
//!
//! [`Consumer`] is a handle for code that is no actor; actors spawn [`ConsumerActor`] and cast [`ConsumerMessage`]s.
//! The decisions are in `state`, the actor in `shell`.

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

/// A received message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Its id, for settling it.
    pub id: MessageId,
    /// Epoch of the engine that delivered it: never older than that of a message received before.
    pub epoch: Epoch,
    /// Number of its failed deliveries. A message that was only released has none.
    pub redeliveries: u32,
    /// True if a user of a consumer may have been given the message before, in this queue: its delivery failed, it was
    /// released, or an earlier engine may have delivered it. False is a promise: no user was given it. A message that a
    /// consumer had in memory and gave to nobody is not redelivered, as far as the engine knows that.
    pub redelivered: bool,
    /// The message.
    pub message: Message,
    /// The consumer that settles it; not compared.
    settling: Settling,
}

impl Received {
    /// A delivery of that engine. The consumer that returns it to a user settles it.
    #[doc(hidden)]
    #[must_use]
    pub fn new(epoch: Epoch, delivery: Delivery) -> Self {
        let Delivery { id, redeliveries, redelivered, message } = delivery;
        Self { id, epoch, redeliveries, redelivered, message, settling: Settling::default() }
    }
}

/// Options of a consumer.
///
/// ```
/// use baton_client::consumer::ConsumerOptions;
///
/// let options = ConsumerOptions::default().credit(10).selector("tons >= 100");
/// assert_eq!(options.credit, 10);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConsumerOptions {
    /// Prefetch: maximum unsettled messages, in memory or at the user. The engine may allow fewer.
    pub credit: u32,
    /// Number of settled ids that are remembered, to filter late duplicates.
    pub remember: usize,
    /// Time limit of a request; then the consumer locates the engine again and attaches again.
    pub call_timeout: Duration,
    /// Creates a missing queue as one of these, and deletes it when the consumer goes: a reply queue, or a non-durable
    /// subscription.
    pub temporary: Option<Kind>,
    /// A [`baton_domain::Selector`]; empty: all messages. Messages not selected stay for other consumers.
    pub selector: String,
    /// Interval at which an idle consumer checks that the engine still knows it; if not, it attaches again.
    pub keep_alive: Duration,
    /// Time for which a consumer whose queue was deleted waits for a queue of that name before it ends: a queue that is
    /// created again in that time gets its consumers back. 0: it ends at once.
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

impl ConsumerOptions {
    /// Sets the prefetch: the maximum number of unsettled messages.
    #[must_use]
    pub fn credit(self, credit: u32) -> Self {
        Self { credit, ..self }
    }

    /// Sets the number of settled ids that are remembered.
    #[must_use]
    pub fn remember(self, remember: usize) -> Self {
        Self { remember, ..self }
    }

    /// Sets the time limit of a request to the engine.
    #[must_use]
    pub fn call_timeout(self, call_timeout: Duration) -> Self {
        Self { call_timeout, ..self }
    }

    /// Makes the destination temporary: created if it is missing, and deleted when the consumer goes.
    #[must_use]
    pub fn temporary(self, kind: Kind) -> Self {
        Self { temporary: Some(kind), ..self }
    }

    /// Sets the selector of the messages.
    #[must_use]
    pub fn selector(self, selector: impl Into<String>) -> Self {
        Self { selector: selector.into(), ..self }
    }

    /// Sets the interval at which an idle consumer checks that the engine still knows it.
    #[must_use]
    pub fn keep_alive(self, keep_alive: Duration) -> Self {
        Self { keep_alive, ..self }
    }

    /// Sets the time for which a consumer waits for a queue that was deleted.
    #[must_use]
    pub fn deleted_grace(self, deleted_grace: Duration) -> Self {
        Self { deleted_grace, ..self }
    }
}

/// Events of a consumer, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConsumerEvent {
    /// The engine delivers.
    Connected {
        /// The engine's host.
        server: String,
        /// The engine's epoch.
        epoch: Epoch,
    },
    /// The engine went away; messages held stay held.
    Disconnected,
    /// These messages are settled for good: on disk at a majority.
    Settled {
        /// The messages, acknowledged or refused.
        messages: Vec<MessageId>,
    },
    /// The consumer failed: nothing more is delivered, and unsettled messages stay unsettled. The last event.
    Failed(ConsumerFailure),
    /// The consumer was closed, or its session was. The last event.
    Closed,
}

/// Error of a consumer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConsumerFailure {
    /// There is no such queue.
    #[error("there is no queue {0}: create it with `baton queue create {0}`")]
    NoSuchQueue(QueueName),
    /// The queue was deleted, with the messages held, and was not created again in time.
    #[error("queue {0} was deleted")]
    QueueDeleted(QueueName),
    /// The engine refused a request, or engine and consumer are of incompatible versions.
    #[error("the engine refused: {0}")]
    Protocol(String),
    /// The consumer was closed, or its actor ended.
    #[error("the consumer is closed")]
    Closed,
}
