//! A snapshot: a directory of files with the state of one instant, and the record of that instant.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::entry::Record;
use crate::disk::{MemoryBudget, Pace, Reading, StateDb, remove_beside, rocks, sync_dir};

/// The files of a snapshot. They are deleted with the last user.
#[derive(Debug)]
pub(crate) struct SnapshotFiles<R> {
    dir: PathBuf,
    record: R,
    bytes: u64,
}

impl<R: Record> SnapshotFiles<R> {
    /// Makes a snapshot of `db`. Its record is read from the snapshot itself: it cannot differ from the data.
    pub(super) fn checkpoint(db: &StateDb, dir: PathBuf, memory: &MemoryBudget) -> io::Result<Self> {
        db.checkpoint(&dir)?;
        Self::verified(dir, memory)
    }

    /// Opens the state in `dir` to check it and to read its record.
    pub(super) fn verified(dir: PathBuf, memory: &MemoryBudget) -> io::Result<Self> {
        // From here on the directory is deleted with the value, whatever happens.
        let mut snapshot = Self { dir, record: R::default(), bytes: 0 };
        let db = StateDb::look(&snapshot.dir, memory)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.into_string()))?;
        snapshot.record = R::load(&db)?;
        drop(db);
        snapshot.bytes = snapshot.files()?.iter().map(|(_, bytes)| bytes).sum();
        Ok(snapshot)
    }

    /// The same for received files. Their sender linked files that it may not have read for long, so every
    /// block is read: damage must not travel from replica to replica.
    pub(super) fn received(dir: PathBuf, memory: &MemoryBudget) -> io::Result<Self> {
        /// Messages are stored meanwhile.
        const PACE: Pace = Pace { bytes_per_second: 128 * 1024 * 1024 };
        let snapshot = Self::verified(dir, memory)?;
        let db = StateDb::look(&snapshot.dir, memory).map_err(rocks)?;
        let mut reading = Reading::default();
        while let Some(bytes) = reading.slice(&db)? {
            std::thread::sleep(PACE.rest(bytes));
        }
        drop(db);
        Ok(snapshot)
    }

    /// The record of the last entry that it contains.
    pub(crate) fn record(&self) -> &R {
        &self.record
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Names and sizes of the files that matter, in order of their names.
    pub(crate) fn files(&self) -> io::Result<Vec<(String, u64)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.starts_with("LOG") && name != "LOCK" {
                files.push((name, entry.metadata()?.len()));
            }
        }
        files.sort();
        Ok(files)
    }

    /// Copies it into a state directory, durably. Table files never change, so they are linked.
    pub(super) fn copy_to(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir(dir)?;
        for (name, _) in self.files()? {
            let (from, to) = (self.path(&name), dir.join(&name));
            let is_table = Path::new(&name).extension().is_some_and(|extension| extension == "sst");
            if !is_table || fs::hard_link(&from, &to).is_err() {
                fs::copy(&from, &to)?;
            }
            File::open(&to)?.sync_all()?;
        }
        sync_dir(dir)
    }
}

impl<R> Drop for SnapshotFiles<R> {
    fn drop(&mut self) {
        // The last user is mostly a task that must not block.
        remove_beside(std::mem::take(&mut self.dir));
    }
}
