//! The actor that owns the links: takes in what happens, asks the table, and does what it says.

use std::collections::{BTreeMap, HashMap};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use baton_actors::peers::{Peer, PeerInfo, PeerKind, Peers};
use baton_actors::wire::{ENDPOINT_GROUP, Endpoint, EndpointArguments, Token, Wire};
use baton_storage::ReplicaId;
use baton_storage::clock::BootTime;
use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use ractor_cluster::node::{NodeConnectionMode, NodeServerSessionInformation};
use ractor_cluster::{NodeEventSubscription, NodeServer, NodeServerMessage, NodeSessionMessage, RactorMessage};
use socket2::Socket;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::connect::{self, Opened, Refusing, Shared, Tether};
use super::handshake::Failure;
use super::heartbeat::{self, Pulse};
use super::preamble::{self, Hello};
use super::refusal::{Refusal, RefusalReason, Refused};
use super::socket::Stream;
use super::table::{
    Admission, ConnectionId, Direction, Effect, Ended, Event, Identity, Rules, Table, TargetId, name_in_use,
};

/// How long a session may take to end before it is killed.
const CLOSE_DEADLINE: Duration = Duration::from_secs(2);
/// What the labels of connections begin with; the rest is the connection's number.
const LABEL: &str = "baton link ";
/// The most refusals that are kept.
const REFUSALS_MAX: usize = 256;

/// What the actor takes in.
#[derive(RactorMessage)]
pub(super) enum Message {
    Ensure(Vec<(Option<String>, String)>),
    Forget(String),
    SetReplica(Option<ReplicaId>),
    SetGeneration(u32),
    Turn,
    /// May that process link?
    Admit {
        who: Identity,
        direction: Direction,
        reply: oneshot::Sender<Result<(), Refused>>,
    },
    /// A handshake brought a connection.
    Opened(Box<Opened>),
    /// A dial brought none.
    DialEnded {
        target: TargetId,
        refusing: Box<Refusing>,
    },
    /// An accepted connection was turned away, or turned away itself.
    Turned {
        address: String,
        authenticated: bool,
        refusing: Box<Refusing>,
    },
    SessionOpened {
        connection: ConnectionId,
        session: ActorRef<NodeSessionMessage>,
    },
    SessionReady {
        connection: ConnectionId,
        node: u64,
    },
    SessionEnded {
        connection: ConnectionId,
    },
    EndpointFound {
        connection: ConnectionId,
        endpoint: ActorRef<Wire>,
    },
    /// Not ready in time, or silent.
    Lost {
        connection: ConnectionId,
        why: &'static str,
    },
    /// A session does not end.
    Stuck {
        connection: ConnectionId,
    },
    Stop(RpcReplyPort<()>),
}

/// What the handle and the actor share.
pub(super) struct Outlets {
    pub(super) peers: Peers,
    pub(super) endpoint: watch::Sender<Option<ActorRef<Wire>>>,
    pub(super) refusals: watch::Sender<BTreeMap<String, Refusal>>,
    pub(super) failures: watch::Sender<BTreeMap<String, String>>,
}

/// A connection from its handshake to its end.
struct Held {
    them: Hello,
    mine: Hello,
    address: String,
    direction: Direction,
    socket: Socket,
    received: Arc<AtomicU64>,
    /// Until it is handed over.
    stream: Option<Stream>,
    session: Option<ActorRef<NodeSessionMessage>>,
    closing: bool,
    endpoint: Option<ActorRef<Wire>>,
    /// The deadline of the stage that the connection is in; once it is up, its heartbeat.
    watch: Option<Tether>,
}

pub(super) struct LinksActor;

pub(super) struct Arguments {
    pub(super) shared: Arc<Shared>,
    pub(super) outlets: Arc<Outlets>,
    pub(super) listener: Option<TcpListener>,
}

pub(super) struct State {
    shared: Arc<Shared>,
    outlets: Arc<Outlets>,
    me: Arc<str>,
    table: Table,
    held: HashMap<ConnectionId, Held>,
    dials: HashMap<TargetId, Tether>,
    turn: Option<Tether>,
    next_connection: ConnectionId,
    endpoint: ActorRef<Wire>,
    node_server: ActorRef<NodeServerMessage>,
    accepting: Option<JoinHandle<()>>,
    /// The last line about an inbound refusal: the same one again is not news.
    last_turned: String,
    /// Who waits for the end; `stopped` once it was asked for.
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
        Arguments { shared, outlets, listener }: Arguments,
    ) -> Result<State, ActorProcessingErr> {
        let endpoint = start_endpoint(&myself, &shared).await?;
        let node_server = start_node_server(&myself, &shared).await?;
        let config = &shared.config;
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
            next_connection: 1,
            endpoint,
            node_server,
            accepting: None,
            last_turned: String::new(),
            stopping: Vec::new(),
            stopped: false,
            shared,
            outlets,
        };
        state.announce_myself();
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
            Message::Forget(name) => state.forget(&myself, name),
            Message::SetReplica(replica) => {
                state.change(&myself, |mutable| mutable.replica = replica);
            }
            Message::SetGeneration(generation) => {
                state.change(&myself, |mutable| mutable.generation = generation);
            }
            Message::Turn => state.step(&myself, Event::Turn),
            Message::Admit { who, direction, reply } => state.admit(who, direction, reply),
            Message::Opened(opened) => state.opened(&myself, *opened),
            Message::DialEnded { target, refusing } => state.dial_ended(&myself, target, *refusing),
            Message::Turned { address, authenticated, refusing } => state.turned(address, authenticated, *refusing),
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
                    held.endpoint = Some(endpoint);
                    state.step(&myself, Event::Ready { connection, now: BootTime::now() });
                }
            }
            Message::Lost { connection, why } => {
                if let Some(held) = state.held.get(&connection) {
                    tracing::warn!(peer = held.them.name, address = held.address, "closing a link: {why}");
                    state.step(&myself, Event::Lost { connection });
                }
            }
            Message::Stuck { connection } => {
                if let Some(held) = state.held.get(&connection) {
                    tracing::warn!(peer = held.them.name, "a session did not end by itself");
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
        if who == state.endpoint.get_id() {
            // A service's handler panicked. Peers know the endpoint by its number: they need to hear the new one.
            tracing::error!(why, "the endpoint failed and is started again");
            state.endpoint = start_endpoint(&myself, &state.shared).await?;
            state.announce_myself();
            state.step(&myself, Event::Renew { clients_too: true });
        } else if who == state.node_server.get_id() {
            tracing::error!(why, "the node server failed and is started again");
            state.node_server = start_node_server(&myself, &state.shared).await?;
            // Its sessions went with it, and nobody will say so.
            let handed_over = state.held.iter().filter(|(_, held)| held.stream.is_none());
            for connection in handed_over.map(|(connection, _)| *connection).collect::<Vec<_>>() {
                state.ended(&myself, connection);
            }
        }
        Ok(())
    }
}

async fn start_endpoint(myself: &ActorRef<Message>, shared: &Shared) -> Result<ActorRef<Wire>, ActorProcessingErr> {
    let arguments = EndpointArguments { handlers: shared.config.handlers.clone() };
    let (endpoint, _) = Actor::spawn_linked(None, Endpoint, arguments, myself.get_cell()).await?;
    shared.change(|mutable| mutable.endpoint = endpoint.get_id().pid());
    Ok(endpoint)
}

async fn start_node_server(
    myself: &ActorRef<Message>,
    shared: &Shared,
) -> Result<ActorRef<NodeServerMessage>, ActorProcessingErr> {
    // A host name of its own for every start of a process: ractor_cluster takes nodes of one name for one node.
    let node_server = NodeServer::new(
        0,
        preamble::session_cookie(&shared.secrets.cookie),
        shared.config.name.clone(),
        format!("{:016x}", shared.incarnation),
        None,
        Some(NodeConnectionMode::Isolated),
    )
    // Its own listener cannot be switched off: nobody but this machine reaches it, and we end what comes in there.
    .with_listen_addr(std::net::Ipv4Addr::LOCALHOST.into());
    let (node_server, _) = Actor::spawn_linked(None, node_server, (), myself.get_cell()).await?;
    node_server.cast(NodeServerMessage::SubscribeToEvents {
        id: "baton links".to_owned(),
        subscription: Box::new(Sessions { links: myself.clone() }),
    })?;
    Ok(node_server)
}

/// Passes the events of sessions on.
struct Sessions {
    links: ActorRef<Message>,
}

impl Sessions {
    fn connection(session: &NodeServerSessionInformation) -> Option<ConnectionId> {
        session.peer_addr.strip_prefix(LABEL)?.parse().ok()
    }

    fn tell(&self, message: Option<Message>) {
        // The links are gone and take the sessions with them.
        let _ = message.map(|message| self.links.cast(message));
    }
}

impl NodeEventSubscription for Sessions {
    fn node_session_opened(&self, session: NodeServerSessionInformation) {
        match Self::connection(&session) {
            Some(connection) => self.tell(Some(Message::SessionOpened { connection, session: session.actor })),
            // Came in through ractor_cluster's own listener, past our handshake.
            None => session.actor.stop(None),
        }
    }

    fn node_session_disconnected(&self, session: NodeServerSessionInformation) {
        self.tell(Self::connection(&session).map(|connection| Message::SessionEnded { connection }));
    }

    fn node_session_authenticated(&self, _: NodeServerSessionInformation) {}

    fn node_session_ready(&self, session: NodeServerSessionInformation) {
        let node = session.node_id;
        self.tell(Self::connection(&session).map(|connection| Message::SessionReady { connection, node }));
    }
}

/// The endpoint of the process behind a session. By both numbers: any peer may join any group.
fn endpoint_of(node: u64, pid: u64) -> Option<ActorRef<Wire>> {
    let wanted = ActorId::Remote { node_id: node, pid };
    let members = ractor::pg::get_members(&ENDPOINT_GROUP.to_owned());
    members.into_iter().find(|member| member.get_id() == wanted).map(Into::into)
}

impl State {
    fn step(&mut self, myself: &ActorRef<Message>, event: Event) {
        for effect in self.table.step(event) {
            self.perform(myself, effect);
        }
    }

    fn perform(&mut self, myself: &ActorRef<Message>, effect: Effect) {
        match effect {
            Effect::Dial { target, address, wait } => {
                let wait = wait.mul_f64(rand::random_range(0.5..=1.0));
                let dial = connect::dial(self.shared.clone(), myself.clone(), target, address, wait);
                self.dials.insert(target, Tether::spawn(dial));
            }
            Effect::Cancel { target } => drop(self.dials.remove(&target)),
            Effect::Turn { after } => self.turn = Some(after_that(myself, after, Message::Turn)),
            Effect::HandOver { connection } => self.hand_over(myself, connection),
            Effect::Discard { connection } => drop(self.held.remove(&connection)),
            Effect::Close { connection } => self.close(myself, connection),
            Effect::Announce { connection } => self.announce(myself, connection),
            Effect::Withdraw { connection } => {
                if let Some(held) = self.held.get(&connection) {
                    tracing::info!(peer = held.them.name, connection, "link down");
                    self.outlets.peers.remove(&held.them.name, connection);
                }
            }
        }
    }

    fn hand_over(&mut self, myself: &ActorRef<Message>, connection: ConnectionId) {
        let Some(held) = self.held.get_mut(&connection) else { return };
        let Some(stream) = held.stream.take() else { return };
        let stream = stream.into_transport(format!("{LABEL}{connection}"), held.received.clone());
        let is_server = held.direction == Direction::Inbound;
        // If the node server is gone, its supervision event ends the connection.
        let _ = self.node_server.cast(NodeServerMessage::ConnectionOpenedExternal { stream, is_server });
        let late = Message::Lost { connection, why: "its session was not ready in time" };
        held.watch = Some(after_that(myself, self.shared.config.handshake_deadline(), late));
    }

    fn close(&mut self, myself: &ActorRef<Message>, connection: ConnectionId) {
        let Some(held) = self.held.get_mut(&connection) else { return };
        held.closing = true;
        // First the socket: a session that is blocked in a write would never end. It may be closed already.
        let _ = held.socket.shutdown(Shutdown::Both);
        if let Some(session) = &held.session {
            session.stop(None);
        }
        held.watch = Some(after_that(myself, CLOSE_DEADLINE, Message::Stuck { connection }));
    }

    fn announce(&mut self, myself: &ActorRef<Message>, connection: ConnectionId) {
        let Some(held) = self.held.get_mut(&connection) else { return };
        let Some(endpoint) = held.endpoint.clone() else { return };
        let key = self.shared.secrets.server_key.as_ref();
        let info = PeerInfo {
            name: held.them.name.clone(),
            kind: held.them.kind(),
            incarnation: held.them.incarnation,
            replica: held.them.replica,
            token: preamble::token(key, &held.them),
            connection,
        };
        // Not to a client: it could put our token into frames of its own and pass for this server.
        let mine = match held.them.kind() {
            PeerKind::Server => preamble::token(key, &held.mine),
            PeerKind::Client => Token::default(),
        };
        let pulse = Pulse {
            endpoint: endpoint.clone(),
            me: self.me.clone(),
            received: held.received.clone(),
            interval: Duration::from_millis(self.shared.config.heartbeat_ms.max(1)),
            timeout: self.shared.config.heartbeat_timeout(),
        };
        let links = myself.clone();
        held.watch = Some(Tether::spawn(async move {
            pulse.until_gone().await;
            let _ = links.cast(Message::Lost { connection, why: "the peer is silent" });
        }));
        tracing::info!(peer = held.them.name, address = held.address, connection, "link up");
        self.outlets.peers.insert(Peer::new(info, endpoint, self.me.clone(), mine));
        let name = held.them.name.clone();
        self.clear(&name);
    }

    /// Puts a server itself into the table of peers, so that clients in its process reach it like any other.
    fn announce_myself(&self) {
        let mine = self.shared.hello();
        self.outlets.endpoint.send_replace(Some(self.endpoint.clone()));
        if !mine.server {
            return;
        }
        let token = preamble::token(self.shared.secrets.server_key.as_ref(), &mine);
        let info = PeerInfo {
            name: mine.name.clone(),
            kind: PeerKind::Server,
            incarnation: mine.incarnation,
            replica: mine.replica,
            token,
            connection: 0,
        };
        self.outlets.peers.insert(Peer::new(info, self.endpoint.clone(), self.me.clone(), token));
    }

    fn change(&mut self, myself: &ActorRef<Message>, change: impl FnOnce(&mut connect::Mutable)) {
        let before = self.shared.mutable();
        self.shared.change(change);
        if self.shared.mutable() != before {
            self.announce_myself();
            self.step(myself, Event::Renew { clients_too: false });
        }
    }

    fn admit(&mut self, who: Identity, direction: Direction, reply: oneshot::Sender<Result<(), Refused>>) {
        // Who asked may have given up: then nobody wants the answer.
        match self.table.admit(&who, direction) {
            Admission::Admit => drop(reply.send(Ok(()))),
            Admission::Refuse(refused) => drop(reply.send(Err(refused))),
            Admission::UnlessAlive(connection) => {
                let endpoint = self.held.get(&connection).and_then(|held| held.endpoint.clone());
                let (me, timeout) = (self.me.clone(), self.shared.config.heartbeat_timeout());
                tokio::spawn(async move {
                    let alive = match endpoint {
                        Some(endpoint) => heartbeat::answers(endpoint, me, timeout).await,
                        None => false,
                    };
                    drop(reply.send(if alive { Err(name_in_use(&who.name)) } else { Ok(()) }));
                });
            }
        }
    }

    fn opened(&mut self, myself: &ActorRef<Message>, opened: Opened) {
        let Opened { direction, mine, them, stream, socket, address } = opened;
        let now = self.shared.mutable();
        // What we said in this handshake no longer holds: once more, with what holds now.
        let outdated = mine.endpoint != now.endpoint
            || (them.server && (mine.generation, mine.replica) != (now.generation, now.replica));
        if outdated {
            if let Direction::Outbound(target) = direction {
                let found = Some(them.name);
                self.step(myself, Event::DialEnded { target, found, ended: Ended::Failed });
            }
            return;
        }
        let connection = self.next_connection;
        self.next_connection += 1;
        let who = Identity { name: them.name.clone(), kind: them.kind(), incarnation: them.incarnation };
        let held = Held {
            them,
            mine,
            address,
            direction,
            socket,
            received: Arc::default(),
            stream: Some(stream),
            session: None,
            closing: false,
            endpoint: None,
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

    fn forget(&mut self, myself: &ActorRef<Message>, name: String) {
        self.clear(&name);
        self.step(myself, Event::Forget(name));
    }

    /// Forgets what went wrong with that process.
    fn clear(&self, name: &str) {
        let addresses: Vec<_> = self.table.addresses(name).map(str::to_owned).collect();
        let gone = |key: &String| key == name || addresses.contains(key);
        self.outlets.failures.send_if_modified(|failures| retain(failures, |key| !gone(key)));
        self.outlets.refusals.send_if_modified(|refusals| retain(refusals, |key| !gone(key)));
    }

    fn dial_ended(&mut self, myself: &ActorRef<Message>, target: TargetId, refusing: Refusing) {
        self.dials.remove(&target);
        let Refusing { them, failure } = refusing;
        let found = them.map(|them| them.name);
        let Some((name, address)) = self.table.target(target) else { return };
        let (name, address) = (name.map(str::to_owned).or_else(|| found.clone()), address.to_owned());
        let ended = match failure {
            Failure::Broken(error) => {
                tracing::debug!(address, %error, "a dial failed");
                self.outlets.failures.send_if_modified(|failures| {
                    let text = error.to_string();
                    failures.insert(address, text.clone()).as_ref() != Some(&text)
                });
                Ended::Failed
            }
            Failure::Refused(Refused { reason, text }) => {
                if reason.needs_attention() {
                    self.record(address.clone(), Refusal { name, address, reason, text });
                } else {
                    tracing::debug!(address, text, "a dial was not needed");
                }
                Ended::Refused(reason)
            }
        };
        self.step(myself, Event::DialEnded { target, found, ended });
    }

    /// Keeps a refusal for who asks, and logs it if it is news.
    fn record(&self, key: String, refusal: Refusal) {
        self.outlets.refusals.send_if_modified(|refusals| {
            if refusals.get(&key) == Some(&refusal) || (refusals.len() >= REFUSALS_MAX && !refusals.contains_key(&key))
            {
                return false;
            }
            tracing::warn!("{refusal}");
            refusals.insert(key, refusal);
            true
        });
    }

    fn turned(&mut self, address: String, authenticated: bool, refusing: Refusing) {
        let Refusing { them, failure } = refusing;
        let name = them.map(|them| them.name);
        match failure {
            Failure::Broken(error) => tracing::debug!(address, %error, "an accepted connection came to nothing"),
            Failure::Refused(Refused { reason, text }) if reason.needs_attention() => {
                let who = name.clone().unwrap_or_else(|| "a process".to_owned());
                let line = format!("{who} was not let in: {text}");
                if line != self.last_turned {
                    tracing::warn!(address, "{line}");
                    self.last_turned = line;
                }
                // It may be this process that has to do something about it.
                if reason == RefusalReason::OlderGeneration
                    && let Some(key) = name.clone()
                {
                    self.record(key, Refusal { name, address, reason, text });
                }
            }
            Failure::Refused(Refused { text, .. }) => {
                tracing::debug!(address, authenticated, text, "an accepted connection was not needed");
            }
        }
    }

    async fn finish(&mut self) {
        self.turn = None;
        self.dials.clear();
        if let Some(accepting) = self.accepting.take() {
            // Only once the task is gone is the port free. It was aborted: it ends with an error.
            let _ = accepting.await;
        }
        self.outlets.peers.remove(&self.shared.config.name, 0);
        for result in [
            self.node_server.stop_and_wait(None, Some(CLOSE_DEADLINE)).await,
            self.endpoint.stop_and_wait(None, Some(CLOSE_DEADLINE)).await,
        ] {
            if let Err(error) = result {
                tracing::warn!(%error, "a part of the links did not stop in time");
            }
        }
        for reply in self.stopping.drain(..) {
            // Who asked may have given up.
            let _ = reply.send(());
        }
    }
}

fn retain<V>(map: &mut BTreeMap<String, V>, keep: impl Fn(&String) -> bool) -> bool {
    let before = map.len();
    map.retain(|key, _| keep(key));
    map.len() != before
}

fn after_that(myself: &ActorRef<Message>, wait: Duration, message: Message) -> Tether {
    let links = myself.clone();
    Tether::spawn(async move {
        tokio::time::sleep(wait).await;
        let _ = links.cast(message);
    })
}
