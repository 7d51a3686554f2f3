//! The messages between servers as frames: version, generation, both ends' replicas, the checksum of the body, body.

use std::sync::Arc;
use std::time::Duration;

use baton_domain::{ReplicaId, ServerName, msgpack};
use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use serde::Serialize;
use serde::de::DeserializeOwned;
use xxhash_rust::xxh3::xxh3_64;

use super::message::{Message, Others, Reply};
use super::names::Names;
use crate::Transport;

/// Frames of consensus begin with 1.
const VERSION: u8 = 0x81;
const HEAD: usize = 1 + 4 + 8 + 8 + 8;

/// Both ends of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ends {
    /// The generation of the cluster.
    pub(crate) generation: u32,
    /// The sender.
    pub(crate) from: ReplicaId,
    /// The receiver.
    pub(crate) to: ReplicaId,
}

impl Ends {
    fn bytes(self) -> [u8; 20] {
        let mut bytes = [0; 20];
        bytes[..4].copy_from_slice(&self.generation.to_be_bytes());
        bytes[4..12].copy_from_slice(&self.from.0.to_be_bytes());
        bytes[12..].copy_from_slice(&self.to.0.to_be_bytes());
        bytes
    }

    fn back(self) -> Self {
        Self { from: self.to, to: self.from, ..self }
    }
}

/// A frame with a message.
pub(crate) fn encode<T: Serialize>(ends: Ends, message: &T) -> Option<Vec<u8>> {
    let body = rmp_serde::to_vec(message).ok()?;
    let checksum = xxh3_64(&body).to_be_bytes();
    Some([&[VERSION][..], &ends.bytes(), &checksum, &body].concat())
}

/// The message of a frame; `None` if it is damaged, or not for this replica on this link.
pub(crate) fn decode<T: DeserializeOwned>(ends: Ends, frame: &[u8]) -> Option<T> {
    let (head, body) = frame.split_at_checked(HEAD)?;
    let expected = [&[VERSION][..], &ends.bytes(), &xxh3_64(body).to_be_bytes()].concat();
    if head != expected {
        return None;
    }
    msgpack::read(body).ok()
}

/// The answer to a frame that reached the receiver in `ends`; empty if it cannot be read.
pub(crate) fn encode_answer(ends: Ends, reply: &Reply) -> Vec<u8> {
    encode(ends.back(), reply).unwrap_or_default()
}

/// The other servers, over the store's network.
pub(crate) struct Wire {
    pub(crate) own: ReplicaId,
    pub(crate) generation: u32,
    pub(crate) names: Names,
    pub(crate) transport: Arc<dyn Transport>,
}

impl Others for Wire {
    fn ask(&self, to: &ServerName, message: Message, timeout: Duration) -> BoxFuture<'static, Option<Reply>> {
        let Some(to) = self.names.replica(to) else { return ready(None).boxed() };
        let ends = Ends { generation: self.generation, from: self.own, to };
        let Some(frame) = encode(ends, &message) else { return ready(None).boxed() };
        let answer = self.transport.call_ahead(to, frame, timeout);
        async move { decode(ends.back(), &answer.await.ok()?) }.boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_by_the_end_that_it_is_for_and_undamaged() {
        let ends = Ends { generation: 3, from: ReplicaId(1), to: ReplicaId(2) };
        let message = Message::Tail { term: 7, index: 9, timeline: 1, leased: true };
        let frame = encode(ends, &message).unwrap();
        assert_eq!(decode(ends, &frame), Some(message));
        for other in [Ends { generation: 2, ..ends }, ends.back(), Ends { to: ReplicaId(3), ..ends }] {
            assert_eq!(decode::<Message>(other, &frame), None, "{other:?}");
        }
        for bit in 0..frame.len() * 8 {
            let mut flipped = frame.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode::<Message>(ends, &flipped), None, "bit {bit}");
        }
        let standing = Reply::Standing { index: 1, chain: u128::MAX - 5, applied: 1, heals: true, reached_ms: Some(4) };
        let answer = encode_answer(ends, &standing);
        assert_eq!(decode(ends.back(), &answer), Some(standing));
        assert_eq!(decode::<Reply>(ends, &answer), None);
    }
}
