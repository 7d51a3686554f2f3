//! The state machine as consensus sees it: entries in, one batch out, answers after the batch is written.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use baton_domain::{Applied, Command};
use futures::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};

use super::applied::AppliedRecord;
use super::apply_error::ApplyError;
use super::codec::{decode_command, entry_bytes};
use super::log_reader::APPLY_BYTES;
use super::log_store::LogStore;
use super::snapshot::{RaftSnapshot, SnapshotFiles};
use super::snapshot_builder::SnapshotBuilder;
use super::state::SharedState;
use super::types::{Entry, EntryPayload, LogId, RaftConfig, SnapshotMeta, StoredMembership};
use crate::disk::{Skips, StateDb};
use crate::machine::{Machine, Sink, Tables};

/// Consensus over this state machine.
pub(crate) type Raft = openraft::Raft<RaftConfig, StateMachine>;

/// A batch is written when it holds this many bytes ...
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// ... or this many entries.
const BATCH_ENTRIES: usize = 4096;

/// Applies entries to the state.
pub(crate) struct StateMachine {
    pub(super) state: Arc<SharedState>,
    pub(super) machine: Machine,
    pub(super) record: AppliedRecord,
    skips: Skips,
}

impl StateMachine {
    /// Loads the state from its database.
    pub(crate) fn load(state: Arc<SharedState>) -> io::Result<Self> {
        let db = state.db()?;
        let machine = Machine::load(&*db)?;
        let record = AppliedRecord::load(&*db)?;
        let skips = state.skips()?;
        Ok(Self { state, machine, record, skips })
    }

    /// Logs the entries that an operator chose to skip.
    pub(super) fn warn_of_skips(&self) {
        for entry in self.skips.entries() {
            let (index, term) = (entry.index, entry.term);
            tracing::warn!(index, term, "this log entry is skipped, as an operator chose (`baton skip`)");
        }
    }

    /// Applies entries, writes their effects as one batch, and publishes them.
    fn apply_batch(&mut self, db: &StateDb, entries: &[Entry]) -> io::Result<Vec<Applied>> {
        // Keys and heads of records come on top of the entries' bytes.
        let batch_of = |entries: &[Entry]| db.batch_of(entries.iter().map(entry_bytes).sum::<usize>() / 4 * 5);
        let mut sink = batch_of(entries);
        let mut answers = Vec::with_capacity(entries.len());
        for (at, entry) in entries.iter().enumerate() {
            let applied = match &entry.payload {
                EntryPayload::Blank => Applied::Done,
                EntryPayload::Normal(_) if self.skips.has(&entry.log_id.into()) => skipped(entry.log_id.index),
                EntryPayload::Normal(command) => {
                    let index = entry.log_id.index;
                    let command = decode_command(command).map_err(|error| ApplyError::of(index, error))?;
                    if Machine::begins_batch(&command) && !answers.is_empty() {
                        self.write(std::mem::replace(&mut sink, batch_of(&entries[at..])))?;
                    }
                    let applied = apply_command(&mut self.machine, index, &command, db, &mut sink)?;
                    trace_applied(index, &command, &applied);
                    applied
                }
                EntryPayload::Membership(membership) => {
                    self.record.membership = StoredMembership::new(Some(entry.log_id), membership.clone());
                    Applied::Done
                }
            };
            self.record.applied = Some(entry.log_id);
            answers.push(applied);
        }
        self.write(sink)?;
        self.publish();
        Ok(answers)
    }

    /// Writes the effects of the entries so far as one batch.
    fn write(&mut self, mut sink: crate::disk::BatchSink<'_>) -> io::Result<()> {
        self.machine.seal_batch(&mut sink);
        self.record.save(&mut sink);
        sink.write()?;
        self.machine.end_batch();
        Ok(())
    }

    /// Applies the whole log, committed or not. For a recovery (and tests).
    pub(super) fn replay(&mut self, log: &LogStore) -> io::Result<()> {
        let db = self.state.db()?;
        let end = log.bounds().last.map_or(0, |last| last.index + 1);
        loop {
            let next = self.record.applied.map_or(0, |applied| applied.index + 1);
            let entries = log.read(next, end, APPLY_BYTES)?;
            if entries.is_empty() {
                return Ok(());
            }
            if entries.first().is_some_and(|first| first.log_id.index != next) {
                let why = format!("log entry {next} is missing");
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
            self.apply_batch(&db, &entries)?;
        }
    }

    /// Publishes the cluster's record after it was written.
    fn publish(&mut self) {
        let cluster = self.machine.cluster();
        self.state.cluster().send_if_modified(|known| {
            let changed = !Arc::ptr_eq(known, cluster) && *known != *cluster;
            if changed {
                *known = cluster.clone();
            }
            changed
        });
    }
}

/// Applies a command. A panic becomes an error that names the entry. The state machine may be in any condition then,
/// and is not used again.
fn apply_command(
    machine: &mut Machine,
    index: u64,
    command: &Command,
    tables: &dyn Tables,
    sink: &mut dyn Sink,
) -> io::Result<Applied> {
    match catch_unwind(AssertUnwindSafe(|| machine.apply(index, command, tables, sink))) {
        Ok(applied) => applied.map_err(|error| ApplyError::of(index, error)),
        Err(panic) => Err(ApplyError::of_panic(index, &*panic)),
    }
}

/// The answer to an entry that is skipped: nothing of it is done.
fn skipped(index: u64) -> Applied {
    tracing::warn!(index, "a log entry was skipped: nothing of it was done");
    Applied::Refused { why: "an operator chose to skip this entry (`baton skip`): nothing of it was done".to_owned() }
}

/// Trace for the fault tests, which check fencing and failback with it (invariants 1 and 6).
fn trace_applied(index: u64, command: &Command, applied: &Applied) {
    match (command, applied) {
        (Command::Engine { epoch, .. }, _) => {
            let accepted = matches!(applied, Applied::Engine { .. });
            tracing::trace!(target: "baton::applied", index, %epoch, accepted, "applied");
        }
        (Command::Activate { host, .. }, Applied::Activated { epoch }) => {
            tracing::trace!(target: "baton::applied", index, %epoch, %host, "activated");
        }
        (Command::Stop { epoch, reason, .. }, Applied::Done) => {
            tracing::trace!(target: "baton::applied", index, %epoch, reason = reason.to_string(), "stopped");
        }
        (
            Command::Genesis { .. }
            | Command::Activate { .. }
            | Command::Stop { .. }
            | Command::SetPolicy { .. }
            | Command::Hold { .. }
            | Command::Admit { .. }
            | Command::Dismiss { .. }
            | Command::Marker { .. }
            | Command::ChangePolicy { .. }
            | Command::Once { .. }
            | Command::Recall { .. }
            | Command::SetAddress { .. },
            _,
        ) => {}
    }
}

impl RaftStateMachine<RaftConfig> for StateMachine {
    type SnapshotData = Arc<SnapshotFiles>;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.record.applied, self.record.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<RaftConfig>, io::Error>> + Unpin + Send,
    {
        let db = self.state.db()?;
        let mut done = false;
        while !done {
            let mut batch = Vec::new();
            let mut bytes = 0;
            while batch.len() < BATCH_ENTRIES && bytes < BATCH_BYTES {
                let Some(item) = entries.next().await.transpose()? else {
                    done = true;
                    break;
                };
                bytes += super::codec::entry_bytes(&item.0);
                batch.push(item);
            }
            let (entries, responders): (Vec<Entry>, Vec<_>) = batch.into_iter().unzip();
            let answers = self.apply_batch(&db, &entries)?;
            for (responder, applied) in responders.into_iter().zip(answers) {
                if let Some(responder) = responder {
                    responder.send(applied);
                }
            }
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<SnapshotBuilder> {
        if !force && !self.state.has_room_for_snapshot() {
            tracing::warn!("no snapshot is taken: the disk has no room for the data in memory");
            return None;
        }
        Some(self.get_snapshot_builder().await)
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        SnapshotBuilder { state: self.state.clone() }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: Arc<SnapshotFiles>) -> Result<(), io::Error> {
        if snapshot.meta() != meta {
            return Err(io::Error::other("a snapshot of another instant than was announced"));
        }
        let state = self.state.clone();
        let installed = tokio::task::spawn_blocking(move || {
            let db = state.install(&snapshot)?;
            Ok::<_, io::Error>((Machine::load(&*db)?, AppliedRecord::load(&*db)?))
        });
        (self.machine, self.record) = installed.await.map_err(io::Error::other)??;
        self.publish();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<RaftSnapshot>, io::Error> {
        Ok(self.state.snapshot().map(|snapshot| snapshot.to_raft()))
    }
}
