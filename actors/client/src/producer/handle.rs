//! A producer for code that is no actor: sends wait for room in the window, and confirms are futures.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use baton_domain::{Message, QueueName};
use futures::future::BoxFuture;
use ractor::concurrency::{OneshotReceiver, oneshot};
use ractor::{Actor, ActorRef, SpawnErr};
use tokio::sync::Semaphore;

use super::core::cost;
use super::inbox::{Inbox, Permit, Sending};
use super::{
    Confirmed, ProducerActor, ProducerArguments, ProducerEvent, ProducerFailure, ProducerMessage, ProducerOptions,
    Refusal, SendError,
};
use crate::session::{Session, Sink};

/// Resolves once the message is confirmed, as its reliability level promises: for the default level once a majority of
/// the servers has it on disk. A confirmation that is dropped does not stop the message.
#[derive(Debug)]
pub struct Confirmation(OneshotReceiver<Result<Confirmed, SendError>>);

impl Future for Confirmation {
    type Output = Result<Confirmed, SendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|outcome| outcome.unwrap_or(Err(SendError::Stopped)))
    }
}

/// A producer actor and its window. Cheap to clone; when the last clone is dropped, the producer is closed in the
/// background: sent messages are still confirmed if the process lives on.
///
/// ```no_run
/// # use baton_client::producer::{Producer, SendError};
/// # use baton_domain::Message;
/// # async fn example(producer: Producer) -> Result<(), Box<dyn std::error::Error>> {
/// // Both are in flight before the first one is confirmed.
/// let first = producer.send(Message::new("one")).await?;
/// let second = producer.send(Message::new("two")).await?;
/// assert_eq!(first.await?.number, Some(1));
/// if let Err(SendError::Failed { unconfirmed, why }) = second.await {
///     println!("{why}; it may have been stored: {}", unconfirmed.in_doubt);
/// }
/// producer.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Producer {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    actor: ActorRef<ProducerMessage>,
    inbox: Arc<Inbox>,
    messages: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    window_bytes: usize,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // A stopped producer is closed already.
        let _ = self.actor.cast(ProducerMessage::Close);
    }
}

impl Producer {
    /// Spawns a producer for `queue`, which connects in the background.
    ///
    /// # Errors
    /// [`SpawnErr`] if the actor cannot be spawned.
    pub fn spawn(
        session: &Session,
        queue: QueueName,
        options: ProducerOptions,
        events: Option<Sink<ProducerEvent>>,
    ) -> BoxFuture<'static, Result<Self, SpawnErr>> {
        let window_messages = options.window_messages.clamp(1, Semaphore::MAX_PERMITS);
        let window_bytes = options.window_bytes.clamp(1, u32::MAX as usize >> 1);
        let options = ProducerOptions { window_messages, window_bytes, ..options };
        let inbox = Arc::new(Inbox::default());
        let arguments =
            ProducerArguments { session: session.clone(), queue, options, events, inbox: Some(inbox.clone()) };
        Box::pin(async move {
            let (actor, _) = Actor::spawn(None, ProducerActor, arguments).await?;
            let messages = Arc::new(Semaphore::new(window_messages));
            let bytes = Arc::new(Semaphore::new(window_bytes));
            Ok(Self { inner: Arc::new(Inner { actor, inbox, messages, bytes, window_bytes }) })
        })
    }

    /// The actor.
    #[must_use]
    pub fn actor(&self) -> &ActorRef<ProducerMessage> {
        &self.inner.actor
    }

    fn permits(&self, message: &Message) -> u32 {
        u32::try_from(cost(message).min(self.inner.window_bytes)).unwrap_or(u32::MAX)
    }

    /// Sends a message once there is room in the window. Messages of one caller are sent in the order of the calls;
    /// a call that is dropped before it returns sends nothing. The confirmation reports a refusal (too large, failed).
    ///
    /// # Errors
    /// [`SendError::Refused`] hands the message back if the producer is closed.
    pub async fn send(&self, message: Message) -> Result<Confirmation, SendError> {
        let room = async {
            let permit = self.inner.messages.clone().acquire_owned().await.ok()?;
            let bytes = self.inner.bytes.clone().acquire_many_owned(self.permits(&message)).await.ok()?;
            Some(Permit { _message: permit, _bytes: bytes })
        };
        match room.await {
            Some(permit) => self.enqueue(message, permit),
            None => Err(SendError::Refused { message, why: Refusal::Closed }),
        }
    }

    /// Sends a message, and waits until it is confirmed. One message at a time is slow: [`Producer::send`] returns as
    /// soon as the message is in flight, so that many share a round trip.
    ///
    /// # Errors
    /// [`SendError`] hands the message back and says whether it may have been stored.
    pub async fn send_confirmed(&self, message: Message) -> Result<Confirmed, SendError> {
        self.send(message).await?.await
    }

    /// Sends a message if there is room in the window now.
    ///
    /// # Errors
    /// [`SendError::Refused`] hands the message back if the window is full or the producer is closed.
    pub fn try_send(&self, message: Message) -> Result<Confirmation, SendError> {
        let room = || {
            let permit = self.inner.messages.clone().try_acquire_owned().ok()?;
            let bytes = self.inner.bytes.clone().try_acquire_many_owned(self.permits(&message)).ok()?;
            Some(Permit { _message: permit, _bytes: bytes })
        };
        match room() {
            Some(permit) => self.enqueue(message, permit),
            None => Err(SendError::Refused { message, why: Refusal::WindowFull }),
        }
    }

    fn enqueue(&self, message: Message, permit: Permit) -> Result<Confirmation, SendError> {
        let (sender, receiver) = oneshot();
        // An actor that stops closes the inbox, which drops the replies.
        let notify = || drop(self.inner.actor.cast(ProducerMessage::inbox()));
        match self.inner.inbox.put(Sending { message, permit, reply: sender }, notify) {
            Ok(()) => Ok(Confirmation(receiver)),
            Err(message) => Err(SendError::Refused { message, why: Refusal::Closed }),
        }
    }

    /// Waits, without a time limit, until all earlier messages are confirmed.
    ///
    /// # Errors
    /// [`ProducerFailure`] if the producer failed first.
    pub async fn flush(&self) -> Result<(), ProducerFailure> {
        let (sender, receiver) = oneshot();
        self.inner.actor.cast(ProducerMessage::Flush(sender.into())).map_err(|_| ProducerFailure::Stopped)?;
        receiver.await.unwrap_or(Err(ProducerFailure::Stopped))
    }

    /// Waits until all messages are confirmed, has the engine forget the producer, and stops it. Later sends are
    /// refused.
    ///
    /// # Errors
    /// [`ProducerFailure`] if some messages will never be confirmed; the producer is stopped in any case.
    pub async fn close(&self) -> Result<(), ProducerFailure> {
        let (sender, receiver) = oneshot();
        // A stopped actor drops the port.
        let _ = self.inner.actor.cast(ProducerMessage::Flush(sender.into()));
        let _ = self.inner.actor.cast(ProducerMessage::Close);
        let flushed = receiver.await.unwrap_or(Err(ProducerFailure::Stopped));
        // Without a deadline, waiting cannot fail.
        let _ = self.inner.actor.wait(None).await;
        flushed
    }
}
