//! Opening the files of a store that each kind has: the header, the lock, and the state.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::shared_state::SharedState;
use crate::damage::{self, damaged_store, from_io, io_error};
use crate::disk::{Layout, MemoryBudget, StateDb, StoreLock, read_header};
use crate::error::StoreError;
use crate::failure::Failure;
use crate::header::StoreHeader;
use crate::machine::Machine;

/// The files of a store, which no other process has open.
pub(crate) struct StoreFiles {
    pub(crate) header: StoreHeader,
    pub(crate) layout: Layout,
    pub(crate) lock: Arc<StoreLock>,
    /// Known damage does not forbid to open it.
    recovering: bool,
}

impl StoreFiles {
    /// Takes the store at `dir`, unless it is known to be damaged or an older copy, or a recovery has not finished.
    /// These do not count if it is `recovering`.
    pub(crate) fn take(dir: &Path, recovering: bool) -> Result<Self, StoreError> {
        let layout = Layout::new(dir);
        let read = || read_header(dir, &layout.header())?.ok_or_else(|| StoreError::Missing { dir: dir.to_owned() });
        read()?;
        let lock = Arc::new(layout.lock()?);
        // Again, now that nobody else writes it.
        let header = read()?;
        if layout.recovering().exists() && !recovering {
            return Err(io_error(dir, &"a forced recovery did not finish: run `baton recover` again"));
        }
        if let Some(why) = damage::remembered(&layout).filter(|_| !recovering) {
            return Err(damaged_store(dir, &why));
        }
        if let Some(why) = damage::older_copy(dir).filter(|_| !recovering) {
            return Err(StoreError::OlderCopy { dir: dir.to_owned(), why });
        }
        Ok(Self { header, layout, lock, recovering })
    }

    fn dir(&self) -> &Path {
        self.layout.dir()
    }

    /// A directory of the store that is missing is damage; one that cannot be looked at is not.
    pub(crate) fn check_dir(&self, part: &Path, missing: &str) -> Result<(), StoreError> {
        match fs::metadata(part) {
            Ok(found) if found.is_dir() => Ok(()),
            Ok(_) => Err(damaged_store(self.dir(), missing)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(damaged_store(self.dir(), missing)),
            Err(error) => Err(io_error(self.dir(), &error)),
        }
    }

    /// The directory of the state. Removes what an interruption left behind.
    pub(crate) fn current_state(&self) -> Result<PathBuf, StoreError> {
        let current = self.layout.current_state().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::InvalidData => {
                damaged_store(self.dir(), &format!("its state is missing: {error}"))
            }
            _ => io_error(self.dir(), &error),
        })?;
        self.check_dir(&current, "its state is missing")?;
        self.layout.remove_leftovers().map_err(|error| io_error(self.dir(), &error))?;
        Ok(current)
    }

    /// Opens and checks the state in `current`.
    pub(crate) fn open_state(
        &self,
        current: &Path,
        memory: MemoryBudget,
        failure: Failure,
    ) -> Result<Arc<SharedState>, StoreError> {
        let state = StateDb::open(current, &memory, false)
            .map_err(|error| from_rocks(self.dir(), current, &error))?
            .holding(self.lock.clone());
        let machine = Machine::load(&state).map_err(|error| from_io(self.dir(), &error))?;
        let cluster = machine.cluster().clone();
        let header = &self.header;
        let same = cluster.cluster.is_none_or(|id| id == header.cluster && cluster.generation == header.generation);
        if !same && !self.recovering {
            let why = "its state belongs to another cluster or generation than its header";
            return Err(damaged_store(self.dir(), why));
        }
        Ok(Arc::new(SharedState::new(state, cluster, self.layout.clone(), memory, failure)))
    }
}

/// The reason why the state cannot be opened. RocksDB reports a missing or changed file as it reports a disk
/// that fails; where the disk works, it is the files, which are RocksDB's alone and were all there.
fn from_rocks(dir: &Path, state: &Path, error: &rocksdb::Error) -> StoreError {
    let why = format!("its state: {error}");
    match error.kind() {
        rocksdb::ErrorKind::Corruption => damaged_store(dir, &why),
        rocksdb::ErrorKind::IOError | rocksdb::ErrorKind::InvalidArgument => match try_disk(state) {
            Ok(()) => damaged_store(dir, &why),
            Err(error) => io_error(dir, &format!("{why}; {error}")),
        },
        _ => io_error(dir, &why),
    }
}

/// Opens and reads all files of a directory at once, and writes and syncs one more.
fn try_disk(dir: &Path) -> io::Result<()> {
    const BYTES: usize = 64 * 1024;
    let mut open = Vec::new();
    for entry in fs::read_dir(dir)? {
        let mut file = File::open(entry?.path())?;
        io::copy(&mut Read::by_ref(&mut file).take(BYTES as u64), &mut io::sink())?;
        open.push(file);
    }
    let path = dir.join("try-disk");
    let written = File::create(&path).and_then(|mut file| {
        file.write_all(&[0; BYTES])?;
        file.sync_all()
    });
    fs::remove_file(&path)?;
    written
}
