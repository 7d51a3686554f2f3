//! The Raft log: entries, vote, and how far it was purged and committed.
//!
//! Entries are written without a sync and readable at once; the flusher syncs and reports. All records lie in the files
//! in the order in which they were made: a vote never overtakes an entry.

use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use baton_domain::seeded::{self, Bug};
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::type_config::TypeConfigExt;

use super::codec::{encode_entry, entry_bytes, entry_log_id};
use super::entry_cache::EntryCache;
use super::flusher::{Flusher, lock};
use super::types::{Entry, LogId, RaftConfig, Vote};
use crate::disk::{LogBatch, LogFiles, Spare, SyncedMark};
use crate::failure::Failure;
use crate::machine::{decode, encode};

/// Beginning and end of the log.
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
    /// True if `committed` must be written with the next entries.
    committed_is_new: bool,
}

pub(super) struct LogInner {
    flusher: Flusher,
    pub(super) files: Arc<LogFiles>,
    tip: Arc<Mutex<Tip>>,
    pub(super) cache: Mutex<EntryCache>,
    appended_bytes: AtomicU64,
}

impl LogInner {
    /// The committed position that is not yet written.
    fn take_committed(&self) -> Option<LogId> {
        let mut tip = lock(&self.tip);
        tip.committed.filter(|_| std::mem::take(&mut tip.committed_is_new))
    }
}

impl Drop for LogInner {
    /// A store that was closed in order knows its committed position when it is opened.
    fn drop(&mut self) {
        let Some(committed) = self.take_committed() else { return };
        let mut batch = LogBatch::default();
        if let Err(error) = batch.commit(&encode(&committed)).and_then(|()| self.files.write(batch)) {
            tracing::debug!(%error, "cannot write the last committed position");
        }
    }
}

/// The end of the log; holds nothing of it open.
#[derive(Clone)]
pub(crate) struct LogTail(Arc<Mutex<Tip>>);

impl LogTail {
    /// The last entry that was written. It is visible here before the write is reported.
    pub(super) fn last(&self) -> Option<LogId> {
        lock(&self.0).bounds.last
    }

    /// A log that ends there.
    #[cfg(test)]
    pub(super) fn at(last: Option<LogId>) -> Self {
        let bounds = LogBounds { purged: None, last };
        Self(Arc::new(Mutex::new(Tip { bounds, ..Tip::default() })))
    }
}

/// Default of [`LogStore::request_bytes`].
const REQUEST_BYTES: usize = 256 * 1024;

/// The log, as consensus uses it. Clones are the same log.
#[derive(Clone)]
pub(crate) struct LogStore {
    pub(super) inner: Arc<LogInner>,
    /// Maximum bytes of entries in a request to a follower; a single entry may be larger.
    pub(super) request_bytes: usize,
}

impl LogStore {
    /// Opens the log in `dir` and checks every entry in it.
    pub(crate) fn open(dir: &Path, mark: SyncedMark, failure: Failure) -> io::Result<Self> {
        let files = LogFiles::open(dir, mark.read()?, |index, body| entry_log_id(index, body).map(|_| ()))?;
        let notes = files.notes();
        let purged = notes.purged.map(|(_, mark)| decode::<LogId>(&mark)).transpose()?;
        let last = match files.last() {
            Some(last) => files.read(last, last + 1, 0)?.pop(),
            None => None,
        };
        let last = last.map(|(index, body)| entry_log_id(index, &body)).transpose()?;
        let tip = Tip {
            vote: notes.vote.as_deref().map(decode).transpose()?,
            committed: notes.committed.as_deref().map(decode).transpose()?,
            committed_is_new: false,
            bounds: LogBounds { purged, last: last.max(purged) },
        };
        let files = Arc::new(files);
        let flusher = Flusher::start(files.clone(), mark, failure)?;
        let inner = LogInner {
            flusher,
            files,
            tip: Arc::new(Mutex::new(tip)),
            cache: Mutex::default(),
            appended_bytes: AtomicU64::new(0),
        };
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

    /// For how long a sync of the log has not returned.
    pub(crate) fn sync_waits(&self) -> Duration {
        self.inner.flusher.waits()
    }

    /// Space and descriptors that are reserved for the log.
    pub(crate) fn spare(&self) -> Spare {
        self.inner.files.spare()
    }

    /// Number of users that hold the log open.
    pub(crate) fn users(&self) -> usize {
        Arc::strong_count(&self.inner)
    }

    /// Beginning and end of the log.
    pub(crate) fn bounds(&self) -> LogBounds {
        lock(&self.inner.tip).bounds
    }

    /// The end of the log, now and later.
    pub(crate) fn tail(&self) -> LogTail {
        LogTail(self.inner.tip.clone())
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

    /// For a recovery: drops all entries, so that the log continues after `last`, durably.
    pub(super) fn cut(&self, last: LogId) -> io::Result<()> {
        let mut batch = LogBatch::default();
        batch.purge(last.index, &encode(&last))?;
        batch.commit(&encode(&last))?;
        self.inner.files.write(batch)?;
        self.inner.files.sync()
    }
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
        let mut batch = LogBatch::default();
        batch.vote(&encode(vote))?;
        self.inner.files.write(batch)?;
        lock(&self.inner.tip).vote = Some(*vote);
        // Durable on return: a vote that was given and forgotten makes two leaders.
        self.synced().await
    }

    /// Written with the next entries, and when the log is closed: after a crash an older one is as good, the leader
    /// tells the rest, and a write of its own would stand between a commit and its confirm.
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
        let mut batch = LogBatch::for_entries(fresh.len(), bytes);
        for entry in &fresh {
            batch.entry(entry.log_id.index, |into| encode_entry(entry, into))?;
        }
        if let Some(committed) = self.inner.take_committed() {
            batch.commit(&encode(&committed))?;
        }
        self.inner.files.write(batch)?;
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
        let mut batch = LogBatch::default();
        batch.cut(from)?;
        self.inner.files.write(batch)?;
        lock(&self.inner.cache).truncate(from);
        let mut tip = lock(&self.inner.tip);
        tip.bounds.last = last.max(tip.bounds.purged).min(tip.bounds.last);
        Ok(())
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        let mut batch = LogBatch::default();
        batch.purge(upto.index, &encode(&upto))?;
        self.inner.files.write(batch)?;
        lock(&self.inner.cache).purge(upto.index);
        {
            let mut tip = lock(&self.inner.tip);
            tip.bounds.purged = Some(upto).max(tip.bounds.purged);
            tip.bounds.last = tip.bounds.last.max(tip.bounds.purged);
        }
        // Files must not go before what says that their entries are purged is on disk; consensus does not wait for
        // that.
        let log = self.clone();
        tokio::spawn(async move {
            if log.synced().await.is_err() {
                return;
            }
            let removed = tokio::task::spawn_blocking(move || log.inner.files.remove_purged(upto.index));
            if let Ok(Err(error)) = removed.await {
                tracing::warn!(%error, "cannot remove files of purged log entries");
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
