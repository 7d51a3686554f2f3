//! The shared storage actor: owns this server's replica of the message store. Local actors get the store's handle from it
//! and commit and read through that; [`Replica`] takes in the frames of other replicas.
//!
//! A frame is taken in only from a live link to a server, with that server's token: a client that passed the
//! handshake cannot speak for a replica.

use std::sync::Arc;
use std::time::Duration;

use baton_client::peers::{CallError, PeerEvent, PeerInfo, PeerKind, Peers};
use baton_client::wire::{Frame, Served, Service};
use baton_domain::ReplicaId;
use baton_replica::shared::{SharedConfig, SharedLogs};
use baton_replica::{Store, StoreConfig, Transport, TransportError};
use futures::FutureExt;
use futures::future::BoxFuture;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use ractor_cluster_derive::RactorMessage;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;
use tracing::warn;

/// What the shared storage actor takes in.
#[derive(RactorMessage)]
pub enum SharedStorageMessage {
    /// The store's handle.
    Store(RpcReplyPort<Store>),
    /// Closes the store with everything on disk, and stops the actor.
    Close(RpcReplyPort<()>),
}

/// The kind of a store: what orders its commands and keeps them.
#[derive(Clone)]
pub enum StoreKind {
    /// The servers, which vote.
    Replicated,
    /// A log that all servers reach.
    Log {
        /// Durations, and this process.
        config: SharedConfig,
        /// The log.
        logs: Arc<dyn SharedLogs>,
    },
}

/// What the shared storage actor works with.
pub struct SharedStorageArguments {
    /// How the store is opened.
    pub config: StoreConfig,
    /// The kind of the store.
    pub kind: StoreKind,
    /// The live links.
    pub peers: Peers,
}

/// The shared storage actor.
pub struct SharedStorage;

/// The shared storage actor's state.
pub struct SharedStorageState {
    store: Store,
    links: JoinHandle<()>,
}

impl Actor for SharedStorage {
    type Msg = SharedStorageMessage;
    type State = SharedStorageState;
    type Arguments = SharedStorageArguments;

    async fn pre_start(
        &self,
        _: ActorRef<SharedStorageMessage>,
        arguments: SharedStorageArguments,
    ) -> Result<SharedStorageState, ActorProcessingErr> {
        let SharedStorageArguments { config, kind, peers } = arguments;
        let transport = Arc::new(PeerTransport { peers: peers.clone() });
        let store = match kind {
            StoreKind::Replicated => Store::open(config, transport).await?,
            StoreKind::Log { config: shared, logs } => Store::open_shared(config, shared, logs, transport).await?,
        };
        let links = tokio::spawn(follow_links(store.clone(), peers));
        Ok(SharedStorageState { store, links })
    }

    async fn handle(
        &self,
        myself: ActorRef<SharedStorageMessage>,
        message: SharedStorageMessage,
        state: &mut SharedStorageState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            SharedStorageMessage::Store(reply) => {
                let _ = reply.send(state.store.clone());
            }
            SharedStorageMessage::Close(reply) => {
                state.store.shutdown().await;
                let _ = reply.send(());
                myself.stop(None);
            }
        }
        Ok(())
    }

    async fn post_stop(
        &self,
        _: ActorRef<SharedStorageMessage>,
        state: &mut SharedStorageState,
    ) -> Result<(), ActorProcessingErr> {
        state.links.abort();
        state.store.shutdown().await;
        Ok(())
    }
}

/// Takes in the frames of other replicas. Cheap to clone.
#[derive(Clone)]
pub struct Replica {
    store: Store,
    peers: Peers,
}

impl Replica {
    /// This server's replica.
    #[must_use]
    pub fn new(store: Store, peers: Peers) -> Self {
        Self { store, peers }
    }

    /// A frame has its place in line when this returns. Nothing: it is from nobody whose word counts.
    #[must_use]
    pub fn receive(&self, frame: Frame) -> Option<Served> {
        let Some(from) = self.sender(&frame) else {
            warn!(from = frame.from, "refused a storage frame: its sender is not a linked server");
            return None;
        };
        Some(self.store.receive(from, frame.payload))
    }

    fn sender(&self, frame: &Frame) -> Option<ReplicaId> {
        let peer = self.peers.get(&frame.from)?;
        let info = peer.info();
        let genuine = info.token == frame.token && info.token != [0; 32];
        info.replica.filter(|_| genuine)
    }
}

/// Tells the store which replicas are linked and which have died. No messages of the actor: these must not wait behind
/// frames.
async fn follow_links(store: Store, peers: Peers) {
    let mut events = peers.subscribe();
    let replica = |info: &PeerInfo| info.replica.filter(|_| info.kind == PeerKind::Server);
    loop {
        store.linked(peers.all().iter().filter_map(|peer| replica(peer.info())).collect());
        loop {
            match events.recv().await {
                Ok(PeerEvent::Up(peer)) if replica(peer.info()).is_some() => break,
                Ok(PeerEvent::Down(info)) if replica(&info).is_some() => break,
                Ok(PeerEvent::Up(_) | PeerEvent::Down(_)) => {}
                Ok(PeerEvent::Dead(info)) => {
                    if let Some(replica) = replica(&info) {
                        store.died(replica, info.incarnation);
                    }
                }
                // What was missed is in the table; a death that was missed is found by timeout.
                Err(RecvError::Lagged(_)) => break,
                Err(RecvError::Closed) => return,
            }
        }
    }
}

/// The store's network over the live links.
struct PeerTransport {
    peers: Peers,
}

impl PeerTransport {
    fn send(
        &self,
        to: ReplicaId,
        frame: Vec<u8>,
        timeout: Duration,
        ahead: bool,
    ) -> BoxFuture<'static, Result<Vec<u8>, TransportError>> {
        let peer = self.peers.replica(to);
        async move {
            let peer = peer.ok_or(TransportError::Unreachable)?;
            let answer = if ahead {
                peer.call_ahead(Service::Storage, frame, timeout).await
            } else {
                peer.call(Service::Storage, frame, timeout).await
            };
            answer.map_err(|error| match error {
                CallError::Disconnected => TransportError::Unreachable,
                CallError::Timeout(timeout) => TransportError::Timeout(timeout),
            })
        }
        .boxed()
    }
}

impl Transport for PeerTransport {
    fn call(
        &self,
        to: ReplicaId,
        frame: Vec<u8>,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Vec<u8>, TransportError>> {
        self.send(to, frame, timeout, false)
    }

    fn call_ahead(
        &self,
        to: ReplicaId,
        frame: Vec<u8>,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Vec<u8>, TransportError>> {
        self.send(to, frame, timeout, true)
    }
}
