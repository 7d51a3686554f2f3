//! The actor that owns the links: takes in events, asks the table, and performs its effects.

mod effects;
mod failures;
#[cfg_attr(not(feature = "sessions"), path = "actor/sessions_absent.rs")]
mod sessions;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use baton_client::peers::{PeerInfo, PeerKind, Peers};
use baton_client::wire::{ENDPOINT_GROUP, Wire};
use baton_domain::clock::BootTime;
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::abort_on_drop::AbortOnDrop;
use super::connect;
use super::heartbeat::{self, PingPath};
use super::message::{Message, Opened};
use super::preamble::Hello;
use super::refusal::{Refusal, RefusalNotice};
use super::shared::{HelloState, Shared};
use super::socket::Stream;
use super::table::{
    Admission, ConnectionId, DialFailure, Direction, Event, Identity, Rules, Table, TargetId, name_in_use,
};
use super::traffic::Traffic;
use super::transport::LinkTransport;
use sessions::Cluster;

/// Deadline for the end of a session; after it the session is killed.
const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

/// State that the handle and the actor share.
pub(super) struct Published {
    pub(super) peers: Peers,
    pub(super) refusals: watch::Sender<BTreeMap<String, Refusal>>,
    pub(super) failures: watch::Sender<BTreeMap<String, String>>,
    /// Set once a server proved that this process's store is from before the cluster was recovered by force.
    pub(super) outdated: watch::Sender<Option<String>>,
}

/// A connection from its handshake to its end.
struct HeldConnection {
    them: Hello,
    mine: Hello,
    address: String,
    direction: Direction,
    traffic: Arc<Traffic>,
    /// Until it is handed over.
    stream: Option<Stream>,
    session: Option<ActorCell>,
    /// Set once the connection is handed over: its transport, and the task that reads frames. The connection ends with
    /// the task, which holds its only descriptor.
    transport: Option<(LinkTransport, AbortOnDrop)>,
    closing: bool,
    /// Path of pings to the peer, once the link is ready.
    ping_path: Option<PingPath>,
    /// The deadline of the stage that the connection is in; once it is up, its heartbeat.
    watch: Option<AbortOnDrop>,
}

/// Which part of ractor_cluster's was started again.
#[cfg_attr(not(feature = "sessions"), allow(dead_code, reason = "a client has none"))]
enum RestartedPart {
    Endpoint,
    /// With all its sessions.
    Sessions,
    Nothing,
}

pub(super) struct LinksActor;

pub(super) struct Arguments {
    pub(super) shared: Arc<Shared>,
    pub(super) published: Arc<Published>,
    pub(super) listener: Option<TcpListener>,
}

pub(super) struct State {
    shared: Arc<Shared>,
    published: Arc<Published>,
    me: Arc<str>,
    table: Table,
    held: HashMap<ConnectionId, HeldConnection>,
    dials: HashMap<TargetId, AbortOnDrop>,
    turn: Option<AbortOnDrop>,
    /// The servers that were linked last, by name, and the watches that this process keeps over them.
    known: HashMap<String, Arc<PeerInfo>>,
    watches: HashMap<String, AbortOnDrop>,
    next_connection: ConnectionId,
    /// Endpoint and node server of ractor_cluster's sessions; a client has none.
    cluster: Option<Cluster>,
    accepting: Option<JoinHandle<()>>,
    /// Log rate of accepted connections that were refused.
    log_throttle: failures::LogThrottle,
    /// Of which servers, by name or address, it was logged that they do not hold the same secrets.
    logged_secrets: BTreeSet<String>,
    /// Callers that wait for the end; `stopped` once it was asked for.
    stopping: Vec<RpcReplyPort<()>>,
    stopped: bool,
}

impl Actor for LinksActor {
    type Msg = Message;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(
        &self,
        myself: ActorRef<Message>,
        Arguments { shared, published, listener }: Arguments,
    ) -> Result<State, ActorProcessingErr> {
        let config = &shared.config;
        let cluster = match config.kind {
            PeerKind::Server => Some(Cluster::start(&myself, &shared).await?),
            PeerKind::Client => None,
        };
        let me = Identity { name: config.name.clone(), kind: config.kind, incarnation: shared.incarnation };
        let rules = Rules {
            me,
            max_clients: config.max_connections,
            redial_min: Duration::from_millis(config.redial_min_ms),
            redial_max: Duration::from_millis(config.redial_max_ms.max(config.redial_min_ms)),
        };
        let state = State {
            me: config.name.as_str().into(),
            table: Table::new(rules),
            held: HashMap::new(),
            dials: HashMap::new(),
            turn: None,
            known: HashMap::new(),
            watches: HashMap::new(),
            next_connection: 1,
            cluster,
            accepting: None,
            log_throttle: failures::LogThrottle::default(),
            logged_secrets: BTreeSet::new(),
            stopping: Vec::new(),
            stopped: false,
            shared,
            published,
        };
        let mut state = state;
        state.announce_myself();
        // Before anybody is let in: a client must not take the name of a server meanwhile.
        let targets = state.shared.config.targets.clone();
        state.step(&myself, Event::Ensure(targets));
        let accepting = listener.map(|listener| tokio::spawn(connect::accept(listener, state.shared.clone(), myself)));
        Ok(State { accepting, ..state })
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Ensure(targets) => state.step(&myself, Event::Ensure(targets)),
            Message::Forget(name) => {
                state.clear(&name);
                state.known.remove(&name);
                state.watches.remove(&name);
                state.step(&myself, Event::Forget(name));
            }
            Message::SetReplica(replica) => {
                state.change(&myself, |hello| hello.replica = replica);
            }
            Message::SetGeneration(generation) => {
                state.change(&myself, |hello| hello.generation = generation);
            }
            Message::Turn => state.step(&myself, Event::Turn),
            Message::Admit { who, direction, reply } => state.admit(who, direction, reply),
            Message::Opened(opened) => state.opened(&myself, *opened),
            Message::DialFailed { target, failed } => state.dial_failed(&myself, target, *failed),
            Message::AcceptFailed { address, failed } => state.accept_failed(address, *failed),
            Message::SessionOpened { connection, session } => match state.held.get_mut(&connection) {
                Some(held) if !held.closing => held.session = Some(session),
                Some(held) => {
                    session.stop(None);
                    held.session = Some(session);
                }
                None => session.stop(None),
            },
            Message::SessionReady { connection, node } => state.find_endpoint(&myself, connection, node),
            Message::SessionEnded { connection } => state.ended(&myself, connection),
            Message::EndpointFound { connection, endpoint } => {
                if let Some(held) = state.held.get_mut(&connection) {
                    held.ping_path = Some(PingPath::Endpoint(endpoint));
                    state.step(&myself, Event::Ready { connection, now: BootTime::now() });
                }
            }
            Message::TransportReady { connection } => {
                state.step(&myself, Event::Ready { connection, now: BootTime::now() })
            }
            Message::Lost { connection, why } => {
                if let Some(held) = state.held.get(&connection) {
                    tracing::warn!(peer = held.them.name, address = held.address, "closing a link: {why}");
                    state.step(&myself, Event::Lost { connection });
                }
            }
            Message::WatchClosed { name, incarnation } => state.watch_closed(&name, incarnation),
            Message::Stuck { connection } => {
                if let Some(held) = state.held.get(&connection) {
                    tracing::warn!(peer = held.them.name, "a session did not end in time");
                    if let Some(session) = &held.session {
                        session.kill();
                    }
                    state.ended(&myself, connection);
                }
            }
            Message::Stop(reply) => {
                state.stopping.push(reply);
                state.stopped = true;
                // Frees the port, and ends the handshakes.
                if let Some(accepting) = &state.accepting {
                    accepting.abort();
                }
                state.step(&myself, Event::Stop);
            }
        }
        if !state.stopping.is_empty() && state.table.is_empty() {
            state.finish().await;
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Message>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let (who, why) = match event {
            SupervisionEvent::ActorFailed(who, why) => (who.get_id(), why.to_string()),
            SupervisionEvent::ActorTerminated(who, _, why) => (who.get_id(), why.unwrap_or_default()),
            SupervisionEvent::ActorStarted(_)
            | SupervisionEvent::ProcessGroupChanged(_)
            | SupervisionEvent::PidLifecycleEvent(_) => return Ok(()),
        };
        if state.stopped {
            return Ok(());
        }
        let shared = state.shared.clone();
        let Some(cluster) = &mut state.cluster else { return Ok(()) };
        match cluster.restart(who, &why, &myself, &shared).await? {
            // Peers know the endpoint by its number: they need to hear the new one.
            RestartedPart::Endpoint => state.step(&myself, Event::Renew),
            // Its sessions ended with it, without an event.
            RestartedPart::Sessions => {
                let with_session = state.held.iter().filter(|(_, held)| held.stream.is_none() && held.them.server);
                for connection in with_session.map(|(connection, _)| *connection).collect::<Vec<_>>() {
                    state.ended(&myself, connection);
                }
            }
            RestartedPart::Nothing => {}
        }
        Ok(())
    }
}

impl State {
    fn step(&mut self, myself: &ActorRef<Message>, event: Event) {
        for effect in self.table.step(event) {
            self.perform(myself, effect);
        }
    }

    fn change(&mut self, myself: &ActorRef<Message>, change: impl FnOnce(&mut HelloState)) {
        let before = self.shared.hello_state();
        self.shared.change(change);
        if self.shared.hello_state() != before {
            self.announce_myself();
            self.step(myself, Event::Renew);
        }
    }

    fn admit(&mut self, who: Identity, direction: Direction, reply: oneshot::Sender<Result<(), RefusalNotice>>) {
        // If the caller gave up, nobody needs the answer.
        match self.table.admit(&who, direction) {
            Admission::Admit => drop(reply.send(Ok(()))),
            Admission::Refuse(refused) => drop(reply.send(Err(refused))),
            Admission::UnlessAlive(connection) => {
                let path = self.held.get(&connection).and_then(|held| held.ping_path.clone());
                let (me, timeout) = (self.me.clone(), self.shared.config.heartbeat_timeout());
                tokio::spawn(async move {
                    let alive = match path {
                        Some(path) => heartbeat::answers(path, me, timeout).await,
                        None => false,
                    };
                    drop(reply.send(if alive { Err(name_in_use(&who.name)) } else { Ok(()) }));
                });
            }
        }
    }

    fn opened(&mut self, myself: &ActorRef<Message>, opened: Opened) {
        let Opened { direction, mine, them, stream, address } = opened;
        let now = self.shared.hello_state();
        // Our hello in this handshake is outdated: dial again, with the current one.
        let outdated = mine.endpoint != now.endpoint
            || (them.server && (mine.generation, mine.replica) != (now.generation, now.replica));
        if outdated {
            if let Direction::Outbound(target) = direction {
                let found = Some(them.name);
                self.step(myself, Event::DialFailed { target, found, failure: DialFailure::Broken });
            }
            return;
        }
        let connection = self.next_connection;
        self.next_connection += 1;
        let who = Identity { name: them.name.clone(), kind: them.kind(), incarnation: them.incarnation };
        let held = HeldConnection {
            them,
            mine,
            address,
            direction,
            traffic: Arc::default(),
            stream: Some(stream),
            session: None,
            transport: None,
            closing: false,
            ping_path: None,
            watch: None,
        };
        self.held.insert(connection, held);
        self.step(myself, Event::Opened { connection, who, direction });
    }

    fn find_endpoint(&mut self, myself: &ActorRef<Message>, connection: ConnectionId, node: u64) {
        let Some(held) = self.held.get(&connection) else { return };
        let pid = held.them.endpoint;
        let links = myself.clone();
        let deadline = self.shared.config.handshake_deadline();
        // Membership arrives with the session or a moment after it; the connection's deadline ends the wait for good.
        let search = async move {
            let mut pause = Duration::from_micros(250);
            loop {
                if let Some(endpoint) = endpoint_of(node, pid) {
                    let _ = links.cast(Message::EndpointFound { connection, endpoint });
                    return;
                }
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
        };
        tokio::spawn(tokio::time::timeout(deadline, search));
    }

    fn ended(&mut self, myself: &ActorRef<Message>, connection: ConnectionId) {
        self.step(myself, Event::Ended { connection, now: BootTime::now() });
        self.held.remove(&connection);
    }

    async fn finish(&mut self) {
        self.turn = None;
        self.dials.clear();
        self.watches.clear();
        if let Some(accepting) = self.accepting.take() {
            // Only once the task is gone is the port free. It was aborted: it ends with an error.
            let _ = accepting.await;
        }
        self.published.peers.remove(&self.shared.config.name, 0);
        if let Some(cluster) = &self.cluster {
            cluster.stop().await;
        }
        for reply in self.stopping.drain(..) {
            // The caller may have given up.
            let _ = reply.send(());
        }
    }
}

/// The endpoint of the process behind a session. By both numbers: any peer may join any group.
fn endpoint_of(node: u64, pid: u64) -> Option<ActorRef<Wire>> {
    let wanted = ActorId::Remote { node_id: node, pid };
    let members = ractor::pg::get_members(&ENDPOINT_GROUP.to_owned());
    members.into_iter().find(|member| member.get_id() == wanted).map(Into::into)
}
