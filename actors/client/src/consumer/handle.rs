//! A consumer for code that is no actor.

use std::sync::Arc;

use baton_domain::{ConsumerId, MessageId, QueueName};
use futures::future::BoxFuture;
use ractor::{Actor, ActorRef, SpawnErr};

use super::settling::{Settle, Verdict};
use super::shell::draw_id;
use super::{
    ConsumerActor, ConsumerArguments, ConsumerEvent, ConsumerFailure, ConsumerMessage, ConsumerOptions, Inbox, Output,
    Received,
};
use crate::session::{Session, Sink};

/// A consumer actor and its inbox. Cheap to clone; when the last clone and the last message that it returned are dropped, the
/// consumer is closed in the background: messages that are not settled go back to the queue if the process lives on.
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
        // One that stopped is closed.
        let _ = self.actor.cast(ConsumerMessage::Close);
    }
}

impl Inner {
    fn tell(&self, message: ConsumerMessage) -> Result<(), ConsumerFailure> {
        self.actor.cast(message).map_err(|_| ConsumerFailure::Closed)
    }

    fn settle_in_order(&self, id: MessageId, acknowledged: bool) -> Result<(), ConsumerFailure> {
        let told = self.inbox.settle(id, acknowledged, || self.tell(ConsumerMessage::Settled).is_ok());
        if told { Ok(()) } else { Err(ConsumerFailure::Closed) }
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
    /// Spawns a consumer of `queue`. It connects by itself.
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
            let id = draw_id().map_err(|error| SpawnErr::StartupFailed(error.into()))?;
            let arguments = ConsumerArguments { id: Some(id), session, queue, options, output, events };
            let (actor, _) = Actor::spawn(None, ConsumerActor, arguments).await?;
            Ok(Self { inner: Arc::new(Inner { id, actor, inbox }) })
        })
    }

    /// What the engine knows it by.
    #[must_use]
    pub fn id(&self) -> ConsumerId {
        self.inner.id
    }

    /// Messages that it received were settled by a transaction.
    ///
    /// # Errors
    /// [`ConsumerFailure::Closed`]: it holds nothing any more.
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

    /// The next message, when there is one. Dropped before it is done, it takes none.
    ///
    /// # Errors
    /// [`ConsumerFailure`] once the consumer ended.
    pub async fn recv(&self) -> Result<Received, ConsumerFailure> {
        Ok(self.inner.inbox.take().await?.settled_by(self.inner.clone()))
    }

    /// A message if one is there.
    ///
    /// # Errors
    /// [`ConsumerFailure`] once the consumer ended.
    pub fn try_recv(&self) -> Result<Option<Received>, ConsumerFailure> {
        let received = self.inner.inbox.try_take()?;
        Ok(received.map(|received| received.settled_by(self.inner.clone())))
    }

    /// Acknowledges a message: it is taken off the queue. Does not wait; see [`Consumer::flush`].
    ///
    /// # Errors
    /// [`ConsumerFailure::Closed`]: the message will be delivered again.
    pub fn acknowledge(&self, id: MessageId) -> Result<(), ConsumerFailure> {
        self.inner.settle(id, Verdict::Acknowledged)
    }

    /// Hands a message back: it is delivered again, to this consumer or another, its redelivery count one higher.
    ///
    /// # Errors
    /// [`ConsumerFailure::Closed`]: the message will be delivered again all the same.
    pub fn refuse(&self, id: MessageId) -> Result<(), ConsumerFailure> {
        self.inner.settle(id, Verdict::Requeued)
    }

    /// Hands a message back as if it had not been delivered: no failed delivery is counted.
    ///
    /// # Errors
    /// [`ConsumerFailure::Closed`]: the message will be delivered again all the same.
    pub fn release(&self, id: MessageId) -> Result<(), ConsumerFailure> {
        self.inner.settle(id, Verdict::Released)
    }

    /// Sends a message to the exception destination of its queue, with the reason in its headers (cut after 4 KiB): it is
    /// of no use here. If the queue has no exception destination, or that one has no room, the message stays in its queue,
    /// with one failed delivery more, and is delivered again after a while.
    ///
    /// # Errors
    /// [`ConsumerFailure::Closed`]: the message will be delivered again.
    pub fn reject(&self, id: MessageId, reason: impl Into<String>) -> Result<(), ConsumerFailure> {
        self.inner.settle(id, Verdict::Rejected(reason.into()))
    }

    /// Waits until all that was settled before is committed; as long as it takes.
    ///
    /// # Errors
    /// [`ConsumerFailure`] says why that will never be known.
    pub async fn flush(&self) -> Result<(), ConsumerFailure> {
        self.inner.flush().await
    }

    /// Takes no more messages for now. What is on its way still comes.
    ///
    /// # Errors
    /// [`ConsumerFailure::Closed`].
    pub fn pause(&self) -> Result<(), ConsumerFailure> {
        self.tell(ConsumerMessage::Pause(true))
    }

    /// Goes on after [`Consumer::pause`].
    ///
    /// # Errors
    /// [`ConsumerFailure::Closed`].
    pub fn resume(&self) -> Result<(), ConsumerFailure> {
        self.tell(ConsumerMessage::Pause(false))
    }

    /// Waits until all that was settled is committed, hands back the rest (what nobody received counts as never
    /// delivered), and stops the consumer.
    ///
    /// # Errors
    /// [`ConsumerFailure`] says why not all is known to be committed; the consumer is stopped all the same.
    pub async fn close(&self) -> Result<(), ConsumerFailure> {
        let flushed = self.inner.flush();
        // One that stopped meanwhile is closed.
        let _ = self.tell(ConsumerMessage::Close);
        let flushed = flushed.await;
        // Without a deadline, waiting cannot fail.
        let _ = self.inner.actor.wait(None).await;
        flushed
    }
}
