//! Errors of a server.

use baton_links::LinkError;
use baton_replica::StoreError;
use baton_replica::shared::LogError;

use crate::config::ConfigError;
use crate::http::HttpError;

/// Error of a server that cannot start, or cannot go on. Each is one line with the remedy; the
/// cause of an error is its source.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
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
    /// The database does not keep this cluster's log, or refuses this server.
    #[error("the database: {0}")]
    Database(LogError),
    /// The beginning of the cluster in the database cannot be read.
    #[error("the database: the cluster's first members cannot be read: {0}")]
    Genesis(String),
    /// It cannot listen, or its certificates are invalid.
    #[error(transparent)]
    Links(#[from] LinkError),
    /// The HTTP port cannot be served.
    #[error(transparent)]
    Http(#[from] HttpError),
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
    /// One of its actors cannot start.
    // Not a source: the text of ractor's error repeats that of its own source.
    #[error("an actor of the server cannot start: {0}")]
    Start(ractor::SpawnErr),
    /// It was removed from the cluster.
    #[error("{0}")]
    Removed(String),
    /// It ended while running.
    #[error("{0}")]
    Ended(String),
}
