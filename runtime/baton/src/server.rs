//! One server: its links, store, actors and HTTP port; started, watched and stopped in order.

mod address;
mod database;
mod error;
mod isolation;
mod joining;
mod keep_links;
mod older_copy;
mod room;
mod source;
mod standing;
mod waiting;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use baton_client::peers::PeerKind;
use baton_client::protocol::{DirectoryReply, DirectoryRequest, PlacementNews, ServerReport, Status, decode, encode};
use baton_client::session::Session;
use baton_client::wire::{Handler, Inbound, Service};
use baton_domain::Role;
use baton_links::descriptors;
use baton_links::{LinkError, Links, LinksConfig};
use baton_replica::{StoppedStore, StoreConfig, StoreError, inspect};
use baton_server::directory::{DirectoryArguments, DirectoryMessage};
use baton_server::engine::{EngineConfig, EngineMessage, EngineView, Totals};
use baton_server::policy::{PolicyNews, PolicyTiming};
use baton_server::shared_storage::{Replica, SharedStorageMessage};
use baton_server::slot::Slot;
use baton_server::supervisor::{SlotOwners, Supervisor, SupervisorArguments, SupervisorMessage};
use futures::future::BoxFuture;
use ractor::{ActorRef, Message};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{debug, info};

use crate::client::{Client, DEFAULT_DEADLINE};
use crate::config::ServerConfig;
use crate::http::{HttpServer, serve};
pub use database::read_through;
pub use error::ServerError;
use keep_links::keep_links;
use source::ServerSource;
use standing::Verdict;
use waiting::Waiting;

/// Time limit of the whole shutdown.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(45);
/// Time for which a removed server reports its removal before it ends.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// Time for which a frame waits for an actor that starts.
const STARTS_WITHIN: Duration = Duration::from_secs(5);
/// Election delay per place down the list, in milliseconds.
const ELECTION_STEP_MS: u64 = 20;

/// A running server. A process has one.
pub struct Server {
    links: Links,
    supervisor: ActorRef<SupervisorMessage>,
    http: HttpServer,
    failed: watch::Receiver<Option<String>>,
    removed: watch::Receiver<Option<String>>,
    tasks: [JoinHandle<()>; 6],
    session: Session,
}

impl Server {
    /// Starts a server. A server without a store first joins and gets an empty replica, which its peers fill.
    ///
    /// # Errors
    /// [`ServerError`] with the cause and the remedy.
    pub fn start(config: ServerConfig) -> BoxFuture<'static, Result<Self, ServerError>> {
        let least = config.limits.reserve_bytes / room::LEAST_PART;
        Box::pin(Self::start_with(config, least))
    }

    /// Starts a server again that ended because its disk was full ([`Server::lacks_space`]), once there is space for
    /// messages again. Until then it reports over HTTP what it waits for.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn start_again(config: ServerConfig) -> BoxFuture<'static, Result<Self, ServerError>> {
        let least = config.limits.reserve_bytes;
        Box::pin(Self::start_with(config, least))
    }

    async fn start_with(config: ServerConfig, least_free_bytes: u64) -> Result<Self, ServerError> {
        config.check()?;
        let header = inspect(&config.dir)?;
        if let Some(header) = &header {
            joining::check_owner(header, &config)?;
        }
        // Nobody may take it for the replica, whose promises it does not know.
        let older = baton_replica::older_copy(&config.dir).is_some();
        let header = header.filter(|_| !older);
        let slots = SlotOwners::default();
        let session = Session::spawn().await.map_err(ServerError::Start)?;
        let waiting = Waiting::default();
        let mut links_config = links_config(&config, &slots, waiting.clone());
        links_config.handlers.insert(Service::Client, session.handler());
        if let Some(header) = &header {
            links_config.generation = header.generation;
            links_config.replica = Some(header.replica);
        }
        let links = match Links::start(links_config).await {
            Err(LinkError::PortInUse(listen)) if is_in_use(&config.dir) => {
                let (name, dir) = (config.name.to_string(), config.dir.display().to_string());
                return Err(ServerError::Runs { name, dir, listen });
            }
            links => links?,
        };
        match Self::start_on(&config, least_free_bytes, header.is_none(), slots, session, &links, waiting).await {
            Ok(server) => Ok(server),
            Err(error) => {
                links.stop().await;
                Err(error)
            }
        }
    }

    async fn start_on(
        config: &ServerConfig,
        least_free_bytes: u64,
        without_store: bool,
        slots: SlotOwners,
        session: Session,
        links: &Links,
        waiting: Waiting,
    ) -> Result<Self, ServerError> {
        let logs = database::logs(config)?;
        let engine_totals = watch::Sender::new(Totals::default());
        let opened = Arc::new(OnceLock::new());
        let (isolation, follows_links) = isolation::follow(links.clone(), config, opened.clone());
        let totals = engine_totals.subscribe();
        let source = Arc::new(ServerSource::new(config.name.clone(), totals, isolation.clone(), waiting.clone()));
        // Before joining, which may take as long as the others are down: it is live, and reports what it waits for.
        let http = serve(&config.http, source.clone()).await?;
        room::wait(config, least_free_bytes, &waiting).await;
        older_copy::wait(config, &waiting).await;
        if without_store {
            if let Some(header) = inspect(&config.dir)? {
                let why = format!(
                    "the older copy was replaced by a store of replica {}: start the server again",
                    header.replica
                );
                return Err(ServerError::Ended(why));
            }
            match &logs {
                None => {
                    waiting.waits_for(joining::JOINING);
                    joining::join(config, links).await?;
                }
                Some(logs) => database::format(config, logs, links, &waiting).await?,
            }
        } else if let Some(logs) = &logs {
            database::check(config, logs, links).await?;
        }
        waiting.over();
        let engine_view = watch::Sender::new(EngineView::default());
        let policy_news = watch::Sender::new(PolicyNews::default());
        let (failed_sender, failed) = watch::channel(None);
        let tell_failed = failed_sender.clone();
        let storage = slots.storage.slot();
        let arguments = SupervisorArguments {
            me: config.name.clone(),
            role: config.role,
            store: store_config(config),
            kind: database::kind(config, logs, links),
            peers: links.peers(),
            timing: policy_timing(config),
            engine: engine_config(config),
            slots,
            engine_view: engine_view.clone(),
            engine_totals: engine_totals.clone(),
            policy_news: policy_news.clone(),
            isolation: isolation.clone(),
            failed: failed_sender,
        };
        let supervisor = Supervisor::spawn(arguments).await.map_err(joining::start_error)?;
        let Some(storage) = storage.get() else {
            return Err(ServerError::Ended("the shared storage actor ended during its start: see the log".to_owned()));
        };
        let store = ractor::call_t!(storage, SharedStorageMessage::Store, 1_000)
            .map_err(|error| ServerError::Ended(format!("the shared storage actor does not answer: {error}")))?;
        // A server starts once.
        let _ = opened.set(store.clone());
        let directory = DirectoryArguments {
            me: config.name.clone(),
            role: config.role,
            store: store.clone(),
            peers: links.peers(),
            engine: engine_view.subscribe(),
            policy: policy_news.subscribe(),
            isolation,
        };
        source.know(directory);
        let verdict = standing::lost(store.clone(), links.peers(), config.name.clone(), &config.dir);
        let (tell_removed, removed) = watch::channel(None);
        let verdict = tokio::spawn(lose(verdict, waiting, tell_removed, tell_failed.clone()));
        let announces = address::announce(store.clone(), links.peers(), config.name.clone(), config.advertise.clone());
        let announces = tokio::spawn(announces);
        // Only now: a server that fails to start stops its own links, and that is not the cause.
        let outdated_links = links.clone();
        let outdated = async move { outdated_links.outdated().await };
        let outdated = tokio::spawn(tell(outdated, tell_failed.clone()));
        let links_ended = tokio::spawn(tell(links.clone().ended(), tell_failed));
        let keeps_links = tokio::spawn(keep_links(store, links.clone(), config.clone()));
        // The server's links follow only its own store.
        session.start(links.peers(), Arc::new(|_| {}));
        info!(server = %config.name, listen = %config.listen, http = %http.address(), "the server is up");
        Ok(Self {
            links: links.clone(),
            supervisor,
            http,
            failed,
            removed,
            tasks: [keeps_links, outdated, links_ended, verdict, announces, follows_links],
            session,
        })
    }

    /// True if a server of that configuration has too little disk space to go on. A server that ended for this reason is
    /// started again by [`Server::start_again`].
    #[must_use]
    pub fn lacks_space(config: &ServerConfig) -> bool {
        room::is_short(config, config.limits.reserve_bytes)
    }

    /// Resolves with the cause when the server cannot go on.
    pub async fn failed(&self) -> ServerError {
        let (mut failed, mut removed) = (self.failed.clone(), self.removed.clone());
        let removed = async {
            match removed.wait_for(Option::is_some).await {
                Ok(why) => why.clone().unwrap_or_default(),
                // The task that reports has another verdict, or was stopped.
                Err(_) => std::future::pending().await,
            }
        };
        tokio::select! {
            why = failed.wait_for(Option::is_some) => ServerError::Ended(match why {
                Ok(why) => why.clone().unwrap_or_default(),
                Err(_) => "the supervisor actor ended: see the log".to_owned(),
            }),
            why = removed => ServerError::Removed(why),
        }
    }

    /// A client in this process, over the server's own links, for the queues, producers and consumers of an embedding
    /// service. They work with the engine wherever it runs. Closing the client ends them all.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::over(self.session.clone(), self.links.peers(), DEFAULT_DEADLINE)
    }

    /// Hands the engine over if it runs here, and stops everything in order.
    pub fn shutdown(self) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            self.tasks.iter().for_each(JoinHandle::abort);
            shut_down(&self.supervisor).await;
            self.session.stop().await;
            self.http.shutdown().await;
            self.links.stop().await;
            info!("the server has stopped");
        })
    }
}

/// True if a process has the store open.
fn is_in_use(dir: &Path) -> bool {
    matches!(StoppedStore::take(dir), Err(StoreError::InUse { .. }))
}

/// Reports that the server cannot go on, once `why` resolves.
async fn tell(why: impl Future<Output = String>, failed: watch::Sender<Option<String>>) {
    let why = why.await;
    tracing::error!(%why, "this server cannot go on");
    failed.send_replace(Some(why));
}

/// Reports the verdict on this server's replica. A removed server reports it over HTTP for a moment before it ends.
async fn lose(
    verdict: impl Future<Output = Verdict>,
    waiting: Waiting,
    removed: watch::Sender<Option<String>>,
    failed: watch::Sender<Option<String>>,
) {
    match verdict.await {
        Verdict::Replaced(why) => tell(std::future::ready(why), failed).await,
        Verdict::Removed(why) => {
            tracing::error!(%why, "this server cannot go on");
            waiting.waits_for(&why);
            tokio::time::sleep(LAST_WORDS).await;
            removed.send_replace(Some(why));
            // The sender stays: without it nobody would learn of it.
            removed.closed().await;
        }
    }
}

async fn shut_down(supervisor: &ActorRef<SupervisorMessage>) {
    let timeout = u64::try_from(SHUTDOWN_TIMEOUT.as_millis()).unwrap_or(u64::MAX);
    if let Err(error) = ractor::call_t!(supervisor, SupervisorMessage::Shutdown, timeout) {
        tracing::warn!(%error, "the actors did not stop in time");
    }
}

/// Hands frames to the running actor. While it starts or is being restarted, they wait: the caller would otherwise wait
/// until its own timeout, and may not ask another server before.
fn to_slot<M: Message>(slot: Slot<M>, wrap: fn(Inbound) -> M) -> Handler {
    let pass = move |slot: &Slot<M>, inbound| {
        if slot.cast(wrap(inbound)).is_err() {
            debug!("dropped a frame: its actor is not running");
        }
    };
    Handler::cast(move |inbound| {
        if slot.get().is_some() {
            return pass(&slot, inbound);
        }
        let mut slot = slot.clone();
        tokio::spawn(async move {
            // Too late: dropped.
            let _ = tokio::time::timeout(STARTS_WITHIN, slot.filled()).await;
            pass(&slot, inbound);
        });
    })
}

/// Hands frames of other replicas directly to the store: an actor in between would be one more hop, twice per confirm.
/// While the store is being opened they wait as in [`to_slot`].
fn to_replica(replica: watch::Receiver<Option<Replica>>) -> Handler {
    Handler::serve(move |frame| {
        if let Some(replica) = replica.borrow().as_ref() {
            return replica.receive(frame);
        }
        let mut replica = replica.clone();
        Some(Box::pin(async move {
            let opened = tokio::time::timeout(STARTS_WITHIN, replica.wait_for(Option::is_some)).await;
            let replica = opened.ok().and_then(Result::ok).and_then(|replica| replica.clone());
            match replica.and_then(|replica| replica.receive(frame)) {
                Some(answer) => answer.await,
                // The caller waits until its own timeout, as if this server were down.
                None => std::future::pending().await,
            }
        }))
    })
}

/// Hands requests to the directory. While the server has none, because it waits for something, it answers so at once: the
/// caller must not wait for it, but ask another server.
fn to_directory(slot: Slot<DirectoryMessage>, waiting: Waiting, config: &ServerConfig) -> Handler {
    let report = ServerReport::of_no_store(config.name.clone(), config.role, database::lease_ms(config));
    let Handler::Cast(pass) = to_slot(slot, DirectoryMessage::Frame) else { unreachable!("a slot casts") };
    Handler::cast(move |inbound| match waiting.why() {
        None => pass(inbound),
        Some(why) => inbound.reply.send(encode(&match decode(&inbound.payload) {
            Ok(DirectoryRequest::Where) => DirectoryReply::News(PlacementNews::default()),
            Ok(DirectoryRequest::Status) => DirectoryReply::Status(Status::unknown(&why)),
            Ok(DirectoryRequest::Report) => {
                DirectoryReply::Report(ServerReport { trouble: Some(why), ..report.clone() })
            }
            Ok(_) => DirectoryReply::Elsewhere(None),
            Err(error) => DirectoryReply::Refused(error.to_string()),
        })),
    })
}

fn links_config(config: &ServerConfig, slots: &SlotOwners, waiting: Waiting) -> LinksConfig {
    let mut links =
        LinksConfig::new(config.name.as_str(), PeerKind::Server, config.cluster, *config.secrets.cookie.bytes());
    links.listen = Some(config.listen.clone());
    links.server_key = Some(*config.secrets.server_key.bytes());
    links.tls = config.tls.clone();
    links.heartbeat_ms = config.timing.heartbeat_ms;
    links.heartbeat_timeout_ms = config.timing.heartbeat_ms * 5;
    links.link_credit_bytes = bytes(config.limits.link_credit_bytes);
    links.max_connections = descriptors::clients(bytes(config.limits.max_connections));
    let others = config.members.iter().filter(|member| member.name != config.name);
    links.targets = others.map(|member| (Some(member.name.to_string()), member.address.clone())).collect();
    links.handlers = HashMap::from([
        // A leader whose first frame gets no answer sends none before its timeout: the replica would lag for that long.
        (Service::Storage, to_replica(slots.replica.subscribe())),
        (Service::Engine, to_slot(slots.engine.slot(), EngineMessage::Inbound)),
        (Service::Directory, to_directory(slots.directory.slot(), waiting, config)),
    ]);
    links
}

fn store_config(config: &ServerConfig) -> StoreConfig {
    // The more preferred a server is, the earlier it stands for election: a failover usually lands on the next preferred
    // server without a hand-over. Witnesses come last. The policy corrects the remaining cases.
    let hosts = config.members.iter().filter(|member| member.role == Role::Server);
    let place = hosts.clone().position(|member| member.name == config.name).unwrap_or_else(|| hosts.count());
    let timing = &config.timing;
    let latest = timing.election_max_ms.saturating_sub(ELECTION_STEP_MS).max(timing.election_min_ms);
    let step = ELECTION_STEP_MS * u64::try_from(place).unwrap_or(0);
    StoreConfig {
        dir: config.dir.clone(),
        heartbeat_ms: timing.heartbeat_ms,
        election_min_ms: (timing.election_min_ms + step).min(latest),
        election_max_ms: timing.election_max_ms,
        lease_margin_ms: timing.lease_margin_ms,
        frame_bytes: bytes(config.limits.frame_max_bytes),
        in_flight_bytes: bytes(config.limits.link_credit_bytes),
        memory_budget_bytes: config.limits.store_memory_bytes,
        open_files: descriptors::store_files(),
        snapshot_log_bytes: config.limits.snapshot_log_bytes,
        reserve_bytes: config.limits.reserve_bytes,
        scrub_interval_ms: timing.scrub_interval_ms,
    }
}

/// A size from the configuration, whose ranges are far below what memory can hold.
fn bytes(size: u64) -> usize {
    usize::try_from(size).unwrap_or(usize::MAX)
}

fn policy_timing(config: &ServerConfig) -> PolicyTiming {
    PolicyTiming {
        fail_back_stability: Duration::from_millis(config.timing.fail_back_stability_ms),
        start_grace: Duration::from_millis(config.timing.start_grace_ms),
        dead_voter_after: Duration::from_millis(config.timing.dead_voter_removal_ms),
        ..PolicyTiming::default()
    }
}

fn engine_config(config: &ServerConfig) -> EngineConfig {
    EngineConfig {
        message_bytes: config.limits.message_bytes,
        consumer_credit: u32::try_from(config.limits.consumer_credit).unwrap_or(u32::MAX),
        reserve_bytes: config.limits.reserve_bytes,
        nonpersistent_bytes: bytes(config.limits.nonpersistent_bytes),
        reattach_grace_ms: config.timing.reattach_grace_ms,
        slow_consumer_ms: config.timing.slow_consumer_ms,
        in_doubt_timeout_ms: config.timing.in_doubt_timeout_ms,
        queues: bytes(config.limits.max_queues),
        consumers: bytes(config.limits.max_consumers),
        frame_min_bytes: config.limits.frame_min_bytes,
        frame_max_bytes: config.limits.frame_max_bytes,
        entry_bytes: bytes(config.limits.frame_max_bytes),
        deliver_bytes: bytes(config.limits.frame_max_bytes),
        lease_wait_ms: database::lease_wait_ms(config),
        ..EngineConfig::default()
    }
}
