//! A replica's place among the others.

use std::collections::{BTreeMap, BTreeSet};

use baton_domain::ReplicaId;
use baton_domain::clock::BootTime;

/// Progress of a replica, as its leader knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The last log index that it has on disk.
    pub matched: u64,
    /// Time at which the last heartbeat was sent that it answered.
    pub heard: Option<BootTime>,
}

/// The replica's place among the others, as it knows it now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreStatus {
    /// True if this replica leads.
    pub leads: bool,
    /// The replica that leads, if known.
    pub leader: Option<ReplicaId>,
    /// Grows with every election.
    pub term: u64,
    /// The last log index here.
    pub last_index: u64,
    /// The last log index applied here.
    pub applied: u64,
    /// The replicas that vote.
    pub voters: BTreeSet<ReplicaId>,
    /// The replicas that catch up and do not vote.
    pub learners: BTreeSet<ReplicaId>,
    /// Progress of the others; empty unless this replica leads.
    pub progress: BTreeMap<ReplicaId, Progress>,
    /// Time at which the last heartbeat was sent that a majority answered; `None` unless this replica leads.
    pub quorum_acked: Option<BootTime>,
    /// Set when the store stopped working (a disk that fails): it serves no more.
    pub failed: Option<String>,
}
