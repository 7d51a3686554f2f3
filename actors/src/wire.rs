//! Frames between processes, and the one remotable actor of a process that takes them in.
//!
//! ractor_cluster advertises every remotable actor to every peer, has no negative replies and does not say who sent
//! a message. So a process has one remotable actor, the endpoint; every frame is a call whose reply returns the
//! sender's credit; and its header names service and sender.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use ractor::message::{BoxedDowncastErr, SerializedMessage};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, Message, RpcReplyPort, SpawnErr};

/// The version of the frame header.
pub const WIRE_VERSION: u8 = 1;

/// The process group in which every process's endpoint is found, scoped by nothing: filter by node id.
pub const ENDPOINT_GROUP: &str = "baton.endpoint";

/// What crosses a link.
pub enum Wire {
    /// A frame, and where its answer goes.
    Call(Vec<u8>, RpcReplyPort<Vec<u8>>),
}

/// The name of the one kind of message that crosses a link.
const CALL: &str = "call";

/// Written by hand: what `RactorClusterMessage` derives copies each frame on both sides, and puts a task of its own behind
/// each reply on both sides.
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

/// Who a frame is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Service {
    /// Is the process alive: answered by the endpoint itself, with an empty frame.
    Ping = 0,
    /// The shared storage actor: the store's frames between replicas. Carries the servers' token.
    Storage = 1,
    /// The messaging engine actor: producers and consumers.
    Engine = 2,
    /// The directory of a server: where the engine is, status, policy, membership.
    Directory = 3,
    /// A client: deliveries and news of the engine.
    Client = 4,
}

impl Service {
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Ping, Self::Storage, Self::Engine, Self::Directory, Self::Client]
            .into_iter()
            .find(|service| *service as u8 == byte)
    }
}

/// The token that only servers can make; it stands in every frame for [`Service::Storage`] and in directory requests
/// that only servers may send.
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

/// A frame's header and what it carries: version, service, sender's length and name, 32 bytes of token, payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Who it is for.
    pub service: Service,
    /// The process that sent it: a server's name, or a client's.
    pub from: String,
    /// The servers' token; zeros from a client.
    pub token: Token,
    /// What it carries.
    pub payload: Bytes,
}

impl Frame {
    /// Writes a frame.
    #[must_use]
    pub fn encode(service: Service, from: &str, token: &Token, payload: &[u8]) -> Vec<u8> {
        assert!(from.len() <= usize::from(u8::MAX), "process names are at most 255 bytes");
        let mut bytes = Vec::with_capacity(3 + from.len() + token.len() + payload.len());
        bytes.extend_from_slice(&[WIRE_VERSION, service as u8, from.len() as u8]);
        bytes.extend_from_slice(from.as_bytes());
        bytes.extend_from_slice(token);
        bytes.extend_from_slice(payload);
        bytes
    }

    /// Reads a frame; the payload shares its bytes.
    ///
    /// # Errors
    /// [`FrameError`] says how it breaks the format.
    pub fn decode(bytes: Vec<u8>) -> Result<Self, FrameError> {
        let bytes = Bytes::from(bytes);
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
    /// What it carries.
    pub payload: Bytes,
    /// Where the answer goes. Dropped unanswered, the caller waits until its timeout.
    pub reply: RpcReplyPort<Vec<u8>>,
}

/// Takes in the frames for one service. Must not block: hand the frame on to an actor.
pub type Handler = Arc<dyn Fn(Inbound) + Send + Sync>;

/// The one remotable actor of a process.
pub struct Endpoint;

/// The services that a process offers.
pub struct EndpointArguments {
    /// One handler a service; frames for others are dropped, and the caller times out.
    pub handlers: HashMap<Service, Handler>,
}

impl Endpoint {
    /// Spawns a process's endpoint, linked to `supervisor`.
    ///
    /// # Errors
    /// [`SpawnErr`] if the actor cannot be spawned.
    pub fn spawn_linked(
        arguments: EndpointArguments,
        supervisor: ActorCell,
    ) -> BoxFuture<'static, Result<ActorRef<Wire>, SpawnErr>> {
        Box::pin(async { Ok(Actor::spawn_linked(None, Self, arguments, supervisor).await?.0) })
    }
}

impl Actor for Endpoint {
    type Msg = Wire;
    type State = HashMap<Service, Handler>;
    type Arguments = EndpointArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<Wire>,
        arguments: EndpointArguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        ractor::pg::join(ENDPOINT_GROUP.to_owned(), vec![myself.get_cell()]);
        Ok(arguments.handlers)
    }

    async fn handle(
        &self,
        _: ActorRef<Wire>,
        message: Wire,
        handlers: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let Wire::Call(bytes, reply) = message;
        let Frame { service, from, token, payload } = match Frame::decode(bytes) {
            Ok(frame) => frame,
            Err(error) => {
                tracing::warn!(%error, "dropped a frame");
                return Ok(());
            }
        };
        if service == Service::Ping {
            // A caller that gave up is no reason to stop the endpoint.
            let _ = reply.send(Vec::new());
        } else if let Some(handler) = handlers.get(&service) {
            handler(Inbound { from, token, payload, reply });
        } else {
            tracing::debug!(?service, from, "no such service here");
        }
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
