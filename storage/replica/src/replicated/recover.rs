//! Recovery by force, for a cluster whose majority is gone for good: one replica goes on alone as a new generation.

use std::fs;
use std::path::Path;

use baton_domain::{ClusterState, ReplicaId, Role, ServerName};

use super::open::{Opened, open_databases};
use crate::disk::{MemoryBudget, sync_dir, write_atomically, write_header};
use crate::error::StoreError;
use crate::machine::Machine;
use crate::queue::QueueRecord;
use crate::replicated::adopt;
use crate::state::{StoreFiles, read_queues};

/// Enough to replay a log.
const MEMORY_BYTES: u64 = 64 * 1024 * 1024;

/// Result of a forced recovery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveryReport {
    /// The server that goes on.
    pub server: ServerName,
    /// The generation from now on.
    pub generation: u32,
    /// The server's replica from now on.
    pub replica: ReplicaId,
    /// The last log index that was kept. What other replicas had after it is lost; what this one had and the others
    /// had not, is kept, confirmed or not.
    pub last_index: u64,
    /// The queues as they are now.
    pub queues: Vec<QueueRecord>,
    /// The servers whose replicas are void: each must be wiped and then joins again.
    pub voided: Vec<ServerName>,
    /// True if the server can host the engine; a witness cannot: another server has to join.
    pub hosts: bool,
}

/// The cluster's record after a recovery to `generation` by `server`: it has a new replica, the others have none.
fn recovered(cluster: &ClusterState, server: &ServerName, generation: u32) -> Result<ClusterState, String> {
    if cluster.cluster.is_none() {
        return Err("its cluster has not started: there is nothing to recover".to_owned());
    }
    // Done already, by a recovery that was interrupted after it.
    if cluster.generation == generation {
        return Ok(cluster.clone());
    }
    let mut cluster = cluster.clone();
    let fresh = ReplicaId(cluster.next_replica);
    cluster.next_replica += 1;
    cluster.generation = generation;
    for member in &mut cluster.members {
        // Zero is no replica's id: it holds nothing, and joins under a new one.
        member.replica = if member.name == *server { fresh } else { ReplicaId(0) };
    }
    Ok(cluster)
}

/// Makes the store at `dir` the only replica of its cluster's next generation. Offline: no process may have it open.
///
/// Keeps all that this replica's log holds, also what was never confirmed; what only other replicas held is lost. Run
/// it on the replica that is furthest, and on one only: two that are recovered are two clusters.
///
/// # Errors
/// [`StoreError`]; after an interruption run it again.
pub fn recover(dir: &Path) -> Result<RecoveryReport, StoreError> {
    let io_error = |why: &dyn ToString| StoreError::Io { dir: dir.to_owned(), why: why.to_string() };
    let opened = open_databases(dir, MemoryBudget::new(MEMORY_BYTES), true)?;
    let Opened { files: StoreFiles { mut header, layout, lock, .. }, log, state } = opened;
    let marker = layout.recovering();
    let begun = fs::read_to_string(&marker).ok().and_then(|generation| generation.parse::<u32>().ok());
    let generation = begun.unwrap_or(header.generation + 1);
    // First: from here on the store must not be opened until the recovery is complete.
    write_atomically(&marker, generation.to_string().as_bytes()).map_err(|error| io_error(&error))?;

    let server = header.server.clone();
    let last_index = adopt(&log, &state, &server, |cluster| recovered(cluster, &server, generation));
    let last_index = last_index.map_err(|error| io_error(&error))?;
    let cluster = Machine::load(&*state.db().map_err(|error| io_error(&error))?).map_err(|error| io_error(&error))?;
    let cluster = cluster.cluster().clone();
    let own = cluster.member(&server).ok_or_else(|| io_error(&"its server is not a member of the cluster"))?.clone();
    let queues = state.db().and_then(|db| read_queues(&db)).map_err(|error| io_error(&error))?;

    header.generation = generation;
    header.replica = own.replica;
    header.genesis = None;
    write_header(&layout.header(), &header).map_err(|error| io_error(&error))?;
    // Damaged data is lost: there is no other replica to restore it from.
    let _ = fs::remove_file(layout.damaged());
    let _ = fs::remove_file(layout.older_copy());
    let _ = fs::remove_file(layout.acknowledged());
    fs::remove_file(&marker).and_then(|()| sync_dir(dir)).map_err(|error| io_error(&error))?;
    drop((state.close(), log, lock));
    Ok(RecoveryReport {
        generation,
        replica: own.replica,
        last_index,
        queues,
        voided: cluster.members.iter().map(|member| member.name.clone()).filter(|name| *name != server).collect(),
        hosts: own.role == Role::Server,
        server,
    })
}
