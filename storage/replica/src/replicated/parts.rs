//! The parts of the store one by one, for `benches/parts.rs` alone: each runs the code that a replica runs.

use std::io;
use std::path::Path;
use std::sync::Arc;

use baton_domain::{Command, ReplicaId};
use bytes::Bytes;
use futures::executor::block_on;
use openraft::storage::{IOFlushed, RaftLogStorage, RaftStateMachine};
use openraft::type_config::TypeConfigExt;

use super::codec::{encode_entry, entry_bytes};
use super::types::{EncodedCommand, Entry, EntryPayload, LeaderId, LogId, RaftConfig};
use super::{LogStore, StateMachine};
use crate::disk::{Layout, LogBatch, LogFiles, MemoryBudget, StateDb, SyncedMark, rocks};
use crate::failure::Failure;
use crate::machine::{Family, Pack, Tables, is_pack};
use crate::state::{SharedState, Snapshots, decode_command, encode_command};

/// The default of a server.
const MEMORY_BYTES: u64 = 192 * 1024 * 1024;

/// Encodes a command for the log.
#[must_use]
pub fn encode(command: &Command) -> Bytes {
    encode_command(command)
}

/// Decodes what [`encode`] wrote.
///
/// # Errors
/// If it was not written by it.
pub fn decode(command: &Bytes) -> io::Result<Command> {
    decode_command(command)
}

fn entry(index: u64, command: &Bytes) -> Entry {
    let log_id = LogId::new(LeaderId { term: 1, node_id: ReplicaId(1) }, index);
    Entry { log_id, payload: EntryPayload::Normal(EncodedCommand(command.clone())) }
}

/// A log on disk.
pub struct Log {
    store: LogStore,
    next: u64,
}

impl Log {
    /// A log in an empty directory.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn create(dir: &Path) -> io::Result<Self> {
        let layout = Layout::new(dir);
        LogFiles::create(&layout.log())?;
        let store = LogStore::open(&layout.log(), SyncedMark::open(&layout.synced_mark())?, Failure::default())?;
        Ok(Self { store, next: 0 })
    }

    fn entry(&mut self, command: &Bytes) -> Entry {
        self.next += 1;
        entry(self.next - 1, command)
    }

    /// Writes an entry, which nobody asks to be synced.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&mut self, command: &Bytes) -> io::Result<()> {
        let entry = self.entry(command);
        let mut batch = LogBatch::for_entries(1, entry_bytes(&entry));
        batch.entry(entry.log_id.index, |into| encode_entry(&entry, into))?;
        self.store.inner.files.write(batch)
    }

    /// Appends an entry and waits until it is on disk.
    ///
    /// # Errors
    /// If it cannot be written or synced.
    pub fn append(&mut self, command: &Bytes) -> io::Result<()> {
        let entry = self.entry(command);
        let (sender, receiver) = RaftConfig::oneshot();
        block_on(async {
            self.store.append([entry], IOFlushed::signal(sender)).await?;
            receiver.await.map_err(|_| io::Error::other("the log was closed"))?
        })
    }
}

/// A state on disk.
pub struct State {
    shared: Arc<SharedState>,
    machine: StateMachine,
    next: u64,
}

impl State {
    /// A state in an empty directory.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn create(dir: &Path) -> io::Result<Self> {
        let (layout, memory) = (Layout::new(dir), MemoryBudget::new(MEMORY_BYTES));
        let db = StateDb::open(&layout.new_state(), &memory, true).map_err(rocks)?;
        let shared = Arc::new(SharedState::new(db, Arc::default(), layout, memory, Failure::default()));
        let machine = StateMachine::load(Arc::new(Snapshots::new(Arc::clone(&shared))))?;
        Ok(Self { machine, shared, next: 0 })
    }

    /// Decodes and applies an entry, and writes what it did. The first entry has index 0.
    ///
    /// # Errors
    /// If it cannot be decoded or written.
    pub fn apply(&mut self, command: &Bytes) -> io::Result<()> {
        let entry = entry(self.next, command);
        self.next += 1;
        block_on(self.machine.apply(futures::stream::iter([Ok((entry, None))])))
    }

    /// Number of messages that it holds.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn messages(&self) -> io::Result<usize> {
        let db = self.shared.db()?;
        let of = |value: &[u8]| if is_pack(value) { Pack::read(value).map(|pack| pack.len()) } else { Ok(1) };
        db.scan(Family::Messages)?.iter().map(|(_, value)| of(value)).sum()
    }
}
