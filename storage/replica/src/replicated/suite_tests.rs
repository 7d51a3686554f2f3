//! openraft's own conformance suite on our log and state machine.

use std::sync::Arc;

use openraft::testing::log::{StoreBuilder, Suite};
use tempfile::TempDir;

use super::types::RaftConfig;
use super::{LogStore, StateMachine};
use crate::disk::{Layout, LogFiles, MemoryBudget, StateDb, SyncedMark};
use crate::failure::Failure;
use crate::state::{SharedState, Snapshots};

struct Builder;

type StorageError = openraft::StorageError<RaftConfig>;

impl StoreBuilder<RaftConfig, LogStore, StateMachine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, StateMachine), StorageError> {
        let dir = tempfile::tempdir().unwrap();
        let (layout, memory) = (Layout::new(dir.path()), MemoryBudget::new(32 << 20));
        LogFiles::create(&layout.log()).unwrap();
        let mark = SyncedMark::open(&layout.synced_mark()).unwrap();
        let log = LogStore::open(&layout.log(), mark, Failure::default()).unwrap();
        let state = StateDb::open(&layout.new_state(), &memory, true).unwrap();
        let state = Arc::new(SharedState::new(state, Arc::default(), layout, memory, Failure::default()));
        Ok((dir, log, StateMachine::load(Arc::new(Snapshots::new(state))).unwrap()))
    }
}

/// Invariants 3 and 7, the part that the library states: what consensus expects of a log and a state machine.
#[test]
fn the_log_and_the_state_machine_pass_the_conformance_suite() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(super::types::Runtime::scope(1, Suite::test_all(Builder))).unwrap();
}
