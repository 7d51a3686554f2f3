//! Membership of consensus.

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use baton_domain::{Member, ReplicaId};
use futures::future::BoxFuture;
use openraft::ChangeMembers;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::error::{ClientWriteError, RaftError};

use super::consensus::Consensus;
use super::types::RaftConfig;
use crate::error::VotingError;
use crate::keeper::Voting;
use crate::replicated::ReplicaNode;

/// Timeout of a change; it may still be committed later.
const PATIENCE: Duration = Duration::from_secs(5);

type Change<T> = Result<T, RaftError<RaftConfig, ClientWriteError<RaftConfig>>>;

async fn in_time<T>(change: impl Future<Output = Change<T>>) -> Result<(), VotingError> {
    // Without a majority a change of the membership never returns.
    match tokio::time::timeout(PATIENCE, Box::pin(change)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward)))) => {
            Err(VotingError::NotLeader { leader: forward.leader_id })
        }
        Ok(Err(RaftError::APIError(error))) => Err(VotingError::Refused(error.to_string())),
        Ok(Err(RaftError::Fatal(fatal))) => Err(VotingError::Failed(fatal.to_string())),
        Err(_) => Err(VotingError::Timeout(PATIENCE)),
    }
}

impl Voting for Consensus {
    fn add_learner<'a>(&'a self, member: &'a Member) -> BoxFuture<'a, Result<(), VotingError>> {
        let change = self.raft.add_learner(member.replica, ReplicaNode::from(member), false);
        Box::pin(in_time(change))
    }

    fn change_voters(
        &self,
        voters: BTreeSet<ReplicaId>,
        learners: BTreeSet<ReplicaId>,
    ) -> BoxFuture<'_, Result<(), VotingError>> {
        Box::pin(self.change(voters, learners))
    }
}

impl Consensus {
    async fn change(&self, voters: BTreeSet<ReplicaId>, learners: BTreeSet<ReplicaId>) -> Result<(), VotingError> {
        let (known, voting) = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            let membership = metrics.membership_config.membership();
            let known: BTreeSet<ReplicaId> = membership.nodes().map(|(replica, _)| *replica).collect();
            (known, membership.voter_ids().collect::<BTreeSet<ReplicaId>>())
        };
        if voters.is_empty() {
            return Err(VotingError::NoVoter);
        }
        if let Some(stranger) = voters.union(&learners).find(|replica| !known.contains(replica)) {
            return Err(VotingError::Stranger { replica: *stranger });
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
