//! The newest snapshot of the state: made, kept for replicas that lag, and installed.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::entry::Record;
use super::shared_state::SharedState;
use super::snapshot_files::SnapshotFiles;
use crate::disk::StateDb;

/// The newest snapshot of a state that was made or installed.
pub(crate) struct Snapshots<R> {
    state: Arc<SharedState>,
    newest: Mutex<Option<Arc<SnapshotFiles<R>>>>,
}

impl<R: Record> Snapshots<R> {
    pub(crate) fn new(state: Arc<SharedState>) -> Self {
        Self { state, newest: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<SnapshotFiles<R>>>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state of which these are snapshots.
    pub(crate) fn state(&self) -> &Arc<SharedState> {
        &self.state
    }

    /// The newest snapshot, if there is one.
    pub(crate) fn newest(&self) -> Option<Arc<SnapshotFiles<R>>> {
        self.lock().clone()
    }

    /// Releases the newest snapshot; its files go with the last user.
    pub(crate) fn release(&self) {
        self.lock().take();
    }

    /// Makes a snapshot of the state as it is now. Flushes and links files: not for a task that must not block.
    pub(crate) fn make(&self) -> io::Result<Arc<SnapshotFiles<R>>> {
        let db = self.state.db()?;
        let dir = self.state.layout().new_snapshot();
        let snapshot = Arc::new(SnapshotFiles::checkpoint(&db, dir, self.state.memory())?);
        let mut kept = self.lock();
        // A newer one may have been installed meanwhile.
        if kept.as_ref().is_none_or(|kept| !kept.record().is_ahead_of(snapshot.record())) {
            *kept = Some(snapshot.clone());
        }
        Ok(snapshot)
    }

    /// Replaces a snapshot that occupies much more disk space than the state needs.
    pub(crate) fn release_bloated(&self) -> io::Result<()> {
        const SLACK_BYTES: u64 = 256 * 1024 * 1024;
        let Some(kept) = self.newest() else { return Ok(()) };
        if kept.bytes() > self.state.db()?.file_bytes() * 2 + SLACK_BYTES && self.state.has_room_for_snapshot() {
            self.make()?;
        }
        Ok(())
    }

    /// A directory for files that are received.
    pub(crate) fn new_incoming(&self) -> PathBuf {
        self.state.layout().new_incoming()
    }

    /// Checks received files; see [`SnapshotFiles::received`].
    pub(crate) fn received(&self, dir: PathBuf) -> io::Result<SnapshotFiles<R>> {
        SnapshotFiles::received(dir, self.state.memory())
    }

    /// Replaces the state by a snapshot; a crash leaves the old state or the new one.
    pub(super) fn install(&self, snapshot: &Arc<SnapshotFiles<R>>) -> io::Result<Arc<StateDb>> {
        let dir = self.state.layout().new_state();
        snapshot.copy_to(&dir)?;
        let db = self.state.replace(&dir)?;
        *self.lock() = Some(snapshot.clone());
        Ok(db)
    }
}
