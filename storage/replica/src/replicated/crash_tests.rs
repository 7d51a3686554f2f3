//! Crashes: directories copied between two moments of a replica's life, opened again, and replayed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use baton_domain::ReplicaId;
use openraft::storage::{RaftLogStorage, RaftLogStorageExt, RaftStateMachine};
use proptest::prelude::*;

use super::types::{EncodedCommand, Entry, EntryPayload, LeaderId, LogId};
use super::{LogStore, StateMachine};
use crate::disk::{Layout, LogFiles, MemoryBudget, StateDb, SyncedMark};
use crate::failure::Failure;
use crate::machine::{Author, Family, Step, Tables, random_steps};
use crate::simulation::disk::{crash_copy, is_segment, listing};
use crate::state::{SharedState, Snapshots};

/// The parts of a replica that write its disk.
struct Replica {
    log: LogStore,
    machine: StateMachine,
    state: Arc<SharedState>,
}

impl Replica {
    fn create(dir: &Path) -> Self {
        let layout = Layout::new(dir);
        let memory = MemoryBudget::new(0);
        fs::create_dir(dir).unwrap();
        LogFiles::create(&layout.log()).unwrap();
        let state = layout.new_state();
        StateDb::open(&state, &memory, true).unwrap();
        layout.set_current_state(&state).unwrap();
        Self::open(dir).unwrap()
    }

    fn open(dir: &Path) -> std::io::Result<Self> {
        let layout = Layout::new(dir);
        let memory = MemoryBudget::new(0);
        let log = LogStore::open(&layout.log(), SyncedMark::open(&layout.synced_mark())?, Failure::default())?;
        let db = StateDb::open(&layout.current_state()?, &memory, false).map_err(std::io::Error::other)?;
        let state = Arc::new(SharedState::new(db, Arc::default(), layout, memory, Failure::default()));
        let machine = StateMachine::load(Arc::new(Snapshots::new(state.clone())))?;
        Ok(Self { log, machine, state })
    }

    fn contents(&self) -> BTreeMap<(Family, Vec<u8>), Vec<u8>> {
        let db = self.state.db().unwrap();
        let all = Family::ALL.into_iter();
        all.flat_map(|family| db.scan(family).unwrap().into_iter().map(move |(key, value)| ((family, key), value)))
            .collect()
    }
}

/// What stands first in every log: in a real one it is the membership.
fn first_entry() -> Entry {
    Entry { log_id: LogId::new(LeaderId { term: 1, node_id: ReplicaId(1) }, 0), payload: EntryPayload::Blank }
}

fn entry(index: u64, command: &baton_domain::Command) -> Entry {
    Entry {
        log_id: LogId::new(LeaderId { term: 1, node_id: ReplicaId(1) }, index),
        payload: EntryPayload::Normal(EncodedCommand::of(command)),
    }
}

/// Runs a log in batches; after some of them the replica crashes and comes back from what was on disk.
async fn live(commands: &[baton_domain::Command], plan: &[(usize, u8)]) -> BTreeMap<(Family, Vec<u8>), Vec<u8>> {
    let root = tempfile::tempdir().unwrap();
    let mut life = 0;
    let dir = |life: u32| root.path().join(life.to_string());
    let mut replica = Replica::create(&dir(life));
    replica.log.blocking_append(vec![first_entry()]).await.unwrap();
    replica.machine.replay(&replica.log.clone()).unwrap();
    let mut plan = plan.iter().cycle();
    let mut next = 1;
    while next <= commands.len() {
        let (size, event) = plan.next().unwrap();
        let end = (next + size).min(commands.len() + 1);
        let entries: Vec<Entry> = (next..end).map(|index| entry(index as u64, &commands[index - 1])).collect();
        replica.log.blocking_append(entries.clone()).await.unwrap();
        let committed = entries.last().map(|entry| entry.log_id);
        replica.log.save_committed(committed).await.unwrap();
        let applied = futures::stream::iter(entries.into_iter().map(|entry| Ok((entry, None))));
        replica.machine.apply(applied).await.unwrap();
        next = end;
        match event {
            // The state goes to disk, and life goes on.
            0 => replica.state.db().unwrap().flush().unwrap(),
            // A crash.
            1 | 2 => {
                if *event == 2 {
                    replica.state.db().unwrap().flush().unwrap();
                }
                crash_copy(&dir(life), &dir(life + 1));
                drop(replica);
                life += 1;
                replica = Replica::open(&dir(life)).unwrap();
                assert_eq!(replica.log.bounds().last, committed, "what was synced is there");
                let applied = replica.machine.applier.record.applied;
                assert!(applied <= committed);
                replica.machine.replay(&replica.log.clone()).unwrap();
            }
            _ => {}
        }
    }
    replica.contents()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    /// Invariants 3 and 7: after any crashes, what was applied, the membership and the data are of one instant, and
    /// replaying the log gives the same bytes and the same hash as a life without a crash.
    #[test]
    fn a_life_with_crashes_ends_in_the_same_bytes_as_one_without(
        steps in random_steps(80),
        plan in proptest::collection::vec((1..12_usize, 0..6_u8), 4..10),
    ) {
        let commands = Author::write(&steps);
        let crashed = runtime().block_on(live(&commands, &plan));
        let calm = runtime().block_on(live(&commands, &[(64, 9)]));
        prop_assert_eq!(crashed, calm);
    }
}

/// Invariant 3: a synced entry is never lost in silence. A log whose synced end is damaged or gone is refused.
#[test]
fn a_log_that_lost_what_was_synced_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("replica");
    let mut replica = Replica::create(&dir);
    let commands = Author::write(&[Step::Marker, Step::Marker, Step::Marker]);
    runtime().block_on(async {
        replica.log.blocking_append(vec![first_entry()]).await.unwrap();
        for (index, command) in (1..).zip(&commands) {
            replica.log.blocking_append(vec![entry(index, command)]).await.unwrap();
        }
    });
    let copy = |name: &str| {
        let to = root.path().join(name);
        crash_copy(&dir, &to);
        let wal = listing(&to).into_iter().filter(|(path, _)| is_segment(path));
        let (wal, size) = wal.max_by_key(|(path, size)| (path.starts_with(to.join("log")), *size)).unwrap();
        (to, wal, size)
    };
    let (sound, _, _) = copy("sound");
    assert_eq!(Replica::open(&sound).unwrap().log.bounds().last.unwrap().index, commands.len() as u64);

    let (cut, wal, size) = copy("cut");
    fs::File::options().write(true).open(&wal).unwrap().set_len(size - 10).unwrap();
    let error = Replica::open(&cut).err().expect("a log without its synced end").to_string();
    assert!(error.contains("synced"), "{error}");

    let (flipped, wal, size) = copy("flipped");
    let mut bytes = fs::read(&wal).unwrap();
    bytes[size as usize / 2] ^= 1;
    fs::write(&wal, bytes).unwrap();
    assert!(Replica::open(&flipped).is_err(), "a flipped bit in the log");
}
