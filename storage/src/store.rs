//! The store's public face, free of consensus words: commit, read, who leads, hand over.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::clock::BootTime;
use crate::{
    ClusterId, ClusterState, Command, Committed, ConsumerId, Member, MessageId, Policy, ProducerId, QueueId, QueueName,
    ReplicaId, ServerName, StoredMessage, Transport,
};

/// What a store says of itself, written when it is formatted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreHeader {
    /// The cluster that it belongs to.
    pub cluster: ClusterId,
    /// The cluster's generation; replicas of another one are refused.
    pub generation: u32,
    /// This replica.
    pub replica: ReplicaId,
    /// The server that holds it.
    pub server: ServerName,
    /// How the cluster begins; only in stores that `init` formatted. A store without it joins and never begins one.
    pub genesis: Option<Genesis>,
}

/// The beginning of a cluster: the same in each store that `init` formatted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Genesis {
    /// The first members, in `init`'s order; all of them vote.
    pub members: Vec<Member>,
    /// The first policy.
    pub policy: Policy,
}

/// How a store is opened.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// Where it lies.
    pub dir: PathBuf,
    /// How often a leader is heard, in milliseconds.
    pub heartbeat_ms: u64,
    /// The shortest election timeout of this server, in milliseconds; shorter the more preferred it is.
    pub election_min_ms: u64,
    /// The longest election timeout, in milliseconds: the lease. The same on all servers.
    pub election_max_ms: u64,
    /// Taken off the lease for clocks that drift, in milliseconds.
    pub lease_margin_ms: u64,
    /// Write buffers and block cache of RocksDB together, in bytes.
    pub memory_budget_bytes: u64,
    /// A snapshot is taken, and the log purged behind it, after so many bytes of log.
    pub snapshot_log_bytes: u64,
}

/// Why a store cannot be formatted, opened or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It was written by a newer program.
    #[error("the store at {dir} has format {found}; this program reads up to {known}: start it with a newer baton")]
    Newer {
        /// Where it lies.
        dir: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format that this program reads.
        known: u32,
    },
    /// It is damaged, or not a store.
    #[error(
        "the store at {dir} is damaged ({why}): move {dir} away and start the server again; it rebuilds its replica from the others"
    )]
    Damaged {
        /// Where it lies.
        dir: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// There is a store already.
    #[error("there is a store at {dir} already")]
    Exists {
        /// Where it lies.
        dir: PathBuf,
    },
    /// Another process has it open.
    #[error("the store at {dir} is in use by another process")]
    InUse {
        /// Where it lies.
        dir: PathBuf,
    },
    /// There is no store.
    #[error("there is no store at {dir}")]
    Missing {
        /// Where it was looked for.
        dir: PathBuf,
    },
    /// Reading or writing failed.
    #[error("the store at {dir} cannot be read or written: {why}")]
    Io {
        /// Where it lies.
        dir: PathBuf,
        /// What the system said.
        why: String,
    },
}

/// Why a command was not committed, or is not known to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// This replica does not lead: nothing was written.
    #[error("this replica does not lead the store")]
    NotLeader {
        /// Which one does, if known.
        leader: Option<ReplicaId>,
    },
    /// Leadership was lost on the way: it may be committed or not.
    #[error("leadership was lost before the outcome was known")]
    Unknown,
    /// The store stopped working.
    #[error("the store stopped: {0}")]
    Failed(String),
}

/// How far a replica is, as its leader knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The last log index that it has on disk.
    pub matched: u64,
    /// When the last heartbeat was sent that it answered.
    pub heard: Option<BootTime>,
}

/// The replica's place among the others, as it knows it now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreStatus {
    /// Whether this replica leads.
    pub leads: bool,
    /// Which replica leads, if known.
    pub leader: Option<ReplicaId>,
    /// Grows with every election.
    pub term: u64,
    /// The last log index here.
    pub last_index: u64,
    /// The last log index applied here.
    pub applied: u64,
    /// The replicas that vote.
    pub voters: BTreeSet<ReplicaId>,
    /// The replicas that catch up and do not vote.
    pub learners: BTreeSet<ReplicaId>,
    /// How far the others are; empty unless this replica leads.
    pub progress: BTreeMap<ReplicaId, Progress>,
    /// When the last heartbeat was sent that a majority answered; `None` unless this replica leads.
    pub quorum_acked: Option<BootTime>,
    /// Set when the store stopped working (a disk that fails): it serves no more.
    pub failed: Option<String>,
}

/// A queue as the store knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueRecord {
    /// Its number.
    pub id: QueueId,
    /// Its name.
    pub name: QueueName,
    /// Messages that it holds.
    pub depth: u64,
    /// Bytes that they have together.
    pub bytes: u64,
    /// No message below this one is left.
    pub head: MessageId,
    /// Messages after this one were never delivered.
    pub dispatched: MessageId,
}

/// The lease under which this replica leads, readable from any thread at no cost.
#[derive(Debug, Clone, Default)]
pub struct Lease {
    until: Arc<std::sync::atomic::AtomicU64>,
}

impl Lease {
    /// When it runs out unless it is renewed before; the past if this replica does not lead.
    #[must_use]
    pub fn until(&self) -> BootTime {
        BootTime(self.until.load(std::sync::atomic::Ordering::Acquire))
    }

    /// Whether it holds at `now`.
    #[must_use]
    pub fn holds(&self, now: BootTime) -> bool {
        now < self.until()
    }
}

/// One replica of the store, open. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    _private: (),
}

/// Formats an empty directory (made if it is absent).
///
/// # Errors
/// [`StoreError::Exists`] if there is a store already.
pub fn format(_dir: &Path, _header: &StoreHeader) -> Result<(), StoreError> {
    todo!()
}

/// Reads a store's header; `None` if the directory is absent or empty.
///
/// # Errors
/// [`StoreError`] if what is there is damaged, newer, or not a store.
pub fn inspect(_dir: &Path) -> Result<Option<StoreHeader>, StoreError> {
    todo!()
}

impl Store {
    /// Opens the store and takes part in the cluster over `transport`.
    ///
    /// # Errors
    /// [`StoreError`] says what is wrong with it and what to do.
    pub async fn open(_config: StoreConfig, _transport: Arc<dyn Transport>) -> Result<Self, StoreError> {
        todo!()
    }

    /// What the store says of itself.
    #[must_use]
    pub fn header(&self) -> &StoreHeader {
        todo!()
    }

    /// Takes a frame that replica `from` sent. Takes its place in line at once; the future resolves to the answer.
    pub fn receive(&self, _from: ReplicaId, _frame: Bytes) -> BoxFuture<'static, Vec<u8>> {
        todo!()
    }

    /// Proposes a command. Commands are written in the order of the calls, several at a time in flight.
    pub fn commit(&self, _command: Command) -> BoxFuture<'static, Result<Committed, CommitError>> {
        todo!()
    }

    /// The replicated facts about the cluster, as applied here.
    #[must_use]
    pub fn cluster(&self) -> watch::Receiver<Arc<ClusterState>> {
        todo!()
    }

    /// The replica's place among the others.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<StoreStatus> {
        todo!()
    }

    /// The lease under which this replica leads.
    #[must_use]
    pub fn lease(&self) -> Lease {
        todo!()
    }

    /// Hands leadership to a voter that is caught up; resolves when that one leads.
    ///
    /// # Errors
    /// In words, if it did not lead in time; this replica then leads again, or somebody else does.
    pub async fn hand_over(&self, _to: ReplicaId) -> Result<(), String> {
        todo!()
    }

    /// Starts sending the log to a member that does not vote yet.
    ///
    /// # Errors
    /// In words; also if it is not committed within a few seconds.
    pub async fn add_learner(&self, _member: &Member) -> Result<(), String> {
        todo!()
    }

    /// Changes who votes, in one step that is safe for the data; voters and learners that are not in `voters` or
    /// `learners` are left out of the cluster.
    ///
    /// # Errors
    /// In words; also if it is not committed within a few seconds.
    pub async fn change_voters(
        &self,
        _voters: BTreeSet<ReplicaId>,
        _learners: BTreeSet<ReplicaId>,
    ) -> Result<(), String> {
        todo!()
    }

    /// All queues, by name.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read.
    pub fn queues(&self) -> Result<Vec<QueueRecord>, StoreError> {
        todo!()
    }

    /// The messages of a queue from `from` on, in order, up to both bounds (at least one if there is one). Reads the
    /// disk: not for a task that must not block.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read.
    pub fn page(
        &self,
        _queue: QueueId,
        _from: MessageId,
        _max_messages: usize,
        _max_bytes: usize,
    ) -> Result<Vec<(MessageId, StoredMessage)>, StoreError> {
        todo!()
    }

    /// The consumers that are attached, as recorded.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read.
    pub fn consumers(&self) -> Result<Vec<(ConsumerId, QueueId)>, StoreError> {
        todo!()
    }

    /// Up to `limit` producers that sent nothing since `before_ms` (Unix milliseconds).
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read.
    pub fn idle_producers(&self, _before_ms: u64, _limit: usize) -> Result<Vec<ProducerId>, StoreError> {
        todo!()
    }

    /// The running hash that was recorded at the marker at `index`, if this replica applied it (the last few are kept).
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read.
    pub fn hash_at(&self, _index: u64) -> Result<Option<u128>, StoreError> {
        todo!()
    }

    /// Free bytes where the store lies.
    #[must_use]
    pub fn free_bytes(&self) -> u64 {
        todo!()
    }

    /// Stops taking part, and closes the store with everything on disk.
    pub async fn shutdown(&self) {
        todo!()
    }
}
