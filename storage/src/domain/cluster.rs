//! What the store knows about the cluster itself: members, policy, placement.

use serde::{Deserialize, Serialize};

use super::{ActivationReason, ClusterId, Epoch, Policy, ReplicaId, ServerName};

/// The most members of a cluster: each holds all of the store, and each answer to a client lists them.
pub const MEMBERS_MAX: usize = 25;
/// How many placements the history keeps.
pub(crate) const PLACEMENT_HISTORY: usize = 64;

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
    /// Why, in words.
    pub reason: String,
    /// When, in Unix milliseconds, as the proposer said.
    pub at_ms: u64,
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

    /// The newest epoch; zero before the first activation.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.placement.as_ref().map(|placement| placement.epoch).unwrap_or_default()
    }
}
