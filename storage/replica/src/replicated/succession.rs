//! What a survivor does with proof that the leader's process died: tells the others, and once a majority has such proof
//! of its own, ends the dead leader's lease and elects a successor, without waiting for any timeout.
//!
//! Consensus stays as safe as it is with elections by timeout. What a false proof could break is the leader's lease,
//! so nobody ends it alone, and a leader that loses its links to a majority ends its own ([`super::guard`]).

use std::sync::Arc;
use std::time::Duration;

use baton_domain::{ReplicaId, Role};
use openraft::async_runtime::watch::WatchReceiver;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::replicated::{Inquest, Network, Raft, Testimony, TransferRequest, Vote, Voters};
use crate::state::SharedState;

/// Time after which the survivors leave it to an election by timeout.
const PATIENCE: Duration = Duration::from_millis(300);
/// Interval at which they testify again: entries that were in flight when the leader died may have made a log longer.
const ROUND: Duration = Duration::from_millis(20);
/// Time for which a majority waits for the other survivors, whose logs may be longer.
const HEAR_OUT: Duration = Duration::from_millis(4);
/// Time within which a successor must win.
const ELECTION: Duration = Duration::from_millis(30);

/// A replica's part in the succession of a dead leader. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Succession {
    pub(crate) own: ReplicaId,
    pub(crate) raft: Raft,
    pub(crate) network: Network,
    pub(crate) state: Arc<SharedState>,
    /// Fed by the receiver.
    pub(crate) inquest: Arc<watch::Sender<Inquest>>,
}

impl Succession {
    /// Acts on proof that the process of replica `dead` died, if that one leads. Returns when there is a new leader,
    /// or when an election by timeout will have to find one.
    pub(crate) async fn follow(&self, dead: ReplicaId) {
        let (leader, voters) = self.place();
        let leads = leader.committed && leader.leader_id.node_id == dead;
        if !leads || !voters.iter().flatten().any(|voter| *voter == self.own) {
            return;
        }
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            self.testify(&leader, &voters);
            let proven = self.hear_out(&leader, &voters).await;
            if proven && self.elect(&leader, &voters).await {
                tracing::info!(
                    %dead,
                    elapsed_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX),
                    "the storage leader died and has a successor"
                );
                return;
            }
            if self.is_superseded(&leader) {
                return;
            }
        }
        tracing::warn!(%dead, "the storage leader died, and the survivors found no successor: an election decides");
    }

    fn place(&self) -> (Vote, Voters) {
        let place = self.raft.server_metrics();
        let place = place.borrow_watched();
        (place.vote, place.membership_config.membership().get_joint_config().clone())
    }

    /// True if another replica leads.
    fn is_superseded(&self, leader: &Vote) -> bool {
        let (vote, _) = self.place();
        vote.committed && vote.leader_id.term > leader.leader_id.term
    }

    /// Rank of this server among the possible leaders: in the policy's order, then servers that it does not name,
    /// then the witnesses.
    fn rank(&self) -> u32 {
        let cluster = self.state.cluster().borrow().clone();
        let Some(own) = cluster.holder(self.own) else { return u32::MAX };
        let hosts = cluster.hosts();
        let preferred = cluster.policy.preference(&hosts);
        let place = match own.role {
            Role::Witness => return u32::MAX - 1,
            Role::Server if cluster.hold.as_ref() == Some(&own.name) => return 0,
            Role::Server => preferred.iter().position(|name| *name == own.name),
        };
        let place = place.unwrap_or_else(|| {
            preferred.len() + hosts.iter().position(|name| *name == own.name).unwrap_or(hosts.len())
        });
        u32::try_from(place + 1).unwrap_or(u32::MAX - 2)
    }

    fn testify(&self, leader: &Vote, voters: &Voters) {
        let last = self.raft.data_metrics().borrow_watched().last_log;
        let testimony = Testimony { leader: *leader, last, rank: self.rank() };
        self.inquest.send_modify(|inquest| inquest.note(self.own, testimony.clone()));
        for voter in voters.iter().flatten().filter(|voter| ![self.own, leader.leader_id.node_id].contains(voter)) {
            // Those that do not answer are told again in the next round.
            drop(tokio::spawn(self.network.testify(*voter, &testimony, ROUND)));
        }
    }

    /// Waits for the other survivors; returns true if a majority testified.
    async fn hear_out(&self, leader: &Vote, voters: &Voters) -> bool {
        let mut heard = self.inquest.subscribe();
        let mut until = Instant::now() + ROUND;
        loop {
            let (proven, complete) = {
                let inquest = heard.borrow_and_update();
                (inquest.is_proven(leader, voters), inquest.is_complete(leader, voters))
            };
            if proven {
                until = until.min(Instant::now() + HEAR_OUT);
            }
            if complete || timeout_at(until, heard.changed()).await.is_err() {
                return proven;
            }
        }
    }

    /// Ends the dead leader's lease here, and stands for election if it is this replica's turn. Returns true if there
    /// is a new leader.
    async fn elect(&self, leader: &Vote, voters: &Voters) -> bool {
        // Named as its own successor, so that only the replica that the survivors chose stands for election.
        let ended = TransferRequest::new(*leader, leader.leader_id.node_id, None);
        // It fails only if consensus ended, which the watcher reports.
        let _ = self.raft.handle_transfer_leader(ended).await;
        let successor = self.inquest.borrow().successor(leader, voters);
        if successor == Some(self.own) {
            let _ = self.raft.trigger().elect(false).await;
        }
        let mut place = self.raft.server_metrics();
        let until = Instant::now() + ELECTION;
        while !self.is_superseded(leader) {
            if !matches!(timeout_at(until, place.changed()).await, Ok(Ok(()))) {
                return self.is_superseded(leader);
            }
        }
        true
    }
}
