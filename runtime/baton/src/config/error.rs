//! Configuration errors, one line each.

use std::path::PathBuf;

use baton_domain::ServerName;

/// Configuration error. Each is one line with the place and the allowed values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A value, a key or the syntax is wrong.
    #[error("{}:{line}: {why}", file.display())]
    Invalid {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The cause and the allowed values.
        why: String,
    },
    /// A value of a configuration made in code is wrong.
    #[error("the configuration of {server}: {why}")]
    Value {
        /// The server.
        server: ServerName,
        /// The value, the cause and the allowed values.
        why: String,
    },
    /// The file cannot be read.
    #[error("{} cannot be read: {why}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The system's error.
        why: String,
    },
    /// A secret is readable by others.
    #[error(
        "{0} holds a secret and is readable by others (mode {mode:04o}): run `chmod 600 {0}`, or `chmod 640 {0}` if its \
         group is one of this process's groups or root owns the file",
        file.display()
    )]
    Exposed {
        /// The file.
        file: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A cookie file holds no cookie.
    #[error("{}: {why}", file.display())]
    Secret {
        /// The file.
        file: PathBuf,
        /// The cause.
        why: InvalidCookie,
    },
}

/// A text that is not a cookie. The error does not repeat it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is not a cookie: a cookie is CLUSTER.SECRET on one line, 32 and 64 hexadecimal digits with a dot between them, \
     as `baton init` writes it to the file `cookie`"
)]
pub struct InvalidCookie;

/// A text that is not a cluster id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a cluster id: use 32 hexadecimal digits, as written by `baton init`")]
pub struct InvalidClusterId(pub(super) String);

/// A value that is not allowed. A file adds the place of the value.
#[derive(Debug)]
pub(super) struct ValueError {
    /// The value's keys in a server file; the first that is written is the place.
    pub(super) keys: &'static [&'static str],
    /// The cause and the allowed values.
    pub(super) why: String,
}

impl ValueError {
    pub(super) fn new(keys: &'static [&'static str], why: impl ToString) -> Self {
        Self { keys, why: why.to_string() }
    }
}
