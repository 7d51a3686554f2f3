//! Links between processes: dial and accept, authenticate both sides, hand the connection to ractor_cluster, detect
//! that a peer is gone, and dial again.
//!
//! ractor_cluster links actors. This crate adds what it lacks around a session: a deadline and a cap before a process
//! has proved who it is, mutual TLS, refusals in words, one connection per pair, the replacement of a stale session, a
//! heartbeat, and redialing. See `docs/design.md`, section "Links". Baton's own frames cross the connection next to the
//! session.
//!
//! A process has one [`Links`] at a time, because ractor's process groups are global to the process. It fills
//! [`Peers`], where the other actors find the process that they talk to.
//!
//! A server's frames to other servers carry a token that only servers can make. The token in
//! [`PeerInfo`](baton_client::peers::PeerInfo) is the one that the frames of that process carry, and no client ever
//! receives one. So `peers.get(&inbound.from).is_some_and(|peer| peer.info().token == inbound.token)`, with a token
//! that is not all zeros, proves that a frame comes from that server.

mod abort_on_drop;
mod actor;
mod address;
mod config;
mod connect;
mod death;
#[cfg(test)]
mod decoder_tests;
#[doc(hidden)]
pub mod descriptors;
mod failure;
mod handshake;
mod heartbeat;
mod message;
#[doc(hidden)]
pub mod pending;
mod preamble;
mod reach;
mod refusal;
mod shared;
mod socket;
mod table;
#[cfg_attr(not(feature = "tls"), path = "tls_absent.rs")]
mod tls;
mod traffic;
mod transport;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use baton_client::peers::{PeerKind, Peers};
use baton_domain::{ReplicaId, clock, random};
use ractor::{Actor, ActorRef};
use tokio::sync::watch;

use actor::{Arguments, LinksActor, Published};
use message::Message;
use preamble::Secrets;
use shared::{HelloState, Shared};

pub use address::{Address, AddressError};
pub use config::{
    DEFAULT_HANDSHAKE_DEADLINE_MS, DEFAULT_HEARTBEAT_MS, DEFAULT_HEARTBEAT_TIMEOUT_MS, DEFAULT_MAX_CONNECTIONS,
    DEFAULT_MAX_UNAUTHENTICATED, DEFAULT_REDIAL_MAX_MS, DEFAULT_REDIAL_MIN_MS, LinksConfig, TlsConfig,
};
pub use refusal::{Refusal, RefusalReason};
pub use tls::TlsError;

/// Directive for a log filter: ractor_cluster reports every session that ends as a warning, and at debug it formats
/// whole payloads.
pub const LOG_FILTER: &str = "ractor_cluster=error";

/// Stopping waits this long in all for sessions to end.
const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// Set while this process has links.
static RUNNING: AtomicBool = AtomicBool::new(false);

/// Errors at the start of the links. Each is one line that says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The process has links already.
    #[error("this process has links already: a process is one server or one client, so stop them first")]
    AlreadyRunning,
    /// The name breaks the rules.
    #[error("the name {0:?} cannot be used: give the process a name of 1 to 255 bytes without control characters")]
    Name(String),
    /// A server needs the servers' key.
    #[error("{0} is a server and has no server key: use the server file that `baton init` wrote")]
    NoServerKey(String),
    /// The address to listen on cannot be used.
    // Not a source: its text is a part of this one.
    #[error("cannot listen: {0}")]
    Address(AddressError),
    /// Another program listens there.
    #[error("cannot listen on {0}: the port is in use; stop the program that listens there, or choose another port")]
    PortInUse(String),
    /// The system does not let us listen there.
    #[error("cannot listen on {address}: {why}; choose an address of this machine and a port that it may use")]
    Listen {
        /// The address.
        address: String,
        /// The system's error.
        why: String,
    },
    /// A file of the TLS configuration cannot be used.
    // Not a source: its text is a part of this one.
    #[error("{0}; check [tls]")]
    Tls(TlsError),
    /// A part did not start: a bug, or no memory or descriptors left.
    #[error("the links cannot start: {0}")]
    Start(String),
}

impl From<AddressError> for LinkError {
    fn from(error: AddressError) -> Self {
        Self::Address(error)
    }
}

impl From<TlsError> for LinkError {
    fn from(error: TlsError) -> Self {
        Self::Tls(error)
    }
}

/// Marks that this process has links, until it is released or dropped.
struct ProcessGuard(AtomicBool);

impl ProcessGuard {
    fn take() -> Result<Self, LinkError> {
        if RUNNING.swap(true, Ordering::AcqRel) {
            Err(LinkError::AlreadyRunning)
        } else {
            Ok(Self(AtomicBool::new(true)))
        }
    }

    fn release(&self) {
        if self.0.swap(false, Ordering::AcqRel) {
            RUNNING.store(false, Ordering::Release);
        }
    }
}

impl Drop for ProcessGuard {
    fn drop(&mut self) {
        self.release();
    }
}

/// The links of this process. Cheap to clone; they live until [`Links::stop`].
#[derive(Clone)]
pub struct Links {
    actor: ActorRef<Message>,
    published: Arc<Published>,
    process_guard: Arc<ProcessGuard>,
    incarnation: u64,
    local: Option<SocketAddr>,
    ended: watch::Receiver<bool>,
}

impl Links {
    /// Starts, and listens if the configuration has an address. Nobody is dialed before [`Links::ensure`].
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn start(config: LinksConfig) -> Result<Self, LinkError> {
        let process_guard = ProcessGuard::take()?;
        if config.name.is_empty()
            || config.name.len() > usize::from(u8::MAX)
            || config.name.chars().any(char::is_control)
        {
            return Err(LinkError::Name(config.name));
        }
        if config.kind == PeerKind::Server && config.server_key.is_none() {
            return Err(LinkError::NoServerKey(config.name));
        }
        let tls = config.tls.as_ref().map(tls::Tls::load).transpose()?;
        let listener = match &config.listen {
            Some(address) => Some(listen(address).await?),
            None => None,
        };
        let local = listener.as_ref().and_then(|listener| listener.local_addr().ok());
        // Grows with the time of the start, for readers of logs; the low bits are random.
        let incarnation = (clock::unix_ms() << 20) | (random::number() & 0xf_ffff);
        let server_key = config.server_key.filter(|_| config.kind == PeerKind::Server);
        let secrets = Secrets { cookie: config.cookie, server_key };
        let hello_state = HelloState { generation: config.generation, replica: config.replica, endpoint: 0 };
        let shared = Arc::new(Shared { config, incarnation, secrets, tls, hello_state: RwLock::new(hello_state) });
        let published = Arc::new(Published {
            peers: Peers::default(),
            refusals: watch::Sender::new(BTreeMap::new()),
            failures: watch::Sender::new(BTreeMap::new()),
            outdated: watch::Sender::new(None),
        });
        let arguments = Arguments { shared, published: published.clone(), listener };
        let (actor, running) =
            Actor::spawn(None, LinksActor, arguments).await.map_err(|error| LinkError::Start(error.to_string()))?;
        let process_guard = Arc::new(process_guard);
        let (peers, guard) = (published.peers.clone(), process_guard.clone());
        let (ended_sender, ended) = watch::channel(false);
        tokio::spawn(async move {
            // The end, for any reason: this process's entries in the table are gone, and it may have links again.
            let _ = running.await;
            for peer in peers.all() {
                peers.remove(&peer.info().name, peer.info().connection);
            }
            guard.release();
            ended_sender.send_replace(true);
        });
        Ok(Self { actor, published, process_guard, incarnation, local, ended })
    }

    /// The table of live links. A server is in it itself, under its own name.
    #[must_use]
    pub fn peers(&self) -> Peers {
        self.published.peers.clone()
    }

    /// The address that this process listens on: the port that was chosen, if the configuration gave port 0.
    #[must_use]
    pub fn local_address(&self) -> Option<SocketAddr> {
        self.local
    }

    /// The number of this start of the process.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// Dials these targets, each a name (if it is known) and an address, and keeps the links up. A target that is known
    /// already changes nothing; a known name with another address moves there, and a name with several addresses is
    /// dialed at each in turn.
    ///
    /// A client dials one after the other: the next one when the last one is up or failed, and after 100 ms at the
    /// latest. A server dials all at once, except servers with lesser names than its own: these dial it. It dials them
    /// once a second while they do not, because they may not know its current address.
    pub fn ensure(&self, targets: Vec<(Option<String>, String)>) {
        self.tell(Message::Ensure(targets));
    }

    /// Closes the link with that process and does not dial it any more. It may still dial us.
    pub fn forget(&self, name: &str) {
        self.tell(Message::Forget(name.to_owned()));
    }

    /// Sets the replica that the server holds. Other servers need to know: the links with them are made again.
    pub fn set_replica(&self, replica: Option<ReplicaId>) {
        self.tell(Message::SetReplica(replica));
    }

    /// Sets the generation of the server's store; see [`Links::set_replica`].
    pub fn set_generation(&self, generation: u32) {
        self.tell(Message::SetGeneration(generation));
    }

    /// The last refusal of each target for which an operator has to act. Dialing goes on, once a second at most, and a
    /// link that comes up removes its target's refusal.
    #[must_use]
    pub fn refusals(&self) -> Vec<Refusal> {
        self.published.refusals.borrow().values().cloned().collect()
    }

    /// Changes whenever [`Links::refusals`] does. By address, or by name where another server dialed this one.
    #[must_use]
    pub fn watch_refusals(&self) -> watch::Receiver<BTreeMap<String, Refusal>> {
        self.published.refusals.subscribe()
    }

    /// Resolves when a server that proved itself shows that this server's store is from before the cluster was
    /// recovered by force, with the remedy in words.
    pub async fn outdated(&self) -> String {
        let mut outdated = self.published.outdated.subscribe();
        match outdated.wait_for(Option::is_some).await.map(|why| why.clone()) {
            Ok(Some(why)) => why,
            // The links are gone, which they report themselves.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    /// The last error per address where nobody answered; removed once the address is linked.
    #[must_use]
    pub fn failures(&self) -> BTreeMap<String, String> {
        self.published.failures.borrow().clone()
    }

    /// Resolves when the links are gone, stopped or failed, with a text that says so.
    pub async fn ended(mut self) -> String {
        // A sender that is gone means the same.
        let _ = self.ended.wait_for(|ended| *ended).await;
        "its links to the other processes ended: see the log".to_owned()
    }

    /// Closes all links and frees the port. Takes a few milliseconds; ten seconds at most, if sessions hang.
    pub async fn stop(&self) {
        // Gone already: nothing is left to stop.
        let _ = self.actor.call(Message::Stop, Some(STOP_DEADLINE)).await;
        let _ = self.actor.stop_and_wait(None, Some(STOP_DEADLINE)).await;
        self.process_guard.release();
    }

    fn tell(&self, message: Message) {
        if self.actor.cast(message).is_err() {
            tracing::debug!("the links are stopped");
        }
    }
}

async fn listen(address: &str) -> Result<tokio::net::TcpListener, LinkError> {
    let parsed: Address = address.parse()?;
    let mut last = None;
    for resolved in parsed.resolve().await? {
        match socket::listen(resolved) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = Some(error),
        }
    }
    Err(match last {
        Some(error) if error.kind() == std::io::ErrorKind::AddrInUse => LinkError::PortInUse(address.to_owned()),
        Some(error) => LinkError::Listen { address: address.to_owned(), why: error.to_string() },
        None => LinkError::Listen { address: address.to_owned(), why: "it has no address".to_owned() },
    })
}
