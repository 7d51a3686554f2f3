//! Baton: a highly available messaging engine for actor services.
//!
//! One messaging engine serves a whole cluster. It always runs on exactly one server, chosen from an ordered list, over a
//! message store that is replicated to every server. A service embeds Baton through this crate only: a [`Client`] to
//! send and receive, producer and consumer actors ([`actors`]), and a whole [`Server`] in its own process.

#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "client")]
pub mod config;
#[cfg(feature = "server")]
pub mod http;
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
