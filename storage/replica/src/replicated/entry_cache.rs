//! The newest log entries, in memory: what is written is read again at once, by each follower's stream and by apply.

use std::collections::VecDeque;

use super::codec::entry_bytes;
use super::types::Entry;

/// Maximum bytes of cached entries.
const CACHE_BYTES: usize = 16 * 1024 * 1024;

/// A run of consecutive entries at the end of the log.
#[derive(Default)]
pub(super) struct EntryCache {
    entries: VecDeque<Entry>,
    bytes: usize,
}

impl EntryCache {
    pub(super) fn push(&mut self, entry: Entry) {
        if self.entries.back().is_some_and(|last| last.log_id.index + 1 != entry.log_id.index) {
            self.clear();
        }
        self.bytes += entry_bytes(&entry);
        self.entries.push_back(entry);
        while self.bytes > CACHE_BYTES
            && let Some(oldest) = self.entries.pop_front()
        {
            self.bytes -= entry_bytes(&oldest);
        }
    }

    /// The entries from `start` up to `end`, up to `max_bytes` but at least one; `None` if the first is not here.
    pub(super) fn get(&self, start: u64, end: u64, max_bytes: usize) -> Option<Vec<Entry>> {
        let first = self.entries.front()?.log_id.index;
        let skip = usize::try_from(start.checked_sub(first)?).ok()?;
        if skip >= self.entries.len() {
            return None;
        }
        let mut bytes = 0;
        let mut found = Vec::new();
        for entry in self.entries.range(skip..) {
            bytes += entry_bytes(entry);
            if entry.log_id.index >= end || (bytes > max_bytes && !found.is_empty()) {
                break;
            }
            found.push(entry.clone());
        }
        Some(found)
    }

    /// Forgets entries at `index` and after it.
    pub(super) fn truncate(&mut self, index: u64) {
        while self.entries.back().is_some_and(|entry| entry.log_id.index >= index)
            && let Some(entry) = self.entries.pop_back()
        {
            self.bytes -= entry_bytes(&entry);
        }
    }

    /// Forgets entries up to and with `index`.
    pub(super) fn purge(&mut self, index: u64) {
        while self.entries.front().is_some_and(|entry| entry.log_id.index <= index)
            && let Some(entry) = self.entries.pop_front()
        {
            self.bytes -= entry_bytes(&entry);
        }
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }
}
