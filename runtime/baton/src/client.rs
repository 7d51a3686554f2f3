//! The client of a cluster, for embedding services, the command line and the examples.
//!
//! ```no_run
//! # async fn example(config: baton::client::ClientConfig) -> Result<(), Box<dyn std::error::Error>> {
//! use baton::client::{Client, ConsumerOptions, Message, ProducerOptions};
//!
//! let client = Client::connect(config).await?;
//! client.create_queue("orders").await?;
//! let producer = client.producer("orders", ProducerOptions::default()).await?;
//! producer.send_confirmed(Message::new("one")).await?; // on disk at a majority of the servers
//!
//! let consumer = client.consumer("orders", ConsumerOptions::default()).await?;
//! let received = consumer.recv().await?;
//! received.ack().await?;
//! consumer.close().await?; // the acknowledgement is on disk at a majority
//! producer.close().await?;
//! client.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! Handlers that run concurrently, one message each: [`Client::workers`].
//!
//! Producers and consumers are actors in this process. They find the engine, follow it through failover and failback,
//! resend unconfirmed messages and resume consumption automatically. A service's own actors can own them as actors:
//! spawn [`ProducerActor`] and [`ConsumerActor`] with [`Client::session`].

mod admin;
mod connect;
mod error;
mod name;
mod named;
mod queues;
mod request;
mod transaction;
mod typed;
mod workers;

use std::sync::Arc;
use std::time::Duration;

pub use baton_client::peers::CallError;
use baton_client::peers::Peers;
use baton_client::wire::Handler;
use baton_links::Links;
pub use baton_links::{LinkError, TlsConfig};
use futures::future::BoxFuture;

use crate::config::ClusterConfig;

pub use baton_client::consumer::{
    Consumer, ConsumerActor, ConsumerArguments, ConsumerEvent, ConsumerFailure, ConsumerMessage, ConsumerOptions,
    ConsumerStream, Output, Received,
};
pub use baton_client::producer::{
    Confirmation, Confirmed, HandedBack, Producer, ProducerActor, ProducerArguments, ProducerEvent, ProducerFailure,
    ProducerMessage, ProducerOptions, Refusal, SendError,
};
pub use baton_client::protocol::{
    ConsumerStatus, Delivery, DirectoryReply, DirectoryRequest, EngineError, InDoubtStatus, Kind, ProtocolError,
    QueueStatus, Status,
};
pub use baton_client::session::{EngineAt, EngineNews, Session, Sink, to_actor, to_port};
pub use baton_domain::{
    Assistance, ClusterId, DeadLetterOverflow, ExceptionDestination, Expired, Message, MessageId, NameError, Policy,
    PolicyChange, QueueName, Reliability, Role, ServerName, Settings, SettingsPatch, TransactionName, Written,
};
pub use error::ClientError;
pub use name::ToQueueName;
#[doc(hidden)]
pub use named::Named;
#[doc(hidden)]
pub use queues::Page;
pub use queues::{DeleteOnly, Deleted};
pub use request::{RequestError, Requester, Responder};
pub use transaction::{RollBackReason, Transaction, TransactionError, Transactions};
pub use typed::{CONTENT_TYPE, MESSAGE_PACK, ReceivedValue, SendValueError, TypedConsumer, TypedProducer};
pub use workers::{
    Settlement, WorkerOptions, Workers, WorkersActor, WorkersArguments, WorkersEvent, WorkersMessage, WorkersState,
};

/// Default deadline of a request: as long as the longest move.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(40);

/// Cluster and credentials of a client. `cluster.toml` holds it all: see [`ClusterConfig::load`].
///
/// ```
/// use baton::client::{ClientConfig, ClusterId};
/// use std::time::Duration;
///
/// let servers = vec!["10.0.0.1:7100".to_owned(), "10.0.0.2:7100".to_owned()];
/// let config = ClientConfig::new(servers, ClusterId([7; 16]), [8; 32]).name("shop").deadline(Duration::from_secs(10));
/// assert_eq!(config.name.as_deref(), Some("shop"));
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct ClientConfig {
    /// Addresses of servers for links, not for HTTP: `host:port`. Some are enough: the client learns the others from them.
    pub servers: Vec<String>,
    /// The cluster's id.
    pub cluster: ClusterId,
    /// The cookie: the secret shared by all processes that may link. See [`Cookie::load`](crate::config::Cookie::load), and
    /// for servers without files [`Secrets::cookie`](crate::config::Secrets::cookie).
    pub cookie: [u8; 32],
    /// Mutual TLS, if the cluster uses it.
    pub tls: Option<TlsConfig>,
    /// The process's name, unique among clients; `None` draws one.
    pub name: Option<String>,
    /// Time limit for connecting, and for each request.
    pub deadline: Duration,
}

impl ClientConfig {
    /// A configuration without TLS, with a random name and the default deadline.
    #[must_use]
    pub fn new(servers: Vec<String>, cluster: ClusterId, cookie: [u8; 32]) -> Self {
        Self { servers, cluster, cookie, tls: None, name: None, deadline: DEFAULT_DEADLINE }
    }

    /// Sets the files of mutual TLS.
    #[must_use]
    pub fn tls(self, tls: TlsConfig) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// Sets the name of the process, which must be unique among clients.
    #[must_use]
    pub fn name(self, name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..self }
    }

    /// Sets the time limit for connecting, and for each request.
    #[must_use]
    pub fn deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }
}

impl From<ClusterConfig> for ClientConfig {
    fn from(file: ClusterConfig) -> Self {
        let mut config = Self::new(file.addresses(), file.cluster, *file.cookie.bytes());
        config.tls = file.tls;
        config
    }
}

impl std::fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The cookie is a secret.
        f.debug_struct("ClientConfig")
            .field("servers", &self.servers)
            .field("cluster", &self.cluster)
            .field("tls", &self.tls)
            .field("name", &self.name)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

/// The first half of a client, for a process that makes its own links, as a server does: the links need the handler,
/// and the client needs the links.
///
/// ```no_run
/// # async fn example(mut config: baton::links::LinksConfig) -> Result<(), Box<dyn std::error::Error>> {
/// # use baton::client::{Client, DEFAULT_DEADLINE};
/// let local = Client::local().await?;
/// config.handlers.insert(baton::actors::wire::Service::Client, local.handler());
/// let links = baton::links::Links::start(config).await?;
/// let client = local.start(links.peers(), DEFAULT_DEADLINE);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct LocalClient {
    session: Session,
}

impl LocalClient {
    /// The frame handler for [`baton_client::wire::Service::Client`].
    #[must_use]
    pub fn handler(&self) -> Handler {
        self.session.handler()
    }

    /// The client over these links; closing it leaves the links open.
    #[must_use]
    pub fn start(self, peers: Peers, deadline: Duration) -> Client {
        self.session.start(peers.clone(), Arc::new(|_| {}));
        Client::over(self.session, peers, deadline)
    }
}

/// A client of one cluster. Cheap to clone; it lives until [`Client::close`], even if all clones are dropped.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    session: Session,
    peers: Peers,
    /// Its own links; `None` if the links belong to the process.
    links: Option<Links>,
    deadline: Duration,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("deadline", &self.inner.deadline).finish_non_exhaustive()
    }
}

impl Client {
    /// Connects this process to a cluster, and returns once one server is linked. It needs no engine: requests wait for one.
    ///
    /// ```no_run
    /// # async fn example(config: baton::ClusterConfig) -> Result<(), baton::ClientError> {
    /// let client = baton::Client::connect(config.into()).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ClientError::Links`], [`ClientError::WrongCookie`] and [`ClientError::Refused`] need a correction by the operator;
    /// [`ClientError::NoServer`] if none answered within the deadline.
    pub fn connect(config: ClientConfig) -> BoxFuture<'static, Result<Self, ClientError>> {
        Box::pin(connect::connect(config))
    }

    /// A client with a started session, over links that belong to the process.
    pub(crate) fn over(session: Session, peers: Peers, deadline: Duration) -> Self {
        Self { inner: Arc::new(Inner { session, peers, links: None, deadline }) }
    }

    /// Creates the first half of a client, in a process that has links or will have them.
    ///
    /// # Errors
    /// [`ClientError::Spawn`].
    pub async fn local() -> Result<LocalClient, ClientError> {
        Ok(LocalClient { session: spawned(Session::spawn().await)? })
    }

    /// A producer for a queue, which must exist. Returns at once: the producer connects in the background, and if the
    /// queue does not exist, its sends fail.
    ///
    /// ```no_run
    /// # async fn example(client: baton::Client) -> Result<(), baton::ClientError> {
    /// let producer = client.producer("orders", baton::ProducerOptions::default().window_messages(100)).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ClientError::Spawn`].
    pub async fn producer(&self, queue: impl ToQueueName, options: ProducerOptions) -> Result<Producer, ClientError> {
        let queue = &queue.to_queue_name()?;
        spawned(Producer::spawn(&self.inner.session, queue.clone(), options, None).await)
    }

    /// A producer that also reports events.
    ///
    /// ```no_run
    /// # async fn example(client: baton::Client) -> Result<(), baton::ClientError> {
    /// use std::sync::Arc;
    ///
    /// let events = Arc::new(|event| println!("{event:?}"));
    /// let producer = client.producer_with_events("orders", baton::ProducerOptions::default(), events).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ClientError::Spawn`].
    pub async fn producer_with_events(
        &self,
        queue: impl ToQueueName,
        options: ProducerOptions,
        events: Sink<ProducerEvent>,
    ) -> Result<Producer, ClientError> {
        let queue = &queue.to_queue_name()?;
        spawned(Producer::spawn(&self.inner.session, queue.clone(), options, Some(events)).await)
    }

    /// A consumer of a queue, which must exist. Returns at once: the consumer connects in the background, and if the
    /// queue does not exist, its `recv` fails.
    ///
    /// ```no_run
    /// # async fn example(client: baton::Client) -> Result<(), baton::ClientError> {
    /// let consumer = client.consumer("orders", baton::ConsumerOptions::default().credit(10)).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ClientError::Spawn`].
    pub async fn consumer(&self, queue: impl ToQueueName, options: ConsumerOptions) -> Result<Consumer, ClientError> {
        let queue = &queue.to_queue_name()?;
        spawned(Consumer::spawn(&self.inner.session, queue.clone(), options, None).await)
    }

    /// A consumer that also reports events.
    ///
    /// ```no_run
    /// # async fn example(client: baton::Client) -> Result<(), baton::ClientError> {
    /// use std::sync::Arc;
    ///
    /// let events = Arc::new(|event| println!("{event:?}"));
    /// let consumer = client.consumer_with_events("orders", baton::ConsumerOptions::default(), events).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ClientError::Spawn`].
    pub async fn consumer_with_events(
        &self,
        queue: impl ToQueueName,
        options: ConsumerOptions,
        events: Sink<ConsumerEvent>,
    ) -> Result<Consumer, ClientError> {
        let queue = &queue.to_queue_name()?;
        spawned(Consumer::spawn(&self.inner.session, queue.clone(), options, Some(events)).await)
    }

    /// The session for spawning producer and consumer actors.
    ///
    /// ```no_run
    /// # async fn example(client: baton::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut engine = client.session().engine();
    /// engine.changed().await?;
    /// if let Some(at) = &*engine.borrow_and_update() {
    ///     println!("the engine is on {}", at.peer.info().name);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.inner.session
    }

    /// Stops producers and consumers as they are (close them first, to be sure of sent and settled messages), and closes
    /// the links if they are this client's own.
    ///
    /// ```no_run
    /// # async fn example(client: baton::Client, producer: baton::Producer) -> Result<(), Box<dyn std::error::Error>> {
    /// producer.close().await?; // all that was sent is confirmed
    /// client.close().await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.inner.session.stop().await;
            if let Some(links) = &self.inner.links {
                links.stop().await;
            }
        })
    }
}

fn spawned<T>(outcome: Result<T, ractor::SpawnErr>) -> Result<T, ClientError> {
    outcome.map_err(ClientError::Spawn)
}

#[cfg(test)]
mod tests;
