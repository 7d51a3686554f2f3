//! The part of a forced recovery that knows consensus: one replica's log becomes the truth.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use baton_domain::{ClusterState, ReplicaId, ServerName};

use super::log_store::LogStore;
use super::state_machine::StateMachine;
use super::types::{ReplicaNode, StoredMembership};
use crate::state::{Record, SharedState, Snapshots};

/// Applies all of the log, replaces the cluster's record by the result of `change`, and leaves the server's replica as
/// the only voter. Durable on return. A second call changes nothing, as long as `change` does not.
///
/// Returns the last log index.
pub(crate) fn adopt(
    log: &LogStore,
    state: &Arc<SharedState>,
    server: &ServerName,
    change: impl FnOnce(&ClusterState) -> Result<ClusterState, String>,
) -> io::Result<u64> {
    let mut machine = StateMachine::load(Arc::new(Snapshots::new(state.clone())))?;
    machine.replay(log)?;
    let mut machine = machine.applier;
    let last = machine.record.applied.max(log.bounds().last);
    let last = last.ok_or_else(|| io::Error::other("its log is empty: there is nothing to recover"))?;
    let cluster = change(machine.machine.cluster()).map_err(io::Error::other)?;
    let member = cluster.member(server).ok_or_else(|| io::Error::other("its server is not a member of the cluster"))?;
    let nodes = BTreeMap::from([(member.replica, ReplicaNode::from(member))]);
    let voters: BTreeSet<ReplicaId> = nodes.keys().copied().collect();
    let membership = openraft::Membership::new(vec![voters], nodes).map_err(io::Error::other)?;

    let db = state.db()?;
    let mut sink = db.batch();
    if cluster != **machine.machine.cluster() {
        machine.machine.replace_cluster(cluster, &mut sink);
    }
    machine.machine.seal_batch(&mut sink);
    machine.record.applied = Some(last);
    machine.record.membership = StoredMembership::new(Some(last), membership);
    machine.record.save(&mut sink);
    sink.write()?;
    // The state first: a log that was cut before the state is on disk would have lost it.
    db.flush()?;
    log.cut(last)?;
    Ok(last.index)
}
