//! Errors of client requests.

use std::time::Duration;

use baton_client::peers::CallError;
use baton_client::protocol::EngineError;
use baton_domain::{NameError, ServerName};
use baton_links::LinkError;

/// Error of a client request. Each prints as one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The links cannot start.
    #[error(transparent)]
    Links(#[from] LinkError),
    /// The name is not allowed.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The storage leader refused an administrative request, and nothing was done.
    #[error("{0}")]
    Declined(String),
    /// Every server refuses this client: another cluster, TLS, or too many clients.
    #[error("{0}")]
    Refused(String),
    /// The servers do not accept this client's cookie.
    #[error("{0}")]
    WrongCookie(String),
    /// No server answered in time.
    #[error("no server answered within {within:?}{why}")]
    NoServer {
        /// The deadline.
        within: Duration,
        /// Failures by address, if any are known.
        why: String,
    },
    /// No started engine was found in time.
    #[error("the engine did not answer within {within:?}: see `baton status`{why}")]
    NoEngine {
        /// The deadline.
        within: Duration,
        /// Failures by address, if any are known.
        why: String,
    },
    /// The store had no leader in time.
    #[error("the store has no leader (waited {within:?}): a majority of the servers must be up")]
    NoLeader {
        /// The deadline.
        within: Duration,
    },
    /// The server that was asked did not answer.
    #[error("{server} did not answer: {why}")]
    NoAnswer {
        /// The server.
        server: ServerName,
        /// The reason.
        why: CallError,
    },
    /// The engine refused.
    #[error(transparent)]
    Engine(EngineError),
    /// A reply that does not match the request or cannot be decoded: another version.
    #[error("unexpected reply: the server may run another version: {0}")]
    Protocol(String),
    /// An actor cannot be spawned.
    #[error("cannot spawn an actor: {0}")]
    Spawn(String),
    /// The client is closed.
    #[error("the client is closed")]
    Closed,
}
