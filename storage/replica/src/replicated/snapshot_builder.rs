//! Makes the snapshots that consensus asks for.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use openraft::storage::RaftSnapshotBuilder;

use super::snapshot::{RaftSnapshot, SnapshotFiles};
use super::state::SharedState;
use super::types::{RaftConfig, Snapshot};

/// Pause before a failed snapshot is retried.
const AGAIN: Duration = Duration::from_secs(1);

/// Makes snapshots while commands are applied.
pub(crate) struct SnapshotBuilder {
    pub(super) state: Arc<SharedState>,
}

impl RaftSnapshotBuilder<RaftConfig> for SnapshotBuilder {
    type SnapshotData = Arc<SnapshotFiles>;

    async fn build_snapshot(&mut self) -> Result<RaftSnapshot, io::Error> {
        loop {
            let state = self.state.clone();
            let made = tokio::task::spawn_blocking(move || state.make_snapshot()).await.map_err(io::Error::other)?;
            match made {
                Ok(snapshot) => return Ok(Snapshot { meta: snapshot.meta().clone(), snapshot }),
                // Consensus takes a failure as the end of the store. Damage is; a disk without space is not.
                Err(error) if error.kind() != io::ErrorKind::InvalidData && self.state.db().is_ok() => {
                    tracing::warn!(%error, "cannot take a snapshot: retrying");
                    tokio::time::sleep(AGAIN).await;
                }
                Err(error) => return Err(error),
            }
        }
    }
}
