//! Messages to the actor of the links, from its handle and from the tasks that dial, accept, watch and read.

use std::io;

use baton_client::wire::Wire;
use baton_domain::ReplicaId;
use ractor::{ActorCell, ActorRef, RpcReplyPort};
use ractor_cluster_derive::RactorMessage;
use tokio::sync::oneshot;

use super::failure::Failure;
use super::preamble::Hello;
use super::refusal::RefusalNotice;
use super::socket::Stream;
use super::table::{ConnectionId, Direction, Identity, TargetId};

/// Messages to the actor.
#[derive(RactorMessage)]
#[cfg_attr(not(feature = "sessions"), allow(dead_code, reason = "the links of a client have no sessions"))]
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
        reply: oneshot::Sender<Result<(), RefusalNotice>>,
    },
    /// A handshake brought a connection.
    Opened(Box<Opened>),
    /// A dial brought none.
    DialFailed {
        target: TargetId,
        failed: Box<FailedHandshake>,
    },
    /// An accepted connection was turned away, or turned away itself.
    AcceptFailed {
        address: String,
        failed: Box<FailedHandshake>,
    },
    SessionOpened {
        connection: ConnectionId,
        session: ActorCell,
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
    /// A link without a session is ready once it is handed over.
    TransportReady {
        connection: ConnectionId,
    },
    /// Not ready in time, or silent.
    Lost {
        connection: ConnectionId,
        why: &'static str,
    },
    /// The watch over a server's process was closed in order.
    WatchClosed {
        name: String,
        incarnation: u64,
    },
    /// A session does not end.
    Stuck {
        connection: ConnectionId,
    },
    Stop(RpcReplyPort<()>),
}

/// A connection whose two ends know each other.
pub(super) struct Opened {
    pub(super) direction: Direction,
    /// This process's hello.
    pub(super) mine: Hello,
    pub(super) them: Hello,
    pub(super) stream: Stream,
    pub(super) address: String,
}

/// A handshake that brought no link.
pub(super) struct FailedHandshake {
    pub(super) them: Option<Hello>,
    pub(super) failure: Failure,
}

impl From<io::Error> for Box<FailedHandshake> {
    fn from(error: io::Error) -> Self {
        Self::new(FailedHandshake { them: None, failure: error.into() })
    }
}
