//! Errors of client requests.

use std::time::Duration;

use baton_client::peers::CallError;
use baton_client::protocol::{EngineError, ProtocolError};
use baton_domain::{NameError, ServerName};
use baton_links::{LinkError, Refusal};

/// Error of a client request. Each prints as one line; the cause of an error is its source.
///
/// ```no_run
/// # async fn example(client: baton::Client) -> Result<(), baton::ClientError> {
/// use baton::client::{ClientError, EngineError};
///
/// match client.delete_queue("orders").await {
///     // Another process deleted it.
///     Ok(()) | Err(ClientError::Engine(EngineError::NoSuchQueue(_))) => Ok(()),
///     Err(error) => Err(error),
/// }
/// # }
/// ```
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
    Refused(Refusal),
    /// The servers do not accept this client's cookie.
    #[error("{0}")]
    WrongCookie(Refusal),
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
    #[error("{server} did not answer")]
    NoAnswer {
        /// The server.
        server: ServerName,
        /// The reason.
        #[source]
        why: CallError,
    },
    /// The engine refused.
    #[error(transparent)]
    Engine(EngineError),
    /// A reply that does not match the request: the server may run another version.
    #[error("unexpected reply: the server may run another version: {0}")]
    Protocol(String),
    /// A reply that cannot be decoded: the server may run another version.
    #[error("unexpected reply: the server may run another version")]
    Decode(#[from] ProtocolError),
    /// An actor cannot be spawned.
    // Not a source: the text of ractor's error repeats that of its own source.
    #[error("cannot spawn an actor: {0}")]
    Spawn(ractor::SpawnErr),
    /// The client is closed.
    #[error("the client is closed")]
    Closed,
}
