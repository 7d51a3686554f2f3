//! One process of a test: it has links, reports their events in lines of JSON, and performs commands.

use std::collections::HashMap;
use std::io::{BufRead, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use baton_client::peers::{PeerEvent, PeerKind, Peers};
use baton_client::wire::{Handler, Inbound, Service, Token};
use baton_domain::{ClusterId, ReplicaId};
use baton_links::{Links, LinksConfig, TlsConfig};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

/// Prefix of the lines of a node; the test runner writes to the same stream.
pub(crate) const MARK: &str = "@@ ";
/// The environment variable with a node's settings.
pub(crate) const SETTINGS: &str = "BATON_LINKS_TEST_NODE";

/// A node's configuration, as far as the tests vary it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) name: String,
    pub(crate) server: bool,
    pub(crate) listen: Option<String>,
    pub(crate) cluster: u8,
    pub(crate) cookie: u8,
    pub(crate) server_key: Option<u8>,
    pub(crate) generation: u32,
    pub(crate) replica: Option<u64>,
    /// CA, certificate and key.
    pub(crate) tls: Option<[std::path::PathBuf; 3]>,
    pub(crate) max_unauthenticated: usize,
    pub(crate) max_connections: usize,
    pub(crate) handshake_deadline_ms: u64,
}

impl Settings {
    fn config(&self) -> LinksConfig {
        let kind = if self.server { PeerKind::Server } else { PeerKind::Client };
        let mut config = LinksConfig::new(&self.name, kind, ClusterId([self.cluster; 16]), [self.cookie; 32]);
        config.generation = self.generation;
        config.listen = self.listen.clone();
        config.server_key = self.server_key.map(|byte| [byte; 32]);
        config.replica = self.replica.map(ReplicaId);
        config.tls = self.tls.clone().map(|[ca, certificate, key]| TlsConfig { ca, certificate, key });
        config.max_unauthenticated = self.max_unauthenticated;
        config.max_connections = self.max_connections;
        config.handshake_deadline_ms = self.handshake_deadline_ms;
        config
    }
}

/// Commands to a node.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum NodeCommand {
    Ensure(Vec<(Option<String>, String)>),
    Forget(String),
    SetReplica(u64),
    /// Calls that peer's engine `count` times with `bytes` bytes, all at once.
    Call {
        peer: String,
        bytes: usize,
        count: usize,
    },
    /// Asks that peer's storage whether the token in the frame is this process's.
    Token {
        peer: String,
    },
    /// Asks that peer for something that only servers may ask for: its storage, and the session of its process.
    AskAsServer {
        peer: String,
    },
    /// Makes that peer's directory panic.
    Panic {
        peer: String,
    },
    /// Forgets and dials that peer again, `times` times.
    Reconnect {
        peer: String,
        address: String,
        times: usize,
    },
    Report,
    Stop,
    Start,
}

/// Reports of a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum NodeReport {
    Started {
        address: Option<String>,
        incarnation: u64,
    },
    Failed(String),
    Up {
        name: String,
        incarnation: u64,
        server: bool,
        replica: Option<u64>,
        token: bool,
    },
    Down {
        name: String,
    },
    Dead {
        name: String,
    },
    Refused(String),
    Called {
        answers: usize,
        failed: usize,
    },
    Token {
        good: bool,
        zeros: bool,
    },
    /// True if the peer's storage and its session answered.
    AskedAsServer {
        storage: bool,
        session: bool,
    },
    Reconnected,
    Report {
        descriptors: usize,
        tasks: usize,
        sessions: usize,
        most_outstanding: usize,
    },
    Stopped,
}

fn report(report: &NodeReport) {
    let line = serde_json::to_string(report).unwrap();
    let mut out = std::io::stdout().lock();
    writeln!(out, "{MARK}{line}").unwrap();
    out.flush().unwrap();
}

/// State of the services of a node.
#[derive(Default)]
struct Services {
    peers: OnceLock<std::sync::RwLock<Peers>>,
    outstanding: AtomicUsize,
    most: AtomicUsize,
}

impl Services {
    fn handlers(self: &Arc<Self>) -> HashMap<Service, Handler> {
        let (echo, tokens) = (self.clone(), self.clone());
        let engine = Handler::cast(move |inbound: Inbound| {
            let services = echo.clone();
            let bytes = inbound.payload.len();
            let outstanding = services.outstanding.fetch_add(bytes, Ordering::SeqCst) + bytes;
            services.most.fetch_max(outstanding, Ordering::SeqCst);
            tokio::spawn(async move {
                // Holds the sender's credit for a moment, as a disk would.
                tokio::time::sleep(Duration::from_millis(1)).await;
                services.outstanding.fetch_sub(bytes, Ordering::SeqCst);
                inbound.reply.send(bytes.to_be_bytes().to_vec());
            });
        });
        let storage = Handler::cast(move |inbound: Inbound| {
            let peers = tokens.peers.get().unwrap().read().unwrap().clone();
            let claimed: String = String::from_utf8(inbound.payload.to_vec()).unwrap();
            let from = if claimed.is_empty() { inbound.from } else { claimed };
            let zeros = inbound.token == Token::default();
            let good = !zeros && peers.get(&from).is_some_and(|peer| peer.info().token == inbound.token);
            inbound.reply.send(vec![u8::from(good), u8::from(zeros)]);
        });
        let directory = Handler::cast(|_| panic!("as the test wants it"));
        let session = Handler::cast(|inbound: Inbound| inbound.reply.send(Vec::new()));
        HashMap::from([
            (Service::Engine, engine),
            (Service::Storage, storage),
            (Service::Directory, directory),
            (Service::Client, session),
        ])
    }
}

/// Runs a node until its input ends.
pub(crate) fn run(settings: &Settings) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let (orders, mut received) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines() {
                let order: NodeCommand = serde_json::from_str(&line.unwrap()).unwrap();
                orders.send(order).unwrap();
            }
        });
        let services = Arc::new(Services::default());
        let mut links = start(settings, &services).await;
        while let Some(order) = received.recv().await {
            match order {
                NodeCommand::Start => links = start(settings, &services).await,
                other => obey(other, links.as_ref().unwrap(), &services).await,
            }
        }
    });
}

async fn start(settings: &Settings, services: &Arc<Services>) -> Option<Links> {
    let mut config = settings.config();
    config.handlers = services.handlers();
    let links = match Links::start(config).await {
        Ok(links) => links,
        Err(error) => {
            report(&NodeReport::Failed(error.to_string()));
            return None;
        }
    };
    let peers = links.peers();
    *services.peers.get_or_init(|| std::sync::RwLock::new(peers.clone())).write().unwrap() = peers.clone();
    let me = settings.name.clone();
    let mut events = peers.subscribe();
    tokio::spawn(async move {
        while let Ok(event) = events.recv().await {
            match event {
                PeerEvent::Up(peer) if peer.info().name != me => {
                    let info = peer.info();
                    report(&NodeReport::Up {
                        name: info.name.clone(),
                        incarnation: info.incarnation,
                        server: info.kind == PeerKind::Server,
                        replica: info.replica.map(|replica| replica.0),
                        token: info.token != Token::default(),
                    });
                }
                PeerEvent::Down(info) if info.name != me => report(&NodeReport::Down { name: info.name.clone() }),
                PeerEvent::Dead(info) => report(&NodeReport::Dead { name: info.name.clone() }),
                PeerEvent::Up(_) | PeerEvent::Down(_) => {}
            }
        }
    });
    let mut refusals = links.watch_refusals();
    tokio::spawn(async move {
        while refusals.changed().await.is_ok() {
            let all: Vec<_> = refusals.borrow_and_update().values().cloned().collect();
            all.iter().for_each(|refusal| report(&NodeReport::Refused(refusal.to_string())));
        }
    });
    let address = links.local_address().map(|address| address.to_string());
    report(&NodeReport::Started { address, incarnation: links.incarnation() });
    Some(links)
}

async fn obey(order: NodeCommand, links: &Links, services: &Arc<Services>) {
    let peers = links.peers();
    let timeout = Duration::from_secs(10);
    match order {
        NodeCommand::Ensure(targets) => links.ensure(targets),
        NodeCommand::Forget(name) => links.forget(&name),
        NodeCommand::SetReplica(replica) => links.set_replica(Some(ReplicaId(replica))),
        NodeCommand::Call { peer, bytes, count } => {
            let peer = peers.get(&peer).unwrap();
            let payload = vec![7; bytes];
            let calls = (0..count).map(|_| peer.call(Service::Engine, payload.clone(), timeout));
            let answers = futures::future::join_all(calls).await;
            let good = answers.iter().flatten().filter(|answer| answer[..] == bytes.to_be_bytes()).count();
            report(&NodeReport::Called { answers: good, failed: count - good });
        }
        NodeCommand::Token { peer } => {
            let answer = peers.get(&peer).unwrap().call(Service::Storage, Vec::new(), timeout).await.unwrap();
            report(&NodeReport::Token { good: answer[0] == 1, zeros: answer[1] == 1 });
        }
        NodeCommand::AskAsServer { peer } => {
            let (peer, soon) = (peers.get(&peer).unwrap(), Duration::from_millis(500));
            let (storage, session) = tokio::join!(
                peer.call(Service::Storage, Vec::new(), soon),
                peer.call(Service::Client, Vec::new(), soon),
            );
            report(&NodeReport::AskedAsServer { storage: storage.is_ok(), session: session.is_ok() });
        }
        NodeCommand::Panic { peer } => {
            let peer = peers.get(&peer).unwrap();
            tokio::spawn(async move { peer.call(Service::Directory, Vec::new(), timeout).await });
        }
        NodeCommand::Reconnect { peer, address, times } => {
            for _ in 0..times {
                links.forget(&peer);
                until(|| peers.get(&peer).is_none()).await;
                links.ensure(vec![(Some(peer.clone()), address.clone())]);
                until(|| peers.get(&peer).is_some()).await;
            }
            report(&NodeReport::Reconnected);
        }
        NodeCommand::Report => {
            let descriptors = std::fs::read_dir("/proc/self/fd").unwrap().count();
            let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
            let group = baton_client::wire::ENDPOINT_GROUP.to_owned();
            let sessions = ractor::pg::get_members(&group).len();
            let most_outstanding = services.most.load(Ordering::SeqCst);
            report(&NodeReport::Report { descriptors, tasks, sessions, most_outstanding });
        }
        NodeCommand::Stop => {
            links.stop().await;
            report(&NodeReport::Stopped);
        }
        NodeCommand::Start => unreachable!("done by the caller"),
    }
}

async fn until(condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.expect("in time");
}
