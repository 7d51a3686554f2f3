//! The Raft log on RocksDB: entries, vote, and how far it was purged and committed.
//!
//! Entries are written without a sync and readable at once; the flusher syncs and reports. All writes go through one
//! write-ahead log, so their order on disk is the order in which they were made: a vote never overtakes an entry.

use std::io;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use rocksdb::properties::CUR_SIZE_ALL_MEM_TABLES;
use rocksdb::{Direction, IteratorMode, ReadOptions, WriteBatch};

use super::codec::{encode_entry, entry_bytes, entry_log_id};
use super::entry_cache::EntryCache;
use super::flusher::{Failure, Flusher, lock};
use super::types::{Entry, LogId, RaftConfig, Vote};
use crate::disk::{LogDb, SyncedMark};
use crate::machine::{decode, encode};
use crate::seeded::{self, Bug};

const ENTRY_PREFIX: u8 = b'e';
const AFTER_ENTRIES: [u8; 1] = [ENTRY_PREFIX + 1];
const VOTE: &[u8] = b"v";
const PURGED: &[u8] = b"p";
const COMMITTED: &[u8] = b"c";

/// An entry's key: big-endian, so that entries lie in order.
pub(super) fn entry_key(index: u64) -> [u8; 9] {
    let mut key = [ENTRY_PREFIX; 9];
    key[1..].copy_from_slice(&index.to_be_bytes());
    key
}

fn key_index(key: &[u8]) -> io::Result<u64> {
    let index = key.strip_prefix(&[ENTRY_PREFIX]).and_then(|index| index.try_into().ok());
    index.map(u64::from_be_bytes).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a log key of no entry"))
}

/// What RocksDB said; damage is [`io::ErrorKind::InvalidData`].
pub(crate) fn rocks(error: rocksdb::Error) -> io::Error {
    let kind = match error.kind() {
        rocksdb::ErrorKind::Corruption => io::ErrorKind::InvalidData,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error.into_string())
}

/// Where the log begins and ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LogBounds {
    pub(crate) purged: Option<LogId>,
    pub(crate) last: Option<LogId>,
}

#[derive(Default)]
struct Tip {
    bounds: LogBounds,
    vote: Option<Vote>,
    committed: Option<LogId>,
    /// Whether `committed` is to be written with the next entries.
    committed_is_new: bool,
}

pub(super) struct LogInner {
    // Dropped before the database: its thread holds that too.
    flusher: Flusher,
    pub(super) db: Arc<LogDb>,
    tip: Mutex<Tip>,
    pub(super) cache: Mutex<EntryCache>,
    appended_bytes: AtomicU64,
}

impl LogInner {
    /// What was committed and not yet written.
    fn take_committed(&self) -> Option<LogId> {
        let mut tip = lock(&self.tip);
        tip.committed.filter(|_| std::mem::take(&mut tip.committed_is_new))
    }
}

impl Drop for LogInner {
    /// A store that was closed in order knows at once what it has to apply when it is opened.
    fn drop(&mut self) {
        if let Some(committed) = self.take_committed()
            && let Err(error) = self.db.put(COMMITTED, encode(&committed))
        {
            tracing::debug!(%error, "what was committed last was not written");
        }
    }
}

/// What an entry takes in a batch besides its bytes, at most: its key and two lengths. What else is in the batch is
/// less.
const BATCH_ENTRY_BYTES: usize = 32;

/// What one request to a follower may carry unless it is set.
const REQUEST_BYTES: usize = 256 * 1024;

/// The log, as consensus uses it. Clones are the same log.
#[derive(Clone)]
pub(crate) struct LogStore {
    pub(super) inner: Arc<LogInner>,
    /// What one request to a follower may carry, in bytes of entries; one entry may be larger.
    pub(super) request_bytes: usize,
}

impl LogStore {
    /// Takes over an open database and checks every entry in it.
    pub(crate) fn open(db: LogDb, mark: SyncedMark, failure: Failure) -> io::Result<Self> {
        let synced = mark.read()?;
        if db.latest_sequence_number() < synced {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the end of its log, which was synced, is missing"));
        }
        let read = |key: &[u8]| db.get(key).map_err(rocks);
        let tip = Tip {
            vote: read(VOTE)?.as_deref().map(decode).transpose()?,
            committed: read(COMMITTED)?.as_deref().map(decode).transpose()?,
            committed_is_new: false,
            bounds: {
                let purged = read(PURGED)?.as_deref().map(decode).transpose()?;
                LogBounds { purged, last: check_entries(&db, purged)? }
            },
        };
        let db = Arc::new(db);
        let flusher = Flusher::start(db.clone(), mark, failure)?;
        let inner =
            LogInner { flusher, db, tip: Mutex::new(tip), cache: Mutex::default(), appended_bytes: AtomicU64::new(0) };
        Ok(Self { inner: Arc::new(inner), request_bytes: REQUEST_BYTES })
    }

    /// The same log, read with another bound for requests to followers.
    pub(crate) fn with_request_bytes(self, request_bytes: usize) -> Self {
        Self { request_bytes, ..self }
    }

    /// Bytes of entries that were appended since the store was opened.
    pub(crate) fn appended_bytes(&self) -> u64 {
        self.inner.appended_bytes.load(Ordering::Relaxed)
    }

    /// Bytes in memory that a flush would put on disk, beside the write-ahead log that they are in.
    pub(crate) fn unflushed_bytes(&self) -> u64 {
        self.inner.db.property_int_value(CUR_SIZE_ALL_MEM_TABLES).ok().flatten().unwrap_or(0)
    }

    /// For how long a sync of the log has not returned.
    pub(crate) fn sync_waits(&self) -> Duration {
        self.inner.flusher.waits()
    }

    /// How many hold the log open.
    pub(crate) fn users(&self) -> usize {
        Arc::strong_count(&self.inner)
    }

    /// Where the log begins and ends.
    pub(crate) fn bounds(&self) -> LogBounds {
        lock(&self.inner.tip).bounds
    }

    /// The vote that was saved last.
    pub(crate) fn vote(&self) -> Option<Vote> {
        lock(&self.inner.tip).vote
    }

    /// Waits until all that was written so far is on disk.
    async fn synced(&self) -> io::Result<()> {
        let (sender, receiver) = RaftConfig::oneshot();
        self.inner.flusher.submit(IOFlushed::signal(sender));
        receiver.await.map_err(|_| io::Error::other("the log was closed"))?
    }

    /// For a recovery: drops all entries and lets the log go on after `last`, durably.
    pub(super) fn cut(&self, last: LogId) -> io::Result<()> {
        let mut batch = WriteBatch::default();
        batch.delete_range(entry_key(0).as_slice(), AFTER_ENTRIES.as_slice());
        batch.put(PURGED, encode(&last));
        batch.put(COMMITTED, encode(&last));
        self.inner.db.write(batch).map_err(rocks)?;
        self.inner.db.flush_wal(true).map_err(rocks)
    }
}

/// Walks over all entries: none is missing, none fails its checksum. Returns the last log id.
fn check_entries(db: &LogDb, purged: Option<LogId>) -> io::Result<Option<LogId>> {
    let mut last = purged;
    let from = entry_key(purged.map_or(0, |purged| purged.index + 1));
    let mut options = ReadOptions::default();
    options.set_iterate_upper_bound(AFTER_ENTRIES);
    options.fill_cache(false);
    for entry in db.iterator_opt(IteratorMode::From(&from, Direction::Forward), options) {
        let (key, value) = entry.map_err(rocks)?;
        let index = key_index(&key)?;
        let expected = last.map_or(0, |last| last.index + 1);
        if index != expected {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("log entry {expected} is missing")));
        }
        last = Some(entry_log_id(index, &value)?);
    }
    Ok(last)
}

impl RaftLogStorage<RaftConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<RaftConfig>, io::Error> {
        let bounds = self.bounds();
        Ok(LogState { last_purged_log_id: bounds.purged, last_log_id: bounds.last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.inner.db.put(VOTE, encode(vote)).map_err(rocks)?;
        lock(&self.inner.tip).vote = Some(*vote);
        // Durable on return: a vote that was given and forgotten makes two leaders.
        self.synced().await
    }

    /// Written with the next entries, and when the log is closed: after a crash an older one is as good, the leader tells the rest, and a write of
    /// its own would stand between a commit and its confirm.
    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        if let Some(committed) = committed {
            let mut tip = lock(&self.inner.tip);
            (tip.committed, tip.committed_is_new) = (Some(committed), true);
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        let tip = lock(&self.inner.tip);
        // Never beyond the log: the tail may be gone after a crash, if it was not synced.
        Ok(tip.committed.filter(|committed| tip.bounds.last.is_some_and(|last| committed.index <= last.index)))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<RaftConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let fresh: Vec<Entry> = entries.into_iter().collect();
        let bytes: usize = fresh.iter().map(entry_bytes).sum();
        // Large enough at once: growing copies what is there.
        let mut batch = WriteBatch::with_capacity_bytes(bytes + fresh.len() * BATCH_ENTRY_BYTES + BATCH_ENTRY_BYTES);
        for entry in &fresh {
            batch.put(entry_key(entry.log_id.index), encode_entry(entry)?);
        }
        if let Some(committed) = self.inner.take_committed() {
            batch.put(COMMITTED, encode(&committed));
        }
        self.inner.db.write(batch).map_err(rocks)?;
        self.inner.appended_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        if let Some(last) = fresh.last() {
            lock(&self.inner.tip).bounds.last = Some(last.log_id);
        }
        let mut cache = lock(&self.inner.cache);
        fresh.into_iter().for_each(|entry| cache.push(entry));
        drop(cache);
        if seeded::is(Bug::ConfirmBeforeSync) {
            callback.io_completed(Ok(()));
            return Ok(());
        }
        self.inner.flusher.submit(callback);
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        let from = last.map_or(0, |last| last.index + 1);
        let mut batch = WriteBatch::default();
        batch.delete_range(entry_key(from).as_slice(), AFTER_ENTRIES.as_slice());
        self.inner.db.write(batch).map_err(rocks)?;
        lock(&self.inner.cache).truncate(from);
        let mut tip = lock(&self.inner.tip);
        tip.bounds.last = last.max(tip.bounds.purged).min(tip.bounds.last);
        Ok(())
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        let (from, to) = (entry_key(0), entry_key(upto.index + 1));
        let mut batch = WriteBatch::default();
        batch.put(PURGED, encode(&upto));
        batch.delete_range(from.as_slice(), to.as_slice());
        self.inner.db.write(batch).map_err(rocks)?;
        lock(&self.inner.cache).purge(upto.index);
        {
            let mut tip = lock(&self.inner.tip);
            tip.bounds.purged = Some(upto).max(tip.bounds.purged);
            tip.bounds.last = tip.bounds.last.max(tip.bounds.purged);
        }
        // Whole files of purged entries go at once instead of being compacted away. They must not go before the mark
        // that says so is on disk, for which consensus does not wait, and the end of this range is part of it.
        let log = self.clone();
        tokio::spawn(async move {
            if log.synced().await.is_err() {
                return;
            }
            let deleted =
                tokio::task::spawn_blocking(move || log.inner.db.delete_file_in_range(from, entry_key(upto.index)));
            if let Ok(Err(error)) = deleted.await {
                tracing::warn!(%error, "files of purged log entries could not be deleted");
            }
        });
        Ok(())
    }
}

/// Turns any range into `start..end`.
pub(super) fn bounds_of(range: &impl std::ops::RangeBounds<u64>) -> (u64, u64) {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before + 1,
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last + 1,
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    (start, end)
}
