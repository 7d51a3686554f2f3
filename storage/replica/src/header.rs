//! The identity of a store.

use baton_domain::{ClusterId, Member, Policy, ReplicaId, ServerName};
use serde::{Deserialize, Serialize};

/// The header of a store, written when it is formatted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreHeader {
    /// The cluster that it belongs to.
    pub cluster: ClusterId,
    /// The cluster's generation; replicas of another one are refused.
    pub generation: u32,
    /// This replica.
    pub replica: ReplicaId,
    /// The server that holds it.
    pub server: ServerName,
    /// The beginning of the cluster; only in stores that `init` formatted. A store without it joins, and never begins a
    /// cluster.
    pub genesis: Option<Genesis>,
}

/// The beginning of a cluster: the same in each store that `init` formatted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Genesis {
    /// The first members, in `init`'s order; all of them vote.
    pub members: Vec<Member>,
    /// The first policy.
    pub policy: Policy,
}

impl Genesis {
    /// Its bytes, as a shared log keeps them.
    ///
    /// # Errors
    /// [`rmp_serde::encode::Error`] if they cannot be made, which is a defect.
    pub fn to_bytes(&self) -> Result<Vec<u8>, rmp_serde::encode::Error> {
        rmp_serde::to_vec_named(self)
    }

    /// Reads the bytes.
    ///
    /// # Errors
    /// The cause, if they are no beginning of a cluster.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, rmp_serde::decode::Error> {
        baton_domain::msgpack::read(bytes)
    }
}
