//! A replica's place among the others.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use baton_domain::ReplicaId;
use baton_domain::clock::BootTime;

/// Another replica, as the leader knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Follower {
    /// The last log index that it has.
    pub matched: u64,
    /// Time at which the last heartbeat was sent that it answered.
    pub heard: Option<BootTime>,
    /// It can lead once it is level: it votes, or it reaches the log.
    pub may_lead: bool,
}

/// The replica's place among the others, as it knows it now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreStatus {
    /// True if this replica leads.
    pub leads: bool,
    /// The replica that leads, if known.
    pub leader: Option<ReplicaId>,
    /// Grows with every change of the leader.
    pub term: u64,
    /// The last log index here.
    pub last_index: u64,
    /// The last log index applied here.
    pub applied: u64,
    /// The others; empty unless this replica leads.
    pub followers: BTreeMap<ReplicaId, Follower>,
    /// The keeper of the commands.
    pub keeping: Keeping,
    /// Set when the store stopped working (a disk that fails): it serves no more.
    pub failed: Option<String>,
}

/// The keeper of a store's commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keeping {
    /// Replicas that vote.
    Replicas {
        /// The replicas that vote.
        voters: BTreeSet<ReplicaId>,
        /// The replicas that catch up and do not vote.
        learners: BTreeSet<ReplicaId>,
        /// Time at which the last heartbeat was sent that a majority answered; `None` unless this replica leads.
        quorum_acked: Option<BootTime>,
    },
    /// A log that all servers reach.
    Log(LogHealth),
}

impl Default for Keeping {
    fn default() -> Self {
        Self::Replicas { voters: BTreeSet::new(), learners: BTreeSet::new(), quorum_acked: None }
    }
}

/// The condition of a log that all servers reach, as this server sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogHealth {
    /// Its name for people, without secrets.
    pub name: String,
    /// True if it answers this server.
    pub reached: bool,
    /// Age of the oldest request that it has not answered.
    pub waits: Duration,
    /// Its synchronous standby, for people; empty if a failover of the log's own may lose commits.
    pub standby: String,
    /// Grows with every promotion of a standby.
    pub timeline: u32,
    /// Set while the log lacks commands that it had: what is missing, in words.
    pub regressed: Option<String>,
    /// A problem with it, in its own words.
    pub trouble: Option<String>,
    /// Duration of a commit, averaged over the last ones of this server; `None` is unknown.
    pub commit: Option<Duration>,
    /// Bytes of what it keeps, while this server leads.
    pub log_bytes: Option<u64>,
    /// The last entry of the newest snapshot in it, while this server leads.
    pub snapshot: Option<u64>,
}

impl StoreStatus {
    /// True if that replica could lead once it is level: it votes, or it reaches the log. Of other replicas than the
    /// leader only that one knows whether they reach the log.
    #[must_use]
    pub fn may_lead(&self, replica: ReplicaId) -> bool {
        match &self.keeping {
            Keeping::Replicas { voters, .. } => voters.contains(&replica),
            Keeping::Log(_) => {
                let follower = self.followers.get(&replica).is_some_and(|follower| follower.may_lead);
                self.leader == Some(replica) || follower
            }
        }
    }

    /// The replicas that vote, and those that only learn; `None` where no replica votes.
    #[must_use]
    pub fn votes(&self) -> Option<(&BTreeSet<ReplicaId>, &BTreeSet<ReplicaId>)> {
        match &self.keeping {
            Keeping::Replicas { voters, learners, .. } => Some((voters, learners)),
            Keeping::Log(_) => None,
        }
    }
}
