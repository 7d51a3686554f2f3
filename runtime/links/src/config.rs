//! Configuration of a process's links, and the defaults.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use baton_client::peers::{LINK_CREDIT_BYTES, PeerKind};
use baton_client::wire::Handlers;
use baton_domain::{ClusterId, ReplicaId};

/// Default interval of checks of a link, which is pinged if it was silent: [`LinksConfig::heartbeat_ms`].
pub const DEFAULT_HEARTBEAT_MS: u64 = 80;
/// Default longest silence of a peer: [`LinksConfig::heartbeat_timeout_ms`].
pub const DEFAULT_HEARTBEAT_TIMEOUT_MS: u64 = 400;
/// Default deadline of a dial or a handshake: [`LinksConfig::handshake_deadline_ms`].
pub const DEFAULT_HANDSHAKE_DEADLINE_MS: u64 = 2_000;
/// Default maximum of accepted connections in their handshake: [`LinksConfig::max_unauthenticated`].
pub const DEFAULT_MAX_UNAUTHENTICATED: usize = 64;
/// Default maximum of linked clients: [`LinksConfig::max_connections`].
pub const DEFAULT_MAX_CONNECTIONS: usize = 1_024;
/// The shortest wait before a redial: [`LinksConfig::redial_min_ms`].
pub const DEFAULT_REDIAL_MIN_MS: u64 = 20;
/// The longest wait before a redial: [`LinksConfig::redial_max_ms`].
pub const DEFAULT_REDIAL_MAX_MS: u64 = 1_000;

/// Mutual TLS: PEM files.
///
/// A server's certificate carries the server's name as a DNS subject alternative name and serves both ends of a
/// connection (extended key usage server and client, or none at all). A client's certificate stands for any client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// The certificates that sign those of the cluster.
    pub ca: PathBuf,
    /// This process's certificate, and those between it and the CA.
    pub certificate: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
}

/// Configuration of a process's links. Start from [`LinksConfig::new`], which fills in the defaults.
#[derive(Clone)]
pub struct LinksConfig {
    /// The process's name, 1 to 255 bytes: a server's name, or one that no other client uses.
    pub name: String,
    /// Kind of the process.
    pub kind: PeerKind,
    /// The cluster. A process of another one is refused.
    pub cluster: ClusterId,
    /// The generation of a server's store. Between two servers that hold replicas, the older one is refused.
    pub generation: u32,
    /// Address to listen on, `host:port`; port 0 takes any free one. `None` for a process that only dials.
    pub listen: Option<String>,
    /// The secret of all processes that may link.
    pub cookie: [u8; 32],
    /// The secret of servers; `None` in clients.
    pub server_key: Option<[u8; 32]>,
    /// Mutual TLS, on all links or on none.
    pub tls: Option<TlsConfig>,
    /// The replica that a server holds.
    pub replica: Option<ReplicaId>,
    /// Interval of checks of a link, in milliseconds.
    pub heartbeat_ms: u64,
    /// Longest silence of a peer, in milliseconds; then its link is closed and dialed again.
    pub heartbeat_timeout_ms: u64,
    /// Deadline from dialing or accepting until a link is ready, in milliseconds: for the handshake and for the
    /// exchange of the session each.
    pub handshake_deadline_ms: u64,
    /// Maximum of accepted connections in their handshake. One more closes the oldest of them: silent connections
    /// cannot lock others out, as an honest handshake is over in a few milliseconds.
    pub max_unauthenticated: usize,
    /// Maximum of linked clients; one more is refused. Servers are not counted.
    pub max_connections: usize,
    /// The shortest wait before a redial, in milliseconds.
    pub redial_min_ms: u64,
    /// The longest wait before a redial, in milliseconds.
    pub redial_max_ms: u64,
    /// The most bytes on their way to one peer unanswered.
    pub link_credit_bytes: usize,
    /// The services that this process offers.
    pub handlers: Handlers,
    /// Targets to link to from the start, as [`Links::ensure`](super::Links::ensure) takes them. Names of servers are
    /// reserved before anybody is let in.
    pub targets: Vec<(Option<String>, String)>,
}

impl LinksConfig {
    /// A configuration with the defaults, which listens nowhere, has no server key and offers nothing.
    #[must_use]
    pub fn new(name: impl Into<String>, kind: PeerKind, cluster: ClusterId, cookie: [u8; 32]) -> Self {
        Self {
            name: name.into(),
            kind,
            cluster,
            generation: 0,
            listen: None,
            cookie,
            server_key: None,
            tls: None,
            replica: None,
            heartbeat_ms: DEFAULT_HEARTBEAT_MS,
            heartbeat_timeout_ms: DEFAULT_HEARTBEAT_TIMEOUT_MS,
            handshake_deadline_ms: DEFAULT_HANDSHAKE_DEADLINE_MS,
            max_unauthenticated: DEFAULT_MAX_UNAUTHENTICATED,
            max_connections: DEFAULT_MAX_CONNECTIONS,
            redial_min_ms: DEFAULT_REDIAL_MIN_MS,
            redial_max_ms: DEFAULT_REDIAL_MAX_MS,
            link_credit_bytes: LINK_CREDIT_BYTES,
            handlers: HashMap::new(),
            targets: Vec::new(),
        }
    }

    pub(super) fn handshake_deadline(&self) -> Duration {
        Duration::from_millis(self.handshake_deadline_ms)
    }

    pub(super) fn heartbeat_timeout(&self) -> Duration {
        Duration::from_millis(self.heartbeat_timeout_ms)
    }
}
