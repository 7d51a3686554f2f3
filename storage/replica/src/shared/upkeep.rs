//! Keeps the disk space of the state, and the log short: the holder puts a snapshot into it from time to time, and frees
//! the entries before.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use baton_domain::clock::BootTime;
use tokio::sync::watch;
use xxhash_rust::xxh3::xxh3_64;

use super::log::SharedLog;
use super::measured::Measured;
use super::record::LogRecord;
use super::shelf::{self, ShelfError};
use crate::header::StoreHeader;
use crate::state::{Snapshots, Upkeep};
use crate::status::StoreStatus;

/// Interval between two checks.
const PERIOD: Duration = Duration::from_millis(500);
/// Checks between two looks at the size of the log.
const LOOK: u64 = 10;
/// Silence after which a server counts as gone: it loads a snapshot when it returns.
const GONE: Duration = Duration::from_secs(30);

/// Looks after the space until the store is closed.
pub(super) struct LogUpkeep {
    pub(super) upkeep: Upkeep,
    pub(super) header: Arc<StoreHeader>,
    pub(super) incarnation: u64,
    pub(super) snapshots: Arc<Snapshots<LogRecord>>,
    pub(super) session: watch::Receiver<Option<Arc<dyn SharedLog>>>,
    pub(super) status: watch::Receiver<StoreStatus>,
    /// Counts what was applied.
    pub(super) bytes: Arc<AtomicU64>,
    /// Bytes of log after which a snapshot is due; more, if the state is large.
    pub(super) snapshot_log_bytes: u64,
    pub(super) measured: Measured,
}

impl LogUpkeep {
    pub(super) async fn run(mut self) {
        for round in 1_u64.. {
            tokio::time::sleep(PERIOD).await;
            let short = self.upkeep.look(self.bytes.load(Ordering::Relaxed));
            let applied = self.status.borrow().applied;
            self.upkeep.reclaim(applied, short).await;
            let leads = self.status.borrow().leads;
            let session = self.session.borrow().clone();
            let Some(log) = session.filter(|_| leads && round.is_multiple_of(LOOK)) else { continue };
            if let Err(error) = self.shorten(&*log).await {
                tracing::warn!(%error, "cannot shorten the log yet");
            }
        }
    }

    /// Puts a snapshot into the log if one is due, and frees what no server needs.
    async fn shorten(&self, log: &dyn SharedLog) -> Result<(), ShelfError> {
        let newest = log.newest_snapshot().await?.map(|snapshot| snapshot.position.index);
        let state_bytes = self.snapshots.state().db()?.file_bytes();
        let applied = self.status.borrow().applied;
        let size = log.size().await?;
        self.measured.looked(size, newest);
        let due = size.entries >= self.snapshot_log_bytes.max(state_bytes / 2);
        let newest = if due && newest.is_none_or(|newest| applied > newest) {
            if !self.snapshots.state().has_room_for_snapshot() {
                return Ok(());
            }
            let id = xxh3_64(&[self.incarnation.to_be_bytes(), applied.to_be_bytes()].concat()) >> 1;
            let who = (self.header.server.clone(), self.header.generation, id);
            Some(shelf::put(log, self.snapshots.clone(), who).await?)
        } else {
            newest
        };
        let (term, needed) = {
            let status = self.status.borrow();
            (status.term, needed(&status, crate::clock::boot_time()))
        };
        if newest.is_some_and(|newest| needed.is_none_or(|needed| needed >= newest)) {
            while log.trim(term).await? {}
        }
        Ok(())
    }
}

/// The entry behind which a server that is there still reads, if one does.
fn needed(status: &StoreStatus, now: BootTime) -> Option<u64> {
    let there = |heard: Option<BootTime>| heard.is_some_and(|heard| now.since(heard) < GONE);
    status.followers.values().filter(|follower| there(follower.heard)).map(|follower| follower.matched).min()
}
