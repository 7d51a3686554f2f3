//! Why a client's request was not done.

use std::time::Duration;

use baton_client::peers::CallError;
use baton_client::protocol::EngineError;
use baton_domain::ServerName;
use baton_links::LinkError;

/// Why a client's request was not done. Each prints as one line.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The links cannot start.
    #[error(transparent)]
    Links(#[from] LinkError),
    /// No server takes this client: another cluster, TLS, too many clients.
    #[error("{0}")]
    Refused(String),
    /// The servers do not hold this client's cookie.
    #[error("{0}")]
    WrongCookie(String),
    /// No server answered in time.
    #[error("no server answered within {within:?}{why}")]
    NoServer {
        /// The deadline.
        within: Duration,
        /// What happened at which address, if anything is known.
        why: String,
    },
    /// No started engine was found in time.
    #[error("the engine did not answer within {within:?}: see `baton status`{why}")]
    NoEngine {
        /// The deadline.
        within: Duration,
        /// What happened at which address, if anything is known.
        why: String,
    },
    /// No server led the store in time.
    #[error("no server leads the store ({within:?} waited): a majority of the servers must be up")]
    NoLeader {
        /// The deadline.
        within: Duration,
    },
    /// The server that was asked did not answer.
    #[error("{server} did not answer: {why}")]
    NoAnswer {
        /// The server.
        server: ServerName,
        /// Why.
        why: CallError,
    },
    /// The engine refused.
    #[error(transparent)]
    Engine(EngineError),
    /// An answer that does not fit the request, or cannot be read: another version.
    #[error("the answer cannot be understood: {0}")]
    Protocol(String),
    /// An actor cannot be spawned.
    #[error("an actor cannot be spawned: {0}")]
    Spawn(String),
    /// The client is closed.
    #[error("the client is closed")]
    Closed,
}
