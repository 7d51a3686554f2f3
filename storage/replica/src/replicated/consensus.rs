//! The keeper that is consensus: openraft, the log, and the tasks around them.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use baton_domain::{Command, Committed, ReplicaId};
use bytes::Bytes;
use futures::future::BoxFuture;
use openraft::async_runtime::watch::WatchReceiver;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::commit::Proposer;
use super::guard::LeaseGuard;
use super::succession::Succession;
use super::watcher::close;
use crate::disk::{Room, StoreLock};
use crate::error::{CommitError, HandOverError, Shortage};
use crate::header::StoreHeader;
use crate::keeper::{Keeper, Voting};
use crate::lease::Lease;
use crate::replicated::{AppliedRecord, LogStore, Raft, Receiver, Timing};
use crate::state::Snapshots;
use crate::status::StoreStatus;

/// A replica that takes part in consensus.
pub(crate) struct Consensus {
    pub(crate) header: StoreHeader,
    pub(crate) raft: Raft,
    pub(super) receiver: Receiver,
    pub(super) proposer: Proposer,
    pub(crate) snapshots: Arc<Snapshots<AppliedRecord>>,
    pub(super) status: watch::Receiver<StoreStatus>,
    pub(super) guard: Arc<LeaseGuard>,
    pub(super) timing: Timing,
    pub(super) succession: Succession,
    /// Disk space that the store needs for its own work, in bytes.
    pub(super) needed: Arc<AtomicU64>,
    pub(super) room: Room,
    pub(super) status_sender: Arc<watch::Sender<StoreStatus>>,
    pub(super) log: Mutex<Option<LogStore>>,
    pub(super) tasks: Mutex<Vec<JoinHandle<()>>>,
    pub(super) lock: Mutex<Option<Arc<StoreLock>>>,
}

impl Keeper for Consensus {
    fn commit(&self, command: &Command) -> BoxFuture<'static, Result<Committed, CommitError>> {
        self.proposer.commit(command)
    }

    fn status(&self) -> watch::Receiver<StoreStatus> {
        self.status.clone()
    }

    fn lease(&self) -> Lease {
        self.guard.lease()
    }

    fn hand_over(&self, to: ReplicaId) -> BoxFuture<'_, Result<(), HandOverError>> {
        Box::pin(self.transfer(to))
    }

    fn linked(&self, replicas: BTreeSet<ReplicaId>) {
        let place = self.raft.server_metrics();
        let voters = place.borrow_watched().membership_config.membership().get_joint_config().clone();
        self.guard.linked(replicas, crate::clock::boot_time(), self.header.replica, &voters);
    }

    fn died(&self, replica: ReplicaId, _incarnation: u64) {
        let succession = self.succession.clone();
        let task = tokio::spawn(async move { succession.follow(replica).await });
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.retain(|task| !task.is_finished());
        tasks.push(task);
    }

    fn receive(&self, from: ReplicaId, frame: Bytes) -> BoxFuture<'static, Vec<u8>> {
        self.receiver.receive(from, frame)
    }

    fn voting(&self) -> Option<&dyn Voting> {
        Some(self)
    }

    fn waits(&self) -> Duration {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.as_ref().map_or(Duration::ZERO, LogStore::sync_waits)
    }

    fn filling(&self) -> Option<(u64, u64)> {
        self.receiver.progress()
    }

    fn free_bytes(&self) -> u64 {
        self.snapshots.state().free_bytes().saturating_sub(self.needed.load(Ordering::Relaxed))
    }

    fn shortage(&self) -> Option<Shortage> {
        self.room.shortage()
    }

    fn lease_ms(&self) -> u64 {
        self.receiver.lease_ms
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.close())
    }
}

fn take<T>(slot: &Mutex<Option<T>>) -> Option<T> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).take()
}

impl Consensus {
    fn stop_tasks(&self) {
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.iter().for_each(JoinHandle::abort);
    }

    async fn close(&self) {
        self.guard.close();
        self.stop_tasks();
        close(&self.status_sender, None);
        if self.raft.shutdown().await.is_err() {
            tracing::warn!("raft did not shut down cleanly");
        }
        self.snapshots.release();
        let held = (take(&self.log), take(&self.lock));
        // Consensus' own tasks let go of the databases a moment after it ended.
        let log_is_used = |held: &(Option<LogStore>, _)| held.0.as_ref().is_some_and(|log| log.users() > 1);
        self.snapshots.state().close_and_flush(held, log_is_used).await;
    }
}

impl Drop for Consensus {
    fn drop(&mut self) {
        self.guard.close();
        self.stop_tasks();
    }
}
