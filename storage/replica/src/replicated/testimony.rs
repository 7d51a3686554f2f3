//! Testimonies of the survivors of a dead leader, and the choice of its successor. Pure.
//!
//! A survivor testifies once it has proof of its own that the leader's process died. When a majority has, all of them
//! end the dead leader's lease, and the most preferred replica that a majority would elect stands for election.
//! The winner is still elected by consensus: a bad choice costs time, not safety.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use baton_domain::ReplicaId;
use serde::{Deserialize, Serialize};

use super::types::{LogId, Vote};

/// The testimony of one survivor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Testimony {
    /// The dead leader's: its term, and who it was.
    pub(crate) leader: Vote,
    /// The last entry of the survivor's log.
    pub(crate) last: Option<LogId>,
    /// Its rank among the possible leaders; the lower the better.
    pub(crate) rank: u32,
}

/// The testimonies about the leader that died last.
#[derive(Debug, Default)]
pub(crate) struct Inquest {
    leader: Option<Vote>,
    heard: BTreeMap<ReplicaId, Testimony>,
}

/// The sets of voters; each needs a majority. There are two while voters change.
pub(crate) type Voters = Vec<BTreeSet<ReplicaId>>;

/// True if `counts` holds for a majority of each set of `voters`.
pub(crate) fn majority(voters: &Voters, counts: impl Fn(&ReplicaId) -> bool) -> bool {
    voters.iter().all(|voters| voters.iter().filter(|voter| counts(voter)).count() > voters.len() / 2)
}

impl Inquest {
    /// Takes a testimony in: a newer one of the same survivor replaces an older one, a newer leader all of them.
    pub(crate) fn note(&mut self, from: ReplicaId, testimony: Testimony) {
        let term = |vote: &Vote| vote.leader_id.term;
        match &self.leader {
            Some(known) if term(known) > term(&testimony.leader) => return,
            Some(known) if term(known) == term(&testimony.leader) => {}
            Some(_) | None => {
                self.leader = Some(testimony.leader);
                self.heard.clear();
            }
        }
        self.heard.insert(from, testimony);
    }

    fn heard(&self, leader: &Vote, voter: ReplicaId) -> Option<&Testimony> {
        self.heard.get(&voter).filter(|_| self.leader.as_ref() == Some(leader))
    }

    /// True if all voters testified, except the dead leader.
    pub(crate) fn is_complete(&self, leader: &Vote, voters: &Voters) -> bool {
        let mut voters = voters.iter().flatten();
        voters.all(|voter| *voter == leader.leader_id.node_id || self.heard(leader, *voter).is_some())
    }

    /// True if a majority testified, so that the leader is dead for everybody.
    pub(crate) fn is_proven(&self, leader: &Vote, voters: &Voters) -> bool {
        majority(voters, |voter| self.heard(leader, *voter).is_some())
    }

    /// The successor: of the replicas whose log is long enough for a majority, the most preferred.
    pub(crate) fn successor(&self, leader: &Vote, voters: &Voters) -> Option<ReplicaId> {
        let electable = |last: &Option<LogId>| {
            majority(voters, |voter| self.heard(leader, *voter).is_some_and(|testimony| testimony.last <= *last))
        };
        let candidates: BTreeSet<ReplicaId> = voters.iter().flatten().copied().collect();
        let candidates = candidates.into_iter().filter_map(|voter| Some((voter, self.heard(leader, voter)?)));
        let candidates = candidates.filter(|(_, testimony)| electable(&testimony.last));
        candidates.min_by_key(|(voter, testimony)| (testimony.rank, Reverse(testimony.last), *voter)).map(|(id, _)| id)
    }
}

#[cfg(test)]
mod tests {
    use super::super::types::LeaderId;
    use super::*;

    fn leader(term: u64, replica: u64) -> Vote {
        Vote { leader_id: LeaderId { term, node_id: ReplicaId(replica) }, committed: true }
    }

    fn testimony(index: u64, rank: u32) -> Testimony {
        let last = Some(LogId::new(LeaderId { term: 3, node_id: ReplicaId(1) }, index));
        Testimony { leader: leader(3, 1), last, rank }
    }

    fn voters(ids: &[u64]) -> Voters {
        vec![ids.iter().copied().map(ReplicaId).collect()]
    }

    fn inquest(said: &[(u64, u64, u32)]) -> Inquest {
        let mut inquest = Inquest::default();
        for &(replica, index, rank) in said {
            inquest.note(ReplicaId(replica), testimony(index, rank));
        }
        inquest
    }

    /// Nobody's lease ends on the word of a minority.
    #[test]
    fn a_death_is_proven_by_a_majority_and_complete_when_all_survivors_spoke() {
        let (of_three, of_five) = (voters(&[1, 2, 3]), voters(&[1, 2, 3, 4, 5]));
        let one = inquest(&[(2, 10, 1)]);
        assert!(!one.is_proven(&leader(3, 1), &of_three) && !one.is_complete(&leader(3, 1), &of_three));
        let two = inquest(&[(2, 10, 1), (3, 10, 2)]);
        assert!(two.is_proven(&leader(3, 1), &of_three) && two.is_complete(&leader(3, 1), &of_three));
        assert!(!two.is_proven(&leader(3, 1), &of_five));
        let three = inquest(&[(2, 10, 1), (3, 10, 2), (5, 10, 9)]);
        assert!(three.is_proven(&leader(3, 1), &of_five) && !three.is_complete(&leader(3, 1), &of_five));
        assert!(!three.is_proven(&leader(4, 1), &of_five), "another leader's");
        let changing = vec![BTreeSet::from([1, 2, 3].map(ReplicaId)), BTreeSet::from([1, 6, 7].map(ReplicaId))];
        assert!(!two.is_proven(&leader(3, 1), &changing), "of both sets of voters");
        let stranger = inquest(&[(2, 10, 1), (8, 10, 2), (9, 10, 2)]);
        assert!(!stranger.is_proven(&leader(3, 1), &of_three), "who does not vote does not count");
    }

    #[test]
    fn the_successor_is_the_most_preferred_that_a_majority_would_elect() {
        let (of_three, of_five) = (voters(&[1, 2, 3]), voters(&[1, 2, 3, 4, 5]));
        for (said, voters, expected) in [
            (vec![(2, 10, 1), (3, 10, 2)], &of_three, Some(2)),
            (vec![(2, 10, 2), (3, 10, 1)], &of_three, Some(3)),
            // The longer log goes first: the other's vote is needed.
            (vec![(2, 10, 1), (3, 11, 2)], &of_three, Some(3)),
            // Of four a majority is three: the longest log is not needed.
            (vec![(2, 10, 1), (3, 10, 2), (4, 10, 9), (5, 11, 9)], &of_five, Some(2)),
            (vec![(2, 9, 1), (3, 10, 2), (4, 10, 9), (5, 11, 9)], &of_five, Some(3)),
            (vec![(2, 10, 1)], &of_three, None),
        ] {
            let found = inquest(&said).successor(&leader(3, 1), voters);
            assert_eq!(found, expected.map(ReplicaId), "{said:?}");
        }
    }

    #[test]
    fn what_was_said_of_an_older_leader_is_forgotten() {
        let of_three = voters(&[1, 2, 3]);
        let mut inquest = inquest(&[(2, 10, 1)]);
        inquest.note(ReplicaId(3), Testimony { leader: leader(4, 2), ..testimony(12, 1) });
        inquest.note(ReplicaId(3), testimony(10, 2));
        assert!(!inquest.is_proven(&leader(3, 1), &of_three));
        assert!(!inquest.is_proven(&leader(4, 2), &of_three));
        inquest.note(ReplicaId(1), Testimony { leader: leader(4, 2), ..testimony(12, 0) });
        assert_eq!(inquest.successor(&leader(4, 2), &of_three), Some(ReplicaId(1)));
    }
}
