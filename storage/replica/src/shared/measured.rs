//! Measurements of the log, for people and for the bound of its size.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::log::LogSize;

/// The measurements; zero is unknown. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Measured(Arc<Values>);

#[derive(Debug, Default)]
struct Values {
    commit_us: AtomicU64,
    log_bytes: AtomicU64,
    snapshot: AtomicU64,
}

fn known(value: &AtomicU64) -> Option<u64> {
    Some(value.load(Ordering::Relaxed)).filter(|value| *value > 0)
}

impl Measured {
    /// A commit took so long.
    pub(super) fn committed(&self, took: Duration) {
        /// The weight of the commits before.
        const BEFORE: u64 = 7;
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX / (BEFORE + 2)).max(1);
        let value = &self.0.commit_us;
        // A measurement that is lost between the two does no harm.
        let before = known(value).unwrap_or(us);
        value.store(((before * BEFORE + us) / (BEFORE + 1)).max(1), Ordering::Relaxed);
    }

    /// The log has this size, and its newest snapshot ends at that index.
    pub(super) fn looked(&self, size: LogSize, snapshot: Option<u64>) {
        self.0.log_bytes.store(size.total.max(1), Ordering::Relaxed);
        self.0.snapshot.store(snapshot.unwrap_or(0), Ordering::Relaxed);
    }

    /// Duration of a commit, averaged over the last ones of this server.
    pub(super) fn commit(&self) -> Option<Duration> {
        known(&self.0.commit_us).map(Duration::from_micros)
    }

    /// Bytes that the log keeps.
    pub(super) fn log_bytes(&self) -> Option<u64> {
        known(&self.0.log_bytes)
    }

    /// Bytes that it may still take where it may keep `max_bytes`; `None` if that is unlimited (0), or its size is unknown.
    pub(super) fn room(&self, max_bytes: u64) -> Option<u64> {
        self.log_bytes().filter(|_| max_bytes > 0).map(|bytes| max_bytes.saturating_sub(bytes))
    }

    /// The last entry of its newest snapshot.
    pub(super) fn snapshot(&self) -> Option<u64> {
        known(&self.0.snapshot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_time_follows_slowly_and_nothing_is_known_at_first() {
        let measured = Measured::default();
        assert_eq!((measured.commit(), measured.log_bytes(), measured.snapshot()), (None, None, None));
        measured.committed(Duration::from_micros(800));
        assert_eq!(measured.commit(), Some(Duration::from_micros(800)));
        measured.committed(Duration::from_micros(1_600));
        assert_eq!(measured.commit(), Some(Duration::from_micros(900)));
        measured.looked(LogSize { entries: 5, total: 7 }, Some(3));
        assert_eq!((measured.log_bytes(), measured.snapshot()), (Some(7), Some(3)));
        assert_eq!([0, 6, 10].map(|max| measured.room(max)), [None, Some(0), Some(3)]);
        assert_eq!(Measured::default().room(10), None);
    }
}
