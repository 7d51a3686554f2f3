//! The state machine as consensus sees it: entries in, one batch out, answers after the batch is written.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};

use super::applied::AppliedRecord;
use super::codec::entry_bytes;
use super::log_reader::APPLY_BYTES;
use super::log_store::LogStore;
use super::snapshot::{RaftSnapshot, SnapshotFiles, to_raft};
use super::snapshot_builder::SnapshotBuilder;
use super::types::{Entry, EntryPayload, LogId, RaftConfig, SnapshotMeta, StoredMembership};
use crate::skipped::SkippedEntry;
use crate::state::{Applier, BATCH_BYTES, BATCH_ENTRIES, LoggedEntry, Snapshots};

/// Consensus over this state machine.
pub(crate) type Raft = openraft::Raft<RaftConfig, StateMachine>;

/// Applies entries to the state.
pub(crate) struct StateMachine {
    pub(super) applier: Applier<AppliedRecord>,
    snapshots: Arc<Snapshots<AppliedRecord>>,
}

impl LoggedEntry for Entry {
    type Record = AppliedRecord;

    fn name(&self) -> SkippedEntry {
        self.log_id.into()
    }

    fn bytes(&self) -> usize {
        entry_bytes(self)
    }

    fn command(&self) -> Option<&Bytes> {
        match &self.payload {
            EntryPayload::Normal(command) => Some(&command.0),
            EntryPayload::Blank | EntryPayload::Membership(_) => None,
        }
    }

    fn note(&self, record: &mut AppliedRecord) {
        if let EntryPayload::Membership(membership) = &self.payload {
            record.membership = StoredMembership::new(Some(self.log_id), membership.clone());
        }
        record.applied = Some(self.log_id);
    }
}

impl StateMachine {
    /// Loads the state from its database.
    pub(crate) fn load(snapshots: Arc<Snapshots<AppliedRecord>>) -> io::Result<Self> {
        Ok(Self { applier: Applier::load(snapshots.state().clone())?, snapshots })
    }

    /// Logs the entries that an operator chose to skip.
    pub(super) fn warn_of_skips(&self) {
        self.applier.warn_of_skips();
    }

    /// Applies the whole log, committed or not. For a recovery (and tests).
    pub(super) fn replay(&mut self, log: &LogStore) -> io::Result<()> {
        let db = self.applier.state.db()?;
        let end = log.bounds().last.map_or(0, |last| last.index + 1);
        loop {
            let next = self.applier.record.applied.map_or(0, |applied| applied.index + 1);
            let entries = log.read(next, end, APPLY_BYTES)?;
            if entries.is_empty() {
                return Ok(());
            }
            if entries.first().is_some_and(|first| first.log_id.index != next) {
                let why = format!("log entry {next} is missing");
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
            self.applier.apply(&db, &entries)?;
        }
    }
}

impl RaftStateMachine<RaftConfig> for StateMachine {
    type SnapshotData = Arc<SnapshotFiles>;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let AppliedRecord { applied, membership } = &self.applier.record;
        Ok((*applied, membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<RaftConfig>, io::Error>> + Unpin + Send,
    {
        let db = self.applier.state.db()?;
        let mut done = false;
        while !done {
            let mut batch = Vec::new();
            let mut bytes = 0;
            while batch.len() < BATCH_ENTRIES && bytes < BATCH_BYTES {
                let Some(item) = entries.next().await.transpose()? else {
                    done = true;
                    break;
                };
                bytes += entry_bytes(&item.0);
                batch.push(item);
            }
            let (entries, responders): (Vec<Entry>, Vec<_>) = batch.into_iter().unzip();
            let answers = self.applier.apply(&db, &entries)?;
            for (responder, applied) in responders.into_iter().zip(answers) {
                if let Some(responder) = responder {
                    responder.send(applied);
                }
            }
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<SnapshotBuilder> {
        if !force && !self.applier.state.has_room_for_snapshot() {
            tracing::warn!("no snapshot is taken: the disk has no room for the data in memory");
            return None;
        }
        Some(self.get_snapshot_builder().await)
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        SnapshotBuilder { snapshots: self.snapshots.clone() }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: Arc<SnapshotFiles>) -> Result<(), io::Error> {
        if snapshot.record().meta() != *meta {
            return Err(io::Error::other("a snapshot of another instant than was announced"));
        }
        self.applier.install(self.snapshots.clone(), snapshot).await
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<RaftSnapshot>, io::Error> {
        Ok(self.snapshots.newest().map(to_raft))
    }
}
