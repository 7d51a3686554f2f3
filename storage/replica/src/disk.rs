//! The files of a store's directory.
//!
//! ```text
//! format        the header: cluster, generation, replica, server
//! lock          held while a process has the store open
//! log/          the Raft log, its vote and its purged position, in segments, synced
//! synced        the synced position of the log, which tells a damaged log from one that a crash cut off
//! state         the name of the directory that holds the state
//! state-N/      the state: one RocksDB without a write-ahead log
//! snapshot-N/   files of a snapshot that is being sent
//! incoming-N/   files of a snapshot that is being received
//! acknowledged  the last entry that each replica is known to have acknowledged
//! recovering    a forced recovery was begun and did not finish
//! damaged       the damage that was found while the store was in use: it serves no more
//! older-copy    the reason why the store is known to be an older copy: it serves no more
//! skip          log entries that an operator chose to skip
//! spare         reserves disk space for the log
//! set-aside-T/  a store that was damaged, and set aside at that time
//! ```

mod file;
mod header;
mod layout;
mod log_files;
mod options;
mod reading;
mod removal;
mod room;
mod skips;
mod spare;
mod state_db;
mod synced_mark;

pub(crate) use file::{sync_dir, write_atomically};
pub(crate) use header::{read_header, write_header};
pub(crate) use layout::{Layout, StoreLock};
pub(crate) use log_files::{LogBatch, LogFiles};
pub(crate) use options::{COMPACTION_BYTES, MemoryBudget};
pub(crate) use reading::{Pace, Reading};
pub(crate) use removal::remove_beside;
pub(crate) use room::Room;
pub(crate) use skips::Skips;
pub(crate) use spare::Spare;
pub(crate) use state_db::{BatchSink, KeyRange, StateDb, rocks, seek_holding, within_entry};
pub(crate) use synced_mark::SyncedMark;

/// Free bytes of the file system that `dir` is on, for us; none if it cannot be told.
#[must_use]
pub fn free_bytes(dir: &std::path::Path) -> u64 {
    rustix::fs::statvfs(dir).map_or(0, |stat| stat.f_bavail.saturating_mul(stat.f_frsize))
}
