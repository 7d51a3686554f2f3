//! The times since which each replica has heard this one: the basis of a lease.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use baton_domain::ReplicaId;
use baton_domain::clock::BootTime;

/// Time at which the newest request was sent that a replica answered as our follower, by replica. Clones share it.
///
/// Consensus lets the answer to one request speak for those sent after it, if they ask for no more; with several on
/// their way that would count a time at which the follower may have heard nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answered {
    times: Arc<Mutex<BTreeMap<ReplicaId, BootTime>>>,
    /// Leases that differ from ours, as last reported: each is logged once.
    odd: Arc<Mutex<BTreeMap<ReplicaId, Duration>>>,
}

impl Answered {
    pub(super) fn note(&self, replica: ReplicaId, sent: BootTime) {
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = times.entry(replica).or_insert(sent);
        *newest = sent.max(*newest);
    }

    /// True if a replica did not report this lease before.
    pub(super) fn is_news(&self, replica: ReplicaId, lease: Duration) -> bool {
        self.odd.lock().unwrap_or_else(PoisonError::into_inner).insert(replica, lease) != Some(lease)
    }

    /// The latest time such that a majority of `voters` has answered something sent then or later; `own` answers
    /// itself at any time.
    pub(crate) fn by_majority(&self, own: ReplicaId, voters: &BTreeSet<ReplicaId>) -> Option<BootTime> {
        let times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sent: Vec<BootTime> = voters
            .iter()
            .filter_map(|voter| if *voter == own { Some(BootTime(u64::MAX)) } else { times.get(voter).copied() })
            .collect();
        sent.sort_unstable();
        sent.len().checked_sub(voters.len() / 2 + 1).and_then(|at| sent.get(at)).copied()
    }
}

/// Time from which an answer counts for a lease of `own_lease`, if the follower elects nobody for `its_lease`: where
/// that is shorter, so much earlier. Servers should be set up alike, but two leaders are not the price of a mistake.
pub(super) fn counted_from(sent: BootTime, own_lease: Duration, its_lease: Duration) -> BootTime {
    let short = u64::try_from(own_lease.saturating_sub(its_lease).as_nanos()).unwrap_or(u64::MAX);
    BootTime(sent.0.saturating_sub(short))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Invariant 2: a follower that elects earlier than this leader's lease ends counts for the less.
    #[test]
    fn who_elects_earlier_is_counted_as_if_it_had_answered_earlier() {
        let (ms, sent) = (Duration::from_millis, BootTime(1_000_000_000));
        assert_eq!(counted_from(sent, ms(340), ms(340)), sent);
        assert_eq!(counted_from(sent, ms(340), ms(500)), sent, "its patience is its own affair");
        let counted = counted_from(sent, ms(340), ms(200));
        assert_eq!(counted + ms(340), sent + ms(200), "the lease ends when that one may elect");
        assert_eq!(counted_from(BootTime(5), ms(340), ms(0)), BootTime(0));
    }

    /// Invariant 2: the lease rests on the slowest member of the fastest majority, and on nobody's word for another.
    #[test]
    fn a_majority_has_answered_what_its_slowest_member_has() {
        let answered = Answered::default();
        let by_majority = |count: u64| answered.by_majority(ReplicaId(1), &(1..=count).map(ReplicaId).collect());
        assert_eq!(by_majority(1), Some(BootTime(u64::MAX)), "the only voter answers itself");
        assert_eq!(by_majority(3), None, "nobody else has answered");
        answered.note(ReplicaId(2), BootTime(20));
        assert_eq!(by_majority(3), Some(BootTime(20)));
        assert_eq!(by_majority(5), None);
        answered.note(ReplicaId(3), BootTime(30));
        assert_eq!(by_majority(3), Some(BootTime(30)));
        assert_eq!(by_majority(5), Some(BootTime(20)));
        answered.note(ReplicaId(2), BootTime(10));
        assert_eq!(by_majority(5), Some(BootTime(20)), "a late answer to an early request takes nothing back");
        answered.note(ReplicaId(9), BootTime(99));
        assert_eq!(by_majority(4), Some(BootTime(20)), "who does not vote does not count");
    }
}
