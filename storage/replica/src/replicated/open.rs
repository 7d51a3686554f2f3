//! Opening a store, and closing it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use baton_domain::ReplicaId;
use baton_domain::clock::BootTime;
use openraft::async_runtime::watch::WatchReceiver;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::acknowledging::{Acknowledging, load};
use super::birth::Birth;
use super::cause::of_fatal;
use super::commit::Proposer;
use super::guard::LeaseGuard;
use super::housekeeping::Housekeeping;
use super::scrub::Scrub;
use super::succession::Succession;
use super::watcher::{Watcher, close};
use crate::Transport;
use crate::config::StoreConfig;
use crate::damage::{self, damaged_store, io_error};
use crate::disk::{Layout, MemoryBudget, Room, StateDb, StoreLock, SyncedMark, read_header};
use crate::error::StoreError;
use crate::failure::Failure;
use crate::header::StoreHeader;
use crate::machine::Machine;
use crate::replicated::{
    Acknowledged, Answered, AppliedRecord, LogStore, Network, Raft, Receiver, Runtime, SharedState, SnapshotHolds,
    StateMachine, Timing, settings,
};
use crate::status::StoreStatus;

/// An open store.
pub(crate) struct Inner {
    pub(crate) header: StoreHeader,
    pub(crate) dir: PathBuf,
    pub(crate) raft: Raft,
    pub(crate) receiver: Receiver,
    pub(crate) proposer: Proposer,
    pub(crate) state: Arc<SharedState>,
    pub(crate) status: watch::Receiver<StoreStatus>,
    pub(crate) guard: Arc<LeaseGuard>,
    pub(crate) timing: Timing,
    succession: Succession,
    /// Disk space that the store needs for its own work, in bytes.
    pub(crate) needed: Arc<AtomicU64>,
    pub(crate) room: Room,
    status_sender: Arc<watch::Sender<StoreStatus>>,
    log: Mutex<Option<LogStore>>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    lock: Mutex<Option<Arc<StoreLock>>>,
}

/// The log and the state of a store, open and checked.
pub(crate) struct Opened {
    pub(crate) header: StoreHeader,
    pub(crate) layout: Layout,
    pub(crate) lock: Arc<StoreLock>,
    pub(crate) log: LogStore,
    pub(crate) state: Arc<SharedState>,
    pub(crate) failure: Failure,
}

/// The reason why the state cannot be opened. RocksDB reports a missing or changed file as it reports a disk
/// that fails; where the disk works, it is the files, which are RocksDB's alone and were all there.
fn from_rocks(dir: &Path, state: &Path, error: &rocksdb::Error) -> StoreError {
    let why = format!("its state: {error}");
    match error.kind() {
        rocksdb::ErrorKind::Corruption => damaged_store(dir, &why),
        rocksdb::ErrorKind::IOError | rocksdb::ErrorKind::InvalidArgument => match try_disk(state) {
            Ok(()) => damaged_store(dir, &why),
            Err(error) => io_error(dir, &format!("{why}; {error}")),
        },
        _ => io_error(dir, &why),
    }
}

/// Opens and reads all files of a directory at once, and writes and syncs one more.
fn try_disk(dir: &Path) -> io::Result<()> {
    const BYTES: usize = 64 * 1024;
    let mut open = Vec::new();
    for entry in fs::read_dir(dir)? {
        let mut file = File::open(entry?.path())?;
        io::copy(&mut Read::by_ref(&mut file).take(BYTES as u64), &mut io::sink())?;
        open.push(file);
    }
    let path = dir.join("try-disk");
    let written = File::create(&path).and_then(|mut file| {
        file.write_all(&[0; BYTES])?;
        file.sync_all()
    });
    fs::remove_file(&path)?;
    written
}

fn from_io(dir: &Path, error: &io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::InvalidData => damaged_store(dir, &error.to_string()),
        _ => io_error(dir, error),
    }
}

/// A directory of the store that is missing is damage; one that cannot be looked at is not.
fn check_dir(dir: &Path, part: &Path, missing: &str) -> Result<(), StoreError> {
    match fs::metadata(part) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(damaged_store(dir, missing)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(damaged_store(dir, missing)),
        Err(error) => Err(io_error(dir, &error)),
    }
}

/// Opens and checks a store's log and state. Reads all of the log: blocks.
pub(crate) fn open_databases(dir: &Path, memory: MemoryBudget, recovering: bool) -> Result<Opened, StoreError> {
    let layout = Layout::new(dir);
    let read = || read_header(dir, &layout.header())?.ok_or_else(|| StoreError::Missing { dir: dir.to_owned() });
    read()?;
    let lock = Arc::new(layout.lock()?);
    // Again, now that nobody else writes it.
    let header = read()?;
    if layout.recovering().exists() && !recovering {
        return Err(io_error(dir, &"a forced recovery did not finish: run `baton recover` again"));
    }
    if let Some(why) = damage::remembered(&layout).filter(|_| !recovering) {
        return Err(damaged_store(dir, &why));
    }
    if let Some(why) = damage::older_copy(dir).filter(|_| !recovering) {
        return Err(StoreError::OlderCopy { dir: dir.to_owned(), why });
    }
    check_dir(dir, &layout.log(), "its log is missing")?;
    let current = layout.current_state().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::InvalidData => {
            damaged_store(dir, &format!("its state is missing: {error}"))
        }
        _ => io_error(dir, &error),
    })?;
    check_dir(dir, &current, "its state is missing")?;
    layout.remove_leftovers().map_err(|error| io_error(dir, &error))?;
    let failure = Failure::default();
    let mark = SyncedMark::open(&layout.synced_mark()).map_err(|error| io_error(dir, &error))?;
    let log = LogStore::open(&layout.log(), mark, failure.clone()).map_err(|error| from_io(dir, &error))?;
    let state = StateDb::open(&current, &memory, false)
        .map_err(|error| from_rocks(dir, &current, &error))?
        .holding(lock.clone());
    let machine = Machine::load(&state).map_err(|error| from_io(dir, &error))?;
    let cluster = machine.cluster().clone();
    let same = cluster.cluster.is_none_or(|id| id == header.cluster && cluster.generation == header.generation);
    if !same && !recovering {
        return Err(damaged_store(dir, "its state belongs to another cluster or generation than its header"));
    }
    let state = Arc::new(SharedState::new(state, cluster, layout.clone(), memory));
    Ok(Opened { header, layout, lock, log, state, failure })
}

pub(crate) async fn open(config: StoreConfig, transport: Arc<dyn Transport>) -> Result<Inner, StoreError> {
    let timing = Timing::new(&config);
    let opening = config.clone();
    let memory = MemoryBudget::new(config.memory_budget_bytes).with_open_files(config.open_files);
    let opened = tokio::task::spawn_blocking(move || open_databases(&opening.dir, memory, false));
    let opened = opened.await.map_err(|error| io_error(&config.dir, &error))?.map_err(damage::remember)?;
    let Opened { header, layout, lock, log, state, failure } = opened;
    let log = log.with_request_bytes(config.frame_bytes);
    let dir = config.dir.clone();

    // A replica that took part before may have acknowledged a leader's lease just before it was stopped, and does not
    // remember: it neither votes nor stands for election until that lease is over.
    let took_part = log.vote().is_some();
    let election_max = timing.election_max;
    let votes_from = if took_part { crate::clock::boot_time() + election_max } else { BootTime(0) };
    let settings = Arc::new(settings(&config, !took_part)?);
    let stands_after = {
        let spread = settings.new_rand_election_timeout::<Runtime>();
        (election_max / 2 + Duration::from_millis(spread)).max(election_max)
    };

    let applied = state.db().and_then(|db| AppliedRecord::load(&*db)).map_err(|error| from_io(&dir, &error))?;
    let table = load(&layout.acknowledged(), header.generation);
    let acknowledged = Acknowledged::new(header.replica, log.tail(), applied.applied, table);
    if let Some(why) = acknowledged.older() {
        return Err(damage::remember(StoreError::OlderCopy { dir, why }));
    }
    let (answered, holds, scrub) = (Answered::default(), SnapshotHolds::default(), Arc::new(Notify::new()));
    let network = Network {
        own: header.replica,
        generation: header.generation,
        transport,
        timing,
        in_flight_bytes: config.in_flight_bytes,
        answered: answered.clone(),
        holds: holds.clone(),
        scrub: scrub.clone(),
        acknowledged: acknowledged.clone(),
    };
    let machine = StateMachine::load(state.clone()).map_err(|error| damage::remember(from_io(&dir, &error)))?;
    machine.warn_of_skips();
    let raft = Box::pin(Raft::new(header.replica, settings, network.clone(), log.clone(), machine)).await;
    let raft = raft.map_err(|fatal| of_fatal(&dir, &fatal))?;

    let guard = Arc::new(LeaseGuard::default());
    let (status_sender, status) = watch::channel(StoreStatus::default());
    let status_sender = Arc::new(status_sender);
    let (lost_sender, lost) = watch::channel(0);
    let room = Room::new(dir.clone(), config.reserve_bytes, layout.spare(), log.spare());
    let proposer = Proposer { raft: raft.clone(), failure: failure.clone(), lost, room: room.clone() };
    let inquest = Arc::default();
    let receiver = Receiver {
        raft: raft.clone(),
        own: header.replica,
        generation: header.generation,
        state: state.clone(),
        votes_from,
        inquest: Arc::clone(&inquest),
        lease_ms: config.election_max_ms,
        incoming: Arc::default(),
        room: room.clone(),
        acknowledged: acknowledged.clone(),
    };
    let acknowledging = Acknowledging {
        dir: dir.clone(),
        path: layout.acknowledged(),
        acknowledged: acknowledged.clone(),
        network: network.clone(),
        status: status.clone(),
        failure: failure.clone(),
    };
    let scrub = Scrub {
        dir: dir.clone(),
        state: state.clone(),
        failure: failure.clone(),
        every: Duration::from_millis(config.scrub_interval_ms),
        asked: scrub,
    };
    let succession = Succession { own: header.replica, raft: raft.clone(), network, state: state.clone(), inquest };
    let watcher = Watcher {
        own: header.replica,
        dir: dir.clone(),
        raft: raft.clone(),
        timing,
        guard: guard.clone(),
        answered,
        acknowledged,
        cluster: state.cluster().subscribe(),
        failure,
        status: status_sender.clone(),
        lost: lost_sender,
    };
    let birth = Birth {
        header: header.clone(),
        raft: raft.clone(),
        proposer: proposer.clone(),
        status: status.clone(),
        cluster: state.cluster().subscribe(),
        election_max,
    };
    let needed = Arc::new(AtomicU64::new(0));
    let housekeeping = Housekeeping {
        raft: raft.clone(),
        state: state.clone(),
        log: log.clone(),
        status: status.clone(),
        holds,
        snapshot_log_bytes: config.snapshot_log_bytes,
        reserve_bytes: config.reserve_bytes,
        needed: needed.clone(),
        room: room.clone(),
    };
    let mut tasks = vec![
        tokio::spawn(watcher.run()),
        tokio::spawn(birth.run()),
        tokio::spawn(housekeeping.run()),
        tokio::spawn(scrub.run()),
        tokio::spawn(acknowledging.run()),
    ];
    if took_part {
        let raft = raft.clone();
        tasks.push(tokio::spawn(async move {
            tokio::time::sleep(stands_after).await;
            raft.runtime_config().elect(true);
        }));
    }
    Ok(Inner {
        header,
        dir,
        raft,
        receiver,
        proposer,
        state,
        status,
        guard,
        timing,
        succession,
        needed,
        room,
        status_sender,
        log: Mutex::new(Some(log)),
        tasks: Mutex::new(tasks),
        lock: Mutex::new(Some(lock)),
    })
}

fn take<T>(slot: &Mutex<Option<T>>) -> Option<T> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).take()
}

impl Inner {
    pub(crate) fn linked(&self, replicas: BTreeSet<ReplicaId>) {
        let place = self.raft.server_metrics();
        let voters = place.borrow_watched().membership_config.membership().get_joint_config().clone();
        self.guard.linked(replicas, crate::clock::boot_time(), self.header.replica, &voters);
    }

    pub(crate) fn died(&self, replica: ReplicaId) {
        let succession = self.succession.clone();
        let task = tokio::spawn(async move { succession.follow(replica).await });
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.retain(|task| !task.is_finished());
        tasks.push(task);
    }

    fn stop_tasks(&self) {
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.iter().for_each(JoinHandle::abort);
    }

    pub(crate) fn sync_waits(&self) -> Duration {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.as_ref().map_or(Duration::ZERO, LogStore::sync_waits)
    }

    pub(crate) async fn shutdown(&self) {
        const PATIENCE: Duration = Duration::from_secs(5);
        self.guard.close();
        self.stop_tasks();
        close(&self.status_sender, None);
        if self.raft.shutdown().await.is_err() {
            tracing::warn!("raft did not shut down cleanly");
        }
        let (state, log, lock) = (self.state.close(), take(&self.log), take(&self.lock));
        // Consensus' own tasks let go of the databases a moment after it ended.
        let closed = async {
            while state.as_ref().is_some_and(|state| Arc::strong_count(state) > 1)
                || log.as_ref().is_some_and(|log| log.users() > 1)
            {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, closed).await.is_err() {
            tracing::warn!("the store is closed while it is still being read");
        }
        let flushed = tokio::task::spawn_blocking(move || {
            // So that the next start has little to replay.
            if let Some(state) = &state
                && let Err(error) = state.flush()
            {
                tracing::warn!(%error, "cannot flush the state; the log restores it at the next start");
            }
            drop((state, log, lock));
        });
        let _ = flushed.await;
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.guard.close();
        self.stop_tasks();
    }
}
