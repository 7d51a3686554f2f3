//! Errors of laying out a cluster.

use std::path::PathBuf;

use baton_domain::NameError;
use baton_domain::address::InvalidAddress;
use baton_replica::StoreError;

/// A cluster cannot be laid out. Each prints as one line; the cause of an error is its source.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// No member could host the engine.
    #[error("no member can host the engine: use at least 1 server")]
    NoServer,
    /// There are too many members.
    #[error("{count} members are too many: use at most {most} servers and witnesses")]
    TooManyMembers {
        /// Servers and witnesses together.
        count: u16,
        /// The maximum.
        most: u16,
    },
    /// The ports of the members do not fit above the base port.
    #[error("base port {base_port} is out of range: use 1 to {last} for {count} members")]
    BasePort {
        /// The base port.
        base_port: u16,
        /// The last one that fits.
        last: u16,
        /// Servers and witnesses together.
        count: u16,
    },
    /// The hosts are not one per member.
    #[error("{named} hosts for {servers} servers and {witnesses} witnesses: name one host per member, servers first")]
    Hosts {
        /// The number of hosts.
        named: usize,
        /// The number of servers.
        servers: u16,
        /// The number of witnesses.
        witnesses: u16,
    },
    /// A host is not allowed in an address.
    #[error(transparent)]
    Address(#[from] InvalidAddress),
    /// A member's name is not allowed.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The layout has no member of that name.
    #[error("the layout has no member {name}")]
    NoMember {
        /// The name.
        name: String,
    },
    /// The directory is in use.
    #[error("{} is not empty: name a directory that is absent or empty", dir.display())]
    NotEmpty {
        /// The directory.
        dir: PathBuf,
    },
    /// A file cannot be read or written.
    #[error("cannot use {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The system gives no random bytes.
    #[error("cannot read random bytes for the secrets")]
    Random(#[source] getrandom::Error),
    /// A certificate cannot be created.
    #[error("cannot create a certificate")]
    Certificate(#[from] rcgen::Error),
    /// There are witnesses beside a database.
    #[error("a cluster whose log is in a database has no witnesses: nothing is voted on, and one server is enough")]
    Witnesses,
    /// A setting of the database cannot be used.
    #[error(transparent)]
    Database(#[from] baton_postgres::DatabaseError),
    /// The log cannot be created in the database.
    // Not a source: its text is here.
    #[error("the database: {0}")]
    Log(baton_replica::shared::LogError),
    /// The beginning of the cluster cannot be encoded.
    #[error("cannot encode the members")]
    Encode(#[from] rmp_serde::encode::Error),
    /// A store cannot be created.
    #[error(transparent)]
    Store(#[from] StoreError),
}
