//! Checks for room on the disk and among the descriptors of the process, before a request reaches consensus: a
//! write that fails there stops the replica.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use baton_domain::clock::BootTime;

use super::free_bytes;
use super::spare::Spare;
use crate::error::Shortage;

/// Minimum interval between two system calls: the check runs for every entry.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Part of the reserve that is closed to everything that needs room, not only to new messages.
const LAST_PART: u64 = 4;

/// The room of one store. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Room(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    /// Reserve that new messages may not use, in bytes.
    last: u64,
    spare: Spare,
    /// Bytes that will be written soon whatever is refused from now on.
    due: AtomicU64,
    /// Time of the last check.
    looked: AtomicU64,
    short: AtomicU8,
}

/// As [`Inner::short`] has it.
fn code(shortage: Option<Shortage>) -> u8 {
    match shortage {
        None => 0,
        Some(Shortage::Disk) => 1,
        Some(Shortage::Descriptors) => 2,
    }
}

fn decode(code: u8) -> Option<Shortage> {
    [Shortage::Disk, Shortage::Descriptors].into_iter().find(|shortage| self::code(Some(*shortage)) == code)
}

impl Room {
    /// `reserve_bytes` are kept from new messages, a quarter of that from all that needs room, and as much again, in
    /// the file `kept` of the store, for the log alone.
    pub(crate) fn new(dir: PathBuf, reserve_bytes: u64, kept: PathBuf, spare: Spare) -> Self {
        let last = reserve_bytes / LAST_PART;
        spare.keep_space(kept, last);
        Self(Arc::new(Inner {
            dir,
            last,
            spare,
            due: AtomicU64::new(0),
            looked: AtomicU64::new(0),
            short: AtomicU8::new(code(None)),
        }))
    }

    /// Notes bytes that will be written soon.
    pub(crate) fn expect(&self, due_bytes: u64) {
        self.0.due.store(due_bytes, Ordering::Relaxed);
    }

    /// The shortage, if there is one.
    pub(crate) fn shortage(&self) -> Option<Shortage> {
        let inner = &*self.0;
        let now = crate::clock::boot_time();
        let looked = BootTime(inner.looked.load(Ordering::Relaxed));
        if now.since(looked) < LOOK_EVERY {
            return decode(inner.short.load(Ordering::Relaxed));
        }
        inner.looked.store(now.0, Ordering::Relaxed);
        let due = inner.due.load(Ordering::Relaxed);
        let free = free_bytes(&inner.dir);
        let shortage = match free < inner.last.saturating_add(due) {
            true => Some(Shortage::Disk),
            false => inner.spare.refill(free),
        };
        if code(shortage) != inner.short.swap(code(shortage), Ordering::Relaxed) {
            let dir = inner.dir.display();
            match shortage {
                Some(why) => tracing::error!(%dir, "this replica accepts only writes that free space: {why}"),
                None => tracing::info!(%dir, "there is room again: this replica accepts messages"),
            }
        }
        shortage
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_short_of_room_before_it_is_full() {
        let dir = tempfile::tempdir().unwrap();
        let kept = dir.path().join("spare");
        let room = |reserve| Room::new(dir.path().to_owned(), reserve, kept.clone(), Spare::default());
        assert_eq!(room(1 << 20).shortage(), None);
        assert_eq!(room(u64::MAX).shortage(), Some(Shortage::Disk));
        let room = room(1 << 20);
        room.expect(u64::MAX / 2);
        assert_eq!(room.shortage(), Some(Shortage::Disk), "what is due counts");
    }
}
