//! The public face of a store, free of consensus words: commit, read, the current leader, hand over.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use baton_domain::{
    ClusterState, Command, Committed, ConsumerId, InDoubt, Member, MessageId, ProducerId, QueueId, ReplicaId,
    StoredMessage, Timer,
};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use tokio::sync::watch;

use crate::config::StoreConfig;
use crate::error::{CommitError, HandOverError, Shortage, StoreError, VotingError};
use crate::header::StoreHeader;
use crate::keeper::Keeper;
use crate::lease::Lease;
use crate::queue::QueueRecord;
use crate::replicated::{Consensus, open};
use crate::shared::{SharedConfig, SharedLogs, open_shared};
use crate::state::SharedState;
use crate::status::StoreStatus;
use crate::transport::Transport;

#[cfg(test)]
mod tests;

/// One replica of the store, open: the state, and the keeper that orders the commands. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    header: Arc<StoreHeader>,
    state: Arc<SharedState>,
    keeper: Arc<dyn Keeper>,
}

impl Store {
    /// Opens the store and takes part in the cluster over `transport`.
    ///
    /// # Errors
    /// [`StoreError`] says what is wrong with it and what to do.
    pub fn open(config: StoreConfig, transport: Arc<dyn Transport>) -> BoxFuture<'static, Result<Self, StoreError>> {
        Box::pin(async { Ok(Self::replicated(Arc::new(open(config, transport).await?))) })
    }

    /// Opens the store of a cluster whose order is kept by a log that all servers reach. The other servers are reached
    /// over `transport`.
    ///
    /// # Errors
    /// [`StoreError`] says what is wrong with it and what to do.
    pub fn open_shared(
        config: StoreConfig,
        shared: SharedConfig,
        logs: Arc<dyn SharedLogs>,
        transport: Arc<dyn Transport>,
    ) -> BoxFuture<'static, Result<Self, StoreError>> {
        Box::pin(async {
            let keeper = Arc::new(open_shared(config, shared, logs, transport).await?);
            let (header, state) = (keeper.header().clone(), keeper.snapshots().state().clone());
            Ok(Self { header, state, keeper })
        })
    }

    fn replicated(keeper: Arc<Consensus>) -> Self {
        Self { header: Arc::new(keeper.header.clone()), state: keeper.snapshots.state().clone(), keeper }
    }

    /// The store's header.
    #[must_use]
    pub fn header(&self) -> &StoreHeader {
        &self.header
    }

    /// Takes a frame that replica `from` sent. Takes its place in line at once; the future resolves to the answer.
    pub fn receive(&self, from: ReplicaId, frame: Bytes) -> BoxFuture<'static, Vec<u8>> {
        self.keeper.receive(from, frame)
    }

    /// Proposes a command. Commands are written in the order of the calls, several at a time in flight.
    pub fn commit(&self, command: Command) -> BoxFuture<'static, Result<Committed, CommitError>> {
        self.keeper.commit(&command)
    }

    /// The replicated facts about the cluster, as applied here.
    #[must_use]
    pub fn cluster(&self) -> watch::Receiver<Arc<ClusterState>> {
        self.state.cluster().subscribe()
    }

    /// The replica's place among the others.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<StoreStatus> {
        self.keeper.status()
    }

    /// The lease under which this replica leads.
    #[must_use]
    pub fn lease(&self) -> Lease {
        self.keeper.lease()
    }

    /// Tells the store which replicas this server has links to. Where replicas vote, a leader that is not linked to a
    /// majority of them has no lease. A store that is never told goes by heartbeats alone.
    pub fn linked(&self, replicas: BTreeSet<ReplicaId>) {
        self.keeper.linked(replicas);
    }

    /// Tells the store that the process of that incarnation, which held that replica, is proven dead: if it led, it has
    /// a successor at once, where replicas vote once a majority of them is told the same.
    pub fn died(&self, replica: ReplicaId, incarnation: u64) {
        self.keeper.died(replica, incarnation);
    }

    /// Hands leadership to a replica that may lead and is caught up; resolves when that one leads.
    ///
    /// # Errors
    /// [`HandOverError`] if it did not lead in time; this replica then leads again, or somebody else does.
    pub fn hand_over(&self, to: ReplicaId) -> BoxFuture<'_, Result<(), HandOverError>> {
        self.keeper.hand_over(to)
    }

    /// Starts sending the log to a member that does not vote yet.
    ///
    /// # Errors
    /// [`VotingError`]; also if it is not committed within a few seconds.
    pub fn add_learner<'a>(&'a self, member: &'a Member) -> BoxFuture<'a, Result<(), VotingError>> {
        match self.keeper.voting() {
            Some(voting) => voting.add_learner(member),
            None => ready(Err(VotingError::NoVotes)).boxed(),
        }
    }

    /// Changes who votes, in one step that is safe for the data; voters and learners that are not in `voters` or
    /// `learners` are left out of the cluster.
    ///
    /// # Errors
    /// [`VotingError`]; also if it is not committed within a few seconds.
    pub fn change_voters(
        &self,
        voters: BTreeSet<ReplicaId>,
        learners: BTreeSet<ReplicaId>,
    ) -> BoxFuture<'_, Result<(), VotingError>> {
        match self.keeper.voting() {
            Some(voting) => voting.change_voters(voters, learners),
            None => ready(Err(VotingError::NoVotes)).boxed(),
        }
    }

    /// All queues, by name.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read.
    pub fn queues(&self) -> Result<Vec<QueueRecord>, StoreError> {
        self.state.queues()
    }

    /// The timers after `after` (none: from the first one on) that are due at `until_ms` (Unix milliseconds), in order,
    /// at most `limit`; and when the next one after these is due.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read.
    pub fn timers(
        &self,
        after: Option<Timer>,
        until_ms: u64,
        limit: usize,
    ) -> Result<(Vec<Timer>, Option<u64>), StoreError> {
        self.state.timers(after, until_ms, limit)
    }

    /// The messages of a queue from `from` on, of the same priority, in order, up to both bounds (at least one if there
    /// is one). Reads the disk: not for a task that must not block.
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
        self.state.page(queue, from, max_messages, max_bytes)
    }

    /// The consumers that are attached, in the order in which they did.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read.
    pub fn consumers(&self) -> Result<Vec<(ConsumerId, QueueId)>, StoreError> {
        self.state.consumers()
    }

    /// The transactions that are prepared and not decided, by name.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read.
    pub fn in_doubt(&self) -> Result<Vec<InDoubt>, StoreError> {
        self.state.in_doubt()
    }

    /// Up to `limit` producers that sent nothing since `before_ms` (Unix milliseconds).
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read.
    pub fn idle_producers(&self, before_ms: u64, limit: usize) -> Result<Vec<ProducerId>, StoreError> {
        self.state.idle_producers(before_ms, limit)
    }

    /// The running hash that was recorded at the marker at `index`, if this replica applied it (the last few are kept).
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read.
    pub fn hash_at(&self, index: u64) -> Result<Option<u128>, StoreError> {
        self.state.hash_at(index)
    }

    /// Bytes that are free for messages. Where the store lies on this server's disk: its free space, less what the store
    /// needs itself until it looks again: to flush what is in memory, to compact, and for what is being written.
    #[must_use]
    pub fn free_bytes(&self) -> u64 {
        self.keeper.free_bytes()
    }

    /// The shortage of this replica, while it takes only commands that free space.
    #[must_use]
    pub fn shortage(&self) -> Option<Shortage> {
        self.keeper.shortage()
    }

    /// Age of the oldest write that is not durable yet: zero, or short, unless the disk, or the log that all servers
    /// reach, hangs.
    #[must_use]
    pub fn waits(&self) -> Duration {
        self.keeper.waits()
    }

    /// Bytes that have arrived, and bytes in total, while a snapshot fills this replica.
    #[must_use]
    pub fn filling(&self) -> Option<(u64, u64)> {
        self.keeper.filling()
    }

    /// Time for which nobody takes the lead from a leader that was heard, and so the lease of a leader, in milliseconds.
    #[must_use]
    pub fn lease_ms(&self) -> u64 {
        self.keeper.lease_ms()
    }

    /// Stops taking part, and closes the store with everything on disk.
    pub fn shutdown(&self) -> BoxFuture<'_, ()> {
        self.keeper.shutdown()
    }
}
