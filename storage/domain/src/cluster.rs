//! What the store knows about the cluster itself: members, policy, placement.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{ClusterId, Epoch, Policy, ReplicaId, ServerName};

/// The most members of a cluster: each holds all of the store, and each answer to a client lists them.
pub const MEMBERS_MAX: usize = 25;
/// How many placements the history keeps.
pub const PLACEMENT_HISTORY: usize = 64;

/// What a server does for the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Stores, votes and can host the engine.
    Server,
    /// Stores and votes, never hosts the engine.
    Witness,
}

/// A server of the cluster. The list of members is in the order in which they joined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its name.
    pub name: ServerName,
    /// What it does.
    pub role: Role,
    /// Where it is dialed, `host:port`.
    pub address: String,
    /// The replica it holds now; a rebuilt one has a new id.
    pub replica: ReplicaId,
}

/// Voters that a majority of `voters` needs.
#[must_use]
pub const fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

/// Why the engine was placed where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ActivationReason {
    /// The cluster started.
    Start,
    /// The host before failed, or lost touch with the majority.
    FailOver,
    /// A more preferred server became available again.
    FailBack,
    /// An operator moved it.
    Move,
    /// The policy changed.
    PolicyChange,
    /// The host before was shut down and handed over first.
    HandOver,
    /// The engine could not start on the host before, or stopped there by itself.
    EngineFailed,
}

impl ActivationReason {
    /// Its word in log, status and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::FailOver => "fail-over",
            Self::FailBack => "fail-back",
            Self::Move => "move",
            Self::PolicyChange => "policy-change",
            Self::HandOver => "hand-over",
            Self::EngineFailed => "engine-failed",
        }
    }
}

impl fmt::Display for ActivationReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One activation of the engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// Where the engine runs.
    pub host: ServerName,
    /// Its fencing token.
    pub epoch: Epoch,
    /// Why it was placed there.
    pub reason: ActivationReason,
    /// When, in Unix milliseconds, as the proposer said.
    pub at_ms: u64,
}

/// The engine was stopped on purpose and nothing was activated since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopped {
    /// The activation that was stopped.
    pub epoch: Epoch,
    /// Why.
    pub reason: StopReason,
    /// When, in Unix milliseconds, as the proposer said.
    pub at_ms: u64,
}

/// Why the engine was stopped on purpose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StopReason {
    /// It is to start on another server, for that reason.
    Placed(ActivationReason),
    /// The policy allows no server that is up: why, in words.
    Nowhere(String),
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Placed(reason) => reason.fmt(f),
            Self::Nowhere(why) => f.write_str(why),
        }
    }
}

/// What a replica still is to the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// Its server holds it, or the facts at hand are older than it.
    Member,
    /// Its server has another one since.
    Replaced {
        /// The other one.
        by: ReplicaId,
    },
    /// Its server was removed.
    Removed,
}

/// The replicated facts about the cluster. Small; held in memory at every replica.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ClusterState {
    /// The cluster's id; `None` until the first entry of the log was applied.
    pub cluster: Option<ClusterId>,
    /// Grows when an operator recovers the cluster by force.
    pub generation: u32,
    /// Servers and witnesses in the order in which they joined.
    pub members: Vec<Member>,
    /// The replica id that the next admitted replica gets.
    pub next_replica: u64,
    /// The placement policy.
    pub policy: Policy,
    /// The server that an operator moved the engine to; holds until that server fails or the policy changes.
    pub hold: Option<ServerName>,
    /// The newest activation.
    pub placement: Option<Placement>,
    /// Set while the newest activation was stopped on purpose.
    pub stopped: Option<Stopped>,
    /// The last 64 activations, oldest first, the newest included.
    pub history: Vec<Placement>,
}

impl ClusterState {
    /// The servers that can host the engine, in the order in which they joined.
    #[must_use]
    pub fn hosts(&self) -> Vec<ServerName> {
        self.members.iter().filter(|member| member.role == Role::Server).map(|member| member.name.clone()).collect()
    }

    /// The member of that name.
    #[must_use]
    pub fn member(&self, name: &ServerName) -> Option<&Member> {
        self.members.iter().find(|member| member.name == *name)
    }

    /// The member that holds that replica.
    #[must_use]
    pub fn holder(&self, replica: ReplicaId) -> Option<&Member> {
        self.members.iter().find(|member| member.replica == replica)
    }

    /// What a replica of that server is to the cluster. Ids of replicas only grow: facts that are older than a replica say
    /// nothing against it.
    #[must_use]
    pub fn standing(&self, server: &ServerName, replica: ReplicaId) -> Standing {
        match self.member(server) {
            Some(member) if member.replica > replica => Standing::Replaced { by: member.replica },
            None if self.next_replica > replica.0 => Standing::Removed,
            Some(_) | None => Standing::Member,
        }
    }

    /// The newest epoch; zero before the first activation.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.placement.as_ref().map(|placement| placement.epoch).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_replica_is_to_the_cluster_is_told_only_by_newer_facts() {
        let name = |name: &str| ServerName::new(name).unwrap();
        let member = Member { name: name("a"), role: Role::Server, address: "h:1".to_owned(), replica: ReplicaId(3) };
        let cluster = ClusterState { members: vec![member], next_replica: 5, ..ClusterState::default() };
        for (server, replica, standing) in [
            ("a", 3, Standing::Member),
            ("a", 2, Standing::Replaced { by: ReplicaId(3) }),
            ("b", 4, Standing::Removed),
            ("b", 5, Standing::Member),
            ("a", 7, Standing::Member),
        ] {
            assert_eq!(cluster.standing(&name(server), ReplicaId(replica)), standing, "{server} {replica}");
        }
        assert_eq!(ClusterState::default().standing(&name("a"), ReplicaId(1)), Standing::Member, "it knows nothing");
    }
}
