//! Reads the log, from the cache of the newest entries where it can.

use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;

use futures::{Stream, stream};
use openraft::storage::RaftLogReader;

use super::codec::decode_entry;
use super::flusher::lock;
use super::log_store::{LogStore, bounds_of};
use super::types::{Entry, RaftConfig, Vote};

/// Bytes of entries that are read at once to be applied.
pub(super) const APPLY_BYTES: usize = 1024 * 1024;

impl LogStore {
    /// The entries from `start` up to `end` that the log holds, up to `max_bytes` but at least one if there is one.
    pub(super) fn read(&self, start: u64, end: u64, max_bytes: usize) -> io::Result<Vec<Entry>> {
        if start >= end {
            return Ok(Vec::new());
        }
        if let Some(found) = lock(&self.inner.cache).get(start, end, max_bytes) {
            return Ok(found);
        }
        let found = self.inner.files.read(start, end, max_bytes)?;
        found.into_iter().map(|(index, body)| decode_entry(index, body)).collect()
    }
}

impl RaftLogReader<RaftConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let (start, end) = bounds_of(&range);
        self.read(start, end, usize::MAX)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        self.read(start, end, self.request_bytes)
    }

    /// A megabyte at a time: after a long catch-up there may be more to apply than memory should hold.
    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = Result<Entry, io::Error>> + Send
    where
        RB: RangeBounds<u64> + Clone + Debug + Send,
    {
        let (start, end) = bounds_of(&range);
        let reading = (self.clone(), start, Vec::new().into_iter());
        stream::unfold(Some(reading), move |reading| async move {
            let (log, next, mut read) = reading?;
            if let Some(entry) = read.next() {
                return Some((Ok(entry), Some((log, next, read))));
            }
            match log.read(next, end, APPLY_BYTES) {
                Ok(entries) => {
                    // Only what is whole may be applied.
                    if entries.first().is_some_and(|first: &Entry| first.log_id.index != next) {
                        let why = format!("log entry {next} is missing");
                        return Some((Err(io::Error::new(io::ErrorKind::InvalidData, why)), None));
                    }
                    let next = entries.last().map_or(end, |last: &Entry| last.log_id.index + 1);
                    let mut read = entries.into_iter();
                    let entry = read.next()?;
                    Some((Ok(entry), Some((log, next, read))))
                }
                Err(error) => Some((Err(error), None)),
            }
        })
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.vote())
    }
}
