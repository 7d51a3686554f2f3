//! Snapshots as consensus names them.

use std::sync::Arc;

use super::applied::AppliedRecord;
use super::types::Snapshot;
use crate::state;

pub(crate) type SnapshotFiles = state::SnapshotFiles<AppliedRecord>;
pub(crate) type RaftSnapshot = Snapshot<Arc<SnapshotFiles>>;

/// A snapshot with the position of its record.
pub(super) fn to_raft(snapshot: Arc<SnapshotFiles>) -> RaftSnapshot {
    RaftSnapshot { meta: snapshot.record().meta(), snapshot }
}
