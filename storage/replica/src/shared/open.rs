//! Opening a store whose order is kept by a log that all servers reach.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};

use super::applying::Applying;
use super::keeper::{Commands, LogKeeper};
use super::log::{Claimant, SharedLogs};
use super::member::{Member, MemberStatus, Parts};
use super::names::Names;
use super::process;
use super::publish::{Publishing, begin, follow_cluster};
use super::recent::Recent;
use super::record::LogRecord;
use super::shelf::Progress;
use super::timing::SharedTiming;
use super::upkeep::LogUpkeep;
use super::wire::Wire;
use crate::Transport;
use crate::config::StoreConfig;
use crate::damage::{self, from_io, io_error};
use crate::disk::{MemoryBudget, Room, Spare};
use crate::error::StoreError;
use crate::failure::Failure;
use crate::lease::Lease;
use crate::state::{Applier, Scrub, Snapshots, StoreFiles, Upkeep};
use crate::status::StoreStatus;

/// Bytes of the last entries that are kept in memory, to put back what the log loses.
const RECENT_BYTES: usize = 64 * 1024 * 1024;

/// Configuration of a store over a shared log, beside that of every store.
#[derive(Debug, Clone)]
pub struct SharedConfig {
    /// The incarnation of this process, as its links announce it.
    pub incarnation: u64,
    /// Durations.
    pub timing: SharedTiming,
    /// Entries that the log lost are put back; else the store refuses to go on.
    pub heals: bool,
}

pub(crate) async fn open(
    config: StoreConfig,
    shared: SharedConfig,
    logs: Arc<dyn SharedLogs>,
    transport: Arc<dyn Transport>,
) -> Result<LogKeeper, StoreError> {
    let dir = config.dir.clone();
    let memory = MemoryBudget::new(config.memory_budget_bytes).with_open_files(config.open_files);
    let opening = dir.clone();
    let opened = tokio::task::spawn_blocking(move || {
        let files = StoreFiles::take(&opening, false)?;
        let current = files.current_state()?;
        let state = files.open_state(&current, memory, Failure::default())?;
        Ok::<_, StoreError>((files, state))
    });
    let opened = opened.await.map_err(|error| io_error(&dir, &error))?;
    let (files, state) = opened.map_err(damage::remember)?;
    let applier = Applier::<LogRecord>::load(state.clone());
    let applier = applier.map_err(|error| damage::remember(from_io(&dir, &error)))?;
    applier.warn_of_skips();
    let record = applier.record;
    if record == LogRecord::default() && state.cluster().borrow().cluster.is_some() {
        return Err(StoreError::OfReplicas { dir });
    }
    let snapshots = Arc::new(Snapshots::new(state.clone()));
    let header = Arc::new(files.header.clone());
    let names = Names::new(header.clone(), state.cluster().subscribe());
    let room = Room::new(dir, config.reserve_bytes, files.layout.spare(), Spare::default());

    let (sender, commands_queue) = mpsc::unbounded_channel();
    let commands: Commands = Arc::new(Mutex::new(Some(sender)));
    let (work, work_queue) = mpsc::unbounded_channel();
    let (applied_sender, applied) = watch::channel(record.position().index);
    let (member_sender, member_status) = watch::channel(MemberStatus::default());
    let (status_sender, status) = watch::channel(StoreStatus::default());
    let (session_sender, session) = watch::channel(None);
    let (lease, progress) = (Lease::default(), Progress::default());
    let (unanswered, bytes) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let process_file = files.layout.process();
    let others = Wire { own: header.replica, generation: header.generation, names: names.clone(), transport };
    let parts = Parts {
        own: Claimant { server: header.server.clone(), incarnation: shared.incarnation },
        address: names.own_address(),
        cluster: header.cluster,
        before: process::read(&process_file),
        logs,
        others: Arc::new(others),
        timing: shared.timing,
        heals: shared.heals,
        clock: Arc::new(crate::clock::boot_time),
        recent: Recent::new(record.position(), record.term(), RECENT_BYTES),
        work,
        applied: applied.clone(),
        unanswered: unanswered.clone(),
        session: session_sender,
    };
    let member = Member::new(parts, commands_queue, lease.clone(), member_sender);
    let applying = Applying {
        applier,
        work: work_queue,
        applied: applied_sender,
        bytes: bytes.clone(),
        snapshots: snapshots.clone(),
        session: session.clone(),
        commands: commands.clone(),
        progress: progress.clone(),
        recent_bytes: RECENT_BYTES,
    };
    let publishing = Publishing {
        own: header.replica,
        incarnation: shared.incarnation,
        process: process_file,
        names: names.clone(),
        member: member_status,
        applied,
        failure: state.failure().clone(),
        status: status_sender,
    };
    let upkeep = Upkeep::new(state.clone(), room.clone(), config.reserve_bytes);
    let needed = upkeep.needed();
    let upkeep = LogUpkeep {
        upkeep,
        header: header.clone(),
        incarnation: shared.incarnation,
        snapshots: snapshots.clone(),
        session,
        status: status.clone(),
        bytes,
        snapshot_log_bytes: config.snapshot_log_bytes,
    };
    let every = Duration::from_millis(config.scrub_interval_ms);
    let scrub = Scrub { snapshots: snapshots.clone(), every, asked: Arc::new(Notify::new()) };
    let linked = watch::Sender::new(BTreeSet::new());
    let cluster = state.cluster();
    let tasks = vec![
        tokio::spawn(member.run()),
        tokio::spawn(applying.run()),
        tokio::spawn(publishing.run()),
        tokio::spawn(follow_cluster(names.clone(), cluster.subscribe(), linked.subscribe(), commands.clone())),
        tokio::spawn(begin(header.clone(), cluster.subscribe(), status.clone(), commands.clone())),
        tokio::spawn(upkeep.run()),
        tokio::spawn(scrub.run()),
    ];
    Ok(LogKeeper {
        header,
        snapshots,
        names,
        timing: shared.timing,
        commands,
        lease,
        status,
        unanswered,
        progress,
        linked,
        room,
        needed,
        tasks: Mutex::new(tasks),
        lock: Mutex::new(Some(files.lock.clone())),
    })
}
