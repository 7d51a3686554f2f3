//! Whether there is room for more: on the disk, and among the descriptors of the process. Asked before consensus is: a
//! write that fails there ends the replica.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::io::Errno;

use super::free_bytes;
use crate::clock::BootTime;

/// The system is asked at most this often: it is asked for each entry.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Of the space that is kept from new messages, the part that a replica keeps from everything that needs room.
const LAST_PART: u64 = 4;
/// How many descriptors are kept back.
const SPARE: usize = 8;

/// Descriptors that are kept for the log, so that it can begin a segment when the process has no other left. Clones are
/// the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct SpareDescriptors(Arc<Mutex<Vec<File>>>);

impl SpareDescriptors {
    /// Opens those that are missing; whether all are there.
    fn refill(&self) -> bool {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while files.len() < SPARE {
            match File::open("/dev/null") {
                Ok(file) => files.push(file),
                Err(_) => return false,
            }
        }
        true
    }

    /// Opens a file; where no descriptor is left, with one of those that were kept back.
    pub(super) fn open(&self, open: impl Fn() -> io::Result<File>) -> io::Result<File> {
        loop {
            let error = match open() {
                Ok(file) => return Ok(file),
                Err(error) => error,
            };
            let none_left = matches!(Errno::from_io_error(&error), Some(Errno::MFILE | Errno::NFILE));
            let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if !none_left || files.pop().is_none() {
                return Err(error);
            }
        }
    }
}

/// The room of one store. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Room(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    /// What a replica keeps from everything that needs room, in bytes.
    last: u64,
    spare: SpareDescriptors,
    /// What will be written in a moment whatever is refused from now on, in bytes.
    due: AtomicU64,
    /// When it was looked at last.
    looked: AtomicU64,
    short: AtomicBool,
}

impl Room {
    /// `reserve_bytes` are kept from new messages, a quarter of that from all that needs room.
    pub(crate) fn new(dir: PathBuf, reserve_bytes: u64, spare: SpareDescriptors) -> Self {
        spare.refill();
        Self(Arc::new(Inner {
            dir,
            last: reserve_bytes / LAST_PART,
            spare,
            due: AtomicU64::new(0),
            looked: AtomicU64::new(0),
            short: AtomicBool::new(false),
        }))
    }

    /// Notes what will be written in a moment.
    pub(crate) fn expect(&self, due_bytes: u64) {
        self.0.due.store(due_bytes, Ordering::Relaxed);
    }

    /// Whether only what frees space, or is small and must not wait, may still be written.
    pub(crate) fn is_short(&self) -> bool {
        let inner = &*self.0;
        let now = BootTime::now();
        let looked = BootTime(inner.looked.load(Ordering::Relaxed));
        if now.since(looked) < LOOK_EVERY {
            return inner.short.load(Ordering::Relaxed);
        }
        inner.looked.store(now.0, Ordering::Relaxed);
        let due = inner.due.load(Ordering::Relaxed);
        let short = free_bytes(&inner.dir) < inner.last.saturating_add(due) || !inner.spare.refill();
        if short != inner.short.swap(short, Ordering::Relaxed) {
            if short {
                tracing::error!(
                    dir = %inner.dir.display(),
                    "nearly full, or no file can be opened: this replica takes nothing more but what frees space"
                );
            } else {
                tracing::info!(dir = %inner.dir.display(), "there is room again: this replica takes messages");
            }
        }
        short
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_descriptor_that_was_kept_back_is_used_when_there_is_no_other() {
        let spare = SpareDescriptors::default();
        assert!(spare.refill());
        let refused = Cell::new(3);
        let open = || {
            if refused.get() == 0 {
                return File::open("/dev/null");
            }
            refused.set(refused.get() - 1);
            Err(Errno::MFILE.into())
        };
        spare.open(open).expect("after three were given back");
        assert_eq!(spare.0.lock().unwrap().len(), SPARE - 3);
        assert!(spare.open(|| Err(Errno::NOSPC.into())).is_err());
        assert_eq!(spare.0.lock().unwrap().len(), SPARE - 3, "another error is no reason");
        assert!(spare.open(|| Err(Errno::MFILE.into())).is_err(), "it ends when none is left");
        assert!(spare.refill());
    }

    #[test]
    fn a_disk_is_short_of_room_before_it_is_full() {
        let dir = tempfile::tempdir().unwrap();
        let room = |reserve| Room::new(dir.path().to_owned(), reserve, SpareDescriptors::default());
        assert!(!room(1 << 20).is_short());
        assert!(room(u64::MAX).is_short());
        let room = room(1 << 20);
        room.expect(u64::MAX / 2);
        assert!(room.is_short(), "what is due counts");
    }
}
