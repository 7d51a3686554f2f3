//! Keeps the log short: a snapshot after so many bytes or entries, and the log purged behind the one before it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;

use crate::raft::{Raft, SharedState};

/// How often it is looked.
const PERIOD: Duration = Duration::from_millis(500);
/// A snapshot is taken after this many entries, however small.
const ENTRIES: u64 = 50_000;

/// Takes snapshots and purges the log.
pub(super) struct Housekeeping {
    pub(super) raft: Raft,
    pub(super) state: Arc<SharedState>,
    pub(super) appended_bytes: Arc<AtomicU64>,
    pub(super) snapshot_log_bytes: u64,
}

impl Housekeeping {
    pub(super) async fn run(self) {
        let mut bytes_at = 0;
        let mut asked_at = self.applied();
        // The log is kept back to the snapshot before the newest: a replica that was away for a short while then
        // needs a piece of log, not all of the state.
        let mut newest = self.snapshot();
        loop {
            tokio::time::sleep(PERIOD).await;
            let (bytes, applied) = (self.appended_bytes.load(Ordering::Relaxed), self.applied());
            if bytes - bytes_at >= self.snapshot_log_bytes || applied.saturating_sub(asked_at) >= ENTRIES {
                (bytes_at, asked_at) = (bytes, applied);
                if self.raft.trigger().snapshot().await.is_err() {
                    return;
                }
            }
            let snapshot = self.snapshot();
            if snapshot > newest {
                if let Some(before) = newest
                    && self.raft.trigger().purge_log(before).await.is_err()
                {
                    return;
                }
                newest = snapshot;
            }
            let state = self.state.clone();
            match tokio::task::spawn_blocking(move || state.release_bloated_snapshot()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "an old snapshot could not be let go"),
                Err(_) => return,
            }
        }
    }

    fn applied(&self) -> u64 {
        self.raft.metrics().borrow_watched().last_applied.as_ref().map_or(0, |applied| applied.index)
    }

    fn snapshot(&self) -> Option<u64> {
        self.raft.metrics().borrow_watched().snapshot.as_ref().map(|snapshot| snapshot.index)
    }
}
