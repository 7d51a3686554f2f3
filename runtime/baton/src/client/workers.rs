//! Workers: concurrent handlers for the messages of one queue, below one actor.
//!
//! The outcome of a handler settles its message. A handler that panics costs its message a failed delivery, and nothing
//! else. Workers that are closed finish the messages that they have begun, and hand back the rest.

mod actor;

use std::future::Future;

use baton_domain::{Epoch, MessageId};
use ractor::{Actor, ActorRef};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::{Client, ClientError, ConsumerFailure, ConsumerOptions, Received, Sink, ToQueueName, spawned};

pub use actor::{WorkersActor, WorkersArguments, WorkersMessage, WorkersState};

/// The end of a message that a handler returns. A handler may also return `()`, which acknowledges, or a `Result`, whose
/// error requeues.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Settlement {
    /// Done: the message is removed from the queue.
    Ack,
    /// Failed for now: the message is delivered again, and a failed delivery is counted.
    Requeue,
    /// Of no use: the message becomes a dead letter, for this reason.
    Reject(String),
}

impl From<()> for Settlement {
    fn from((): ()) -> Self {
        Self::Ack
    }
}

impl<T: Into<Settlement>, E: std::fmt::Display> From<Result<T, E>> for Settlement {
    fn from(outcome: Result<T, E>) -> Self {
        match outcome {
            Ok(settlement) => settlement.into(),
            Err(error) => {
                tracing::warn!(%error, "a handler failed: its message is requeued");
                Self::Requeue
            }
        }
    }
}

/// Events of workers, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WorkersEvent {
    /// The engine delivers.
    Connected {
        /// The engine's host.
        server: String,
        /// The engine's epoch.
        epoch: Epoch,
    },
    /// The engine went away; handlers go on.
    Disconnected,
    /// A handler panicked: a failed delivery of its message is counted.
    Panicked {
        /// The message.
        message: MessageId,
    },
    /// The workers ended. Always the last event, also if their actor is stopped or killed.
    Closed(Result<(), ConsumerFailure>),
}

/// Options of workers.
///
/// ```
/// use baton::client::WorkerOptions;
///
/// let options = WorkerOptions::default().workers(4).prefetch(20);
/// assert_eq!((options.workers, options.prefetch), (4, 20));
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct WorkerOptions {
    /// Maximum number of handlers that run at a time.
    pub workers: usize,
    /// Messages that wait in memory for a handler.
    pub prefetch: u32,
    /// The consumer's options; its credit is that of the handlers and the prefetch.
    pub consumer: ConsumerOptions,
    /// The receiver of the events.
    pub events: Option<Sink<WorkersEvent>>,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self { workers: 10, prefetch: 10, consumer: ConsumerOptions::default(), events: None }
    }
}

impl std::fmt::Debug for WorkerOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerOptions")
            .field("workers", &self.workers)
            .field("prefetch", &self.prefetch)
            .field("consumer", &self.consumer)
            .finish_non_exhaustive()
    }
}

impl WorkerOptions {
    /// Sets the maximum number of handlers that run at a time; at least 1.
    #[must_use]
    pub fn workers(self, workers: usize) -> Self {
        Self { workers, ..self }
    }

    /// Sets the number of messages that wait in memory for a handler.
    #[must_use]
    pub fn prefetch(self, prefetch: u32) -> Self {
        Self { prefetch, ..self }
    }

    /// Sets the consumer's options, for example a selector.
    #[must_use]
    pub fn consumer(self, consumer: ConsumerOptions) -> Self {
        Self { consumer, ..self }
    }

    /// Sets the receiver of the events.
    #[must_use]
    pub fn events(self, events: Sink<WorkersEvent>) -> Self {
        Self { events: Some(events), ..self }
    }
}

/// Running workers. Cheap to clone; they go on until they are closed, also if all clones are dropped.
#[derive(Debug, Clone)]
pub struct Workers {
    actor: ActorRef<WorkersMessage>,
    ended: watch::Receiver<Option<Result<(), ConsumerFailure>>>,
}

impl Workers {
    /// The actor.
    #[must_use]
    pub fn actor(&self) -> &ActorRef<WorkersMessage> {
        &self.actor
    }

    /// Begins no more messages, waits for the handlers that run, and until a majority of the servers has on disk what they
    /// settled. Messages that were not begun go back to the queue as if they had not been delivered. Waits without a time
    /// limit; if the call is dropped, the workers close in the background.
    ///
    /// # Errors
    /// [`ConsumerFailure`] says why not all is known to be settled; the workers are stopped all the same.
    pub async fn close(&self) -> Result<(), ConsumerFailure> {
        // One that stopped is closed.
        let _ = self.actor.cast(WorkersMessage::close());
        self.ended().await
    }

    /// Waits until the workers end.
    ///
    /// # Errors
    /// [`ConsumerFailure`] if they were not closed in order.
    pub async fn ended(&self) -> Result<(), ConsumerFailure> {
        match self.ended.clone().wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or(Err(ConsumerFailure::Closed)),
            Err(_) => Err(ConsumerFailure::Closed),
        }
    }
}

impl Client {
    /// Workers for a queue: `handler` runs for each value, for several at a time, and its outcome settles the message. A
    /// message that cannot be decoded becomes a dead letter.
    ///
    /// ```no_run
    /// # async fn example(client: baton::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use baton::client::{Settlement, WorkerOptions};
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Order {
    ///     item: String,
    /// }
    ///
    /// let options = WorkerOptions::default().workers(4);
    /// let workers = client
    ///     .workers("orders", options, |order: Order| async move {
    ///         if order.item.is_empty() { Settlement::Reject("no item".to_owned()) } else { Settlement::Ack }
    ///     })
    ///     .await?;
    /// tokio::signal::ctrl_c().await?;
    /// workers.close().await?; // waits for the handlers that run
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ClientError::Name`], [`ClientError::Spawn`]. A missing queue ends the workers: see [`Workers::ended`].
    pub async fn workers<T, F, S>(
        &self,
        queue: impl ToQueueName,
        options: WorkerOptions,
        handler: impl Fn(T) -> F + Send + Sync + 'static,
    ) -> Result<Workers, ClientError>
    where
        T: DeserializeOwned + Send + 'static,
        F: Future<Output = S> + Send + 'static,
        S: Into<Settlement> + 'static,
    {
        spawn(WorkersArguments::values(self, queue.to_queue_name()?, options, handler)).await
    }

    /// As [`Client::workers`], for messages as they are: with their headers, and whatever their bodies are.
    ///
    /// ```no_run
    /// # async fn example(client: baton::Client) -> Result<(), baton::ClientError> {
    /// use baton::client::{Received, WorkerOptions};
    ///
    /// let workers = client
    ///     .message_workers("orders", WorkerOptions::default(), |received: Received| async move {
    ///         println!("{} bytes", received.message.body.len()) // returns (): the message is acknowledged
    ///     })
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Client::workers`].
    pub async fn message_workers<F, S>(
        &self,
        queue: impl ToQueueName,
        options: WorkerOptions,
        handler: impl Fn(Received) -> F + Send + Sync + 'static,
    ) -> Result<Workers, ClientError>
    where
        F: Future<Output = S> + Send + 'static,
        S: Into<Settlement> + 'static,
    {
        spawn(WorkersArguments::messages(self, queue.to_queue_name()?, options, handler)).await
    }
}

async fn spawn(arguments: WorkersArguments) -> Result<Workers, ClientError> {
    let ended = arguments.reports.ended.subscribe();
    let (actor, _) = spawned(Actor::spawn(None, WorkersActor, arguments).await)?;
    Ok(Workers { actor, ended })
}
