//! An observation of the policy's shell, as plain values.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use baton_client::protocol::{EngineState, ServerReport};
use baton_domain::clock::BootTime;
use baton_domain::{ClusterState, Epoch, ReplicaId, ServerName};
use baton_replica::{Keeping, Shortage, StoreStatus};

use super::view::PolicyTiming;

/// The lowest bits of an incarnation are random; the others are the start time of the process.
const INCARNATION_DRAWN_BITS: u32 = 20;

/// A live link to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// New at each start of the process.
    pub incarnation: u64,
    /// The replica that it holds.
    pub replica: Option<ReplicaId>,
}

impl Link {
    /// Start time of the process, in Unix milliseconds by its own clock.
    #[must_use]
    pub fn started_ms(&self) -> u64 {
        started_ms(self.incarnation)
    }
}

/// See [`Link::started_ms`].
pub(super) fn started_ms(incarnation: u64) -> u64 {
    incarnation >> INCARNATION_DRAWN_BITS
}

/// All that the shell observes, at one moment.
#[derive(Debug, Clone)]
pub struct Observation {
    /// The time.
    pub now: BootTime,
    /// The time by the clock of activations, in Unix milliseconds.
    pub unix_ms: u64,
    /// The store's status.
    pub status: StoreStatus,
    /// True if this leader's lease holds: nothing can be committed before.
    pub lease_holds: bool,
    /// The replicated state.
    pub cluster: Arc<ClusterState>,
    /// State of this server's engine instance, and its epoch unless it is standby.
    pub engine: (EngineState, Option<Epoch>),
    /// The reason why it is standby or stopping.
    pub engine_why: String,
    /// True if there is no engine instance: it failed, and is being restarted or stays down.
    pub engine_missing: bool,
    /// Age of the oldest write of the store that is not durable yet.
    pub waits: Duration,
    /// The shortage of a store that accepts only writes that free space.
    pub shortage: Option<Shortage>,
    /// Live links to servers, by name.
    pub links: BTreeMap<ServerName, Link>,
    /// The newest report of each server that answered recently.
    pub reports: BTreeMap<ServerName, ServerReport>,
}

impl Observation {
    /// True if the disk of this server's replica hangs. A database that hangs does so for all servers, or the keeper gives
    /// the lead up by itself.
    pub(super) fn disk_hangs(&self, timing: &PolicyTiming) -> bool {
        let on_disk = matches!(self.status.keeping, Keeping::Replicas { .. });
        on_disk && self.waits >= timing.sync_waits_max
    }
}
