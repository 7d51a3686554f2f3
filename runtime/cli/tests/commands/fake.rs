//! A server without a store: enough of an engine and a directory to run the commands against. It keeps the rules that
//! the commands build on: an engine delivers while fewer than `credit` messages of a consumer are unsettled.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use baton_client::peers::{PeerKind, Peers};
use baton_client::protocol::{
    ClientRequest, Delivery, DirectoryReply, DirectoryRequest, EngineError, EngineReply, EngineRequest, EngineStatus,
    Kind, Limits, PlacementNews, QueueStatus, QuorumStatus, ServerStatus, Status, decode, encode,
};
use baton_client::wire::{Handler, Inbound, Service};
use baton_domain::{
    ClusterId, ConsumerId, Epoch, Message, MessageId, Policy, ProducerId, QueueName, ReplicaId, Role, ServerName,
    Settings,
};
use baton_links::{LinkError, Links, LinksConfig};
use tokio::sync::mpsc;

const EPOCH: Epoch = Epoch { generation: 0, index: 7 };
const LIMITS: Limits = Limits {
    message_bytes: 1024 * 1024,
    consumer_credit: 10_000,
    frame_min_bytes: 64 * 1024,
    frame_max_bytes: 256 * 1024,
};

/// A consumer as the engine knows it.
struct Consumer {
    id: ConsumerId,
    process: String,
    credit: u32,
    unsettled: BTreeMap<MessageId, Message>,
}

/// A queue.
#[derive(Default)]
struct Queue {
    ready: VecDeque<(MessageId, Message)>,
    consumers: Vec<Consumer>,
}

/// A process has links once: where the tests are threads of one process, the next one waits for the end of the one before.
async fn start(config: LinksConfig) -> Links {
    loop {
        match Links::start(config.clone()).await {
            Err(LinkError::AlreadyRunning) => tokio::time::sleep(Duration::from_millis(20)).await,
            started => return started.unwrap(),
        }
    }
}

/// State and behavior of the fake.
#[derive(Default)]
pub(crate) struct State {
    queues: BTreeMap<QueueName, Queue>,
    producers: HashMap<ProducerId, (QueueName, u64)>,
    next_id: u64,
    /// The policy.
    pub(crate) policy: Policy,
    /// The answer to `HashAt`; `None` is not applied.
    pub(crate) hash: Option<u128>,
    /// A second server in the status, which nobody can reach.
    pub(crate) with_a_dead_server: bool,
    /// True if the engine is stopped.
    pub(crate) stopped: bool,
    /// Sends are swallowed without an answer.
    pub(crate) deaf: bool,
    /// Deliveries so far.
    pub(crate) delivered: u64,
    /// Members that were added, and never started.
    members: Vec<(ServerName, Role, String)>,
    /// Requests to the directory.
    pub(crate) asked: Vec<DirectoryRequest>,
}

pub(crate) struct Fake {
    state: Arc<Mutex<State>>,
    links: Links,
    dir: tempfile::TempDir,
}

type Outgoing = mpsc::UnboundedSender<(String, ClientRequest)>;

impl Fake {
    /// Starts the server and writes the cluster file for it.
    pub(crate) async fn start() -> Self {
        use std::os::unix::fs::PermissionsExt;
        let (cluster, cookie) = (ClusterId([5; 16]), [9; 32]);
        let state = Arc::new(Mutex::new(State { hash: Some(1), ..State::default() }));
        let peers: Arc<OnceLock<Peers>> = Arc::default();
        let (outgoing, mut deliveries) = mpsc::unbounded_channel::<(String, ClientRequest)>();

        let mut config = LinksConfig::new("server1", PeerKind::Server, cluster, cookie);
        config.listen = Some("127.0.0.1:0".to_owned());
        config.server_key = Some([8; 32]);
        config.replica = Some(ReplicaId(1));
        let engine = Arc::clone(&state);
        config
            .handlers
            .insert(Service::Engine, Handler::cast(move |inbound| serve_engine(&engine, &outgoing, inbound)));
        let (directory, address) = (Arc::clone(&state), Arc::new(OnceLock::<String>::new()));
        let at = Arc::clone(&address);
        config.handlers.insert(
            Service::Directory,
            Handler::cast(move |inbound| {
                let at = at.get().cloned().unwrap_or_default();
                serve_directory(&mut directory.lock().unwrap(), &at, inbound);
            }),
        );
        let links = start(config).await;
        address.set(links.local_address().unwrap().to_string()).unwrap();
        assert!(peers.set(links.peers()).is_ok());
        tokio::spawn(async move {
            while let Some((process, request)) = deliveries.recv().await {
                if let Some(peer) = peers.get().unwrap().get(&process) {
                    let _ = peer.call(Service::Client, encode(&request), Duration::from_secs(5)).await;
                }
            }
        });

        let dir = tempfile::tempdir().unwrap();
        let address = links.local_address().unwrap().to_string();
        let member = baton::config::MemberConfig::new(ServerName::new("server1").unwrap(), Role::Server, address);
        std::fs::write(dir.path().join("cluster.toml"), baton::config::cluster_file_text(cluster, &[member], None))
            .unwrap();
        let secret = baton::config::Secret::new(cookie);
        let cookie = baton::config::Cookie { cluster: Some(cluster), secret };
        std::fs::write(dir.path().join("cookie"), cookie.to_text()).unwrap();
        std::fs::set_permissions(dir.path().join("cookie"), std::fs::Permissions::from_mode(0o600)).unwrap();
        Self { state, links, dir }
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn address(&self) -> String {
        self.links.local_address().unwrap().to_string()
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Ends the server.
    pub(crate) async fn stop(&self) {
        self.links.stop().await;
    }
}

impl State {
    pub(crate) fn create(&mut self, queue: &str) {
        self.queues.insert(QueueName::new(queue).unwrap(), Queue::default());
    }

    pub(crate) fn put(&mut self, queue: &str, bodies: impl IntoIterator<Item = String>) {
        for body in bodies {
            self.store(&QueueName::new(queue).unwrap(), Message::new(body));
        }
    }

    pub(crate) fn queue_names(&self) -> Vec<String> {
        self.queues.keys().map(ToString::to_string).collect()
    }

    /// Messages stored: ready and in flight.
    pub(crate) fn depth(&self, queue: &str) -> u64 {
        self.status(&QueueName::new(queue).unwrap()).depth
    }

    fn store(&mut self, queue: &QueueName, message: Message) {
        self.next_id += 1;
        let id = MessageId { generation: 0, index: self.next_id, position: 0 };
        self.queues.get_mut(queue).unwrap().ready.push_back((id, message));
    }

    fn status(&self, name: &QueueName) -> QueueStatus {
        let queue = &self.queues[name];
        let in_flight = queue.consumers.iter().map(|consumer| consumer.unsettled.len() as u64).sum();
        let depth = queue.ready.len() as u64 + in_flight;
        let (consumers, settings, kind) = (queue.consumers.len() as u64, Settings::default(), Kind::Queue);
        QueueStatus {
            name: name.clone(),
            depth,
            nonpersistent: 0,
            dropped: 0,
            in_flight,
            delayed: 0,
            kept: 0,
            version: 0,
            consumers,
            slow_consumers: 0,
            kind,
            settings,
            temporary: false,
        }
    }

    fn engine(&mut self, from: &str, request: EngineRequest) -> EngineReply {
        match request {
            EngineRequest::CreateQueue { name } => {
                let created = !self.queues.contains_key(&name);
                self.queues.entry(name).or_default();
                EngineReply::Created { created }
            }
            EngineRequest::Create { name, kind: Kind::Queue, .. } => {
                let created = !self.queues.contains_key(&name);
                self.queues.entry(name).or_default();
                EngineReply::Created { created }
            }
            EngineRequest::DeleteQueue { name } => match self.queues.remove(&name) {
                Some(_) => EngineReply::Done,
                None => EngineReply::Error(EngineError::NoSuchQueue(name)),
            },
            EngineRequest::Delete { name, if_empty, if_unused } => {
                let Some(queue) = self.queues.get(&name) else {
                    return EngineReply::Error(EngineError::NoSuchQueue(name));
                };
                let (messages, consumers) = (self.status(&name).depth, queue.consumers.len() as u64);
                if if_empty && messages > 0 {
                    return EngineReply::Error(EngineError::QueueNotEmpty { queue: name, messages });
                }
                if if_unused && consumers > 0 {
                    return EngineReply::Error(EngineError::QueueInUse { queue: name, consumers });
                }
                self.queues.remove(&name);
                EngineReply::Deleted { messages, consumers }
            }
            EngineRequest::ListQueues => {
                EngineReply::Queues(self.queues.keys().map(|name| self.status(name)).collect())
            }
            EngineRequest::OpenProducer { queue, .. } | EngineRequest::Attach { queue, .. }
                if !self.queues.contains_key(&queue) =>
            {
                EngineReply::Error(EngineError::NoSuchQueue(queue))
            }
            EngineRequest::OpenProducer { producer, queue, .. } => {
                let next = self.producers.entry(producer).or_insert((queue, 0)).1 + 1;
                EngineReply::Producer {
                    epoch: EPOCH,
                    next,
                    limits: LIMITS,
                    reliability: Default::default(),
                    publishes: false,
                    registration: 0,
                    digest: 0,
                    claimed: false,
                }
            }
            EngineRequest::Send { producer, first, messages, .. } => {
                let (queue, last) = self.producers[&producer].clone();
                if first > last + 1 {
                    // Frames that waited for credit may overtake each other.
                    return EngineReply::Error(EngineError::Gap { expected: last + 1 });
                }
                let skip = usize::try_from((last + 1).saturating_sub(first)).unwrap();
                let through = first + messages.len() as u64 - 1;
                for message in messages.read().into_iter().skip(skip) {
                    self.store(&queue, message);
                }
                self.producers.insert(producer, (queue, through.max(last)));
                EngineReply::Sent { through }
            }
            EngineRequest::CloseProducer { producer } => {
                self.producers.remove(&producer);
                EngineReply::Done
            }
            EngineRequest::Attach { consumer, queue, credit, unsettled: held, .. } => {
                // Attached again after its link broke: what was on its way and is not there is delivered again.
                self.detach(consumer);
                let Queue { ready, consumers } = self.queues.get_mut(&queue).unwrap();
                let (held, others): (Vec<_>, Vec<_>) =
                    std::mem::take(ready).into_iter().partition(|(id, _)| held.contains(id));
                let unsettled = held.into_iter().collect();
                ready.extend(others);
                consumers.push(Consumer { id: consumer, process: from.to_owned(), credit, unsettled });
                EngineReply::Attached { epoch: EPOCH, limits: LIMITS }
            }
            EngineRequest::Credit { consumer, credit, .. } => self.with(consumer, |found| found.credit = credit),
            EngineRequest::Settle { consumer, acknowledged, refused, .. } => {
                assert!(refused.is_empty(), "no command refuses a message");
                self.with(consumer, |found| {
                    acknowledged.iter().for_each(|id| {
                        found.unsettled.remove(id);
                    });
                })
            }
            EngineRequest::Detach { consumer, .. } => {
                self.detach(consumer);
                EngineReply::Done
            }
            EngineRequest::Several(requests) => {
                EngineReply::Several(requests.into_iter().map(|request| self.engine(from, request)).collect())
            }
            EngineRequest::Once { request, .. } => self.engine(from, *request),
            EngineRequest::Create { .. }
            | EngineRequest::Post { .. }
            | EngineRequest::Prepare { .. }
            | EngineRequest::Resolve { .. }
            | EngineRequest::ListInDoubt
            | EngineRequest::Configure { .. }
            | EngineRequest::OpenSession { .. }
            | EngineRequest::Transact { .. }
            | EngineRequest::Browse { .. }
            | EngineRequest::Replay { .. }
            | EngineRequest::ListConsumers { .. }
            | EngineRequest::Purge { .. } => panic!("no test of commands asks for this"),
        }
    }

    /// Takes a consumer away; what it has not settled is ready again.
    fn detach(&mut self, consumer: ConsumerId) {
        for queue in self.queues.values_mut() {
            if let Some(at) = queue.consumers.iter().position(|found| found.id == consumer) {
                let back = queue.consumers.remove(at).unsettled;
                back.into_iter().rev().for_each(|message| queue.ready.push_front(message));
            }
        }
    }

    fn with(&mut self, id: ConsumerId, change: impl FnOnce(&mut Consumer)) -> EngineReply {
        let found = self.queues.values_mut().flat_map(|queue| &mut queue.consumers).find(|consumer| consumer.id == id);
        match found {
            Some(consumer) => {
                change(consumer);
                EngineReply::Done
            }
            None => EngineReply::Error(EngineError::ConsumerUnknown),
        }
    }

    /// Delivers all that credit allows.
    fn deliver(&mut self, outgoing: &Outgoing) {
        for queue in self.queues.values_mut() {
            for consumer in &mut queue.consumers {
                let room = (consumer.credit as usize).saturating_sub(consumer.unsettled.len());
                let taken: Vec<_> = queue.ready.drain(..room.min(queue.ready.len())).collect();
                if taken.is_empty() {
                    continue;
                }
                self.delivered += taken.len() as u64;
                consumer.unsettled.extend(taken.iter().cloned());
                let delivery = |(id, message)| Delivery { id, redeliveries: 0, redelivered: false, message };
                let deliveries = taken.into_iter().map(delivery).collect();
                let request = ClientRequest::Deliver { consumer: consumer.id, epoch: EPOCH, deliveries };
                let _ = outgoing.send((consumer.process.clone(), request));
            }
        }
    }

    fn cluster_status(&self) -> Status {
        let member = |name: ServerName, role: Role, up: bool| ServerStatus {
            name,
            role,
            up,
            engine: if up { "started" } else { "unknown" }.to_owned(),
            leader: up,
            lag: up.then_some(0),
            preference: Some(1),
            trouble: None,
            fail_back: None,
        };
        let server = |name: &str, up: bool| member(ServerName::new(name).unwrap(), Role::Server, up);
        let mut servers = vec![server("server1", true)];
        if self.with_a_dead_server {
            servers.push(server("server2", false));
        }
        servers.extend(self.members.iter().map(|(name, role, _)| member(name.clone(), *role, false)));
        Status {
            engine: EngineStatus {
                state: if self.stopped { "stopped" } else { "started" }.to_owned(),
                server: Some(ServerName::new("server1").unwrap()),
                epoch: Some(EPOCH.to_string()),
                since: Some(1),
                reason: "a reason".to_owned(),
            },
            policy: self.policy.clone(),
            servers,
            quorum: QuorumStatus { needed: 1, up: 1 },
            database: None,
        }
    }
}

fn serve_engine(state: &Mutex<State>, outgoing: &Outgoing, inbound: Inbound) {
    let mut state = state.lock().unwrap();
    let request = decode(&inbound.payload).unwrap();
    if state.deaf && matches!(request, EngineRequest::Send { .. }) {
        return;
    }
    let reply = state.engine(&inbound.from, request);
    inbound.reply.send(encode(&reply));
    state.deliver(outgoing);
}

fn serve_directory(state: &mut State, address: &str, inbound: Inbound) {
    let request = match decode(&inbound.payload).unwrap() {
        DirectoryRequest::Once { request, .. } => *request,
        request => request,
    };
    let server = ServerName::new("server1").unwrap();
    let reply = match request.clone() {
        DirectoryRequest::Where => DirectoryReply::News(PlacementNews {
            epoch: EPOCH,
            host: Some(server.clone()),
            address: Some(address.to_owned()),
            servers: std::iter::once((server, address.to_owned()))
                .chain(state.members.iter().map(|(name, _, address)| (name.clone(), address.clone())))
                .collect(),
        }),
        DirectoryRequest::AddMember { name, .. } if state.members.iter().any(|(member, ..)| *member == name) => {
            DirectoryReply::Refused(format!("{name} is already a member"))
        }
        DirectoryRequest::AddMember { name, role, address } => {
            state.members.push((name, role, address));
            DirectoryReply::Done
        }
        DirectoryRequest::Status => DirectoryReply::Status(state.cluster_status()),
        DirectoryRequest::SetPolicy(policy) => {
            state.policy = policy;
            DirectoryReply::Done
        }
        DirectoryRequest::ChangePolicy(change) => {
            let policy = change.apply(&state.policy);
            let hosts: Vec<_> = state.cluster_status().servers.into_iter().map(|server| server.name).collect();
            match policy.check(&hosts) {
                Ok(()) => {
                    state.policy = policy.clone();
                    DirectoryReply::Policy(policy)
                }
                Err(error) => DirectoryReply::Refused(error.to_string()),
            }
        }
        DirectoryRequest::Move { server } if server.as_str() == "server9" => {
            DirectoryReply::Refused("there is no server9".to_owned())
        }
        DirectoryRequest::Mark => DirectoryReply::Marked { index: 17 },
        DirectoryRequest::HashAt { index } => DirectoryReply::Hash(state.hash.filter(|_| index == 17)),
        DirectoryRequest::Move { .. }
        | DirectoryRequest::RemoveMember { .. }
        | DirectoryRequest::Report
        | DirectoryRequest::Release { .. }
        | DirectoryRequest::ReplicaOf { .. }
        | DirectoryRequest::StandingOf { .. }
        | DirectoryRequest::SetAddress { .. }
        | DirectoryRequest::Once { .. }
        | DirectoryRequest::Join { .. } => DirectoryReply::Done,
    };
    state.asked.push(request);
    inbound.reply.send(encode(&reply));
}
