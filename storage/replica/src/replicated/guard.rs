//! The lock around the lease: the watcher renews it, a hand-over ends it, lost links end it, and none overtakes
//! another.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use baton_domain::ReplicaId;
use baton_domain::clock::BootTime;

use crate::lease::Lease;
use crate::replicated::{Voters, majority};

/// The lease, and what ends it.
#[derive(Debug, Default)]
pub(crate) struct LeaseGuard {
    lease: Lease,
    ends: Mutex<Ends>,
}

#[derive(Debug, Default)]
struct Ends {
    /// The newest term whose leadership was given away.
    given_away: Option<u64>,
    /// The replicas that are linked; `None` if nobody tells.
    linked: Option<BTreeSet<ReplicaId>>,
    /// Last time at which a majority of the voters was not linked.
    apart: Option<BootTime>,
}

impl Ends {
    /// True if a majority of the voters is linked, this replica included.
    fn together(&self, own: ReplicaId, voters: &Voters) -> bool {
        let Some(linked) = &self.linked else { return true };
        majority(voters, |voter| *voter == own || linked.contains(voter))
    }
}

impl LeaseGuard {
    pub(crate) fn lease(&self) -> Lease {
        self.lease.clone()
    }

    fn ends(&self) -> MutexGuard<'_, Ends> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the lease to what `until` says, which is told whether the leadership of `term` was given away, and before
    /// when no acknowledgement counts.
    pub(crate) fn renew(
        &self,
        term: u64,
        now: BootTime,
        (own, voters): (ReplicaId, &Voters),
        until: impl FnOnce(bool, Option<BootTime>) -> BootTime,
    ) {
        let mut ends = self.ends();
        if !ends.together(own, voters) {
            ends.apart = Some(now);
        }
        self.lease.renew(term, until(ends.given_away.is_some_and(|given_away| term <= given_away), ends.apart));
    }

    /// Takes note of the replicas that are linked. Without a majority of the voters the lease ends at once, and only
    /// what is acknowledged after they are back makes a new one: the survivors of a leader that they believe dead, and
    /// have proof of it, do not wait for the lease's end.
    pub(crate) fn linked(&self, linked: BTreeSet<ReplicaId>, now: BootTime, own: ReplicaId, voters: &Voters) {
        let mut ends = self.ends();
        ends.linked = Some(linked);
        if !ends.together(own, voters) {
            ends.apart = Some(now);
            self.lease.end();
        }
    }

    /// Ends the lease of `term`: from here on somebody else may lead.
    pub(crate) fn give_away(&self, term: u64) {
        let mut ends = self.ends();
        ends.given_away = ends.given_away.max(Some(term));
        self.lease.end();
    }

    /// Ends the lease for good.
    pub(crate) fn close(&self) {
        self.give_away(u64::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[u64]) -> BTreeSet<ReplicaId> {
        ids.iter().copied().map(ReplicaId).collect()
    }

    /// Invariant 2 beside proof of death: a leader without links to a majority has no lease, whatever was acknowledged.
    #[test]
    fn a_leader_that_loses_its_links_to_a_majority_loses_its_lease_at_once() {
        let (own, voters) = (ReplicaId(1), vec![ids(&[1, 2, 3])]);
        let guard = LeaseGuard::default();
        let lease = guard.lease();
        let renewed = |now: u64, acked: u64| {
            guard.renew(1, BootTime(now), (own, &voters), |_, apart| {
                if apart.is_some_and(|apart| BootTime(acked) <= apart) { BootTime(0) } else { BootTime(acked + 100) }
            });
            lease.until()
        };
        assert_eq!(renewed(10, 9), BootTime(109), "nobody tells of links");
        guard.linked(ids(&[1, 2]), BootTime(20), own, &voters);
        assert_eq!(lease.until(), BootTime(109), "one of two others is enough");
        guard.linked(ids(&[1]), BootTime(30), own, &voters);
        assert_eq!(lease.until(), BootTime(0));
        assert_eq!(renewed(35, 34), BootTime(0), "acknowledged, and not linked");
        guard.linked(ids(&[1, 3]), BootTime(40), own, &voters);
        assert_eq!(renewed(41, 34), BootTime(0), "acknowledged before the links were back");
        assert_eq!(renewed(50, 42), BootTime(142));
    }

    /// Invariant 2: an engine that has not heard yet that leadership was lost between does not go on under the new one.
    #[test]
    fn the_lease_of_a_term_does_not_come_back_with_the_next() {
        let (own, voters) = (ReplicaId(1), vec![ids(&[1, 2, 3])]);
        let guard = LeaseGuard::default();
        let lease = guard.lease();
        guard.renew(1, BootTime(1), (own, &voters), |_, _| BootTime(100));
        assert_eq!(lease.until_in(1), BootTime(100));
        guard.renew(3, BootTime(200), (own, &voters), |_, _| BootTime(300));
        assert_eq!((lease.until_in(1), lease.until_in(3)), (BootTime(0), BootTime(300)));
        assert_eq!(lease.until(), BootTime(300));
    }

    #[test]
    fn both_sets_of_voters_need_their_majority() {
        let (own, voters) = (ReplicaId(1), vec![ids(&[1, 2, 3]), ids(&[1, 4, 5])]);
        let guard = LeaseGuard::default();
        guard.renew(1, BootTime(1), (own, &voters), |_, _| BootTime(100));
        guard.linked(ids(&[2, 3]), BootTime(2), own, &voters);
        assert_eq!(guard.lease().until(), BootTime(0));
    }
}
