//! The store's public face, free of consensus words: commit, read, who leads, hand over.

mod acknowledging;
mod birth;
mod commit;
mod damage;
mod format;
mod guard;
mod hand_over;
mod housekeeping;
mod lease;
mod members;
mod open;
mod read;
mod recover;
mod scrub;
mod set_aside;
mod space;
mod succession;
mod watcher;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use baton_domain::clock::BootTime;
use baton_domain::{
    ClusterId, ClusterState, Command, Committed, ConsumerId, DestinationKind, InDoubt, Lane, Member, MessageId, Policy,
    ProducerId, QueueId, QueueName, ReplicaId, ServerName, Settings, StoredMessage, Timer,
};
use bytes::Bytes;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

pub use damage::{damage, older_copy};
pub use format::{format, inspect};
pub use recover::{RecoveryReport, recover};
pub use set_aside::StoppedStore;

use crate::Transport;
use crate::disk::{Shortage, free_bytes};

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
    /// What one request to another replica carries at most, in bytes of entries; one larger entry goes alone.
    pub frame_bytes: usize,
    /// What is on its way to another replica unanswered at most, in bytes of entries.
    pub in_flight_bytes: usize,
    /// Write buffers and block cache of RocksDB together, in bytes.
    pub memory_budget_bytes: u64,
    /// How many files the database keeps open.
    pub open_files: u32,
    /// A snapshot is taken, and the log purged behind it, after so many bytes of log.
    pub snapshot_log_bytes: u64,
    /// New messages are refused when so many bytes or less are free beside what the store needs for its own work:
    /// space is taken back before that.
    pub reserve_bytes: u64,
    /// All that lies on disk is read this often to find damage, in milliseconds; zero: never.
    pub scrub_interval_ms: u64,
}

/// Why a store cannot be formatted, opened or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It was written by an older program.
    #[error(
        "the store at {dir} has format {found} of an older baton, which this one does not read (it reads {known}): empty the queues with the older one and lay out a new cluster"
    )]
    Older {
        /// Where it lies.
        dir: PathBuf,
        /// Its format.
        found: u32,
        /// The format that this program reads.
        known: u32,
    },
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
        "the store at {dir} is damaged ({why}): it serves no more; `baton rebuild`, with the server's file, gets the replica anew from the other servers"
    )]
    Damaged {
        /// Where it lies.
        dir: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// It was put back from an older copy.
    #[error(
        "the store at {dir} was put back from an older copy ({why}): it serves no more; `baton rebuild`, with the server's file, gets a new replica from the other servers"
    )]
    OlderCopy {
        /// Where it lies.
        dir: PathBuf,
        /// What it lacks.
        why: String,
    },
    /// There are files that are no store's.
    #[error(
        "{dir} is to hold a store, and holds other files: {files}; move these away, or let `dir` name another directory"
    )]
    Foreign {
        /// Where it was to lie.
        dir: PathBuf,
        /// Their names.
        files: String,
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
    /// The command needs room, and there is none: nothing was written.
    #[error("this server's store has no room: {0}")]
    NoRoom(Shortage),
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueRecord {
    /// Its number.
    pub id: QueueId,
    /// Its name.
    pub name: QueueName,
    /// Bytes that its messages have together.
    pub bytes: u64,
    /// Delayed messages, which are not in it yet.
    pub delayed: u64,
    /// Its messages, by priority.
    pub lanes: BTreeMap<Lane, LaneRecord>,
    /// What it is.
    pub kind: DestinationKind,
    /// How it behaves.
    pub settings: Settings,
    /// How often its settings were changed.
    pub version: u64,
    /// It goes when this consumer goes.
    pub owner: Option<ConsumerId>,
}

impl QueueRecord {
    /// An empty queue.
    #[must_use]
    pub fn new(id: QueueId, name: QueueName) -> Self {
        let (lanes, kind, settings) = (BTreeMap::new(), DestinationKind::Queue, Settings::default());
        Self { id, name, bytes: 0, delayed: 0, lanes, kind, settings, version: 0, owner: None }
    }

    /// Messages that it holds.
    #[must_use]
    pub fn depth(&self) -> u64 {
        self.lanes.values().map(|lane| lane.depth).sum()
    }
}

/// The messages of one priority in a queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneRecord {
    /// How many.
    pub depth: u64,
    /// None below this one is left.
    pub head: MessageId,
    /// Those after this one were never delivered.
    pub dispatched: MessageId,
}

/// The lease under which this replica leads, readable from any thread at no cost.
#[derive(Debug, Clone, Default)]
pub struct Lease(Arc<LeaseTimes>);

#[derive(Debug, Default)]
struct LeaseTimes {
    until: AtomicU64,
    term: AtomicU64,
}

impl Lease {
    /// When it runs out unless it is renewed before; the past if this replica does not lead.
    #[must_use]
    pub fn until(&self) -> BootTime {
        BootTime(self.0.until.load(Ordering::Acquire))
    }

    /// The same for who began to work in `term`; the past once a later one has a lease. Leadership that was lost and won
    /// again is not the same: somebody else may have led between.
    #[must_use]
    pub fn until_in(&self, term: u64) -> BootTime {
        let until = self.until();
        // The time of a later term is stored after that term.
        if self.0.term.load(Ordering::Acquire) == term { until } else { BootTime(0) }
    }

    fn renew(&self, term: u64, until: BootTime) {
        self.0.term.store(term, Ordering::Release);
        self.0.until.store(until.0, Ordering::Release);
    }

    fn end(&self) {
        self.0.until.store(0, Ordering::Release);
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
    inner: Arc<open::Inner>,
}

impl Store {
    /// Opens the store and takes part in the cluster over `transport`.
    ///
    /// # Errors
    /// [`StoreError`] says what is wrong with it and what to do.
    pub fn open(config: StoreConfig, transport: Arc<dyn Transport>) -> BoxFuture<'static, Result<Self, StoreError>> {
        Box::pin(async { Ok(Self { inner: Arc::new(open::open(config, transport).await?) }) })
    }

    /// What the store says of itself.
    #[must_use]
    pub fn header(&self) -> &StoreHeader {
        &self.inner.header
    }

    /// Takes a frame that replica `from` sent. Takes its place in line at once; the future resolves to the answer.
    pub fn receive(&self, from: ReplicaId, frame: Bytes) -> BoxFuture<'static, Vec<u8>> {
        self.inner.receiver.receive(from, frame)
    }

    /// Proposes a command. Commands are written in the order of the calls, several at a time in flight.
    pub fn commit(&self, command: Command) -> BoxFuture<'static, Result<Committed, CommitError>> {
        self.inner.proposer.commit(&command)
    }

    /// The replicated facts about the cluster, as applied here.
    #[must_use]
    pub fn cluster(&self) -> watch::Receiver<Arc<ClusterState>> {
        self.inner.state.cluster().subscribe()
    }

    /// The replica's place among the others.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<StoreStatus> {
        self.inner.status.clone()
    }

    /// The lease under which this replica leads.
    #[must_use]
    pub fn lease(&self) -> Lease {
        self.inner.guard.lease()
    }

    /// Tells the store which replicas this server has links to. A leader that is not linked to a majority of the voters
    /// has no lease. A store that is never told goes by heartbeats alone.
    pub fn linked(&self, replicas: BTreeSet<ReplicaId>) {
        self.inner.linked(replicas);
    }

    /// Tells the store that the process which held that replica is proven dead: if it led, and a majority of the
    /// voters is told the same, a successor is elected at once.
    pub fn died(&self, replica: ReplicaId) {
        self.inner.died(replica);
    }

    /// Hands leadership to a voter that is caught up; resolves when that one leads.
    ///
    /// # Errors
    /// In words, if it did not lead in time; this replica then leads again, or somebody else does.
    pub fn hand_over(&self, to: ReplicaId) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(self.inner.hand_over(to))
    }

    /// Starts sending the log to a member that does not vote yet.
    ///
    /// # Errors
    /// In words; also if it is not committed within a few seconds.
    pub fn add_learner<'a>(&'a self, member: &'a Member) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(self.inner.add_learner(member))
    }

    /// Changes who votes, in one step that is safe for the data; voters and learners that are not in `voters` or
    /// `learners` are left out of the cluster.
    ///
    /// # Errors
    /// In words; also if it is not committed within a few seconds.
    pub fn change_voters(
        &self,
        voters: BTreeSet<ReplicaId>,
        learners: BTreeSet<ReplicaId>,
    ) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(self.inner.change_voters(voters, learners))
    }

    /// All queues, by name.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read.
    pub fn queues(&self) -> Result<Vec<QueueRecord>, StoreError> {
        self.inner.queues()
    }

    /// The timers after `after` (none: from the first one on) that are due at `until_ms` (Unix milliseconds), in order, at
    /// most so many; and when the next one after these is due.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read.
    pub fn timers(
        &self,
        after: Option<Timer>,
        until_ms: u64,
        limit: usize,
    ) -> Result<(Vec<Timer>, Option<u64>), StoreError> {
        self.inner.timers(after, until_ms, limit)
    }

    /// The messages of a queue from `from` on, of the same priority, in order, up to both bounds (at least one if there is one). Reads the
    /// disk: not for a task that must not block.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read.
    pub fn page(
        &self,
        queue: QueueId,
        from: MessageId,
        max_messages: usize,
        max_bytes: usize,
    ) -> Result<Vec<(MessageId, StoredMessage)>, StoreError> {
        self.inner.page(queue, from, max_messages, max_bytes)
    }

    /// The consumers that are attached, in the order in which they did.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read.
    pub fn consumers(&self) -> Result<Vec<(ConsumerId, QueueId)>, StoreError> {
        self.inner.consumers()
    }

    /// The transactions that are prepared and not decided, by name.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read.
    pub fn in_doubt(&self) -> Result<Vec<InDoubt>, StoreError> {
        self.inner.in_doubt()
    }

    /// Up to `limit` producers that sent nothing since `before_ms` (Unix milliseconds).
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read.
    pub fn idle_producers(&self, before_ms: u64, limit: usize) -> Result<Vec<ProducerId>, StoreError> {
        self.inner.idle_producers(before_ms, limit)
    }

    /// The running hash that was recorded at the marker at `index`, if this replica applied it (the last few are kept).
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read.
    pub fn hash_at(&self, index: u64) -> Result<Option<u128>, StoreError> {
        self.inner.hash_at(index)
    }

    /// Free bytes where the store lies, less what it needs itself until it looks again: to flush what is in memory, to
    /// compact, and for what is being written.
    #[must_use]
    pub fn free_bytes(&self) -> u64 {
        free_bytes(&self.inner.dir).saturating_sub(self.inner.needed.load(Ordering::Relaxed))
    }

    /// What this replica is short of, if it takes nothing more but what frees space.
    #[must_use]
    pub fn shortage(&self) -> Option<Shortage> {
        self.inner.room.shortage()
    }

    /// For how long a sync of the log has not returned: zero, or a moment, unless the disk hangs.
    #[must_use]
    pub fn sync_waits(&self) -> Duration {
        self.inner.sync_waits()
    }

    /// While this replica is being filled by a snapshot: how much of it has arrived, and of how much, in bytes.
    #[must_use]
    pub fn filling(&self) -> Option<(u64, u64)> {
        self.inner.receiver.progress()
    }

    /// For how long this replica elects nobody after it heard a leader, and so the lease of a leader, in milliseconds.
    #[must_use]
    pub fn election_max_ms(&self) -> u64 {
        self.inner.receiver.lease_ms
    }

    /// Stops taking part, and closes the store with everything on disk.
    pub fn shutdown(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.inner.shutdown())
    }
}
