//! Keeps the log short: takes a snapshot after a number of bytes or entries, and purges the log behind the one before
//! it.

use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use tokio::sync::watch;

use crate::replicated::{AppliedRecord, LogStore, Raft, SnapshotHolds};
use crate::state::{Snapshots, Upkeep};
use crate::status::StoreStatus;

/// Interval between two checks.
const PERIOD: Duration = Duration::from_millis(500);
/// A snapshot is taken after this many entries, however small.
const ENTRIES: u64 = 50_000;

/// Takes snapshots and purges the log.
pub(crate) struct Housekeeping {
    pub(crate) raft: Raft,
    pub(crate) snapshots: Arc<Snapshots<AppliedRecord>>,
    pub(crate) log: LogStore,
    pub(crate) status: watch::Receiver<StoreStatus>,
    pub(crate) holds: SnapshotHolds,
    pub(crate) snapshot_log_bytes: u64,
    pub(crate) upkeep: Upkeep,
}

/// State between two checks.
#[derive(Default)]
struct Done {
    /// Appended and applied when the last snapshot was asked for.
    bytes: u64,
    applied: u64,
    purged: u64,
}

impl Housekeeping {
    pub(crate) async fn run(mut self) {
        let mut done = Done { applied: self.applied(), ..Done::default() };
        // The log is kept back to the snapshot before the newest: a replica that was away for a short while then
        // needs a piece of log, not all of the state.
        let (mut before, mut newest) = (None, self.snapshot());
        loop {
            tokio::time::sleep(PERIOD).await;
            let short = self.upkeep.look(self.log.appended_bytes());
            let reclaimed = self.upkeep.reclaim(self.applied(), short).await && short;
            let (bytes, applied) = (self.log.appended_bytes(), self.applied());
            let due = bytes - done.bytes >= self.snapshot_log_bytes || applied.saturating_sub(done.applied) >= ENTRIES;
            if (due || reclaimed) && self.snapshots.state().has_room_for_snapshot() {
                (done.bytes, done.applied) = (bytes, applied);
                if self.raft.trigger().snapshot().await.is_err() {
                    return;
                }
            }
            let snapshot = self.snapshot();
            if snapshot > newest {
                (before, newest) = (newest, snapshot);
            }
            if self.purge(if short { newest } else { before }, short, &mut done).await.is_err() {
                return;
            }
            let snapshots = self.snapshots.clone();
            match tokio::task::spawn_blocking(move || snapshots.release_bloated()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "cannot remove an old snapshot"),
                Err(_) => return,
            }
        }
    }

    /// Purges the log up to `wanted`, but keeps entries for replicas that receive a snapshot; not if space
    /// is short.
    async fn purge(&self, wanted: Option<u64>, short: bool, done: &mut Done) -> Result<(), ()> {
        let Some(wanted) = wanted else { return Ok(()) };
        let limit = self.holds.limit(wanted, &self.status.borrow(), crate::clock::boot_time());
        let upto = if short { wanted } else { limit };
        if upto <= done.purged {
            return Ok(());
        }
        done.purged = upto;
        self.raft.trigger().purge_log(upto).await.map_err(|_| ())
    }

    fn applied(&self) -> u64 {
        self.raft.metrics().borrow_watched().last_applied.as_ref().map_or(0, |applied| applied.index)
    }

    fn snapshot(&self) -> Option<u64> {
        self.raft.metrics().borrow_watched().snapshot.as_ref().map(|snapshot| snapshot.index)
    }
}
