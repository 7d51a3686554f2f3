//! The keeper whose order is a log that all servers reach.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use baton_domain::clock::BootTime;
use baton_domain::{Command, Committed, ReplicaId};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::measured::Measured;
use super::member;
use super::message::Message;
use super::names::Names;
use super::record::LogRecord;
use super::shelf::Progress;
use super::timing::SharedTiming;
use super::wire::{self, Ends};
use crate::disk::{Room, StoreLock};
use crate::error::{CommitError, HandOverError, Shortage};
use crate::header::StoreHeader;
use crate::keeper::{Keeper, Voting};
use crate::lease::Lease;
use crate::state::{Snapshots, encode_command};
use crate::status::StoreStatus;

/// A server that lags by more is not caught up: it would have to fetch the rest while nobody leads.
const LAG_MAX: u64 = 1024;
/// Timeout of a hand-over.
const HAND_OVER: Duration = Duration::from_secs(1);
/// Time for which a holder that is closed waits until the log knows that it gave the lease up.
const GIVE: Duration = Duration::from_millis(300);

/// The end of a member's commands; none once the store is closed.
pub(super) type Commands = Arc<Mutex<Option<mpsc::UnboundedSender<member::Command>>>>;

/// A server that takes part in a shared log.
pub(crate) struct LogKeeper {
    pub(super) header: Arc<StoreHeader>,
    pub(super) snapshots: Arc<Snapshots<LogRecord>>,
    pub(super) names: Names,
    pub(super) timing: SharedTiming,
    pub(super) commands: Commands,
    pub(super) lease: Lease,
    pub(super) status: watch::Receiver<StoreStatus>,
    /// The sending of the oldest statement that is not answered; 0 if there is none.
    pub(super) unanswered: Arc<AtomicU64>,
    pub(super) progress: Progress,
    /// The replicas that are linked, as this server was told last.
    pub(super) linked: watch::Sender<BTreeSet<ReplicaId>>,
    pub(super) room: Room,
    pub(super) measured: Measured,
    /// Bytes that the log may keep; 0: unlimited.
    pub(super) max_bytes: u64,
    /// Disk space that the store needs for its own work, in bytes.
    pub(super) needed: Arc<AtomicU64>,
    pub(super) tasks: Mutex<Vec<JoinHandle<()>>>,
    pub(super) lock: Mutex<Option<Arc<StoreLock>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends a command to the member, if it is not closed.
pub(super) fn send(commands: &Commands, command: member::Command) {
    if let Some(commands) = &*lock(commands) {
        // The member may have failed.
        let _ = commands.send(command);
    }
}

/// Proposes a command; it has its place in line when this returns.
pub(super) fn propose(commands: &Commands, command: &Command) -> oneshot::Receiver<Result<Committed, CommitError>> {
    let (answer, answered) = oneshot::channel();
    send(commands, member::Command::Propose(encode_command(command), answer));
    answered
}

impl LogKeeper {
    pub(crate) fn header(&self) -> &Arc<StoreHeader> {
        &self.header
    }

    pub(crate) fn snapshots(&self) -> &Arc<Snapshots<LogRecord>> {
        &self.snapshots
    }

    fn failure(&self) -> Option<String> {
        self.snapshots.state().failure().get().map(str::to_owned)
    }

    /// Checks that `to` may take over.
    fn check(&self, to: ReplicaId) -> Result<(), HandOverError> {
        let status = self.status.borrow();
        if !status.leads {
            return Err(HandOverError::NotLeader);
        }
        if to == self.header.replica {
            return Err(HandOverError::AlreadyLeader);
        }
        let follower = status.followers.get(&to).ok_or(HandOverError::Unknown { replica: to })?;
        if follower.heard.is_none_or(|heard| crate::clock::boot_time().since(heard) > self.timing.lease) {
            return Err(HandOverError::Silent { replica: to });
        }
        if !follower.may_lead {
            return Err(HandOverError::MayNotLead { replica: to });
        }
        let entries = status.last_index.saturating_sub(follower.matched);
        if entries > LAG_MAX {
            return Err(HandOverError::Behind { replica: to, entries });
        }
        Ok(())
    }

    async fn transfer(&self, to: ReplicaId) -> Result<(), HandOverError> {
        self.check(to)?;
        let server = self.names.server(to).ok_or(HandOverError::Unknown { replica: to })?;
        let mut status = self.status.clone();
        let term = status.borrow_and_update().term;
        send(&self.commands, member::Command::Give(Some(server)));
        let later = |status: &StoreStatus| (status.term > term).then_some(status.leader).flatten();
        let led =
            async { status.wait_for(|status| later(status).is_some()).await.ok().and_then(|status| later(&status)) };
        match tokio::time::timeout(HAND_OVER, led).await.ok().flatten() {
            Some(leader) if leader == to => Ok(()),
            Some(leader) => Err(HandOverError::LedByAnother { replica: to, leader }),
            None => Err(HandOverError::NotTaken { replica: to }),
        }
    }

    async fn close(&self) {
        if self.status.borrow().leads {
            // So that the next holder need not wait for the lease's end.
            send(&self.commands, member::Command::Give(None));
            let mut status = self.status.clone();
            let _ = tokio::time::timeout(GIVE, status.wait_for(|status| !status.leads)).await;
        }
        lock(&self.commands).take();
        self.stop();
        self.snapshots.release();
        let held = lock(&self.lock).take();
        self.snapshots.state().close_and_flush(held, |_| false).await;
    }

    fn stop(&self) {
        self.lease.end();
        std::mem::take(&mut *lock(&self.tasks)).iter().for_each(JoinHandle::abort);
    }
}

impl Drop for LogKeeper {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Keeper for LogKeeper {
    fn commit(&self, command: &Command) -> BoxFuture<'static, Result<Committed, CommitError>> {
        let state = self.snapshots.state();
        if let Some(why) = self.failure() {
            return ready(Err(CommitError::Failed(why))).boxed();
        }
        if let Some(shortage) = self.room.shortage().filter(|_| command.needs_room()) {
            return ready(Err(CommitError::NoRoom(shortage))).boxed();
        }
        let (began, measured) = (crate::clock::boot_time(), self.measured.clone());
        let answered = propose(&self.commands, command);
        let (failure, status) = (state.failure().clone(), self.status.clone());
        async move {
            match answered.await {
                Ok(Ok(committed)) => {
                    measured.committed(crate::clock::boot_time().since(began));
                    Ok(committed)
                }
                Ok(Err(CommitError::NotLeader { .. })) => {
                    Err(CommitError::NotLeader { leader: status.borrow().leader })
                }
                Ok(Err(error)) => Err(error),
                Err(_) => Err(failure.get().map_or(CommitError::Unknown, |why| CommitError::Failed(why.to_owned()))),
            }
        }
        .boxed()
    }

    fn status(&self) -> watch::Receiver<StoreStatus> {
        self.status.clone()
    }

    fn lease(&self) -> Lease {
        self.lease.clone()
    }

    fn hand_over(&self, to: ReplicaId) -> BoxFuture<'_, Result<(), HandOverError>> {
        Box::pin(self.transfer(to))
    }

    fn linked(&self, replicas: BTreeSet<ReplicaId>) {
        let servers = self.names.servers(&replicas);
        self.linked.send_replace(replicas);
        send(&self.commands, member::Command::Linked(servers));
    }

    fn died(&self, _replica: ReplicaId, incarnation: u64) {
        send(&self.commands, member::Command::Died(incarnation));
    }

    fn receive(&self, from: ReplicaId, frame: Bytes) -> BoxFuture<'static, Vec<u8>> {
        let ends = Ends { generation: self.header.generation, from, to: self.header.replica };
        let Some(message) = wire::decode::<Message>(ends, &frame) else { return ready(Vec::new()).boxed() };
        let (reply, replied) = oneshot::channel();
        send(&self.commands, member::Command::Told(message, reply));
        async move { replied.await.map_or_else(|_| Vec::new(), |reply| wire::encode_answer(ends, &reply)) }.boxed()
    }

    fn voting(&self) -> Option<&dyn Voting> {
        None
    }

    fn waits(&self) -> Duration {
        match self.unanswered.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => crate::clock::boot_time().since(BootTime(since)),
        }
    }

    fn filling(&self) -> Option<(u64, u64)> {
        self.progress.get()
    }

    fn free_bytes(&self) -> u64 {
        let here = self.snapshots.state().free_bytes().saturating_sub(self.needed.load(Ordering::Relaxed));
        self.measured.room(self.max_bytes).map_or(here, |room| here.min(room))
    }

    fn shortage(&self) -> Option<Shortage> {
        self.room.shortage()
    }

    fn lease_ms(&self) -> u64 {
        u64::try_from(self.timing.lease.as_millis()).unwrap_or(u64::MAX)
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.close())
    }
}
