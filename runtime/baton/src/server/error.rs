//! Why a server does not run.

use baton_links::LinkError;
use baton_replica::StoreError;

use crate::http::HttpError;

/// Why a server cannot start, or cannot go on. Each is one line that says what to do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ServerError {
    /// Its store cannot be used.
    #[error("{0}")]
    Store(String),
    /// Its store belongs to another server or cluster.
    #[error(
        "the store at {dir} belongs to {owner}; this file is for {expected}: correct dir in the file, or move the store away"
    )]
    Foreign {
        /// Where the store lies.
        dir: String,
        /// Whose it is.
        owner: String,
        /// Who was started.
        expected: String,
    },
    /// It cannot listen, or its certificates cannot be used.
    #[error("{0}")]
    Links(String),
    /// Its HTTP port cannot be served.
    #[error("{0}")]
    Http(String),
    /// It runs already.
    #[error("{name} runs already: its store at {dir} is in use, and so is {listen}")]
    Runs {
        /// Its name.
        name: String,
        /// Where the store lies.
        dir: String,
        /// Where it listens.
        listen: String,
    },
    /// The others do not take it in.
    #[error("{0}")]
    Join(String),
    /// It was removed from the cluster.
    #[error("{0}")]
    Removed(String),
    /// It ended while it ran.
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
