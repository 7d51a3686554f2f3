//! A reserve of disk space and descriptors for the log: a vote or an entry is written even
//! when another process just took the last space or the last descriptor. A write that fails there stops the
//! replica.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use crate::error::Shortage;

/// Number of reserved descriptors.
const DESCRIPTORS: usize = 8;

#[derive(Debug, Default)]
struct Kept {
    descriptors: Vec<File>,
    /// The file that takes up the space, and how many bytes.
    space: Option<(PathBuf, u64)>,
    /// True while the file takes up the space.
    filled: bool,
}

impl Kept {
    /// Takes up the space if much more is free; returns true if it is taken up. Where a file cannot be given its
    /// space in advance, nothing is reserved.
    fn fill(&mut self, free_bytes: u64) -> bool {
        let Some((path, bytes)) = self.space.as_ref().filter(|_| !self.filled) else { return true };
        // After a restart the file is there already.
        let taken = std::fs::metadata(path).map_or(0, |file| file.blocks() * 512);
        if free_bytes.saturating_add(taken) < bytes.saturating_mul(2) {
            return false;
        }
        let file = File::options().write(true).create(true).truncate(false).open(path);
        let filled = file.and_then(|file| Ok(fallocate(file, FallocateFlags::empty(), 0, *bytes)?));
        self.filled = !filled.is_err_and(|error| is_no_space(&error));
        self.filled
    }

    /// Releases the resource that `error` lacks; returns true if there was some.
    fn give_up(&mut self, error: &io::Error) -> bool {
        match Errno::from_io_error(error) {
            Some(Errno::MFILE | Errno::NFILE) => self.descriptors.pop().is_some(),
            _ if is_no_space(error) && self.filled => {
                self.filled = false;
                let space = self.space.as_ref();
                space.is_some_and(|(path, _)| File::options().write(true).truncate(true).open(path).is_ok())
            }
            _ => false,
        }
    }
}

fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// The reserve. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Spare(Arc<Mutex<Kept>>);

impl Spare {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reserves `bytes` bytes, if any, in the file at `path`.
    pub(super) fn keep_space(&self, path: PathBuf, bytes: u64) {
        self.lock().space = (bytes > 0).then_some((path, bytes));
    }

    /// Reserves again what was released; returns the shortage that prevents it.
    pub(super) fn refill(&self, free_bytes: u64) -> Option<Shortage> {
        let mut kept = self.lock();
        while kept.descriptors.len() < DESCRIPTORS {
            match File::open("/dev/null") {
                Ok(file) => kept.descriptors.push(file),
                Err(_) => return Some(Shortage::Descriptors),
            }
        }
        (!kept.fill(free_bytes)).then_some(Shortage::Disk)
    }

    /// Runs a write or an open; with the reserve if there is no space or no descriptor left.
    pub(super) fn with<T>(&self, mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        loop {
            match attempt() {
                Err(error) if self.lock().give_up(&error) => {}
                outcome => return outcome,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails so often in that way.
    fn failing(times: usize, errno: Errno) -> impl FnMut() -> io::Result<()> {
        let mut left = times;
        move || {
            left = left.saturating_sub(1);
            if left > 0 { Err(errno.into()) } else { Ok(()) }
        }
    }

    #[test]
    fn a_descriptor_that_was_kept_back_is_used_when_there_is_no_other() {
        let spare = Spare::default();
        spare.keep_space("/nowhere".into(), 0);
        assert_eq!(spare.refill(0), None);
        spare.with(failing(4, Errno::MFILE)).expect("after three were given back");
        assert_eq!(spare.lock().descriptors.len(), DESCRIPTORS - 3);
        assert!(spare.with(failing(2, Errno::ACCESS)).is_err(), "another error is no reason");
        assert!(spare.with(failing(100, Errno::MFILE)).is_err(), "it ends when none is left");
        assert_eq!(spare.refill(0), None);
    }

    #[test]
    fn space_that_was_kept_back_is_used_once_and_kept_back_again_when_there_is_some() {
        const BYTES: u64 = 1 << 20;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spare");
        let spare = Spare::default();
        spare.keep_space(path.clone(), BYTES);
        let blocks = || std::fs::metadata(&path).unwrap().blocks();
        assert_eq!(spare.refill(BYTES), Some(Shortage::Disk), "not the last space");
        assert_eq!(spare.refill(4 * BYTES), None);
        assert!(blocks() * 512 >= BYTES, "it takes up space");
        spare.with(failing(2, Errno::NOSPC)).expect("with what was kept back");
        assert_eq!(blocks(), 0);
        assert!(spare.with(failing(2, Errno::NOSPC)).is_err(), "there is no more");
        assert_eq!(spare.refill(4 * BYTES), None);
        assert!(blocks() * 512 >= BYTES);
        let restarted = Spare::default();
        restarted.keep_space(path.clone(), BYTES);
        assert_eq!(restarted.refill(BYTES), None, "it is kept back already");
    }
}
