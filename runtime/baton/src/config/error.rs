//! What is wrong with a file, in one line.

use std::path::PathBuf;

/// Why a configuration cannot be used. Each is one line that says where and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A value, a key or the syntax is wrong.
    #[error("{}:{line}: {why}", file.display())]
    Invalid {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong and what is allowed.
        why: String,
    },
    /// The file cannot be read.
    #[error("{} cannot be read: {why}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        why: String,
    },
    /// A secret can be read by others.
    #[error(
        "{0} holds a secret and others can read it (mode {mode:04o}): run `chmod 600 {0}`, or `chmod 640 {0}` if its \
         group is one of this process or root owns it",
        file.display()
    )]
    Exposed {
        /// The file.
        file: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A secret is not what it should be.
    #[error("{}: {why}", file.display())]
    Secret {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        why: String,
    },
}
