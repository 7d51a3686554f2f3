//! Reading a database from disk: the checksum of every block is checked, and neither the cache nor other users of
//! the disk suffer.

use std::io;
use std::time::Duration;

use super::StateDb;
use super::state_db::rocks;
use crate::machine::Family;

/// Bytes that are read at a time. An iterator holds on to the files that it began with, even after they were replaced,
/// so none lives for longer.
const SLICE_BYTES: usize = 4 * 1024 * 1024;
/// Read ahead of the iterator.
const READ_AHEAD_BYTES: usize = 1024 * 1024;

/// Reads all of a database, slice by slice.
pub(crate) struct Reading {
    left: &'static [Family],
    /// Key at which the next slice of the first family begins.
    from: Vec<u8>,
}

impl Default for Reading {
    fn default() -> Self {
        Self { left: &Family::ALL, from: Vec::new() }
    }
}

impl Reading {
    /// Reads the next slice; returns its bytes, and `None` at the end of the database. A block that fails
    /// its checksum is [`io::ErrorKind::InvalidData`].
    pub(crate) fn slice(&mut self, db: &StateDb) -> io::Result<Option<usize>> {
        let [family, others @ ..] = self.left else { return Ok(None) };
        let mut options = rocksdb::ReadOptions::default();
        options.set_verify_checksums(true);
        options.fill_cache(false);
        options.set_readahead_size(READ_AHEAD_BYTES);
        let mut entries = db.db().raw_iterator_cf_opt(db.family(*family), options);
        let mut bytes = 0;
        entries.seek(&self.from);
        while let Some((key, value)) = entries.item() {
            if bytes >= SLICE_BYTES {
                self.from = key.to_vec();
                return Ok(Some(bytes));
            }
            bytes += key.len() + value.len();
            entries.next();
        }
        entries.status().map_err(rocks)?;
        (self.left, self.from) = (others, Vec::new());
        Ok(Some(bytes))
    }
}

/// Maximum rate of reads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) bytes_per_second: u64,
}

impl Pace {
    /// Pause after a number of bytes.
    pub(crate) fn rest(self, bytes: usize) -> Duration {
        Duration::from_nanos((bytes as u64).saturating_mul(1_000_000_000) / self.bytes_per_second)
    }
}
