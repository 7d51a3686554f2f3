//! Who may set the lease: the watcher renews it, a hand-over ends it, and neither overtakes the other.

use std::sync::{Mutex, PoisonError};

use super::Lease;
use crate::clock::BootTime;

/// The lease, and the newest term whose leadership was given away.
#[derive(Debug, Default)]
pub(super) struct LeaseGuard {
    lease: Lease,
    given_away: Mutex<Option<u64>>,
}

impl LeaseGuard {
    pub(super) fn lease(&self) -> Lease {
        self.lease.clone()
    }

    /// Sets the lease to what `until` says, which is told whether the leadership of `term` was given away.
    pub(super) fn renew(&self, term: u64, until: impl FnOnce(bool) -> BootTime) {
        let given_away = self.given_away.lock().unwrap_or_else(PoisonError::into_inner);
        self.lease.set(until(given_away.is_some_and(|given_away| term <= given_away)));
    }

    /// Ends the lease of `term`: from here on somebody else may lead.
    pub(super) fn give_away(&self, term: u64) {
        let mut given_away = self.given_away.lock().unwrap_or_else(PoisonError::into_inner);
        *given_away = (*given_away).max(Some(term));
        self.lease.set(BootTime(0));
    }

    /// Ends the lease for good.
    pub(super) fn close(&self) {
        self.give_away(u64::MAX);
    }
}
