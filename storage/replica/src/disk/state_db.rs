//! The database of the state: written without a write-ahead log, so that after a crash it is as its last flush left
//! it, all families of one instant; the Raft log brings back the rest.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use baton_domain::{MessageId, QueueId};
use rocksdb::checkpoint::Checkpoint;
use rocksdb::properties::{CUR_SIZE_ALL_MEM_TABLES, LIVE_SST_FILES_SIZE, PropName};
use rocksdb::{
    ColumnFamily, ColumnFamilyDescriptor, CompactOptions, DB, DBRawIterator, FlushOptions, IteratorMode, ReadOptions,
    WriteBatch, WriteOptions,
};

use super::MemoryBudget;
use super::layout::StoreLock;
use super::options::state_options;
use super::removal::remove_beside;
use crate::machine::{
    Family, MessageKey, PackVisitor, RecordVisitor, Sink, Tables, array, message_key, message_key_id, message_key_queue,
};

/// Keys from the first to the second, exclusive.
pub(crate) type KeyRange = (Vec<u8>, Vec<u8>);

/// Steps of an iterator that cost less than a seek.
const NEAR: usize = 8;

/// An open state database.
pub(crate) struct StateDb {
    /// `None` only while it is dropped.
    db: Option<DB>,
    dir: PathBuf,
    retired: AtomicBool,
    /// Keeps the store locked while its state is still being read: RocksDB does not open it twice.
    lock: Option<Arc<StoreLock>>,
}

/// An error of RocksDB; damage is [`io::ErrorKind::InvalidData`].
pub(crate) fn rocks(error: rocksdb::Error) -> io::Error {
    let kind = match error.kind() {
        rocksdb::ErrorKind::Corruption => io::ErrorKind::InvalidData,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error.into_string())
}

impl StateDb {
    /// Opens the database in `dir`, or makes it.
    pub(crate) fn open(dir: &Path, memory: &MemoryBudget, create: bool) -> Result<Self, rocksdb::Error> {
        let families =
            Family::ALL.map(|family| ColumnFamilyDescriptor::new(family.name(), state_options(memory, create)));
        let default = ColumnFamilyDescriptor::new("default", state_options(memory, create));
        let families = families.into_iter().chain([default]);
        let db = DB::open_cf_descriptors(&state_options(memory, create), dir, families)?;
        Ok(Self { db: Some(db), dir: dir.to_owned(), retired: AtomicBool::new(false), lock: None })
    }

    /// Keeps the store locked for as long as it is open.
    pub(crate) fn holding(mut self, lock: Arc<StoreLock>) -> Self {
        self.lock = Some(lock);
        self
    }

    /// Retires the database: its directory is removed with the last reader.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    /// Opens the database in `dir` read-only.
    pub(crate) fn look(dir: &Path, memory: &MemoryBudget) -> Result<Self, rocksdb::Error> {
        let options = state_options(memory, false);
        let families =
            Family::ALL.map(|family| ColumnFamilyDescriptor::new(family.name(), state_options(memory, false)));
        let db = DB::open_cf_descriptors_read_only(&options, dir, families, false)?;
        Ok(Self { db: Some(db), dir: dir.to_owned(), retired: AtomicBool::new(false), lock: None })
    }

    pub(crate) fn db(&self) -> &DB {
        // Only `drop` empties it.
        #[allow(clippy::expect_used)]
        self.db.as_ref().expect("open until dropped")
    }

    pub(crate) fn family(&self, family: Family) -> &ColumnFamily {
        // Opening fails unless all families are there.
        #[allow(clippy::expect_used)]
        self.db().cf_handle(family.name()).expect("opened with all families")
    }

    /// An empty batch.
    pub(crate) fn batch(&self) -> BatchSink<'_> {
        self.batch_of(0)
    }

    /// An empty batch with room for `bytes` bytes: growing copies.
    pub(crate) fn batch_of(&self, bytes: usize) -> BatchSink<'_> {
        let (families, batch) = (Family::ALL.map(|family| self.family(family)), WriteBatch::with_capacity_bytes(bytes));
        BatchSink { db: self, families, batch }
    }

    /// Flushes all families to disk.
    pub(crate) fn flush(&self) -> io::Result<()> {
        let families = Family::ALL.map(|family| self.family(family));
        let mut options = FlushOptions::default();
        options.set_wait(true);
        self.db().flush_cfs_opt(&families, &options).map_err(rocks)
    }

    /// Makes a directory of (mostly linked) files that hold the state of one instant; flushes first.
    pub(crate) fn checkpoint(&self, to: &Path) -> io::Result<()> {
        Checkpoint::new(self.db()).and_then(|checkpoint| checkpoint.create_checkpoint(to)).map_err(rocks)
    }

    /// Bytes of its table files.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.sum(LIVE_SST_FILES_SIZE)
    }

    /// Bytes in memory that a flush would put on disk.
    pub(crate) fn unflushed_bytes(&self) -> u64 {
        self.sum(CUR_SIZE_ALL_MEM_TABLES)
    }

    fn sum(&self, property: &PropName) -> u64 {
        let bytes = |family| self.db().property_int_value_cf(self.family(family), property).ok().flatten().unwrap_or(0);
        Family::ALL.into_iter().map(bytes).sum()
    }

    /// Approximate bytes of table files in each range.
    pub(crate) fn file_bytes_within(&self, family: Family, ranges: &[KeyRange]) -> Vec<u64> {
        let ranges: Vec<_> = ranges.iter().map(|(from, to)| rocksdb::Range::new(from, to)).collect();
        self.db().get_approximate_sizes_cf(self.family(family), &ranges)
    }

    /// Deletes ranges that hold no messages any more, by whole table files, unread. Flushes everything that
    /// was written first, because files are deleted at once: the state after a crash must not need them.
    pub(crate) fn drop_ranges<'a>(
        &self,
        family: Family,
        ranges: impl Iterator<Item = &'a KeyRange> + Clone,
    ) -> io::Result<()> {
        let mut batch = self.batch();
        // The file of a tombstone may go while the file of its record stays.
        ranges.clone().for_each(|(from, to)| batch.delete_range(family, from, to));
        batch.write()?;
        self.flush()?;
        for (from, to) in ranges {
            // It takes the end for a part of the range, which it is not; what is shorter is before it.
            let last = &to[..to.len() - 1];
            self.db().delete_file_in_range_cf(self.family(family), from.as_slice(), last).map_err(rocks)?;
        }
        Ok(())
    }

    /// Rewrites the table files that hold keys of the ranges, so that what was deleted there gives its space back.
    /// Takes long.
    pub(crate) fn compact(&self, family: Family, ranges: &[KeyRange]) {
        let mut options = CompactOptions::default();
        // Automatic compactions continue meanwhile.
        options.set_exclusive_manual_compaction(false);
        for (from, to) in ranges {
            self.db().compact_range_cf_opt(self.family(family), Some(from), Some(to), &options);
        }
    }

    /// Begins an iteration over packs up to `last`, at the pack that would hold the message of `key`, or after it.
    fn search(&self, key: &MessageKey, last: &MessageKey) -> io::Result<DBRawIterator<'_>> {
        let mut options = within_entry(message_key_queue(key), message_key_id(key)?);
        options.set_iterate_upper_bound([last.as_slice(), &[0]].concat());
        let mut walk = self.db().raw_iterator_cf_opt(self.family(Family::Packs), options);
        seek_holding(&mut walk, key)?;
        Ok(walk)
    }
}

/// For an iteration that never goes back beyond the entry of a message: passing tombstones costs as much as passing
/// there.
pub(crate) fn within_entry(queue: QueueId, id: MessageId) -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_iterate_lower_bound(message_key(queue, id.first_of_entry()));
    options
}

/// Seeks the record that may hold the message of `key`, or the first record after it.
pub(crate) fn seek_holding(walk: &mut DBRawIterator<'_>, key: &MessageKey) -> io::Result<()> {
    walk.seek_for_prev(key);
    if !walk.valid() {
        walk.status().map_err(rocks)?;
        walk.seek(key);
    }
    Ok(())
}

impl Drop for StateDb {
    fn drop(&mut self) {
        drop(self.db.take());
        if self.retired.load(Ordering::Relaxed) {
            remove_beside(std::mem::take(&mut self.dir));
        }
    }
}

impl Tables for StateDb {
    fn get(&self, family: Family, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.db().get_cf(self.family(family), key).map_err(rocks)
    }

    /// In one iteration: neighbours are found faster so than by a seek for each.
    fn get_each(&self, family: Family, keys: &[MessageKey], visit: RecordVisitor<'_>) -> io::Result<()> {
        let (first, last) = match keys {
            [] => return Ok(()),
            [only] => {
                let value = self.db().get_pinned_cf(self.family(family), only).map_err(rocks)?;
                return value.map_or(Ok(()), |value| visit(*only, &value));
            }
            [first, .., last] => (first, last),
        };
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound([last.as_slice(), &[0]].concat());
        let mut walk = self.db().raw_iterator_cf_opt(self.family(family), options);
        walk.seek(first);
        for key in keys {
            let before = |walk: &DBRawIterator<'_>| walk.key().is_some_and(|at| at < key.as_slice());
            let mut steps = 0;
            while before(&walk) && steps < NEAR {
                walk.next();
                steps += 1;
            }
            if before(&walk) {
                walk.seek(key);
            }
            if let Some((at, value)) = walk.item()
                && at == key
            {
                visit(*key, value)?;
            }
        }
        walk.status().map_err(rocks)
    }

    /// In one iteration, too.
    fn packs(&self, keys: &[MessageKey], visit: PackVisitor<'_>) -> io::Result<()> {
        let Some(last) = keys.last() else { return Ok(()) };
        let mut walk: Option<DBRawIterator<'_>> = None;
        let mut seen: Option<MessageKey> = None;
        for key in keys {
            if seen.is_some_and(|seen| *key <= seen) {
                continue;
            }
            let mut steps = 0;
            while let Some(walk) = &mut walk
                && steps < NEAR
                && let Some((at, value)) = walk.item().filter(|(at, _)| *at <= key.as_slice())
            {
                seen = Some(visit(array(at)?, value)?);
                walk.next();
                steps += 1;
            }
            if walk.is_none() || steps == NEAR {
                let walk = walk.insert(self.search(key, last)?);
                if let Some((at, value)) = walk.item().filter(|(at, _)| *at <= key.as_slice()) {
                    seen = Some(visit(array(at)?, value)?);
                    walk.next();
                }
            }
            // A read error also ends an iteration.
            walk.as_ref().map_or(Ok(()), |walk| walk.status().map_err(rocks))?;
        }
        Ok(())
    }

    fn keys(&self, family: Family, from: &[u8], to: &[u8], limit: usize) -> io::Result<Vec<Vec<u8>>> {
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(from);
        options.set_iterate_upper_bound(to);
        let mut walk = self.db().raw_iterator_cf_opt(self.family(family), options);
        walk.seek_to_first();
        let mut keys = Vec::new();
        while let Some(key) = walk.key().filter(|_| keys.len() < limit) {
            keys.push(key.to_vec());
            walk.next();
        }
        walk.status().map_err(rocks)?;
        Ok(keys)
    }

    fn scan(&self, family: Family) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let entries = self.db().iterator_cf(self.family(family), IteratorMode::Start);
        entries.map(|entry| entry.map(|(key, value)| (key.into_vec(), value.into_vec())).map_err(rocks)).collect()
    }
}

/// A batch for a state database.
pub(crate) struct BatchSink<'a> {
    db: &'a StateDb,
    families: [&'a ColumnFamily; Family::ALL.len()],
    batch: WriteBatch,
}

impl BatchSink<'_> {
    /// Writes it as one.
    pub(crate) fn write(self) -> io::Result<()> {
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        self.db.db().write_opt(self.batch, &options).map_err(rocks)
    }
}

impl Sink for BatchSink<'_> {
    fn put(&mut self, family: Family, key: &[u8], value: &[u8]) {
        self.batch.put_cf(self.families[family as usize], key, value);
    }

    fn delete(&mut self, family: Family, key: &[u8]) {
        self.batch.delete_cf(self.families[family as usize], key);
    }

    fn delete_range(&mut self, family: Family, from: &[u8], to: &[u8]) {
        self.batch.delete_range_cf(self.families[family as usize], from, to);
    }
}
