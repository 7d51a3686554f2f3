//! The live links of this process, by the name of the process at the other end.
//!
//! The links (in `runtime`) put peers in and take them out; every actor that talks to another process finds it here.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use baton_domain::ReplicaId;
use tokio::sync::{Semaphore, broadcast};

use crate::outbox::Outbox;
use crate::protocol::{DirectoryReply, DirectoryRequest, decode, encode};
use crate::wire::{Frame, FrameTransport, Outgoing, Service, Token};

pub use crate::wire::{CallError, PeerKind};

/// Default maximum of unanswered bytes per peer ([`Peer::with_credit`] changes it): more only adds latency.
pub const LINK_CREDIT_BYTES: usize = 1024 * 1024;

/// The most bytes of frames that go ahead of others, on their way to one peer. They are small and few.
const AHEAD_CREDIT_BYTES: usize = 64 * 1024;

/// Contents of a link's hello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerInfo {
    /// The process's name.
    pub name: String,
    /// Kind of the process.
    pub kind: PeerKind,
    /// Drawn at each start of the process: the time of the start in Unix milliseconds, then 20 bits of chance. A newer
    /// one replaces an older one.
    pub incarnation: u64,
    /// A server's replica; `None` for a client, and for a server that has none yet.
    pub replica: Option<ReplicaId>,
    /// The token that its frames carry: only servers can make one; zeros from a client.
    pub token: Token,
    /// The number of this link within this process.
    pub connection: u64,
}

/// A live link. Cheap to clone; calls on a link that is gone fail at once.
#[derive(Debug, Clone)]
pub struct Peer {
    info: Arc<PeerInfo>,
    transport: Arc<dyn FrameTransport>,
    credit: Arc<Semaphore>,
    credit_bytes: usize,
    /// Of frames that go ahead.
    ahead: Arc<Semaphore>,
    me: Arc<str>,
    token: Token,
    outbox: Arc<Outbox>,
}

impl Peer {
    /// A link to the process at the end of `transport`. `me` names this process; `token` stands in every frame.
    #[must_use]
    pub fn new(info: PeerInfo, transport: impl FrameTransport + 'static, me: Arc<str>, token: Token) -> Self {
        let credit = Arc::new(Semaphore::new(LINK_CREDIT_BYTES));
        let ahead = Arc::new(Semaphore::new(AHEAD_CREDIT_BYTES));
        let (info, transport, outbox) = (Arc::new(info), Arc::new(transport), Arc::default());
        Self { info, transport, credit, credit_bytes: LINK_CREDIT_BYTES, ahead, me, token, outbox }
    }

    /// The same link with another bound on the bytes that wait for their answer.
    #[must_use]
    pub fn with_credit(self, credit_bytes: usize) -> Self {
        Self { credit: Arc::new(Semaphore::new(credit_bytes)), credit_bytes, ..self }
    }

    /// Contents of the hello.
    #[must_use]
    pub fn info(&self) -> &PeerInfo {
        &self.info
    }

    /// Requests that wait to go to the engine over this link.
    pub(crate) fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Sends a frame and resolves to the answer. Frames whose futures were first polled earlier arrive earlier.
    /// Waits for credit within `timeout`; a frame larger than the whole credit takes all of it.
    ///
    /// # Errors
    /// [`CallError`]; after either the frame may have arrived or not.
    pub async fn call(&self, service: Service, payload: Vec<u8>, timeout: Duration) -> Result<Vec<u8>, CallError> {
        self.exchange(service, payload, timeout, false).await
    }

    /// Like [`Peer::call`], but overtakes its frames and does not wait for its credit. For small frames.
    ///
    /// # Errors
    /// [`CallError`]; after either the frame may have arrived or not.
    pub async fn call_ahead(
        &self,
        service: Service,
        payload: Vec<u8>,
        timeout: Duration,
    ) -> Result<Vec<u8>, CallError> {
        self.exchange(service, payload, timeout, true).await
    }

    async fn exchange(
        &self,
        service: Service,
        payload: Vec<u8>,
        timeout: Duration,
        ahead: bool,
    ) -> Result<Vec<u8>, CallError> {
        let (credit, most) = if ahead { (&self.ahead, AHEAD_CREDIT_BYTES) } else { (&self.credit, self.credit_bytes) };
        let head = Frame::head(service, &self.me, &self.token, 0);
        let cost = u32::try_from((head.len() + payload.len()).min(most)).unwrap_or(u32::MAX);
        let exchange = async {
            let credit = credit.clone().acquire_many_owned(cost).await.map_err(|_| CallError::Disconnected)?;
            let frame = Outgoing { head, payload, ahead, credit: Some(credit) };
            let answer = self.transport.call(frame).ok_or(CallError::Disconnected)?;
            answer.await.map_err(|_| CallError::Disconnected)
        };
        tokio::time::timeout(timeout, exchange).await.unwrap_or(Err(CallError::Timeout(timeout)))
    }

    /// Asks the directory of the server at the other end.
    ///
    /// # Errors
    /// The reason, in words, if no answer came or it cannot be read.
    pub async fn ask_directory(&self, request: &DirectoryRequest, timeout: Duration) -> Result<DirectoryReply, String> {
        let reply = self.call(Service::Directory, encode(request), timeout).await.map_err(|error| error.to_string())?;
        decode(&reply).map_err(|error| error.to_string())
    }

    /// Fails all that waits for credit; the links call it when the session ended.
    pub fn close(&self) {
        self.credit.close();
        self.ahead.close();
    }
}

/// A link came or went.
#[derive(Debug, Clone)]
pub enum PeerEvent {
    /// A link is ready.
    Up(Peer),
    /// A link is gone.
    Down(Arc<PeerInfo>),
    /// The server's process is proven dead: it cannot have been a cut of the network.
    Dead(Arc<PeerInfo>),
}

/// The table of live links. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Peers {
    table: Arc<RwLock<BTreeMap<String, Peer>>>,
    events: broadcast::Sender<PeerEvent>,
}

impl Default for Peers {
    fn default() -> Self {
        Self { table: Arc::default(), events: broadcast::Sender::new(1024) }
    }
}

impl Peers {
    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<String, Peer>> {
        self.table.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The link to the process of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Peer> {
        self.read().get(name).cloned()
    }

    /// The link to the server of that name. A client may have the name of a server that is not known yet.
    #[must_use]
    pub fn server(&self, name: &str) -> Option<Peer> {
        self.get(name).filter(|peer| peer.info.kind == PeerKind::Server)
    }

    /// The link to the server that holds that replica.
    #[must_use]
    pub fn replica(&self, replica: ReplicaId) -> Option<Peer> {
        let holds = |peer: &&Peer| peer.info.kind == PeerKind::Server && peer.info.replica == Some(replica);
        self.read().values().find(holds).cloned()
    }

    /// All live links.
    #[must_use]
    pub fn all(&self) -> Vec<Peer> {
        self.read().values().cloned().collect()
    }

    /// News of links from now on. A subscriber that lags by more than 1,024 loses the oldest: look at the table then.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<PeerEvent> {
        self.events.subscribe()
    }

    /// Adds a link, and replaces one of the same name.
    pub fn insert(&self, peer: Peer) {
        let old = self
            .table
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .insert(peer.info.name.clone(), peer.clone());
        if let Some(old) = old {
            old.close();
            let _ = self.events.send(PeerEvent::Down(old.info));
        }
        // Nobody listening is no error: the table holds the truth.
        let _ = self.events.send(PeerEvent::Up(peer));
    }

    /// Tells that the process of that server is proven dead.
    pub fn dead(&self, info: Arc<PeerInfo>) {
        // Nobody listening is no error.
        let _ = self.events.send(PeerEvent::Dead(info));
    }

    /// Removes a link, if it is still that connection.
    pub fn remove(&self, name: &str, connection: u64) {
        let mut table = self.table.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        if table.get(name).is_some_and(|peer| peer.info.connection == connection)
            && let Some(peer) = table.remove(name)
        {
            drop(table);
            peer.close();
            let _ = self.events.send(PeerEvent::Down(peer.info));
        }
    }
}
