//! The mark that tells how far the log was synced.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use xxhash_rust::xxh3::xxh3_64;

/// A lower bound of what the log must hold after a crash: the sequence number up to which it was synced.
///
/// A log that was damaged in the middle reads like one that a crash cut off, and would silently lose
/// synced entries or, worse, a vote. The mark tells the two apart. It is written after each sync and not synced
/// itself: an older mark is a weaker bound and never a wrong one.
#[derive(Debug)]
pub(crate) struct SyncedMark {
    file: File,
}

impl SyncedMark {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        Ok(Self { file })
    }

    /// The sequence number that the log must have reached; zero if nothing is known.
    pub(crate) fn read(&self) -> io::Result<u64> {
        let mut bytes = [0; 16];
        match self.file.read_exact_at(&mut bytes, 0) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
            Err(error) => return Err(error),
        }
        let [n0, n1, n2, n3, n4, n5, n6, n7, checksum @ ..] = bytes;
        let number = [n0, n1, n2, n3, n4, n5, n6, n7];
        // A torn mark bounds nothing.
        Ok(if checksum == xxh3_64(&number).to_be_bytes() { u64::from_be_bytes(number) } else { 0 })
    }

    /// Records that the log is synced up to `sequence`.
    pub(crate) fn write(&self, sequence: u64) -> io::Result<()> {
        let number = sequence.to_be_bytes();
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&number);
        bytes[8..].copy_from_slice(&xxh3_64(&number).to_be_bytes());
        self.file.write_all_at(&bytes, 0)
    }
}
