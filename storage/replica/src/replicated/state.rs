//! The state that consensus writes and all others read: the current database and its cluster record.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use baton_domain::ClusterState;
use tokio::sync::watch;

use super::flusher::lock;
use super::snapshot::SnapshotFiles;
use crate::disk::{Layout, MemoryBudget, Skips, StateDb, free_bytes, rocks};

/// Shared by the state machine, which writes, and all readers.
pub(crate) struct SharedState {
    db: RwLock<Option<Arc<StateDb>>>,
    /// The newest snapshot that was made or installed; it is sent to replicas that lag.
    snapshot: Mutex<Option<Arc<SnapshotFiles>>>,
    cluster: watch::Sender<Arc<ClusterState>>,
    layout: Layout,
    memory: MemoryBudget,
}

impl SharedState {
    pub(crate) fn new(db: StateDb, cluster: Arc<ClusterState>, layout: Layout, memory: MemoryBudget) -> Self {
        Self {
            db: RwLock::new(Some(Arc::new(db))),
            snapshot: Mutex::default(),
            cluster: watch::Sender::new(cluster),
            layout,
            memory,
        }
    }

    /// The current database. It stays readable after another replaces it.
    pub(crate) fn db(&self) -> io::Result<Arc<StateDb>> {
        let db = self.db.read().unwrap_or_else(PoisonError::into_inner);
        db.clone().ok_or_else(|| io::Error::other("the store is closed"))
    }

    /// Releases the database; it closes with the last reader.
    pub(crate) fn close(&self) -> Option<Arc<StateDb>> {
        lock(&self.snapshot).take();
        self.db.write().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(crate) fn cluster(&self) -> &watch::Sender<Arc<ClusterState>> {
        &self.cluster
    }

    pub(super) fn new_incoming(&self) -> PathBuf {
        self.layout.new_incoming()
    }

    pub(super) fn memory(&self) -> &MemoryBudget {
        &self.memory
    }

    /// The log entries that are skipped.
    pub(super) fn skips(&self) -> io::Result<Skips> {
        Skips::read(&self.layout.skips())
    }

    /// The store's directory.
    pub(crate) fn dir(&self) -> &Path {
        self.layout.dir()
    }

    /// True if a snapshot can be made: the data in memory must fit on the disk first.
    pub(crate) fn has_room_for_snapshot(&self) -> bool {
        const BESIDE_BYTES: u64 = 8 * 1024 * 1024;
        self.db().is_ok_and(|db| self.free_bytes() > db.unflushed_bytes() + BESIDE_BYTES)
    }

    pub(super) fn free_bytes(&self) -> u64 {
        free_bytes(self.layout.dir())
    }

    /// The newest snapshot, if there is one.
    pub(super) fn snapshot(&self) -> Option<Arc<SnapshotFiles>> {
        lock(&self.snapshot).clone()
    }

    /// Makes a snapshot of the state as it is now. Flushes and links files: not for a task that must not block.
    pub(crate) fn make_snapshot(&self) -> io::Result<Arc<SnapshotFiles>> {
        let db = self.db()?;
        let dir = self.layout.new_snapshot();
        let snapshot = Arc::new(SnapshotFiles::checkpoint(&db, dir, &self.memory)?);
        let mut kept = lock(&self.snapshot);
        // A newer one may have been installed meanwhile.
        if kept.as_ref().is_none_or(|kept| kept.meta().last_log_id <= snapshot.meta().last_log_id) {
            *kept = Some(snapshot.clone());
        }
        Ok(snapshot)
    }

    /// Replaces a snapshot that occupies much more disk space than the state needs.
    pub(crate) fn release_bloated_snapshot(&self) -> io::Result<()> {
        const SLACK_BYTES: u64 = 256 * 1024 * 1024;
        let Some(kept) = self.snapshot() else { return Ok(()) };
        if kept.bytes() > self.db()?.file_bytes() * 2 + SLACK_BYTES && self.has_room_for_snapshot() {
            self.make_snapshot()?;
        }
        Ok(())
    }

    /// Replaces the state by a snapshot; a crash leaves the old state or the new one.
    pub(super) fn install(&self, snapshot: &Arc<SnapshotFiles>) -> io::Result<Arc<StateDb>> {
        let dir = self.layout.new_state();
        snapshot.copy_to(&dir)?;
        let db = StateDb::open(&dir, &self.memory, false).map_err(rocks)?;
        let db = Arc::new(db);
        self.layout.set_current_state(&dir)?;
        let old = self.db.write().unwrap_or_else(PoisonError::into_inner).replace(db.clone());
        if let Some(old) = old {
            old.retire();
        }
        *lock(&self.snapshot) = Some(snapshot.clone());
        Ok(db)
    }
}
