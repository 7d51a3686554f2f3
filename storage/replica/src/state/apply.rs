//! Applies the entries of a log to the state. A batch of entries is written as one, with the record of what is applied,
//! and published after it is written.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use baton_domain::{Applied, Command};

use super::apply_error::ApplyError;
use super::command::decode_command;
use super::entry::{LoggedEntry, Record};
use super::shared_state::SharedState;
use super::snapshot_files::SnapshotFiles;
use super::snapshots::Snapshots;
use crate::disk::{BatchSink, Skips, StateDb};
use crate::machine::{Machine, Sink, Tables};

/// A batch is written when it holds this many bytes ...
pub(crate) const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// ... or this many entries.
pub(crate) const BATCH_ENTRIES: usize = 4096;

/// Applies entries to the state.
pub(crate) struct Applier<R> {
    pub(crate) state: Arc<SharedState>,
    pub(crate) machine: Machine,
    pub(crate) record: R,
    skips: Skips,
}

impl<R: Record> Applier<R> {
    /// Loads the state from its database.
    pub(crate) fn load(state: Arc<SharedState>) -> io::Result<Self> {
        let db = state.db()?;
        let machine = Machine::load(&*db)?;
        let record = R::load(&*db)?;
        let skips = state.skips()?;
        Ok(Self { state, machine, record, skips })
    }

    /// Logs the entries that an operator chose to skip.
    pub(crate) fn warn_of_skips(&self) {
        for entry in self.skips.entries() {
            let (index, term) = (entry.index, entry.term);
            tracing::warn!(index, term, "this log entry is skipped, as an operator chose (`baton skip`)");
        }
    }

    /// Applies entries, writes their effects as one batch, and publishes them.
    pub(crate) fn apply<E: LoggedEntry<Record = R>>(
        &mut self,
        db: &StateDb,
        entries: &[E],
    ) -> io::Result<Vec<Applied>> {
        // Keys and heads of records come on top of the entries' bytes.
        let batch_of = |entries: &[E]| db.batch_of(entries.iter().map(E::bytes).sum::<usize>() / 4 * 5);
        let mut sink = batch_of(entries);
        let mut answers = Vec::with_capacity(entries.len());
        for (at, entry) in entries.iter().enumerate() {
            let name = entry.name();
            let index = name.index;
            let applied = match entry.command() {
                None => Applied::Done,
                Some(_) if self.skips.has(&name) => skipped(index),
                Some(command) => {
                    let command = decode_command(command).map_err(|error| ApplyError::of(index, error))?;
                    if Machine::begins_batch(&command) && !answers.is_empty() {
                        self.write(std::mem::replace(&mut sink, batch_of(&entries[at..])))?;
                    }
                    let applied = apply_command(&mut self.machine, index, &command, db, &mut sink)?;
                    trace_applied(index, &command, &applied);
                    applied
                }
            };
            entry.note(&mut self.record);
            answers.push(applied);
        }
        self.write(sink)?;
        self.publish();
        Ok(answers)
    }

    /// Writes the effects of the entries so far as one batch.
    fn write(&mut self, mut sink: BatchSink<'_>) -> io::Result<()> {
        self.machine.seal_batch(&mut sink);
        self.record.save(&mut sink);
        sink.write()?;
        self.machine.end_batch();
        Ok(())
    }

    /// Replaces the state by a snapshot.
    pub(crate) async fn install(
        &mut self,
        snapshots: Arc<Snapshots<R>>,
        snapshot: Arc<SnapshotFiles<R>>,
    ) -> io::Result<()> {
        let installed = tokio::task::spawn_blocking(move || {
            let db = snapshots.install(&snapshot)?;
            Ok::<_, io::Error>((Machine::load(&*db)?, R::load(&*db)?))
        });
        (self.machine, self.record) = installed.await.map_err(io::Error::other)??;
        self.publish();
        Ok(())
    }

    /// Replaces the state by an empty one.
    pub(crate) fn clear(&mut self) -> io::Result<()> {
        let db = self.state.clear()?;
        (self.machine, self.record) = (Machine::load(&*db)?, R::default());
        self.publish();
        Ok(())
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
