//! Makes the snapshots that consensus asks for.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use openraft::storage::RaftSnapshotBuilder;

use super::applied::AppliedRecord;
use super::snapshot::{RaftSnapshot, SnapshotFiles, to_raft};
use super::types::RaftConfig;
use crate::state::Snapshots;

/// Pause before a failed snapshot is retried.
const AGAIN: Duration = Duration::from_secs(1);

/// Makes snapshots while commands are applied.
pub(crate) struct SnapshotBuilder {
    pub(super) snapshots: Arc<Snapshots<AppliedRecord>>,
}

impl RaftSnapshotBuilder<RaftConfig> for SnapshotBuilder {
    type SnapshotData = Arc<SnapshotFiles>;

    async fn build_snapshot(&mut self) -> Result<RaftSnapshot, io::Error> {
        loop {
            let snapshots = self.snapshots.clone();
            let made = tokio::task::spawn_blocking(move || snapshots.make()).await.map_err(io::Error::other)?;
            match made {
                Ok(snapshot) => return Ok(to_raft(snapshot)),
                // Consensus takes a failure as the end of the store. Damage is; a disk without space is not.
                Err(error) if error.kind() != io::ErrorKind::InvalidData && self.snapshots.state().db().is_ok() => {
                    tracing::warn!(%error, "cannot take a snapshot: retrying");
                    tokio::time::sleep(AGAIN).await;
                }
                Err(error) => return Err(error),
            }
        }
    }
}
