//! Errors of a server.

use baton_links::LinkError;
use baton_replica::StoreError;

use crate::http::HttpError;

/// Error of a server that cannot start, or cannot go on. Each is one line with the remedy.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ServerError {
    /// The store cannot be used.
    #[error("{0}")]
    Store(String),
    /// The store belongs to another server or cluster.
    #[error(
        "the store at {dir} belongs to {owner}, but this file is for {expected}: correct dir in the file, or move the store away"
    )]
    Foreign {
        /// The directory of the store.
        dir: String,
        /// Its owner.
        owner: String,
        /// The owner according to the file.
        expected: String,
    },
    /// It cannot listen, or its certificates are invalid.
    #[error("{0}")]
    Links(String),
    /// The HTTP port cannot be served.
    #[error("{0}")]
    Http(String),
    /// It is already running.
    #[error("{name} is already running: its store at {dir} and its port {listen} are in use")]
    Runs {
        /// Its name.
        name: String,
        /// The directory of its store.
        dir: String,
        /// Its listen address.
        listen: String,
    },
    /// The other servers do not admit it.
    #[error("{0}")]
    Join(String),
    /// It was removed from the cluster.
    #[error("{0}")]
    Removed(String),
    /// It ended while running.
    #[error("{0}")]
    Ended(String),
}

impl From<StoreError> for ServerError {
    fn from(error: StoreError) -> Self {
        Self::Store(error.to_string())
    }
}

impl From<LinkError> for ServerError {
    fn from(error: LinkError) -> Self {
        Self::Links(error.to_string())
    }
}

impl From<HttpError> for ServerError {
    fn from(error: HttpError) -> Self {
        Self::Http(error.to_string())
    }
}
