//! The voters: one pure function for the storage leader. Source: the design, "Figure 3 and quorum" and
//! "Formatting, joining, replacement".
//!
//! A member whose replica has no vote first becomes a learner, then a voter; its old replica is removed in the same step.
//! Voters that no server reaches lose their vote after a while, but only if that lowers the majority and leaves at least
//! three voters: then the cluster survives the next failure as well.

use std::collections::BTreeSet;

use baton_domain::clock::BootTime;
use baton_domain::{Member, ReplicaId, ServerName, majority};

/// Minimum of voters after a removal of dead ones.
const FEWEST_VOTERS: usize = 3;

/// A member, as the storage leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberView {
    /// The member.
    pub member: Member,
    /// The replica that it reports; `None` if it is down or has none.
    pub holds: Option<ReplicaId>,
    /// The time since which no server has reached it; `None` while one does.
    pub dead_since: Option<BootTime>,
    /// True if its replica is close to the end of the log.
    pub caught_up: bool,
}

impl MemberView {
    /// True if it is about to become a voter. A member that was added and never started is not.
    fn rebuilds(&self, voters: &BTreeSet<ReplicaId>, learners: &BTreeSet<ReplicaId>) -> bool {
        let replica = self.member.replica;
        !voters.contains(&replica) && (self.holds == Some(replica) || learners.contains(&replica))
    }
}

/// A step of the membership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MembershipStep {
    /// Send the log to a member that has no vote.
    AddLearner {
        /// The member.
        member: Member,
    },
    /// Change the voters and the learners.
    Change {
        /// The new voters.
        voters: BTreeSet<ReplicaId>,
        /// The new learners.
        learners: BTreeSet<ReplicaId>,
        /// The reason, as text.
        why: String,
    },
}

/// The next step, if one is due.
#[must_use]
pub fn next_step(
    me: &ServerName,
    members: &[MemberView],
    voters: &BTreeSet<ReplicaId>,
    learners: &BTreeSet<ReplicaId>,
    dead_after: std::time::Duration,
    now: BootTime,
) -> Option<MembershipStep> {
    let current: BTreeSet<ReplicaId> = members.iter().map(|view| view.member.replica).collect();
    let stray = |replica: &&ReplicaId| !current.contains(replica);
    let rebuilding = members.iter().filter(|view| view.rebuilds(voters, learners)).count();
    for view in members {
        let replica = view.member.replica;
        if voters.contains(&replica) || view.holds != Some(replica) {
            continue;
        }
        if !learners.contains(&replica) {
            return Some(MembershipStep::AddLearner { member: view.member.clone() });
        }
        if view.caught_up {
            // Its old replica is removed in the same step: a rebuilt server never votes twice. The store does not record
            // which unowned replica was its own, so one stays for each other server that rebuilds.
            let (strays, others) = (voters.iter().filter(stray).count(), rebuilding - 1);
            let leaving: BTreeSet<_> = voters.iter().filter(stray).take(strays.saturating_sub(others)).collect();
            let mut next: BTreeSet<_> = voters.iter().filter(|voter| !leaving.contains(voter)).copied().collect();
            next.insert(replica);
            let learners = learners.iter().filter(|learner| **learner != replica && !stray(learner)).copied().collect();
            return Some(MembershipStep::Change {
                voters: next,
                learners,
                why: format!("{} has caught up", view.member.name),
            });
        }
    }
    dismissed(me, members, voters, learners, rebuilding > 0)
        .or_else(|| dead(me, members, voters, learners, dead_after, now))
}

/// Replicas of removed servers lose their vote and get no more entries. A member's old replica keeps its vote, as a voter
/// that is down, until the new one is caught up.
fn dismissed(
    me: &ServerName,
    members: &[MemberView],
    voters: &BTreeSet<ReplicaId>,
    learners: &BTreeSet<ReplicaId>,
    rebuilding: bool,
) -> Option<MembershipStep> {
    if !members.iter().any(|view| view.member.name == *me) {
        // The leader itself was removed: the policy hands leadership over first.
        return None;
    }
    let known = |replica: &&ReplicaId| members.iter().any(|view| view.member.replica == **replica);
    let next: BTreeSet<_> = voters.iter().filter(known).copied().collect();
    let next_learners: BTreeSet<_> = learners.iter().filter(known).copied().collect();
    let changed = (next != *voters && !rebuilding) || next_learners != *learners;
    let voters = if rebuilding { voters.clone() } else { next };
    changed.then(|| MembershipStep::Change { voters, learners: next_learners, why: "a server was removed".to_owned() })
}

fn dead(
    me: &ServerName,
    members: &[MemberView],
    voters: &BTreeSet<ReplicaId>,
    learners: &BTreeSet<ReplicaId>,
    dead_after: std::time::Duration,
    now: BootTime,
) -> Option<MembershipStep> {
    let is_dead = |view: &&MemberView| {
        view.member.name != *me
            && voters.contains(&view.member.replica)
            && view.dead_since.is_some_and(|since| now.since(since) >= dead_after)
    };
    let dead: Vec<&MemberView> = members.iter().filter(is_dead).collect();
    let spare = voters.len().saturating_sub(FEWEST_VOTERS);
    let gone = &dead[..dead.len().min(spare)];
    if gone.is_empty() || majority(voters.len() - gone.len()) >= majority(voters.len()) {
        return None;
    }
    let names = gone.iter().map(|view| view.member.name.as_str()).collect::<Vec<_>>().join(", ");
    let next = voters.iter().filter(|voter| !gone.iter().any(|view| view.member.replica == **voter)).copied().collect();
    Some(MembershipStep::Change { voters: next, learners: learners.clone(), why: format!("no server reaches {names}") })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use baton_domain::Role;

    use super::*;

    const NOW: BootTime = BootTime(100_000_000_000);
    const AFTER: Duration = Duration::from_secs(10);

    fn name(number: u64) -> ServerName {
        ServerName::new(format!("server{number}")).unwrap()
    }

    /// Members 1 to `count`, each up with the replica of its number.
    fn members(count: u64) -> Vec<MemberView> {
        (1..=count)
            .map(|number| MemberView {
                member: Member {
                    name: name(number),
                    role: Role::Server,
                    address: String::new(),
                    replica: ReplicaId(number),
                },
                holds: Some(ReplicaId(number)),
                dead_since: None,
                caught_up: true,
            })
            .collect()
    }

    fn ids(numbers: &[u64]) -> BTreeSet<ReplicaId> {
        numbers.iter().copied().map(ReplicaId).collect()
    }

    fn kill(members: &mut [MemberView], numbers: &[u64], ago_s: u64) {
        for view in members.iter_mut().filter(|view| numbers.contains(&view.member.replica.0)) {
            (view.holds, view.dead_since) = (None, Some(NOW - Duration::from_secs(ago_s)));
        }
    }

    fn step(members: &[MemberView], voters: &[u64], learners: &[u64]) -> Option<MembershipStep> {
        next_step(&name(3), members, &ids(voters), &ids(learners), AFTER, NOW)
    }

    #[test]
    fn dead_voters_go_only_when_that_lowers_the_majority_and_leaves_three() {
        for (count, dead, left) in [
            (3, &[1][..], None),
            (4, &[1], Some(&[2, 3, 4][..])),
            (5, &[1], None),
            (5, &[1, 2], Some(&[3, 4, 5])),
            (6, &[1], Some(&[2, 3, 4, 5, 6])),
            (7, &[1, 2], Some(&[3, 4, 5, 6, 7])),
        ] {
            let mut members = members(count);
            kill(&mut members, dead, 11);
            let voters: Vec<_> = (1..=count).collect();
            let next = step(&members, &voters, &[]).map(|step| match step {
                MembershipStep::Change { voters, .. } => voters,
                MembershipStep::AddLearner { .. } => panic!("nobody came"),
            });
            assert_eq!(next, left.map(ids), "{count} voters, dead {dead:?}");
        }
    }

    #[test]
    fn a_voter_that_is_dead_for_a_moment_keeps_its_vote() {
        let mut members = members(4);
        kill(&mut members, &[1], 9);
        assert_eq!(step(&members, &[1, 2, 3, 4], &[]), None);
    }

    #[test]
    fn a_removed_voter_comes_back_by_learning_first() {
        let members = members(4);
        let Some(MembershipStep::AddLearner { member }) = step(&members, &[2, 3, 4], &[]) else { panic!("not added") };
        assert_eq!(member.name, name(1));
        let mut behind = members.clone();
        behind[0].caught_up = false;
        assert_eq!(step(&behind, &[2, 3, 4], &[1]), None);
        let Some(MembershipStep::Change { voters, learners, .. }) = step(&members, &[2, 3, 4], &[1]) else {
            panic!("no vote")
        };
        assert_eq!((voters, learners), (ids(&[1, 2, 3, 4]), ids(&[])));
    }

    #[test]
    fn a_rebuilt_server_swaps_its_old_replica_for_the_new_one_in_one_step() {
        let mut members = members(3);
        (members[0].member.replica, members[0].holds) = (ReplicaId(9), Some(ReplicaId(9)));
        assert!(matches!(step(&members, &[1, 2, 3], &[]), Some(MembershipStep::AddLearner { .. })));
        let Some(MembershipStep::Change { voters, .. }) = step(&members, &[1, 2, 3], &[9]) else { panic!("no swap") };
        assert_eq!(voters, ids(&[2, 3, 9]));
    }

    #[test]
    fn two_servers_that_rebuild_swap_one_by_one() {
        let mut members = members(3);
        for (number, replica) in [(0, 8), (1, 9)] {
            (members[number].member.replica, members[number].holds) = (ReplicaId(replica), Some(ReplicaId(replica)));
        }
        members[1].caught_up = false;
        let Some(MembershipStep::Change { voters, learners, .. }) = step(&members, &[1, 2, 3], &[8, 9]) else {
            panic!("no swap")
        };
        assert_eq!((voters, learners), (ids(&[2, 3, 8]), ids(&[9])));
    }

    #[test]
    fn a_rebuilding_server_keeps_its_old_vote_until_then() {
        let mut members = members(3);
        (members[0].member.replica, members[0].holds, members[0].caught_up) = (ReplicaId(9), Some(ReplicaId(9)), false);
        assert_eq!(step(&members, &[1, 2, 3], &[9]), None);
    }

    #[test]
    fn a_dismissed_server_loses_its_vote() {
        let mut members = members(4);
        // Added, and not started yet: nobody waits for it.
        (members[3].member.replica, members[3].holds) = (ReplicaId(9), None);
        let Some(MembershipStep::Change { voters, .. }) = step(&members, &[1, 2, 3, 4], &[]) else {
            panic!("still votes")
        };
        assert_eq!(voters, ids(&[1, 2, 3]));
    }
}
