//! The actor of the workers: it hands messages to handlers, and settles them.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use baton_domain::QueueName;
use futures::FutureExt;
use futures::future::BoxFuture;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{Settlement, WorkerOptions, WorkersEvent};
use crate::client::typed::value_of;
use crate::client::{Client, Consumer, ConsumerEvent, ConsumerFailure, Received, Sink};

type Handler = Arc<dyn Fn(Received) -> BoxFuture<'static, Settlement> + Send + Sync>;

/// Arguments of [`WorkersActor`].
pub struct WorkersArguments {
    client: Client,
    queue: QueueName,
    options: WorkerOptions,
    handler: Handler,
    pub(super) reports: Arc<Reports>,
}

impl WorkersArguments {
    /// Workers whose handler takes the messages as they are.
    pub fn messages<F, S>(
        client: &Client,
        queue: QueueName,
        options: WorkerOptions,
        handler: impl Fn(Received) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = S> + Send + 'static,
        S: Into<Settlement> + 'static,
    {
        let handler = Arc::new(move |received: Received| handler(received).map(Into::<Settlement>::into).boxed());
        let reports = Arc::new(Reports::new(options.events.clone()));
        Self { client: client.clone(), queue, options, handler, reports }
    }

    /// Workers whose handler takes values: see [`TypedConsumer`](crate::client::TypedConsumer). A message that cannot be decoded
    /// becomes a dead letter.
    pub fn values<T, F, S>(
        client: &Client,
        queue: QueueName,
        options: WorkerOptions,
        handler: impl Fn(T) -> F + Send + Sync + 'static,
    ) -> Self
    where
        T: DeserializeOwned + Send + 'static,
        F: Future<Output = S> + Send + 'static,
        S: Into<Settlement> + 'static,
    {
        let handler = Arc::new(handler);
        Self::messages(client, queue, options, move |received: Received| {
            let (handler, value) = (handler.clone(), value_of(&received.message));
            async move {
                match value {
                    Ok(value) => handler(value).await.into(),
                    Err(reason) => Settlement::Reject(reason),
                }
            }
        })
    }
}

/// A message to [`WorkersActor`].
#[derive(Debug)]
pub struct WorkersMessage(Request);

#[derive(Debug)]
enum Request {
    Close,
    Ended(Result<(), ConsumerFailure>),
}

impl ractor::Message for WorkersMessage {}

impl WorkersMessage {
    /// Begins no more messages, waits for the handlers that run, commits what they settled, and stops the actor.
    #[must_use]
    pub fn close() -> Self {
        Self(Request::Close)
    }
}

/// The actor of the workers, for a service that supervises them: [`Client::workers`] spawns one that stands alone. If the
/// consumer fails, for example because its queue is deleted, the actor fails with that error. An actor that is stopped
/// otherwise than by [`WorkersMessage::close`] aborts its handlers, and their messages are delivered again.
#[derive(Debug)]
pub struct WorkersActor;

/// The state of [`WorkersActor`]. Dropped, it aborts the handlers.
#[derive(Debug)]
pub struct WorkersState {
    stop: watch::Sender<bool>,
    _work: JoinSet<()>,
}

impl Actor for WorkersActor {
    type Msg = WorkersMessage;
    type State = WorkersState;
    type Arguments = WorkersArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<WorkersMessage>,
        arguments: WorkersArguments,
    ) -> Result<WorkersState, ActorProcessingErr> {
        let WorkersArguments { client, queue, options, handler, reports } = arguments;
        let workers = options.workers.max(1);
        let credit = u32::try_from(workers).unwrap_or(u32::MAX).saturating_add(options.prefetch);
        let events = reports.clone();
        let sink: Sink<ConsumerEvent> = Arc::new(move |event| events.forward(event));
        let consumer = client.consumer_with_events(&queue, options.consumer.credit(credit), sink).await?;
        let (stop, stopped) = watch::channel(false);
        let mut work = JoinSet::new();
        work.spawn(async move {
            let _closes = CloseOnDrop(reports.clone());
            let outcome = run(&consumer, &handler, workers, stopped, &reports).await;
            reports.close(outcome.clone());
            // An actor that stopped needs no word.
            let _ = myself.cast(WorkersMessage(Request::Ended(outcome)));
        });
        Ok(WorkersState { stop, _work: work })
    }

    async fn handle(
        &self,
        myself: ActorRef<WorkersMessage>,
        message: WorkersMessage,
        state: &mut WorkersState,
    ) -> Result<(), ActorProcessingErr> {
        match message.0 {
            Request::Close => {
                state.stop.send_replace(true);
            }
            Request::Ended(Ok(()) | Err(ConsumerFailure::Closed)) => myself.stop(None),
            Request::Ended(Err(why)) => return Err(why.into()),
        }
        Ok(())
    }
}

/// Handles messages until the workers are to stop or the consumer ends; then waits for the handlers, and closes the consumer.
async fn run(
    consumer: &Consumer,
    handler: &Handler,
    workers: usize,
    mut stop: watch::Receiver<bool>,
    reports: &Arc<Reports>,
) -> Result<(), ConsumerFailure> {
    let mut running = JoinSet::new();
    let ended = loop {
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break Ok(()),
            Some(_) = running.join_next() => {}
            received = consumer.recv(), if running.len() < workers => match received {
                Ok(received) => drop(running.spawn(handle(handler.clone(), received, reports.clone()))),
                Err(why) => break Err(why),
            },
        }
    };
    while running.join_next().await.is_some() {}
    let closed = consumer.close().await;
    ended.and(closed)
}

async fn handle(handler: Handler, received: Received, reports: Arc<Reports>) {
    let message = received.clone();
    // The call itself may panic, too, not only the future that it returns.
    let settlement = AssertUnwindSafe(async { handler(message).await }).catch_unwind().await;
    let panicked = settlement.is_err();
    let settlement = settlement.unwrap_or(Settlement::Requeue);
    let settled = match settlement {
        Settlement::Ack => received.ack().await,
        Settlement::Requeue => received.requeue().await,
        Settlement::Reject(reason) => received.reject(reason).await,
    };
    if let Err(why) = settled {
        tracing::warn!(id = %received.id, %why, "a message was handled and not settled: it is delivered again");
    }
    if panicked {
        // Last: a receiver of events may panic, too.
        tracing::error!(id = %received.id, "a handler panicked: its message is requeued");
        reports.report(WorkersEvent::Panicked { message: received.id });
    }
}

/// The receivers of events, and of the end.
pub(super) struct Reports {
    /// `None` once the end was reported.
    events: Mutex<Option<Sink<WorkersEvent>>>,
    pub(super) ended: watch::Sender<Option<Result<(), ConsumerFailure>>>,
}

impl Reports {
    fn new(events: Option<Sink<WorkersEvent>>) -> Self {
        Self { events: Mutex::new(events), ended: watch::Sender::new(None) }
    }

    fn report(&self, event: WorkersEvent) {
        if let Some(events) = &*self.events.lock().unwrap_or_else(PoisonError::into_inner) {
            events(event);
        }
    }

    fn forward(&self, event: ConsumerEvent) {
        match event {
            ConsumerEvent::Connected { server, epoch } => self.report(WorkersEvent::Connected { server, epoch }),
            ConsumerEvent::Disconnected => self.report(WorkersEvent::Disconnected),
            // The workers have an end of their own, after that of the consumer.
            _ => {}
        }
    }

    /// Reports the end, once.
    fn close(&self, outcome: Result<(), ConsumerFailure>) {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Before the callers of `close` go on; they do so also if the receiver of events panics.
        let reported = events.map(|events| {
            let outcome = outcome.clone();
            catch_unwind(AssertUnwindSafe(move || events(WorkersEvent::Closed(outcome))))
        });
        self.ended.send_if_modified(|ended| {
            let first = ended.is_none();
            if first {
                *ended = Some(outcome);
            }
            first
        });
        if let Some(Err(_)) = reported {
            tracing::error!("the receiver of the workers' events panicked");
        }
    }
}

/// Reports the end of work that is aborted.
struct CloseOnDrop(Arc<Reports>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close(Err(ConsumerFailure::Closed));
    }
}
