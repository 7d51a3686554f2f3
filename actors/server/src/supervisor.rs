//! The supervisor actor of a server: starts the other actors, watches them, restarts them within limits, and stops them in
//! order, after the engine is handed over.
//!
//! The engine, the policy and the directory are restarted. An engine that fails too often stays down, and the policy moves
//! it to another server. The shared storage actor is not restarted: its failures (a broken disk, damaged files) need an
//! operator, so the server stops and reports the cause.

mod restarts;

use std::collections::HashMap;
use std::time::Duration;

use baton_client::peers::Peers;
use baton_domain::clock::BootTime;
use baton_domain::{Role, ServerName};
use baton_replica::{Store, StoreConfig, StoreStatus};
use futures::future::BoxFuture;
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, RpcReplyPort, SpawnErr, SupervisionEvent};
use ractor_cluster_derive::RactorMessage;
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::directory::{Directory, DirectoryArguments, DirectoryMessage};
use crate::engine::{Engine, EngineArguments, EngineConfig, EngineMessage, EngineView, Quarantine, Totals};
use crate::policy::{PolicyActor, PolicyArguments, PolicyMessage, PolicyNews, PolicyTiming};
use crate::shared_storage::{Replica, SharedStorage, SharedStorageArguments, SharedStorageMessage, StoreKind};
use crate::slot::{Slot, SlotOwner};
use restarts::Restarts;

/// Time limit of the hand-over of the engine before a shutdown.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time limit of draining the engine.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Time limit of closing the store.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(20);

/// Messages of the supervisor.
#[derive(RactorMessage)]
pub enum SupervisorMessage {
    /// Hand the engine over and stop all actors in order. Answered when the store is closed.
    Shutdown(RpcReplyPort<()>),
    /// From itself: the store stopped working.
    StoreFailed(String),
}

/// Arguments of the supervisor.
pub struct SupervisorArguments {
    /// This server.
    pub me: ServerName,
    /// Its role.
    pub role: Role,
    /// Configuration of its store.
    pub store: StoreConfig,
    /// The kind of its store.
    pub kind: StoreKind,
    /// The live links.
    pub peers: Peers,
    /// Times and bounds of the policy.
    pub timing: PolicyTiming,
    /// Bounds of the engine.
    pub engine: EngineConfig,
    /// The slots through which frames reach the actors.
    pub slots: SlotOwners,
    /// Receives the state of the engine instance.
    pub engine_view: watch::Sender<EngineView>,
    /// Receives the engine instance's counters.
    pub engine_totals: watch::Sender<Totals>,
    /// Receives the policy's news.
    pub policy_news: watch::Sender<PolicyNews>,
    /// The reason why no other server has proved itself to this one, as text; `None` if one has.
    pub isolation: watch::Receiver<Option<String>>,
    /// Receives the reason why the server cannot go on.
    pub failed: watch::Sender<Option<String>>,
}

/// The slots of a server's actors, filled by the supervisor.
#[derive(Default)]
pub struct SlotOwners {
    /// The shared storage actor.
    pub storage: SlotOwner<SharedStorageMessage>,
    /// Receives the frames of other replicas.
    pub replica: watch::Sender<Option<Replica>>,
    /// The engine instance.
    pub engine: SlotOwner<EngineMessage>,
    /// The directory.
    pub directory: SlotOwner<DirectoryMessage>,
}

/// The supervisor actor.
pub struct Supervisor;

impl Supervisor {
    /// Spawns a server's supervisor, which opens the store and spawns the other actors.
    ///
    /// # Errors
    /// [`SpawnErr`] if an actor cannot start.
    pub fn spawn(arguments: SupervisorArguments) -> BoxFuture<'static, Result<ActorRef<SupervisorMessage>, SpawnErr>> {
        Box::pin(async { Ok(Actor::spawn(None, Self, arguments).await?.0) })
    }
}

/// The supervisor's state.
pub struct SupervisorState {
    me: ServerName,
    role: Role,
    peers: Peers,
    timing: PolicyTiming,
    engine_config: EngineConfig,
    quarantine: Quarantine,
    slots: SlotOwners,
    policy: SlotOwner<PolicyMessage>,
    engine_view: watch::Sender<EngineView>,
    engine_totals: watch::Sender<Totals>,
    policy_news: watch::Sender<PolicyNews>,
    isolation: watch::Receiver<Option<String>>,
    failed: watch::Sender<Option<String>>,
    store: Store,
    children: HashMap<ActorId, Child>,
    restarts: HashMap<Child, Restarts>,
    stopping: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Child {
    Storage,
    Engine,
    Policy,
    Directory,
}

impl Actor for Supervisor {
    type Msg = SupervisorMessage;
    type State = SupervisorState;
    type Arguments = SupervisorArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<SupervisorMessage>,
        arguments: SupervisorArguments,
    ) -> Result<SupervisorState, ActorProcessingErr> {
        let (config, kind) = (arguments.store, arguments.kind);
        let storage = SharedStorageArguments { config, kind, peers: arguments.peers.clone() };
        let (storage, _) = Actor::spawn_linked(None, SharedStorage, storage, myself.get_cell()).await?;
        let store = ractor::call_t!(storage, SharedStorageMessage::Store, 1_000)?;
        let mut state = SupervisorState {
            me: arguments.me,
            role: arguments.role,
            peers: arguments.peers,
            timing: arguments.timing,
            engine_config: arguments.engine,
            quarantine: Quarantine::default(),
            slots: arguments.slots,
            policy: SlotOwner::default(),
            engine_view: arguments.engine_view,
            engine_totals: arguments.engine_totals,
            policy_news: arguments.policy_news,
            isolation: arguments.isolation,
            failed: arguments.failed,
            store,
            children: HashMap::from([(storage.get_id(), Child::Storage)]),
            restarts: HashMap::new(),
            stopping: false,
        };
        state.slots.storage.set(Some(storage));
        state.slots.replica.send_replace(Some(Replica::new(state.store.clone(), state.peers.clone())));
        tokio::spawn(watch_store(myself.clone(), state.store.status()));
        for child in [Child::Engine, Child::Directory, Child::Policy] {
            state.spawn(child, myself.get_cell()).await?;
        }
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<SupervisorMessage>,
        message: SupervisorMessage,
        state: &mut SupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            SupervisorMessage::Shutdown(reply) => {
                state.stopping = true;
                state.shut_down().await;
                let _ = reply.send(());
                myself.stop(None);
            }
            // A server that stays up would keep its vote and count as alive.
            SupervisorMessage::StoreFailed(why) if !state.stopping => state.fail(format!("the store failed: {why}")),
            SupervisorMessage::StoreFailed(_) => {}
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<SupervisorMessage>,
        event: SupervisionEvent,
        state: &mut SupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        let (who, why) = match event {
            SupervisionEvent::ActorTerminated(who, _, why) => (who, why.unwrap_or_else(|| "it stopped".to_owned())),
            SupervisionEvent::ActorFailed(who, why) => (who, why.to_string()),
            SupervisionEvent::ActorStarted(_)
            | SupervisionEvent::ProcessGroupChanged(_)
            | SupervisionEvent::PidLifecycleEvent(_) => return Ok(()),
        };
        if let Some(child) = state.children.remove(&who.get_id())
            && !state.stopping
        {
            state.ended(child, &why, myself.get_cell()).await;
        }
        Ok(())
    }
}

impl SupervisorState {
    async fn spawn(&mut self, child: Child, supervisor: ActorCell) -> Result<(), ActorProcessingErr> {
        let id = match child {
            Child::Storage => return Err("the shared storage actor cannot be restarted".into()),
            Child::Engine => {
                // A new instance is standby.
                self.engine_view.send_replace(EngineView::default());
                let arguments = EngineArguments {
                    store: self.store.clone(),
                    peers: self.peers.clone(),
                    config: self.engine_config.clone(),
                    view: self.engine_view.clone(),
                    totals: self.engine_totals.clone(),
                    quarantine: self.quarantine.clone(),
                };
                let (actor, _) = Actor::spawn_linked(None, Engine::default(), arguments, supervisor).await?;
                let id = actor.get_id();
                self.slots.engine.set(Some(actor));
                id
            }
            Child::Directory => {
                let arguments = DirectoryArguments {
                    me: self.me.clone(),
                    role: self.role,
                    store: self.store.clone(),
                    peers: self.peers.clone(),
                    engine: self.engine_view.subscribe(),
                    policy: self.policy_news.subscribe(),
                    isolation: self.isolation.clone(),
                };
                let (actor, _) = Actor::spawn_linked(None, Directory, arguments, supervisor).await?;
                let id = actor.get_id();
                self.slots.directory.set(Some(actor));
                id
            }
            Child::Policy => {
                let arguments = PolicyArguments {
                    me: self.me.clone(),
                    store: self.store.clone(),
                    peers: self.peers.clone(),
                    engine: self.slots.engine.slot(),
                    engine_view: self.engine_view.subscribe(),
                    news: self.policy_news.clone(),
                    timing: self.timing,
                };
                let (actor, _) = Actor::spawn_linked(None, PolicyActor, arguments, supervisor).await?;
                let id = actor.get_id();
                self.policy.set(Some(actor));
                id
            }
        };
        self.children.insert(id, child);
        Ok(())
    }

    async fn ended(&mut self, child: Child, why: &str, supervisor: ActorCell) {
        match child {
            Child::Storage => {
                self.slots.storage.set(None);
                return self.fail(format!("the shared storage actor ended: {why}"));
            }
            Child::Engine => {
                self.slots.engine.set(None);
                self.engine_view.send_replace(EngineView::default());
            }
            Child::Policy => self.policy.set(None),
            Child::Directory => self.slots.directory.set(None),
        }
        if !self.restarts.entry(child).or_default().allow(BootTime::now()) {
            match child {
                Child::Engine => {
                    error!(%why, "the engine instance ended too often and stays down: the policy moves the engine to another server")
                }
                Child::Policy | Child::Directory => self.fail(format!("the {child:?} actor ended too often: {why}")),
                Child::Storage => {}
            }
            return;
        }
        warn!(?child, %why, "an actor ended: restarting it");
        if let Err(error) = self.spawn(child, supervisor).await {
            self.fail(format!("cannot restart the {child:?} actor: {error}"));
        }
    }

    fn fail(&self, why: String) {
        error!(%why, "this server cannot go on");
        self.failed.send_replace(Some(why));
    }

    async fn shut_down(&mut self) {
        info!("shutting down: handing the engine over first");
        if let Some(policy) = self.policy.slot().get()
            && let Err(error) = ractor::call_t!(policy, PolicyMessage::Leave, ms(LEAVE_TIMEOUT))
        {
            warn!(%error, "the engine was not handed over in time");
        }
        let engine: Slot<EngineMessage> = self.slots.engine.slot();
        if let Some(engine) = engine.get() {
            let drained = ractor::call_t!(
                engine,
                |reply| EngineMessage::Stop { drain: true, why: "this server is shutting down".to_owned(), reply },
                ms(DRAIN_TIMEOUT)
            );
            if let Err(error) = drained {
                warn!(%error, "the engine did not drain in time");
            }
        }
        if let Some(storage) = self.slots.storage.slot().get()
            && let Err(error) = ractor::call_t!(storage, SharedStorageMessage::Close, ms(CLOSE_TIMEOUT))
        {
            warn!(%error, "the store did not close in time");
        }
    }
}

/// Tells the supervisor when the store stops working. Ends with the store.
async fn watch_store(supervisor: ActorRef<SupervisorMessage>, mut status: watch::Receiver<StoreStatus>) {
    let failed = status.wait_for(|status| status.failed.is_some()).await.ok().and_then(|status| status.failed.clone());
    if let Some(why) = failed {
        // Without a supervisor the server is gone.
        let _ = supervisor.cast(SupervisorMessage::StoreFailed(why));
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
