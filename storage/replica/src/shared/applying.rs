//! Applies the entries that a member takes to the state, in order, and answers those that were proposed here.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use std::time::Duration;

use baton_domain::Committed;
use tokio::sync::{mpsc, watch};

use super::keeper::{Commands, send};
use super::log::{LogEntry, Position, SharedLog};
use super::member::{Answerer, Command, Work};
use super::recent::Recent;
use super::record::LogRecord;
use super::shelf::{self, Progress};
use crate::damage;
use crate::state::{Applier, ApplyError, BATCH_BYTES, BATCH_ENTRIES, LoggedEntry, Record, Snapshots};

/// Pause before a snapshot is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Applies until the member ends, or until an entry cannot be applied.
pub(crate) struct Applying {
    pub(crate) applier: Applier<LogRecord>,
    pub(crate) work: mpsc::UnboundedReceiver<Work>,
    /// The last entry that was applied.
    pub(crate) applied: watch::Sender<u64>,
    /// Bytes of all entries that were applied.
    pub(crate) bytes: Arc<AtomicU64>,
    pub(crate) snapshots: Arc<Snapshots<LogRecord>>,
    /// The session with the log, while there is one.
    pub(crate) session: watch::Receiver<Option<Arc<dyn SharedLog>>>,
    pub(crate) commands: Commands,
    pub(crate) progress: Progress,
    /// Bytes of the last entries that are kept in memory.
    pub(crate) recent_bytes: usize,
}

impl Applying {
    pub(crate) async fn run(mut self) {
        while let Some(work) = self.work.recv().await {
            if let Err(error) = self.work(work).await {
                let state = &self.applier.state;
                let entry =
                    error.get_ref().and_then(|error| error.downcast_ref::<ApplyError>()).map(|error| error.index);
                let is_damage = error.kind() == io::ErrorKind::InvalidData;
                let stopped = damage::stopped(state.dir(), &error.to_string(), entry, is_damage);
                tracing::error!(error = %stopped, "the store stops");
                state.failure().set(&stopped);
                return;
            }
        }
    }

    async fn work(&mut self, work: Work) -> io::Result<()> {
        match work {
            Work::Apply(entries, answers) => self.apply(&entries, answers.into_iter().collect()),
            Work::SetAside(index) => {
                let applied = self.applier.record.position().index;
                let why = "this server's state is left, and filled again from the log";
                tracing::error!(index, applied, "the log has another entry at this index: {why}");
                self.applier.clear()?;
                self.applied.send_replace(0);
                Ok(())
            }
            Work::Load => self.load().await,
        }
    }

    /// Replaces the state by the newest snapshot of the log.
    async fn load(&mut self) -> io::Result<()> {
        loop {
            let Ok(log) = self.session.wait_for(Option::is_some).await.map(|log| log.clone()) else { return Ok(()) };
            let Some(log) = log else { continue };
            match shelf::load(&*log, self.snapshots.clone(), &self.progress).await {
                Ok(files) => {
                    // Entries that were read meanwhile may be behind it.
                    if files.record().is_ahead_of(&self.applier.record) {
                        self.applier.install(self.snapshots.clone(), Arc::new(files)).await?;
                    }
                    let record = self.applier.record;
                    self.applied.send_replace(record.position().index);
                    let recent = Recent::new(record.position(), record.term(), self.recent_bytes);
                    send(&self.commands, Command::Loaded(recent));
                    return Ok(());
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot load the log's snapshot yet");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    fn apply(&mut self, entries: &[LogEntry], mut answers: BTreeMap<u64, Answerer>) -> io::Result<()> {
        let db = self.applier.state.db()?;
        let mut rest = following(self.applier.record.position(), entries)?;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = |entry: &&LogEntry| {
                bytes += entry.bytes();
                bytes <= BATCH_BYTES
            };
            let count = rest.iter().take(BATCH_ENTRIES).take_while(fits).count().max(1);
            let (batch, later) = rest.split_at(count);
            let applied = self.applier.apply(&db, batch)?;
            self.bytes.fetch_add(batch.iter().map(|entry| entry.bytes() as u64).sum(), Ordering::Relaxed);
            if let Some(last) = batch.last() {
                self.applied.send_replace(last.index);
            }
            for (entry, applied) in batch.iter().zip(applied) {
                if let Some(answer) = answers.remove(&entry.index) {
                    // Its proposer may have left.
                    let _ = answer.send(Ok(Committed { index: entry.index, applied }));
                }
            }
            rest = later;
        }
        Ok(())
    }
}

/// The entries behind a position. Those before it are part of the state already: it was replaced by a snapshot while they
/// waited. An entry that does not follow must never be applied.
fn following(applied: Position, entries: &[LogEntry]) -> io::Result<&[LogEntry]> {
    let known = entries.iter().take_while(|entry| entry.index <= applied.index).count();
    let rest = entries.get(known..).unwrap_or_default();
    if let Some(next) = rest.first()
        && applied.entry(next.term, next.body.clone()).position() != next.position()
    {
        let (index, last) = (next.index, applied.index);
        return Err(io::Error::other(format!("entry {index} does not follow the last applied entry, {last}")));
    }
    Ok(rest)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn an_entry_is_applied_once_and_in_its_place() {
        let first = Position::default().entry(1, Bytes::from_static(b"a"));
        let second = first.position().entry(1, Bytes::from_static(b"b"));
        let entries = [first.clone(), second.clone()];
        assert_eq!(following(Position::default(), &entries).unwrap(), entries);
        assert_eq!(following(first.position(), &entries).unwrap(), std::slice::from_ref(&second));
        assert_eq!(following(second.position(), &entries).unwrap(), []);
        // A gap, and another history.
        assert!(following(Position::default(), std::slice::from_ref(&second)).is_err());
        let other = Position::default().entry(2, Bytes::from_static(b"a"));
        assert!(following(other.position(), &[second]).is_err());
    }
}
