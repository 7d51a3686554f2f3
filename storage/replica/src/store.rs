//! The public face of a store, free of consensus words: commit, read, who leads, hand over.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use baton_domain::{
    ClusterState, Command, Committed, ConsumerId, InDoubt, Member, MessageId, ProducerId, QueueId, ReplicaId,
    StoredMessage, Timer,
};
use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::sync::watch;

use crate::config::StoreConfig;
use crate::disk::free_bytes;
use crate::error::{CommitError, Shortage, StoreError};
use crate::header::StoreHeader;
use crate::lease::Lease;
use crate::queue::QueueRecord;
use crate::replicated::{Inner, open};
use crate::status::StoreStatus;
use crate::transport::Transport;

#[cfg(test)]
mod tests;

/// One replica of the store, open. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

impl Store {
    /// Opens the store and takes part in the cluster over `transport`.
    ///
    /// # Errors
    /// [`StoreError`] says what is wrong with it and what to do.
    pub fn open(config: StoreConfig, transport: Arc<dyn Transport>) -> BoxFuture<'static, Result<Self, StoreError>> {
        Box::pin(async { Ok(Self { inner: Arc::new(open(config, transport).await?) }) })
    }

    /// The store's header.
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
        self.inner.timers(after, until_ms, limit)
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

    /// The shortage of this replica, while it takes only commands that free space.
    #[must_use]
    pub fn shortage(&self) -> Option<Shortage> {
        self.inner.room.shortage()
    }

    /// Duration of the sync of the log that has not returned: zero, or short, unless the disk hangs.
    #[must_use]
    pub fn sync_waits(&self) -> Duration {
        self.inner.sync_waits()
    }

    /// Bytes that have arrived, and bytes in total, while a snapshot fills this replica.
    #[must_use]
    pub fn filling(&self) -> Option<(u64, u64)> {
        self.inner.receiver.progress()
    }

    /// Time for which this replica elects nobody after it heard a leader, and so the lease of a leader, in
    /// milliseconds.
    #[must_use]
    pub fn election_max_ms(&self) -> u64 {
        self.inner.receiver.lease_ms
    }

    /// Stops taking part, and closes the store with everything on disk.
    pub fn shutdown(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.inner.shutdown())
    }
}
