//! A consumer for code that is no actor.

use std::sync::Arc;

use baton_domain::{ConsumerId, MessageId, QueueName};
use futures::future::BoxFuture;
use ractor::{Actor, ActorRef, SpawnErr};

use super::settling::{Settle, Verdict};
use super::{
    ConsumerActor, ConsumerArguments, ConsumerEvent, ConsumerFailure, ConsumerMessage, ConsumerOptions, Inbox, Output,
    Received,
};
use crate::session::{Session, Sink};

/// A consumer actor and its inbox. Cheap to clone; when the last clone and the last message that it returned are
/// dropped, the consumer is closed in the background: messages that are not settled go back to the queue if the process
/// lives on.
///
/// ```no_run
/// # use baton_client::consumer::Consumer;
/// # async fn example(consumer: Consumer) -> Result<(), Box<dyn std::error::Error>> {
/// while let Some(received) = consumer.try_recv()? {
///     match std::str::from_utf8(&received.message.body) {
///         Ok(text) => {
///             println!("{text}");
///             received.ack().await?;
///         }
///         Err(error) => received.reject(error.to_string()).await?,
///     }
/// }
/// consumer.close().await?; // the settlements are on disk at a majority
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Consumer {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    id: ConsumerId,
    actor: ActorRef<ConsumerMessage>,
    inbox: Arc<Inbox>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // A stopped consumer is closed already.
        let _ = self.actor.cast(ConsumerMessage::Close);
    }
}

impl Inner {
    fn tell(&self, message: ConsumerMessage) -> Result<(), ConsumerFailure> {
        self.actor.cast(message).map_err(|_| ConsumerFailure::Closed)
    }

    fn settle_in_order(&self, id: MessageId, acknowledged: bool) -> Result<(), ConsumerFailure> {
        let is_settled = self.inbox.settle(id, acknowledged, || self.tell(ConsumerMessage::inbox()).is_ok());
        if is_settled { Ok(()) } else { Err(ConsumerFailure::Closed) }
    }
}

impl Settle for Inner {
    fn settle(&self, id: MessageId, verdict: Verdict) -> Result<(), ConsumerFailure> {
        match verdict {
            Verdict::Acknowledged => self.settle_in_order(id, true),
            Verdict::Requeued => self.settle_in_order(id, false),
            verdict @ (Verdict::Rejected(_) | Verdict::Released) => self.actor.settle(id, verdict),
        }
    }

    fn flush(&self) -> BoxFuture<'static, Result<(), ConsumerFailure>> {
        self.actor.flush()
    }
}

impl Consumer {
    /// Spawns a consumer of `queue`, which connects in the background.
    ///
    /// # Errors
    /// [`SpawnErr`] if the actor cannot be spawned.
    pub fn spawn(
        session: &Session,
        queue: QueueName,
        options: ConsumerOptions,
        events: Option<Sink<ConsumerEvent>>,
    ) -> BoxFuture<'static, Result<Self, SpawnErr>> {
        let session = session.clone();
        Box::pin(async move {
            let inbox = Arc::new(Inbox::default());
            let output = Output::Inbox(inbox.clone());
            let id = ConsumerId::random();
            let arguments = ConsumerArguments { id: Some(id), session, queue, options, output, events };
            let (actor, _) = Actor::spawn(None, ConsumerActor, arguments).await?;
            Ok(Self { inner: Arc::new(Inner { id, actor, inbox }) })
        })
    }

    /// Its id at the engine.
    #[must_use]
    pub fn id(&self) -> ConsumerId {
        self.inner.id
    }

    /// A transaction settled these messages: the consumer no longer holds them.
    ///
    /// # Errors
    /// [`ConsumerFailure::Closed`]: it holds no messages.
    pub fn settled_elsewhere(&self, messages: Vec<MessageId>) -> Result<(), ConsumerFailure> {
        self.tell(ConsumerMessage::SettledElsewhere(messages))
    }

    /// The actor.
    #[must_use]
    pub fn actor(&self) -> &ActorRef<ConsumerMessage> {
        &self.inner.actor
    }

    fn tell(&self, message: ConsumerMessage) -> Result<(), ConsumerFailure> {
        self.inner.tell(message)
    }

    /// Waits for the next message. A call that is dropped before it returns takes none.
    ///
    /// # Errors
    /// [`ConsumerFailure`] once the consumer has ended.
    pub async fn recv(&self) -> Result<Received, ConsumerFailure> {
        Ok(self.inner.inbox.take().await?.settled_by(self.inner.clone()))
    }

    /// The next message, if one has arrived.
    ///
    /// # Errors
    /// [`ConsumerFailure`] once the consumer has ended.
    pub fn try_recv(&self) -> Result<Option<Received>, ConsumerFailure> {
        let received = self.inner.inbox.try_take()?;
        Ok(received.map(|received| received.settled_by(self.inner.clone())))
    }

    /// Acknowledges a message: it is removed from the queue. Does not wait; see [`Consumer::flush`].
    ///
    /// # Errors
    /// [`ConsumerFailure::Closed`]: the message will be delivered again.
    pub fn acknowledge(&self, id: MessageId) -> Result<(), ConsumerFailure> {
        self.inner.settle(id, Verdict::Acknowledged)
    }

    /// Requeues a message: it is delivered again, to this consumer or another one, and a failed delivery is counted.
    ///
    /// # Errors
    /// [`ConsumerFailure::Closed`]: the message will be delivered again in any case.
    pub fn refuse(&self, id: MessageId) -> Result<(), ConsumerFailure> {
        self.inner.settle(id, Verdict::Requeued)
    }

    /// Releases a message as if it had not been delivered: no failed delivery is counted.
    ///
    /// # Errors
    /// [`ConsumerFailure::Closed`]: the message will be delivered again in any case.
    pub fn release(&self, id: MessageId) -> Result<(), ConsumerFailure> {
        self.inner.settle(id, Verdict::Released)
    }

    /// Moves a message to the exception destination of its queue (a dead letter), with the reason in its headers, cut
    /// after 4 KiB. If the queue has no exception destination, or that one is full, the message stays in its queue: a
    /// failed delivery is counted, and it is delivered again after a delay.
    ///
    /// # Errors
    /// [`ConsumerFailure::Closed`]: the message will be delivered again.
    pub fn reject(&self, id: MessageId, reason: impl Into<String>) -> Result<(), ConsumerFailure> {
        self.inner.settle(id, Verdict::Rejected(reason.into()))
    }

    /// Waits, without a time limit, until all earlier settlements are committed.
    ///
    /// # Errors
    /// [`ConsumerFailure`] if the consumer ended first: the outcome is unknown.
    pub async fn flush(&self) -> Result<(), ConsumerFailure> {
        self.inner.flush().await
    }

    /// Stops the deliveries for now. Messages in flight still arrive.
    ///
    /// # Errors
    /// [`ConsumerFailure::Closed`].
    pub fn pause(&self) -> Result<(), ConsumerFailure> {
        self.tell(ConsumerMessage::Pause(true))
    }

    /// Resumes the deliveries after [`Consumer::pause`].
    ///
    /// # Errors
    /// [`ConsumerFailure::Closed`].
    pub fn resume(&self) -> Result<(), ConsumerFailure> {
        self.tell(ConsumerMessage::Pause(false))
    }

    /// Waits until all settlements are committed, hands back the other messages (those that nobody received count as
    /// never delivered), and stops the consumer.
    ///
    /// # Errors
    /// [`ConsumerFailure`] if some settlements are not known to be committed; the consumer is stopped in any case.
    pub async fn close(&self) -> Result<(), ConsumerFailure> {
        let flushed = self.inner.flush();
        // A stopped actor is closed already.
        let _ = self.tell(ConsumerMessage::Close);
        let flushed = flushed.await;
        // Without a deadline, waiting cannot fail.
        let _ = self.inner.actor.wait(None).await;
        flushed
    }
}
