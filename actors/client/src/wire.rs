//! Frames between processes, and the one remotable actor of a process that takes them in.
//!
//! ractor_cluster advertises every remotable actor to every peer, has no negative replies and does not say who sent
//! a message. So a process has one remotable actor, the endpoint, which answers pings and nothing else. Every other frame
//! takes a [`FrameTransport`] next to ractor_cluster's session: it is a call whose reply returns the sender's credit, its
//! header names service and sender, and the link that it comes over decides which services its sender may ask for.

use std::collections::HashMap;
use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use ractor::message::{BoxedDowncastErr, SerializedMessage};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, Message, RpcReplyPort, SpawnErr};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// The version of the frame header.
pub const WIRE_VERSION: u8 = 1;

/// The process group of all endpoints, unscoped: filter by node id.
pub const ENDPOINT_GROUP: &str = "baton.endpoint";

/// Messages that cross a link.
pub enum Wire {
    /// A frame, and where its answer goes.
    Call(Vec<u8>, RpcReplyPort<Vec<u8>>),
}

/// The name of the only kind of message that crosses a link.
const CALL: &str = "call";

/// Written by hand: the derived `RactorClusterMessage` copies each frame on both sides, and spawns a task for each
/// reply on both sides.
impl Message for Wire {
    fn serializable() -> bool {
        true
    }

    fn serialize(self) -> Result<SerializedMessage, BoxedDowncastErr> {
        let Self::Call(args, reply) = self;
        Ok(SerializedMessage::Call { variant: CALL.to_owned(), args, reply, metadata: None })
    }

    fn deserialize(message: SerializedMessage) -> Result<Self, BoxedDowncastErr> {
        match message {
            SerializedMessage::Call { variant, args, reply, .. } if variant == CALL => Ok(Self::Call(args, reply)),
            SerializedMessage::Call { .. } | SerializedMessage::Cast { .. } | SerializedMessage::CallReply(..) => {
                Err(BoxedDowncastErr)
            }
        }
    }
}

/// Kinds of processes at the end of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerKind {
    /// A server or a witness.
    Server,
    /// An embedding service, or a command of the CLI.
    Client,
}

/// Receivers of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Service {
    /// Is the process alive: answered by the endpoint itself, with an empty frame.
    Ping = 0,
    /// The shared storage actor: the store's frames between replicas. Carries the servers' token.
    Storage = 1,
    /// The messaging engine actor: producers and consumers.
    Engine = 2,
    /// The directory of a server: engine location, status, policy, membership.
    Directory = 3,
    /// A client: deliveries, and changes of the engine's location.
    Client = 4,
}

impl Service {
    /// True if a process of that kind may ask for this service. A client that reached a replica could forge votes and
    /// acknowledgements, and a client that reached a session could misreport the engine's location.
    #[must_use]
    pub fn is_for(self, kind: PeerKind) -> bool {
        match self {
            Self::Ping | Self::Engine | Self::Directory => true,
            Self::Storage | Self::Client => kind == PeerKind::Server,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Ping, Self::Storage, Self::Engine, Self::Directory, Self::Client]
            .into_iter()
            .find(|service| *service as u8 == byte)
    }
}

/// The token that only servers can make; in every frame for [`Service::Storage`], and in directory requests that only
/// servers may send.
pub type Token = [u8; 32];

/// A frame that does not follow the format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Too short, or a length that goes past the end.
    #[error("the frame is cut short")]
    Short,
    /// A version that this program does not know.
    #[error("frame version {0} is unknown: this program speaks {WIRE_VERSION}")]
    Version(u8),
    /// A service that this program does not know.
    #[error("frame service {0} is unknown")]
    Service(u8),
    /// The sender's name is not text.
    #[error("the sender's name is not UTF-8")]
    Sender,
}

/// A frame: version, service, length and name of the sender, 32 bytes of token, payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The receiver.
    pub service: Service,
    /// Name of the sender: a server or a client.
    pub from: String,
    /// The servers' token; zeros from a client.
    pub token: Token,
    /// Contents.
    pub payload: Bytes,
}

impl Frame {
    /// Writes a frame.
    #[must_use]
    pub fn encode(service: Service, from: &str, token: &Token, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Self::head(service, from, token, payload.len());
        bytes.extend_from_slice(payload);
        bytes
    }

    /// Writes the header, and reserves `room` bytes behind it.
    #[must_use]
    pub fn head(service: Service, from: &str, token: &Token, room: usize) -> Vec<u8> {
        assert!(from.len() <= usize::from(u8::MAX), "process names are at most 255 bytes");
        let mut bytes = Vec::with_capacity(3 + from.len() + token.len() + room);
        bytes.extend_from_slice(&[WIRE_VERSION, service as u8, from.len() as u8]);
        bytes.extend_from_slice(from.as_bytes());
        bytes.extend_from_slice(token);
        bytes
    }

    /// Reads a frame; the payload shares its bytes.
    ///
    /// # Errors
    /// [`FrameError`], if the frame breaks the format.
    pub fn decode(bytes: impl Into<Bytes>) -> Result<Self, FrameError> {
        let bytes = bytes.into();
        let [version, service, from_len] = *bytes.first_chunk::<3>().ok_or(FrameError::Short)?;
        if version != WIRE_VERSION {
            return Err(FrameError::Version(version));
        }
        let service = Service::from_byte(service).ok_or(FrameError::Service(service))?;
        let token_at = 3 + usize::from(from_len);
        let from = bytes.get(3..token_at).ok_or(FrameError::Short)?;
        let from = std::str::from_utf8(from).map_err(|_| FrameError::Sender)?.to_owned();
        let token = *bytes[token_at..].first_chunk::<32>().ok_or(FrameError::Short)?;
        Ok(Self { service, from, token, payload: bytes.slice(token_at + 32..) })
    }
}

/// A frame that arrived for a service, and where its answer goes.
#[derive(Debug)]
pub struct Inbound {
    /// The process that sent it.
    pub from: String,
    /// The token it carried.
    pub token: Token,
    /// Contents.
    pub payload: Bytes,
    /// Port for the answer.
    pub reply: ReplyPort,
}

/// Port for the answer to a frame. If it is dropped unanswered, the caller waits until its timeout.
pub struct ReplyPort(Box<dyn FnOnce(Vec<u8>) + Send>);

impl ReplyPort {
    /// A port that passes the answer to `send`.
    pub fn new(send: impl FnOnce(Vec<u8>) + Send + 'static) -> Self {
        Self(Box::new(send))
    }

    /// Answers. A caller that gave up is no error.
    pub fn send(self, answer: Vec<u8>) {
        (self.0)(answer);
    }
}

impl Debug for ReplyPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReplyPort").finish_non_exhaustive()
    }
}

impl From<RpcReplyPort<Vec<u8>>> for ReplyPort {
    fn from(port: RpcReplyPort<Vec<u8>>) -> Self {
        Self::new(|answer| drop(port.send(answer)))
    }
}

impl From<oneshot::Sender<Vec<u8>>> for ReplyPort {
    fn from(sender: oneshot::Sender<Vec<u8>>) -> Self {
        Self::new(|answer| drop(sender.send(answer)))
    }
}

/// Takes in the frames for one service. Must not block.
#[derive(Clone)]
pub enum Handler {
    /// Hands a frame on to an actor, which answers it.
    Cast(Arc<dyn Fn(Inbound) + Send + Sync>),
    /// The frame has its place in the order when this returns; the future is its answer. `None`: it is not answered.
    Serve(Arc<dyn Fn(Frame) -> Option<Served> + Send + Sync>),
}

/// The answer to a frame, once it is known.
pub type Served = BoxFuture<'static, Vec<u8>>;

impl Handler {
    /// [`Handler::Cast`].
    pub fn cast(take: impl Fn(Inbound) + Send + Sync + 'static) -> Self {
        Self::Cast(Arc::new(take))
    }

    /// [`Handler::Serve`].
    pub fn serve(take: impl Fn(Frame) -> Option<Served> + Send + Sync + 'static) -> Self {
        Self::Serve(Arc::new(take))
    }
}

/// The services that a process offers: one handler each. Frames for others are dropped, and the caller times out.
pub type Handlers = HashMap<Service, Handler>;

/// Hands a frame to the handler of its service. Returns an answer that is not known yet, with the port for it.
#[must_use]
pub fn take_in(handlers: &Handlers, bytes: Bytes, reply: ReplyPort) -> Option<(Served, ReplyPort)> {
    let frame = match Frame::decode(bytes) {
        Ok(frame) => frame,
        Err(error) => {
            tracing::warn!(%error, "dropped a frame");
            return None;
        }
    };
    match handlers.get(&frame.service) {
        _ if frame.service == Service::Ping => reply.send(Vec::new()),
        Some(Handler::Cast(take)) => {
            let Frame { from, token, payload, .. } = frame;
            take(Inbound { from, token, payload, reply });
        }
        Some(Handler::Serve(serve)) => return serve(frame).map(|served| (served, reply)),
        None => tracing::debug!(service = ?frame.service, from = frame.from, "no such service here"),
    }
    None
}

/// A frame on its way out.
#[derive(Debug)]
pub struct Outgoing {
    /// Header.
    pub head: Vec<u8>,
    /// Contents.
    pub payload: Vec<u8>,
    /// It overtakes frames that do not: heartbeats and votes do not wait behind megabytes of messages.
    pub ahead: bool,
    /// Returned once the frame takes no memory here any more and is answered or given up.
    pub credit: Option<OwnedSemaphorePermit>,
}

impl Outgoing {
    /// A frame without priority and without credit.
    #[must_use]
    pub fn new(head: Vec<u8>, payload: Vec<u8>) -> Self {
        Self { head, payload, ahead: false, credit: None }
    }
}

/// A transport to the process at the other end of a link.
pub trait FrameTransport: Debug + Send + Sync {
    /// Sends a frame. Returns its answer, which fails if the link ends; `None` if it has ended already. Frames arrive
    /// in the order of the calls, except those that go ahead.
    fn call(&self, frame: Outgoing) -> Option<Answer>;
}

/// Reasons for a call without an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The link is gone, or the service dropped the call.
    #[error("the link is gone")]
    Disconnected,
    /// No answer in time; the frame may have arrived.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
}

/// Withdraws a frame whose caller has given up.
pub trait GiveUp: Send + Sync {
    /// The caller of that number has given up. If no byte of its frame was sent, none will be.
    fn give_up(&self, number: u64);
}

/// The answer to a call, once it is there. Dropped before that, the call is given up.
pub struct Answer {
    receiver: oneshot::Receiver<Vec<u8>>,
    transport: Option<(Arc<dyn GiveUp>, u64)>,
}

impl Answer {
    /// The answer that comes out of `receiver`, to the call of that number.
    #[must_use]
    pub fn new(receiver: oneshot::Receiver<Vec<u8>>, transport: Arc<dyn GiveUp>, number: u64) -> Self {
        Self { receiver, transport: Some((transport, number)) }
    }
}

impl From<oneshot::Receiver<Vec<u8>>> for Answer {
    fn from(receiver: oneshot::Receiver<Vec<u8>>) -> Self {
        Self { receiver, transport: None }
    }
}

impl Future for Answer {
    type Output = Result<Vec<u8>, oneshot::error::RecvError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = Pin::new(&mut self.receiver).poll(context);
        if answer.is_ready() {
            self.transport = None;
        }
        answer
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some((transport, number)) = self.transport.take() {
            transport.give_up(number);
        }
    }
}

/// The way to the services of this very process.
#[derive(Clone)]
pub struct LocalTransport {
    /// Receivers of the frames.
    pub handlers: Handlers,
}

impl Debug for LocalTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalTransport").finish_non_exhaustive()
    }
}

impl FrameTransport for LocalTransport {
    fn call(&self, frame: Outgoing) -> Option<Answer> {
        let Outgoing { mut head, payload, credit, .. } = frame;
        let (sender, receiver) = oneshot::channel();
        // Held until the answer: it bounds the frames that wait for the services of this process.
        let reply = ReplyPort::new(move |answer| {
            drop(credit);
            // The caller may have given up.
            let _ = sender.send(answer);
        });
        head.extend_from_slice(&payload);
        if let Some((served, reply)) = take_in(&self.handlers, head.into(), reply) {
            tokio::spawn(async move { reply.send(served.await) });
        }
        Some(receiver.into())
    }
}

/// The one remotable actor of a process. Any process that passed ractor_cluster's handshake can reach it, so that it
/// only answers pings.
pub struct Endpoint;

impl Endpoint {
    /// Spawns a process's endpoint, linked to `supervisor`.
    ///
    /// # Errors
    /// [`SpawnErr`] if the actor cannot be spawned.
    pub fn spawn_linked(supervisor: ActorCell) -> BoxFuture<'static, Result<ActorRef<Wire>, SpawnErr>> {
        Box::pin(async { Ok(Actor::spawn_linked(None, Self, (), supervisor).await?.0) })
    }
}

impl Actor for Endpoint {
    type Msg = Wire;
    type State = Handlers;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<Wire>, (): ()) -> Result<Handlers, ActorProcessingErr> {
        ractor::pg::join(ENDPOINT_GROUP.to_owned(), vec![myself.get_cell()]);
        Ok(Handlers::new())
    }

    async fn handle(&self, _: ActorRef<Wire>, message: Wire, none: &mut Handlers) -> Result<(), ActorProcessingErr> {
        let Wire::Call(bytes, reply) = message;
        // Without handlers nothing remains to be served.
        let _ = take_in(none, bytes.into(), reply.into());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_comes_back_as_it_was_sent() {
        let bytes = Frame::encode(Service::Engine, "server1", &[7; 32], b"payload");
        let frame = Frame::decode(bytes.clone()).unwrap();
        assert_eq!((frame.service, frame.from.as_str(), frame.token), (Service::Engine, "server1", [7; 32]));
        assert_eq!(&frame.payload[..], b"payload");
        for cut in 0..bytes.len() - b"payload".len() {
            assert_eq!(Frame::decode(bytes[..cut].to_vec()), Err(FrameError::Short), "cut at {cut}");
        }
    }

    #[test]
    fn an_unknown_version_or_service_is_refused() {
        let mut bytes = Frame::encode(Service::Ping, "x", &[0; 32], b"");
        bytes[0] = 9;
        assert_eq!(Frame::decode(bytes.clone()), Err(FrameError::Version(9)));
        bytes[0] = WIRE_VERSION;
        bytes[1] = 99;
        assert_eq!(Frame::decode(bytes), Err(FrameError::Service(99)));
    }
}
