//! Setting a store aside, so that its server joins the others again.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::disk::{Layout, StoreLock, read_header, sync_dir};
use crate::error::StoreError;
use crate::header::StoreHeader;

/// A store that no process has open, and none can open while this value lives. It may be damaged in any way.
#[derive(Debug)]
pub struct StoppedStore {
    layout: Layout,
    header: Option<StoreHeader>,
    _lock: StoreLock,
}

impl StoppedStore {
    /// Takes the store at `dir`.
    ///
    /// # Errors
    /// [`StoreError::Missing`] if there is no store, [`StoreError::InUse`] if a process has it open,
    /// [`StoreError::Newer`] if a newer program wrote it: that one knows whether it is damaged.
    pub fn take(dir: &Path) -> Result<Self, StoreError> {
        let layout = Layout::new(dir);
        let io_error = |error: io::Error| StoreError::Io { dir: dir.to_owned(), why: error.to_string() };
        if layout.pieces().map_err(io_error)?.is_empty() {
            return Err(StoreError::Missing { dir: dir.to_owned() });
        }
        let lock = layout.lock()?;
        let header = match read_header(dir, &layout.header()) {
            Ok(header) => header,
            Err(StoreError::Damaged { .. }) => None,
            Err(error) => return Err(error),
        };
        Ok(Self { layout, header, _lock: lock })
    }

    /// The store's header, if it can be read.
    #[must_use]
    pub fn header(&self) -> Option<&StoreHeader> {
        self.header.as_ref()
    }

    /// The space that its files take, in bytes.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the directory cannot be read.
    pub fn bytes(&self) -> Result<u64, StoreError> {
        let mut seen = HashSet::new();
        let pieces = self.layout.pieces().map_err(|error| self.io_error(&error))?;
        let bytes = pieces.iter().map(|piece| bytes_of(&self.layout.dir().join(piece), &mut seen));
        bytes.sum::<io::Result<u64>>().map_err(|error| self.io_error(&error))
    }

    /// The stores that were set aside here before.
    #[must_use]
    pub fn earlier(&self) -> Vec<PathBuf> {
        self.layout.earlier_set_aside().unwrap_or_default()
    }

    /// Moves all of it into `set-aside-LABEL` in the store's own directory, which is on the same disk, belongs to the
    /// server, and may be a mount point that cannot be moved itself. A server that is started then joins again.
    ///
    /// The header goes last: if this is interrupted, the store is damaged still, and doing it again moves the rest.
    ///
    /// # Errors
    /// [`StoreError::Io`]; what was moved until then stays where it is.
    pub fn set_aside(self, label: &str) -> Result<PathBuf, StoreError> {
        let to = self.layout.set_aside(label);
        let moved = || {
            fs::create_dir_all(&to)?;
            let pieces = self.layout.pieces()?;
            let (header, rest): (Vec<_>, Vec<_>) = pieces.into_iter().partition(|name| name == "format");
            for names in [rest, header] {
                for name in names {
                    fs::rename(self.layout.dir().join(&name), to.join(&name))?;
                }
                sync_dir(&to)?;
                sync_dir(self.layout.dir())?;
            }
            Ok(())
        };
        moved().map_err(|error: io::Error| self.io_error(&error))?;
        Ok(to)
    }

    fn io_error(&self, error: &io::Error) -> StoreError {
        StoreError::Io { dir: self.layout.dir().to_owned(), why: error.to_string() }
    }
}

/// Links to one file count once: snapshots share files with the state.
fn bytes_of(path: &Path, seen: &mut HashSet<(u64, u64)>) -> io::Result<u64> {
    let metadata = fs::symlink_metadata(path)?;
    if metadata.is_dir() {
        return fs::read_dir(path)?.map(|entry| bytes_of(&entry?.path(), seen)).sum();
    }
    Ok(if seen.insert((metadata.dev(), metadata.ino())) { metadata.blocks() * 512 } else { 0 })
}
