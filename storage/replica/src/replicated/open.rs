//! Opening a store whose order is kept by consensus.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use baton_domain::clock::BootTime;
use tokio::sync::{Notify, watch};

use super::acknowledging::{Acknowledging, load};
use super::birth::Birth;
use super::cause::of_fatal;
use super::commit::Proposer;
use super::consensus::Consensus;
use super::guard::LeaseGuard;
use super::housekeeping::Housekeeping;
use super::succession::Succession;
use super::watcher::Watcher;
use crate::Transport;
use crate::config::StoreConfig;
use crate::damage::{self, from_io, io_error};
use crate::disk::{MemoryBudget, Room, SyncedMark};
use crate::error::StoreError;
use crate::failure::Failure;
use crate::replicated::{
    Acknowledged, Answered, AppliedRecord, LogStore, Network, Raft, Receiver, Runtime, SnapshotHolds, StateMachine,
    Timing, settings,
};
use crate::state::{Record, Scrub, SharedState, Snapshots, StoreFiles, Upkeep};
use crate::status::StoreStatus;

/// The log and the state of a store, open and checked.
pub(crate) struct Opened {
    pub(crate) files: StoreFiles,
    pub(crate) log: LogStore,
    pub(crate) state: Arc<SharedState>,
}

/// Opens and checks a store's log and state. Reads all of the log: blocks.
pub(crate) fn open_databases(dir: &Path, memory: MemoryBudget, recovering: bool) -> Result<Opened, StoreError> {
    let files = StoreFiles::take(dir, recovering)?;
    if files.layout.process().exists() {
        return Err(StoreError::OfLog { dir: dir.to_owned() });
    }
    files.check_dir(&files.layout.log(), "its log is missing")?;
    let current = files.current_state()?;
    let failure = Failure::default();
    let mark = SyncedMark::open(&files.layout.synced_mark()).map_err(|error| io_error(dir, &error))?;
    let log = LogStore::open(&files.layout.log(), mark, failure.clone()).map_err(|error| from_io(dir, &error))?;
    let state = files.open_state(&current, memory, failure)?;
    Ok(Opened { files, log, state })
}

pub(crate) async fn open(config: StoreConfig, transport: Arc<dyn Transport>) -> Result<Consensus, StoreError> {
    let timing = Timing::new(&config);
    let opening = config.clone();
    let memory = MemoryBudget::new(config.memory_budget_bytes).with_open_files(config.open_files);
    let opened = tokio::task::spawn_blocking(move || open_databases(&opening.dir, memory, false));
    let opened = opened.await.map_err(|error| io_error(&config.dir, &error))?.map_err(damage::remember)?;
    let Opened { files: StoreFiles { header, layout, lock, .. }, log, state } = opened;
    let failure = state.failure().clone();
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
    let snapshots = Arc::new(Snapshots::new(state.clone()));
    let machine = StateMachine::load(snapshots.clone()).map_err(|error| damage::remember(from_io(&dir, &error)))?;
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
        snapshots: snapshots.clone(),
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
    let scrub =
        Scrub { snapshots: snapshots.clone(), every: Duration::from_millis(config.scrub_interval_ms), asked: scrub };
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
    let upkeep = Upkeep::new(state.clone(), room.clone(), config.reserve_bytes);
    let needed = upkeep.needed();
    let housekeeping = Housekeeping {
        raft: raft.clone(),
        snapshots: snapshots.clone(),
        log: log.clone(),
        status: status.clone(),
        holds,
        snapshot_log_bytes: config.snapshot_log_bytes,
        upkeep,
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
    Ok(Consensus {
        header,
        raft,
        receiver,
        proposer,
        snapshots,
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
