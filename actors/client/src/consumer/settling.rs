//! Settling of a received message by its own methods.

use std::sync::Arc;

use baton_domain::MessageId;
use futures::future::BoxFuture;

use super::{ConsumerFailure, Received};

/// The outcome of a message.
#[derive(Debug)]
pub(super) enum Verdict {
    Acknowledged,
    Requeued,
    Rejected(String),
    Released,
}

/// The consumer of a message.
pub(super) trait Settle: Send + Sync {
    fn settle(&self, id: MessageId, verdict: Verdict) -> Result<(), ConsumerFailure>;
    /// Starts a flush at once; resolves when all earlier verdicts are committed.
    fn flush(&self) -> BoxFuture<'static, Result<(), ConsumerFailure>>;
}

/// The consumer of a message, if the message was given to a user.
#[derive(Clone, Default)]
pub(super) struct Settling(Option<Arc<dyn Settle>>);

impl std::fmt::Debug for Settling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settling").finish_non_exhaustive()
    }
}

/// The consumer is no part of a message's value.
impl PartialEq for Settling {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Settling {}

impl Received {
    pub(super) fn settled_by(self, consumer: Arc<dyn Settle>) -> Self {
        Self { settling: Settling(Some(consumer)), ..self }
    }

    fn settle(&self, verdict: Verdict) -> Result<(), ConsumerFailure> {
        self.settling.0.as_ref().ok_or(ConsumerFailure::Closed)?.settle(self.id, verdict)
    }

    /// Acknowledges the message: it is removed from the queue. Does not wait until a majority of the servers has that
    /// on disk: see [`Received::ack_confirmed`] and [`Consumer::flush`](super::Consumer::flush).
    ///
    /// # Errors
    /// [`ConsumerFailure::Closed`]: the message will be delivered again.
    pub async fn ack(&self) -> Result<(), ConsumerFailure> {
        self.settle(Verdict::Acknowledged)
    }

    /// Acknowledges the message, and waits until a majority of the servers has that on disk.
    ///
    /// # Errors
    /// [`ConsumerFailure`] if the consumer ended first: the outcome is unknown.
    pub async fn ack_confirmed(&self) -> Result<(), ConsumerFailure> {
        self.settle(Verdict::Acknowledged)?;
        self.settling.0.as_ref().ok_or(ConsumerFailure::Closed)?.flush().await
    }

    /// Requeues the message: it is delivered again, to this consumer or another one, and a failed delivery is counted.
    ///
    /// # Errors
    /// [`ConsumerFailure::Closed`]: the message will be delivered again in any case.
    pub async fn requeue(&self) -> Result<(), ConsumerFailure> {
        self.settle(Verdict::Requeued)
    }

    /// Moves the message to the dead letters of its queue, with the reason in its headers: see
    /// [`Consumer::reject`](super::Consumer::reject).
    ///
    /// # Errors
    /// [`ConsumerFailure::Closed`]: the message will be delivered again.
    pub async fn reject(&self, reason: impl Into<String>) -> Result<(), ConsumerFailure> {
        self.settle(Verdict::Rejected(reason.into()))
    }

    /// Releases the message as if it had not been delivered: no failed delivery is counted.
    ///
    /// # Errors
    /// [`ConsumerFailure::Closed`]: the message will be delivered again in any case.
    pub async fn release(&self) -> Result<(), ConsumerFailure> {
        self.settle(Verdict::Released)
    }
}
