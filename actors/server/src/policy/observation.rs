//! What the policy's shell saw, as plain values.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use baton_client::protocol::{EngineState, ServerReport};
use baton_domain::clock::BootTime;
use baton_domain::{ClusterState, Epoch, ReplicaId, ServerName};
use baton_replica::{Shortage, StoreStatus};

/// The lowest bits of an incarnation are drawn; the others say when the process was started.
const INCARNATION_DRAWN_BITS: u32 = 20;

/// A live link to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Drawn at each start of the process.
    pub incarnation: u64,
    /// The replica that it holds.
    pub replica: Option<ReplicaId>,
}

impl Link {
    /// When the process was started, in Unix milliseconds by its own clock.
    #[must_use]
    pub fn started_ms(&self) -> u64 {
        started_ms(self.incarnation)
    }
}

/// See [`Link::started_ms`].
pub(super) fn started_ms(incarnation: u64) -> u64 {
    incarnation >> INCARNATION_DRAWN_BITS
}

/// What the shell saw, all at one moment.
#[derive(Debug, Clone)]
pub struct Observation {
    /// When.
    pub now: BootTime,
    /// The same by the clock that activations are stamped with, in Unix milliseconds.
    pub unix_ms: u64,
    /// The store's status.
    pub status: StoreStatus,
    /// Whether the lease under which this server leads holds: before, nothing can be committed.
    pub lease_holds: bool,
    /// The replicated facts.
    pub cluster: Arc<ClusterState>,
    /// The engine instance here, and its epoch unless it is standby.
    pub engine: (EngineState, Option<Epoch>),
    /// Why it is standby or stopping.
    pub engine_why: String,
    /// There is none: it failed, and is being restarted or stays down.
    pub engine_missing: bool,
    /// For how long a sync of the store's log has not returned.
    pub sync_waits: Duration,
    /// What the store is short of, if it takes nothing more but what frees space.
    pub shortage: Option<Shortage>,
    /// Live links to servers, by name.
    pub links: BTreeMap<ServerName, Link>,
    /// The newest report of each server that answered lately.
    pub reports: BTreeMap<ServerName, ServerReport>,
}
