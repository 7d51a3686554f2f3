//! Names in a store's directory, its lock, and which state directory counts.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{FlockOperation, flock};

use super::write_atomically;
use crate::error::StoreError;

/// Knows the names of a store's files.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    dir: PathBuf,
    /// Numbers for directories that come and go; counted on from the highest that is there.
    next: Arc<AtomicU64>,
}

/// Held while a process has the store open.
#[derive(Debug)]
pub(crate) struct StoreLock {
    _file: File,
}

const NUMBERED: [&str; 3] = ["state-", "snapshot-", "incoming-"];
/// The files of a store, except its numbered directories and the lock. The header is the last: as long as it is
/// there, missing files are known to be missing.
const PIECES: [&str; 11] = [
    "spare",
    "log",
    "synced",
    "acknowledged",
    "process",
    "state",
    "recovering",
    "damaged",
    "older-copy",
    "skip",
    "format",
];
/// The mode of a store's directory, and the bits that open it to others.
const PRIVATE: u32 = 0o700;
const GROUP: u32 = 0o070;
const OTHERS: u32 = 0o007;
/// Prefix of directories that hold stores which were set aside.
const SET_ASIDE: &str = "set-aside-";

impl Layout {
    pub(crate) fn new(dir: &Path) -> Self {
        let highest = names(dir)
            .unwrap_or_default()
            .iter()
            .filter_map(|name| NUMBERED.iter().find_map(|prefix| name.strip_prefix(prefix)))
            .filter_map(|number| number.parse::<u64>().ok())
            // Baton never reaches a number this high.
            .filter(|number| *number < u64::MAX / 2)
            .max()
            .unwrap_or(0);
        Self { dir: dir.to_owned(), next: Arc::new(AtomicU64::new(highest + 1)) }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn header(&self) -> PathBuf {
        self.dir.join("format")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    pub(crate) fn synced_mark(&self) -> PathBuf {
        self.dir.join("synced")
    }

    pub(crate) fn recovering(&self) -> PathBuf {
        self.dir.join("recovering")
    }

    /// The damage that was found in a store that was open.
    pub(crate) fn damaged(&self) -> PathBuf {
        self.dir.join("damaged")
    }

    /// The reason why this store is known to be an older copy.
    pub(crate) fn older_copy(&self) -> PathBuf {
        self.dir.join("older-copy")
    }

    /// The last entry that each replica is known to have acknowledged.
    pub(crate) fn acknowledged(&self) -> PathBuf {
        self.dir.join("acknowledged")
    }

    /// The last process that used a log which all servers reach.
    pub(crate) fn process(&self) -> PathBuf {
        self.dir.join("process")
    }

    /// Lists the log entries that are skipped.
    pub(crate) fn skips(&self) -> PathBuf {
        self.dir.join("skip")
    }

    /// Reserves disk space for the log.
    pub(crate) fn spare(&self) -> PathBuf {
        self.dir.join("spare")
    }

    /// The directory of a store that is set aside under `label`.
    pub(crate) fn set_aside(&self, label: &str) -> PathBuf {
        self.dir.join(format!("{SET_ASIDE}{label}"))
    }

    /// The stores that were set aside.
    pub(crate) fn earlier_set_aside(&self) -> io::Result<Vec<PathBuf>> {
        let names = names(&self.dir)?.into_iter().filter(|name| name.starts_with(SET_ASIDE));
        Ok(names.map(|name| self.dir.join(name)).collect())
    }

    /// The names of the store's files, the header last; without the lock and without other files.
    pub(crate) fn pieces(&self) -> io::Result<Vec<String>> {
        let place = |name: &str| {
            let numbered = NUMBERED.iter().any(|prefix| name.starts_with(prefix)).then_some(0);
            let name = name.strip_suffix(".new").unwrap_or(name);
            numbered.or_else(|| PIECES.iter().position(|piece| *piece == name).map(|place| place + 1))
        };
        let mut pieces: Vec<(usize, String)> =
            names(&self.dir)?.into_iter().filter_map(|name| Some((place(&name)?, name))).collect();
        pieces.sort();
        Ok(pieces.into_iter().map(|(_, name)| name).collect())
    }

    /// All other files, without the lock, stores that were set aside, and the files of a new file system:
    /// without any, a store may be created here.
    pub(crate) fn foreign(&self) -> io::Result<Vec<String>> {
        let mut names = names(&self.dir)?;
        names.retain(|name| name != "lock" && name != "lost+found" && !name.starts_with(SET_ASIDE));
        Ok(names)
    }

    fn state_pointer(&self) -> PathBuf {
        self.dir.join("state")
    }

    fn numbered(&self, prefix: &str) -> PathBuf {
        self.dir.join(format!("{prefix}{}", self.next.fetch_add(1, Ordering::Relaxed)))
    }

    /// A name for a new state directory.
    pub(crate) fn new_state(&self) -> PathBuf {
        self.numbered("state-")
    }

    /// A name for a snapshot to send.
    pub(crate) fn new_snapshot(&self) -> PathBuf {
        self.numbered("snapshot-")
    }

    /// A name for a snapshot that is being received.
    pub(crate) fn new_incoming(&self) -> PathBuf {
        self.numbered("incoming-")
    }

    /// The current state directory.
    pub(crate) fn current_state(&self) -> io::Result<PathBuf> {
        let name = fs::read_to_string(self.state_pointer())?;
        let sound = name.strip_prefix("state-").is_some_and(|number| number.parse::<u64>().is_ok());
        if !sound {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the file \"state\" names no state directory"));
        }
        Ok(self.dir.join(name))
    }

    /// Makes a state directory the current one, durably.
    pub(crate) fn set_current_state(&self, state: &Path) -> io::Result<()> {
        let name = state.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        write_atomically(&self.state_pointer(), name.as_bytes())
    }

    /// Removes the leftovers of an earlier process: old states, and complete or partial snapshots.
    pub(crate) fn remove_leftovers(&self) -> io::Result<()> {
        let current = self.current_state()?;
        for name in names(&self.dir)? {
            let path = self.dir.join(&name);
            if NUMBERED.iter().any(|prefix| name.starts_with(prefix)) && path != current {
                fs::remove_dir_all(&path)?;
            }
        }
        Ok(())
    }

    /// Creates the store's directory, closed to other users: its files hold the bodies of messages. The directories
    /// above it get default modes.
    pub(crate) fn create_dir(&self) -> io::Result<()> {
        if let Some(above) = self.dir.parent() {
            fs::create_dir_all(above)?;
        }
        match DirBuilder::new().mode(PRIVATE).create(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            made => made,
        }
    }

    /// Closes a directory that is open to others: made by an older program, or by hand. What modes the files inside
    /// have does not matter then.
    fn make_private(&self) -> io::Result<()> {
        let mode = fs::metadata(&self.dir)?.permissions().mode() & 0o7777;
        if mode & (GROUP | OTHERS) == 0 {
            return Ok(());
        }
        match fs::set_permissions(&self.dir, fs::Permissions::from_mode(PRIVATE)) {
            Ok(()) => {
                let dir = self.dir.display();
                tracing::info!(%dir, "closed the store's directory to others (its mode was {mode:04o})");
                Ok(())
            }
            // The directory of another user, shared with this group: Kubernetes mounts volumes so.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && mode & OTHERS == 0 => Ok(()),
            Err(error) => Err(io::Error::new(
                error.kind(),
                format!(
                    "all users can read it (mode {mode:04o}), and its mode cannot be changed ({error}): run `chmod o-rwx` \
                     on it, or set `dir` to a directory inside it, which the server creates itself"
                ),
            )),
        }
    }

    /// Takes the store for this process, and closes its directory to others.
    pub(crate) fn lock(&self) -> Result<StoreLock, StoreError> {
        let io_error = |error: io::Error| StoreError::Io { dir: self.dir.clone(), why: error.to_string() };
        self.make_private().map_err(io_error)?;
        let file = File::create(self.dir.join("lock")).map_err(io_error)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(StoreLock { _file: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::InUse { dir: self.dir.clone() }),
            Err(errno) => Err(io_error(errno.into())),
        }
    }
}

/// The names in a directory; none if it is absent.
pub(super) fn names(dir: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    entries.map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages lie in it: PostgreSQL and etcd refuse anything wider, and so that nobody has to act, this is mended.
    #[test]
    fn a_store_is_closed_to_everybody_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("above/store");
        let layout = Layout::new(&path);
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
        layout.create_dir().unwrap();
        layout.create_dir().unwrap();
        assert_eq!(mode(), 0o700);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let lock = layout.lock().unwrap();
        assert_eq!(mode(), 0o700, "an older one is closed when it is opened");
        drop(lock);
    }
}
