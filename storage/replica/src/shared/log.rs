//! A log that all servers reach, as a trait: entries in one order, one lease row that says who may append, and snapshots.
//!
//! Each call is one round trip and atomic. A call that fails with [`LogError::Unknown`] may have been done; all other
//! errors say that it was not.

use std::sync::Arc;
use std::time::Duration;

use baton_domain::{ClusterId, ServerName};
use bytes::Bytes;
use futures::future::BoxFuture;
use xxhash_rust::xxh3::Xxh3Default;

/// The answer to a call, later.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, LogError>>;

/// A hash of all entries up to one, in their order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Chain(pub u128);

impl Chain {
    /// The hash after one more entry.
    #[must_use]
    pub fn after(self, index: u64, term: u64, body: &[u8]) -> Self {
        let mut hash = Xxh3Default::new();
        hash.update(&self.0.to_be_bytes());
        hash.update(&index.to_be_bytes());
        hash.update(&term.to_be_bytes());
        hash.update(body);
        Self(hash.digest128())
    }
}

/// A place in the log: after the entry with this index. Two logs with the same position have the same entries up to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Position {
    /// Index of the last entry; 0 before the first one.
    pub index: u64,
    /// The hash of all entries up to it.
    pub chain: Chain,
}

impl Position {
    /// The entry that follows here with this content.
    #[must_use]
    pub fn entry(self, term: u64, body: Bytes) -> LogEntry {
        let index = self.index.saturating_add(1);
        LogEntry { index, term, chain: self.chain.after(index, term, &body), body }
    }
}

/// An entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Its place, from 1 on, without gaps.
    pub index: u64,
    /// The term of the holder that first appended it.
    pub term: u64,
    /// The hash of all entries up to and with this one.
    pub chain: Chain,
    /// The command, encoded.
    pub body: Bytes,
}

impl LogEntry {
    /// The position after it.
    #[must_use]
    pub fn position(&self) -> Position {
        Position { index: self.index, chain: self.chain }
    }
}

/// The server for which a holder gave the lease up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Nominee {
    /// The holder has not given it up.
    #[default]
    None,
    /// Whoever comes first.
    Anybody,
    /// That server.
    Server(ServerName),
}

/// The row that says who may append. It holds no time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRow {
    /// Grows with every change of the holder; 0 before the first one.
    pub term: u64,
    /// The server that may append; `None` before the first one.
    pub holder: Option<ServerName>,
    /// The incarnation of the holder's process.
    pub incarnation: u64,
    /// Grows with every renewal and every change.
    pub beat: u64,
    /// Set when the holder gave the lease up.
    pub nominee: Nominee,
}

/// A process that uses the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimant {
    /// Its server.
    pub server: ServerName,
    /// Its incarnation: another number for each process.
    pub incarnation: u64,
}

/// The identity and the condition of a log that was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogIdentity {
    /// The cluster that it belongs to.
    pub cluster: ClusterId,
    /// The cluster's generation.
    pub generation: u32,
    /// Its name for people, without secrets: "`PostgreSQL` 15.18 at db1:5432, schema baton".
    pub name: String,
    /// A number that differs between two databases that were not copied from each other.
    pub system: u64,
    /// Grows with every promotion of a standby.
    pub timeline: u32,
    /// The synchronous standby, for people; empty if a failover of the log's own may lose commits.
    pub standby: String,
}

/// The outcome of an append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Append {
    /// All entries are durable.
    Written,
    /// Nothing was written: another holder, another term, or the lease was given up.
    Deposed(LeaseRow),
    /// Nothing was written: the log's last entry is another than the one named.
    Mismatch {
        /// The last entry of the log.
        tail: Position,
    },
}

/// The entries after a position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    /// The next ones, in order and without a gap; none if there are none.
    Entries(Vec<LogEntry>),
    /// The next ones are no longer in the log: a snapshot at this position or later has them.
    Trimmed {
        /// The position from which on the log has entries.
        from: Position,
    },
    /// The log's entry at that index has another hash, or the log ends before it.
    Elsewhere {
        /// The last entry of the log.
        tail: Position,
        /// The log's own hash at that index, if it has or had an entry there and knows its hash.
        at: Option<Chain>,
    },
}

/// The sessions that a process has with the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sessions {
    /// None: all were closed.
    Gone,
    /// At least one, and it works on something.
    Busy,
    /// At least one, and it is idle or waits for its client. No testimony of death: the system closes the sessions of a
    /// process that ends.
    WaitsForClient,
    /// At least one waits for the log's synchronous standby: nobody can commit.
    WaitsForStandby,
    /// Something stands between, such as a connection pooler: nothing is known.
    Unseen,
}

/// A file of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotFile {
    /// Its name.
    pub name: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// The hash of its content. Files with the same hash are kept once.
    pub digest: u128,
}

/// A snapshot of the state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSnapshot {
    /// Its number: each one has another.
    pub id: u64,
    /// The last entry that it contains.
    pub position: Position,
    /// The term of that entry.
    pub term: u64,
    /// The cluster's generation.
    pub generation: u32,
    /// The server that made it.
    pub server: ServerName,
    /// Its files.
    pub files: Vec<SnapshotFile>,
}

/// A row for each server: a commit of its own, once a second, and for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerRow {
    /// The server.
    pub server: ServerName,
    /// The incarnation of its process.
    pub incarnation: u64,
    /// The address at which others reach it.
    pub address: String,
    /// The last entry that it applied.
    pub applied: Position,
    /// The version of its program.
    pub program: String,
}

/// The size of what the log keeps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogSize {
    /// Bytes of entries.
    pub entries: u64,
    /// Bytes in total, snapshots included.
    pub total: u64,
}

/// The reason why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The session broke, or it is not certain that the answer is true: the call may have been done.
    #[error("{0}; it is not known whether the call was done")]
    Unknown(String),
    /// The log is not reached.
    #[error("it is not reached: {0}")]
    Unreachable(String),
    /// The server that answers takes no writes: a standby, or a former primary.
    #[error("{0}")]
    NotPrimary(String),
    /// Nothing was written, by a conflict with another session: the same call may succeed now.
    #[error("{0}")]
    Again(String),
    /// It has no room: disk, memory or connections.
    #[error("{0}")]
    NoRoom(String),
    /// It refuses: password, role, schema, settings. Somebody has to change something.
    #[error("{0}")]
    Refused(String),
    /// It belongs to another cluster or generation, or its layout is another program's.
    #[error("{0}")]
    Foreign(String),
    /// It is damaged.
    #[error("{0}")]
    Damaged(String),
}

/// A session with a log that all servers reach. Calls of one session are done in the order in which their futures were
/// first polled; a later one may be sent before an earlier one is answered.
pub trait SharedLog: Send + Sync + 'static {
    /// Resolves when this session has ended. All its later calls fail.
    fn ended(&self) -> BoxFuture<'_, LogError>;

    /// The cluster's first members and policy, as they were encoded when the log was created: for a server that has no
    /// store and finds no snapshot.
    fn genesis(&self) -> Answer<'_, Bytes>;

    /// The lease row.
    fn look(&self) -> Answer<'_, LeaseRow>;

    /// Takes the lease, if its row still has this term and beat: compare and set. Succeeds only if the holder gave it up
    /// for this claimant or anybody, or with `takes_over`, which asserts that the holder's lease has ended.
    /// `None`: the row is another by now. The new term is greater than `term` and than `above`, the highest term that the
    /// claimant knows of: a log that lost commits never gives a term out twice.
    fn acquire(&self, term: u64, beat: u64, above: u64, takes_over: bool) -> Answer<'_, Option<LeaseRow>>;

    /// Renews the lease of this claimant; the new beat. `None`: it does not hold it in that term, or gave it up.
    fn renew(&self, term: u64) -> Answer<'_, Option<u64>>;

    /// Gives the lease up for `to`; false if this claimant did not hold it in that term.
    fn give(&self, term: u64, to: Nominee) -> Answer<'_, bool>;

    /// Appends entries behind `after`, as the holder of `term`. Entries keep their own term, which is an earlier one
    /// where a lost tail is put back. At most 4 MiB in one call. Entries that are there already are a mismatch.
    fn append(&self, term: u64, after: Position, entries: Arc<[LogEntry]>) -> Answer<'_, Append>;

    /// The position after the last entry.
    fn tail(&self) -> Answer<'_, Position>;

    /// The entries behind `after`, up to some `bytes`, but at least one if there is one.
    fn read(&self, after: Position, bytes: usize) -> Answer<'_, Read>;

    /// The sessions of a process, as the log sees them.
    fn sessions_of(&self, incarnation: u64) -> Answer<'_, Sessions>;

    /// Ends the sessions of a process, but neither this session nor one that waits for the standby.
    fn evict(&self, incarnation: u64) -> Answer<'_, ()>;

    /// Writes this server's row, which commits something; the rows of all servers.
    fn report(&self, mine: ServerRow) -> Answer<'_, Vec<ServerRow>>;

    /// The size of what the log keeps.
    fn size(&self) -> Answer<'_, LogSize>;

    /// The newest complete snapshot of the newest generation.
    fn newest_snapshot(&self) -> Answer<'_, Option<LogSnapshot>>;

    /// Announces a snapshot; the digests of those of its files that the log does not have yet.
    fn begin_snapshot(&self, snapshot: LogSnapshot) -> Answer<'_, Vec<u128>>;

    /// Writes a part of a file: the `number`-th one from 0 on, each of [`SNAPSHOT_PART_BYTES`] but the last.
    fn put_part(&self, digest: u128, number: u32, part: Bytes) -> Answer<'_, ()>;

    /// Reads parts of a file in order, from number `from` on, up to some `bytes`; empty behind the last one.
    fn get_parts(&self, digest: u128, from: u32, bytes: usize) -> Answer<'_, Vec<Bytes>>;

    /// Marks a snapshot as complete; false if parts are missing.
    fn complete_snapshot(&self, id: u64) -> Answer<'_, bool>;

    /// As the holder of `term`: frees entries that the newest complete snapshot contains, and snapshots and parts that
    /// nobody needs; a bounded part of them. True if more could be freed now.
    fn trim(&self, term: u64) -> Answer<'_, bool>;
}

/// Bytes of a part of a snapshot's file.
pub const SNAPSHOT_PART_BYTES: usize = 1024 * 1024;

/// Opens sessions with a log.
pub trait SharedLogs: Send + Sync + 'static {
    /// Connects to the log and checks that it is the one of this cluster, and that it keeps what it commits. Ends earlier
    /// sessions of this claimant.
    fn open(&self, claimant: Claimant, cluster: ClusterId) -> Answer<'_, (Arc<dyn SharedLog>, LogIdentity)>;

    /// Time for which connecting is tried before [`LogError::Unreachable`].
    fn patience(&self) -> Duration;
}
