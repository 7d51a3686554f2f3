//! The state that one task writes and all others read: the current database and its cluster record.

use std::io;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use baton_domain::ClusterState;
use tokio::sync::watch;

use crate::damage;
use crate::disk::{Layout, MemoryBudget, Skips, StateDb, free_bytes, rocks};
use crate::error::StoreError;
use crate::failure::Failure;

/// Shared by what applies commands, which writes, and all readers.
pub(crate) struct SharedState {
    db: RwLock<Option<Arc<StateDb>>>,
    cluster: watch::Sender<Arc<ClusterState>>,
    layout: Layout,
    memory: MemoryBudget,
    /// The store's: damage that is found here stops it.
    failure: Failure,
}

impl SharedState {
    pub(crate) fn new(
        db: StateDb,
        cluster: Arc<ClusterState>,
        layout: Layout,
        memory: MemoryBudget,
        failure: Failure,
    ) -> Self {
        let (db, cluster) = (RwLock::new(Some(Arc::new(db))), watch::Sender::new(cluster));
        Self { db, cluster, layout, memory, failure }
    }

    /// The current database. It stays readable after another replaces it.
    pub(crate) fn db(&self) -> io::Result<Arc<StateDb>> {
        let db = self.db.read().unwrap_or_else(PoisonError::into_inner);
        db.clone().ok_or_else(|| io::Error::other("the store is closed"))
    }

    /// Releases the database; it closes with the last reader.
    pub(crate) fn close(&self) -> Option<Arc<StateDb>> {
        self.db.write().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Closes the database with everything on disk, and then drops `held`. Waits for a while until nobody reads the
    /// database and `held` is not in use.
    pub(crate) async fn close_and_flush<T: Send + 'static>(&self, held: T, is_used: impl Fn(&T) -> bool) {
        const PATIENCE: Duration = Duration::from_secs(5);
        let state = self.close();
        let closed = async {
            while state.as_ref().is_some_and(|state| Arc::strong_count(state) > 1) || is_used(&held) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, closed).await.is_err() {
            tracing::warn!("the store is closed while it is still being read");
        }
        let flushed = tokio::task::spawn_blocking(move || {
            // So that the next start has little to replay.
            if let Some(state) = &state
                && let Err(error) = state.flush()
            {
                tracing::warn!(%error, "cannot flush the state; the log restores it at the next start");
            }
            drop((state, held));
        });
        let _ = flushed.await;
    }

    pub(crate) fn cluster(&self) -> &watch::Sender<Arc<ClusterState>> {
        &self.cluster
    }

    pub(super) fn layout(&self) -> &Layout {
        &self.layout
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

    /// Free bytes on its disk.
    pub(crate) fn free_bytes(&self) -> u64 {
        free_bytes(self.layout.dir())
    }

    /// Replaces the database by the one in `dir`; a crash leaves the old one or the new one.
    pub(super) fn replace(&self, dir: &Path) -> io::Result<Arc<StateDb>> {
        let db = StateDb::open(dir, &self.memory, false).map_err(rocks)?;
        let db = Arc::new(db);
        self.layout.set_current_state(dir)?;
        let old = self.db.write().unwrap_or_else(PoisonError::into_inner).replace(db.clone());
        if let Some(old) = old {
            old.retire();
        }
        Ok(db)
    }

    /// Replaces the database by an empty one.
    pub(super) fn clear(&self) -> io::Result<Arc<StateDb>> {
        let dir = self.layout.new_state();
        drop(StateDb::open(&dir, &self.memory, true).map_err(rocks)?);
        self.replace(&dir)
    }

    /// The reason why the store stopped, once it did.
    pub(crate) fn failure(&self) -> &Failure {
        &self.failure
    }

    /// Damage in the state: the store serves no more, now and after a restart.
    pub(super) fn damaged(&self, why: &str) -> StoreError {
        damage::found(self.dir(), why, &self.failure)
    }
}
