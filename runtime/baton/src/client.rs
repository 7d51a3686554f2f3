//! What an embedding service, the CLI and the examples talk to a cluster with.
//!
//! ```no_run
//! # async fn example(config: baton::client::ClientConfig) -> Result<(), Box<dyn std::error::Error>> {
//! use baton::client::{Client, ConsumerOptions, Message, ProducerOptions, QueueName};
//!
//! let client = Client::connect(config).await?;
//! let orders = QueueName::new("orders")?;
//! client.create_queue(&orders).await?;
//! let producer = client.producer(&orders, ProducerOptions::default()).await?;
//! let confirmation = producer.send(Message::new("one")).await?;
//! confirmation.await?; // on disk at a majority of the servers
//!
//! let consumer = client.consumer(&orders, ConsumerOptions::default()).await?;
//! let received = consumer.recv().await?;
//! consumer.acknowledge(received.id)?;
//! consumer.close().await?; // the acknowledgement is on disk at a majority
//! producer.close().await?;
//! client.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! Producers and consumers are actors in this process. They find the engine, follow it when it fails over or back,
//! resend what is not confirmed and take up consumption again, all by themselves. An actor of the service can own them
//! as actors too: spawn [`ProducerActor`] and [`ConsumerActor`] with [`Client::session`].

mod admin;
mod connect;
mod error;
mod queues;
mod request;
mod transaction;
mod typed;

use std::sync::Arc;
use std::time::Duration;

use baton_client::peers::Peers;
use baton_client::wire::Handler;
use baton_links::{Links, TlsConfig};
use futures::future::BoxFuture;

use crate::config::ClusterConfig;

pub use baton_client::consumer::{
    Consumer, ConsumerActor, ConsumerArguments, ConsumerEvent, ConsumerFailure, ConsumerMessage, ConsumerOptions,
    Output, Received,
};
pub use baton_client::producer::{
    Confirmation, HandedBack, Producer, ProducerActor, ProducerArguments, ProducerEvent, ProducerFailure,
    ProducerMessage, ProducerOptions, Refusal, SendError,
};
pub use baton_client::protocol::{
    ConsumerStatus, Delivery, DirectoryReply, DirectoryRequest, Kind, QueueStatus, Status,
};
pub use baton_client::session::{EngineAt, EngineNews, Session, Sink, to_actor, to_port};
pub use baton_domain::{
    Assistance, ClusterId, DeadLetterOverflow, ExceptionDestination, Expired, Message, MessageId, Policy, QueueName,
    Reliability, ServerName, Settings, SettingsPatch, TransactionName, Written,
};
pub use error::ClientError;
pub use queues::{DeleteOnly, Deleted};
#[doc(hidden)]
pub use queues::{Named, Page};
pub use request::{RequestError, Requester, Responder};
pub use transaction::{RollBackReason, Transaction, TransactionError, Transactions};
pub use typed::{CONTENT_TYPE, MESSAGE_PACK, ReceivedValue, SendValueError, TypedConsumer, TypedProducer};

/// How long a request may take, unless the configuration says otherwise: as long as the longest move.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(40);

/// Which cluster, and how to prove that one may talk to it. `cluster.toml` holds it all.
#[derive(Clone)]
pub struct ClientConfig {
    /// Addresses of servers, `host:port`. Some are enough: the others are learned from them.
    pub servers: Vec<String>,
    /// The cluster's id.
    pub cluster: ClusterId,
    /// The secret of all who may link.
    pub cookie: [u8; 32],
    /// Mutual TLS, if the cluster uses it.
    pub tls: Option<TlsConfig>,
    /// The process's name, which no other client uses; `None` draws one.
    pub name: Option<String>,
    /// How long connecting, and each request, may take.
    pub deadline: Duration,
}

impl ClientConfig {
    /// A configuration without TLS, with a drawn name and the default deadline.
    #[must_use]
    pub fn new(servers: Vec<String>, cluster: ClusterId, cookie: [u8; 32]) -> Self {
        Self { servers, cluster, cookie, tls: None, name: None, deadline: DEFAULT_DEADLINE }
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

/// The first half of a client in a process that makes its links itself, as a server does: the links need the handler,
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
    /// Takes in the frames for [`baton_client::wire::Service::Client`].
    #[must_use]
    pub fn handler(&self) -> Handler {
        self.session.handler()
    }

    /// The client, over links that others keep: closing it leaves them alone.
    #[must_use]
    pub fn start(self, peers: Peers, deadline: Duration) -> Client {
        self.session.start(peers.clone(), Arc::new(|_| {}));
        Client::over(self.session, peers, deadline)
    }
}

/// A cluster as a client sees it. Cheap to clone; it lives until [`Client::close`], also when all clones are dropped.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    session: Session,
    peers: Peers,
    /// Its own links; `None` if they are somebody else's.
    links: Option<Links>,
    deadline: Duration,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("deadline", &self.inner.deadline).finish_non_exhaustive()
    }
}

impl Client {
    /// Links this process to a cluster, and returns once one server is linked.
    ///
    /// # Errors
    /// [`ClientError::Links`], [`ClientError::WrongCookie`] and [`ClientError::Refused`] say what has to be done about it;
    /// [`ClientError::NoServer`] if none answered within the deadline.
    pub fn connect(config: ClientConfig) -> BoxFuture<'static, Result<Self, ClientError>> {
        Box::pin(connect::connect(config))
    }

    /// A client with a session that is started, over links that others keep.
    pub(crate) fn over(session: Session, peers: Peers, deadline: Duration) -> Self {
        Self { inner: Arc::new(Inner { session, peers, links: None, deadline }) }
    }

    /// Begins a client in a process that has links, or will have.
    ///
    /// # Errors
    /// [`ClientError::Spawn`].
    pub async fn local() -> Result<LocalClient, ClientError> {
        Ok(LocalClient { session: spawned(Session::spawn().await)? })
    }

    /// A producer for a queue, which must be there. Returns at once: the producer connects by itself, and if there is no
    /// such queue its sends say so.
    ///
    /// # Errors
    /// [`ClientError::Spawn`].
    pub async fn producer(&self, queue: &QueueName, options: ProducerOptions) -> Result<Producer, ClientError> {
        spawned(Producer::spawn(&self.inner.session, queue.clone(), options, None).await)
    }

    /// A producer that also reports its progress.
    ///
    /// # Errors
    /// [`ClientError::Spawn`].
    pub async fn producer_with_events(
        &self,
        queue: &QueueName,
        options: ProducerOptions,
        events: Sink<ProducerEvent>,
    ) -> Result<Producer, ClientError> {
        spawned(Producer::spawn(&self.inner.session, queue.clone(), options, Some(events)).await)
    }

    /// A consumer of a queue, which must be there. Returns at once: the consumer connects by itself, and if there is no
    /// such queue its `recv` says so.
    ///
    /// # Errors
    /// [`ClientError::Spawn`].
    pub async fn consumer(&self, queue: &QueueName, options: ConsumerOptions) -> Result<Consumer, ClientError> {
        spawned(Consumer::spawn(&self.inner.session, queue.clone(), options, None).await)
    }

    /// A consumer that also reports its progress.
    ///
    /// # Errors
    /// [`ClientError::Spawn`].
    pub async fn consumer_with_events(
        &self,
        queue: &QueueName,
        options: ConsumerOptions,
        events: Sink<ConsumerEvent>,
    ) -> Result<Consumer, ClientError> {
        spawned(Consumer::spawn(&self.inner.session, queue.clone(), options, Some(events)).await)
    }

    /// What producer and consumer actors are spawned with.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.inner.session
    }

    /// Stops producers and consumers as they are (close those first, to be sure of what they sent and settled), and
    /// closes the links if they are this client's own.
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
    outcome.map_err(|error| ClientError::Spawn(error.to_string()))
}

#[cfg(test)]
mod tests;
