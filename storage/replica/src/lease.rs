//! The lease of a leader.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use baton_domain::clock::BootTime;

/// The lease under which this replica leads, readable from any thread at no cost.
#[derive(Debug, Clone, Default)]
pub struct Lease(Arc<LeaseTimes>);

#[derive(Debug, Default)]
struct LeaseTimes {
    until: AtomicU64,
    term: AtomicU64,
}

impl Lease {
    /// Time at which it expires unless it is renewed; in the past if this replica does not lead.
    #[must_use]
    pub fn until(&self) -> BootTime {
        BootTime(self.0.until.load(Ordering::Acquire))
    }

    /// The same for who began to work in `term`; the past once a later one has a lease. Leadership that was lost and
    /// won again is not the same: somebody else may have led between.
    #[must_use]
    pub fn until_in(&self, term: u64) -> BootTime {
        let until = self.until();
        // The time of a later term is stored after that term.
        if self.0.term.load(Ordering::Acquire) == term { until } else { BootTime(0) }
    }

    pub(crate) fn renew(&self, term: u64, until: BootTime) {
        self.0.term.store(term, Ordering::Release);
        self.0.until.store(until.0, Ordering::Release);
    }

    pub(crate) fn end(&self) {
        self.0.until.store(0, Ordering::Release);
    }

    /// True if it holds at `now`.
    #[must_use]
    pub fn holds(&self, now: BootTime) -> bool {
        now < self.until()
    }
}
