//! Baton is a highly available messaging engine for actor services.
//!
//! A cluster runs one messaging engine, always on exactly one of its servers, and every server holds a copy of the message
//! store. When the engine's host fails, the next server of an ordered list starts the engine. Producers and consumers
//! follow it automatically, and every confirmed message is delivered.
//!
//! # Sending and receiving
//!
//! The feature `client`, which is on by default, is all that a service needs that sends and receives. It builds without a
//! C compiler. Mutual TLS is the feature `tls`.
//!
//! ```no_run
//! use baton::{Client, ConsumerOptions, Message, ProducerOptions};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     // Written by `baton init`; it names the servers and the secret of the cluster.
//!     let cluster = baton::ClusterConfig::load("cluster.toml".as_ref())?;
//!     let client = Client::connect(cluster.into()).await?;
//!     client.create_queue("orders").await?;
//!
//!     let producer = client.producer("orders", ProducerOptions::default()).await?;
//!     let one = producer.send(Message::new("one")).await?; // on its way
//!     let two = producer.send(Message::new("two")).await?;
//!     one.await?; // on disk at a majority of the servers
//!     two.await?;
//!
//!     let consumer = client.consumer("orders", ConsumerOptions::default()).await?;
//!     for _ in 0..2 {
//!         let received = consumer.recv().await?;
//!         println!("{}", String::from_utf8_lossy(&received.message.body));
//!         received.ack().await?;
//!     }
//!     consumer.close().await?; // waits until the acknowledgements are on disk, too
//!     producer.close().await?;
//!     client.close().await;
//!     Ok(())
//! }
//! ```
//!
//! A service without a cluster file makes a [`ClientConfig`] in code. Handlers for many messages at a time:
//! [`client::Client::workers`]. Values instead of bytes: [`client::TypedProducer`] and [`client::TypedConsumer`]. Requests and
//! answers: [`client::Requester`]. All or nothing: [`client::Transactions`]. Producers and consumers as children of a
//! service's own actors: [`client::ProducerActor`] and [`client::ConsumerActor`], with [`ractor`], which is re-exported.
//!
//! # Without an engine
//!
//! The engine is absent for a moment during each failover, and longer while no majority is up.
//!
//! - [`Client::connect`] needs one server, and no engine. Requests such as [`Client::create_queue`] wait for the engine, up
//!   to [`ClientConfig::deadline`].
//! - [`Producer::send`] returns as long as the producer's window has room. The [`Confirmation`] then waits without a time
//!   limit, and the message is sent again to the next engine.
//! - [`ProducerOptions::give_up`] sets a time limit: once it is exceeded, the producer fails and hands back all unconfirmed
//!   messages, each with a flag that says whether it may be stored.
//! - A timeout around a confirmation only ends the wait: the message stays with the producer.
//!
//! # A server in one's own process
//!
//! The feature `server` adds `Server`: a service that hosts one holds a copy of the store, and may host the engine. It reads a
//! server's file with [`ServerConfig::load`], or makes a [`ServerConfig`] in code and formats its store with `layout::Layout`:
#![cfg_attr(feature = "server", doc = "```no_run")]
#![cfg_attr(not(feature = "server"), doc = "```ignore")]
//! use baton::config::Secrets;
//! use baton::layout::Layout;
//! use baton::{ClusterId, Message, ProducerOptions, Server};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let dir = std::path::Path::new("/var/lib/shop/baton");
//!     let layout = Layout::plan(1, 0).base_port(7100).layout()?;
//!     let secrets = Secrets::load("/etc/shop/server.secrets".as_ref())?; // the same at each start; clients need its cookie
//!     let config = layout.server_config("server1", dir, ClusterId(*b"the shop cluster"), secrets)?;
//!     if !dir.exists() {
//!         layout.format(&config)?; // the first start of a cluster of one server
//!     }
//!     let server = Server::start(config).await?;
//!     let client = server.client();
//!     client.create_queue("orders").await?;
//!     let producer = client.producer("orders", ProducerOptions::default()).await?;
//!     producer.send_confirmed(Message::new("one")).await?;
//!     server.shutdown().await; // hands the engine over first, if there is another server
//!     Ok(())
//! }
//! ```
//!
//! `docs/embed.md` in the repository has more: several servers, clients in other processes, and the build of RocksDB.

pub use ractor;

/// Compiles the programs of that page.
#[cfg(all(doctest, feature = "server"))]
#[doc = include_str!("../../../docs/embed.md")]
mod embed_page {}

#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "client")]
pub mod config;
/// The database that keeps a cluster's log.
#[cfg(feature = "server")]
pub mod database {
    pub use baton_postgres::{Created, Database, DatabaseError, Password, Schema, sql};
}
#[cfg(feature = "server")]
pub mod http;
#[cfg(feature = "server")]
pub mod layout;
#[cfg(feature = "server")]
pub mod server;

/// Links between processes: dial, accept, authenticate, heartbeat.
pub use baton_links as links;

#[cfg(feature = "client")]
pub use client::{
    Client, ClientConfig, ClientError, Confirmation, Consumer, ConsumerOptions, Producer, ProducerOptions, Received,
};
#[cfg(feature = "client")]
pub use config::{ClusterConfig, ConfigError, ServerConfig};
#[cfg(feature = "server")]
pub use server::{Server, ServerError};

pub use baton_domain::{
    ActivationReason, Assistance, ClusterId, Epoch, Message, MessageId, Policy, QueueName, Reliability, Role,
    ServerName, TransactionName,
};

/// The actors, for services that own producers and consumers as actors.
pub mod actors {
    pub use baton_client::{consumer, peers, producer, protocol, session, wire};
}
