//! Membership of consensus.

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use baton_domain::{Member, ReplicaId};
use openraft::ChangeMembers;
use openraft::async_runtime::watch::WatchReceiver;

use super::open::Inner;
use crate::replicated::ReplicaNode;

/// Timeout of a change; it may still be committed later.
const PATIENCE: Duration = Duration::from_secs(5);

async fn in_time<T, E: ToString>(change: impl Future<Output = Result<T, E>>) -> Result<(), String> {
    // Without a majority a change of the membership never returns.
    match tokio::time::timeout(PATIENCE, Box::pin(change)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("it was not committed within {} s", PATIENCE.as_secs())),
    }
}

impl Inner {
    pub(crate) async fn add_learner(&self, member: &Member) -> Result<(), String> {
        in_time(self.raft.add_learner(member.replica, ReplicaNode::from(member), false)).await
    }

    pub(crate) async fn change_voters(
        &self,
        voters: BTreeSet<ReplicaId>,
        learners: BTreeSet<ReplicaId>,
    ) -> Result<(), String> {
        let (known, voting) = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            let membership = metrics.membership_config.membership();
            let known: BTreeSet<ReplicaId> = membership.nodes().map(|(replica, _)| *replica).collect();
            (known, membership.voter_ids().collect::<BTreeSet<ReplicaId>>())
        };
        if voters.is_empty() {
            return Err("at least one replica must vote".to_owned());
        }
        if let Some(stranger) = voters.union(&learners).find(|replica| !known.contains(replica)) {
            return Err(format!("replica {stranger} is not part of the cluster: add it as a learner first"));
        }
        if voters != voting {
            // Those who no longer vote stay as learners until the change is through.
            in_time(self.raft.change_membership(ChangeMembers::ReplaceAllVoters(voters.clone()), true)).await?;
        }
        let left_out: BTreeSet<ReplicaId> =
            known.into_iter().filter(|replica| !voters.contains(replica) && !learners.contains(replica)).collect();
        if !left_out.is_empty() {
            in_time(self.raft.change_membership(ChangeMembers::RemoveNodes(left_out), false)).await?;
        }
        Ok(())
    }
}
