//! Encoding of the records of the state. Each value starts with a version byte.

use std::collections::BTreeMap;
use std::io;

use baton_domain::message_batch::read_tail;
use baton_domain::msgpack;
use baton_domain::{
    ConsumerId, DestinationKind, Lane, MessageId, OpResult, QueueId, QueueName, Settings, StoredMessage,
};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::queue::LaneRecord;

/// The version of the records that this program writes.
const VERSION: u8 = 1;

pub(crate) const CLUSTER_KEY: &[u8] = b"cluster";
pub(crate) const NEXT_QUEUE_KEY: &[u8] = b"next_queue";
pub(crate) const HASH_KEY: &[u8] = b"hash";

/// Bytes before a message's headers: version, size, time.
const MESSAGE_HEAD: usize = 1 + 4 + 8;
/// The version of a message that expires or failed before: its head also has the time of expiry, and the failed
/// deliveries before it was stored.
const MESSAGE_WITH_MORE: u8 = 2;
/// The version of a subscription's share in a message: the head of the one before, without headers and body, which are
/// in the topic space under the same id.
const MESSAGE_SHARE: u8 = 3;
/// Bytes of such a head: enough to read size and expiry of any message.
const MESSAGE_HEAD_MAX: usize = MESSAGE_HEAD + 8 + 4;

/// The state of a queue; its settings are a record of their own, which changes rarely.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct QueueState {
    pub(crate) id: QueueId,
    pub(crate) name: QueueName,
    /// Bytes of its messages.
    pub(crate) bytes: u64,
    /// Number of its messages that have a redelivery count; while it is zero, none is looked up.
    pub(crate) redelivered: u64,
    /// Delayed messages, which are not yet in the queue.
    pub(crate) delayed: u64,
    /// Its messages, by priority.
    pub(crate) lanes: BTreeMap<Lane, LaneRecord>,
}

impl QueueState {
    /// The messages of one priority.
    pub(crate) fn lane(&mut self, lane: Lane) -> &mut LaneRecord {
        let nothing = lane.start();
        self.lanes.entry(lane).or_insert(LaneRecord { depth: 0, head: nothing, dispatched: nothing })
    }

    /// All messages in it.
    pub(crate) fn depth(&self) -> u64 {
        self.lanes.values().map(|lane| lane.depth).sum()
    }

    /// All messages, delayed ones included.
    pub(crate) fn all_messages(&self) -> u64 {
        self.depth().saturating_add(self.delayed)
    }
}

/// Settings and owner of a queue.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct QueueSettings {
    pub(crate) kind: DestinationKind,
    pub(crate) settings: Settings,
    /// The queue is deleted with this consumer.
    pub(crate) owner: Option<ConsumerId>,
    /// Number of changes of the settings.
    pub(crate) version: u64,
}

/// A producer: its queue, its last number, the time of its last activity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProducerRecord {
    pub(crate) queue: QueueId,
    pub(crate) last: u64,
    pub(crate) at_ms: u64,
    /// Position in the log of the last claim of its name; 0 without a name.
    pub(crate) registration: u64,
    /// Digest of everything that was written under its name.
    pub(crate) digest: u64,
}

impl ProducerRecord {
    /// A new producer.
    pub(crate) fn new(queue: QueueId, at_ms: u64) -> Self {
        Self { queue, last: 0, at_ms, registration: 0, digest: 0 }
    }

    /// The same with a later time of activity.
    pub(crate) fn heard(self, at_ms: u64) -> Self {
        Self { at_ms: self.at_ms.max(at_ms), ..self }
    }

    /// The answer to its registration.
    pub(crate) fn registered(self, claimed: bool) -> OpResult {
        let Self { queue, last, registration, digest, .. } = self;
        OpResult::Producer { queue, next: last.saturating_add(1), registration, digest, claimed }
    }
}

/// A consumer: its queue, and its position in the order of attachment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConsumerRecord {
    pub(crate) queue: QueueId,
    pub(crate) order: u64,
}

impl ConsumerRecord {
    pub(crate) fn bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&queue_key(self.queue));
        bytes[4..].copy_from_slice(&self.order.to_be_bytes());
        bytes
    }

    pub(crate) fn read(bytes: &[u8]) -> io::Result<Self> {
        let [q0, q1, q2, q3, order @ ..] = array::<12>(bytes)?;
        Ok(Self { queue: QueueId(u32::from_be_bytes([q0, q1, q2, q3])), order: u64::from_be_bytes(order) })
    }
}

/// Encodes a record.
pub(crate) fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    // Writing plain structs to memory cannot fail: no maps with odd keys, no unknown lengths.
    #[allow(clippy::expect_used)]
    rmp_serde::encode::write(&mut bytes, record).expect("plain records always encode");
    bytes
}

/// Decodes what [`encode`] wrote.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => msgpack::read(rest).map_err(damaged),
        Some((&version, _)) => Err(newer("record", version)),
        None => Err(damaged("an empty record")),
    }
}

/// Exactly `N` bytes.
pub(crate) fn array<const N: usize>(bytes: &[u8]) -> io::Result<[u8; N]> {
    bytes.try_into().map_err(|_| damaged(format!("{} bytes where {N} belong", bytes.len())))
}

pub(crate) fn damaged(why: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_string())
}

/// Error of a replica that meets data of a newer program: it stops rather than guess.
pub(crate) fn newer(what: &str, version: u8) -> io::Error {
    let why = format!("a {what} of version {version} was written by a newer baton: start this server with that one");
    io::Error::new(io::ErrorKind::Unsupported, why)
}

/// A queue's key.
pub(crate) fn queue_key(queue: QueueId) -> [u8; 4] {
    queue.0.to_be_bytes()
}

/// See [`message_key`].
pub(crate) type MessageKey = [u8; 20];

/// A message's key: queue, lane, id, so that messages sort in the order of delivery. The lane takes
/// the first four bits of the generation, which never reaches them.
pub(crate) fn message_key(queue: QueueId, id: MessageId) -> MessageKey {
    let mut key = [0; 20];
    key[..4].copy_from_slice(&queue_key(queue));
    key[4..].copy_from_slice(&id.to_bytes());
    key[4] |= id.lane().0 << 4;
    key
}

/// The queue in a message's key.
pub(crate) fn message_key_queue(key: &MessageKey) -> QueueId {
    let [q0, q1, q2, q3, ..] = *key;
    QueueId(u32::from_be_bytes([q0, q1, q2, q3]))
}

/// True if a bound is reached; 0 is unlimited.
pub(crate) fn reached(value: u64, bound: u64) -> bool {
    bound > 0 && value >= bound
}

/// Adds to a gauge. A wrong gauge is only a wrong number on a screen, and must not stop every replica.
pub(crate) fn raise(gauge: &mut u64, by: u64) {
    *gauge = gauge.saturating_add(by);
}

/// The id in a message's key.
///
/// # Errors
/// If it is no such key.
pub(crate) fn message_key_id(key: &[u8]) -> io::Result<MessageId> {
    let mut id: [u8; 16] = array(key.get(4..).unwrap_or_default())?;
    id[0] &= 0x0f;
    Ok(MessageId::from_bytes(id))
}

/// The first key after a lane.
pub(crate) fn lane_end(queue: QueueId, lane: Lane) -> Vec<u8> {
    match lane.0 {
        0..0xf => message_key(queue, Lane(lane.0.saturating_add(1)).start()).to_vec(),
        _ => queue_bounds(queue).1,
    }
}

/// Bounds of the keys of a queue's messages; the second is exclusive.
pub(crate) fn queue_bounds(queue: QueueId) -> ([u8; 4], Vec<u8>) {
    let end = match queue.0.checked_add(1) {
        Some(next) => next.to_be_bytes().to_vec(),
        None => vec![0xff; 21],
    };
    (queue_key(queue), end)
}

/// Encodes a message. Written by hand: this is the hot path, and its size is read without the rest.
pub(crate) fn encode_message(tail: &[u8], head: MessageHead, into: &mut Vec<u8>) {
    into.clear();
    write_head(head, into);
    into.extend_from_slice(tail);
}

/// Writes the head of a message record.
pub(super) fn write_head(head: MessageHead, into: &mut Vec<u8>) {
    let MessageHead { size, at_ms, expires_ms, redeliveries } = head;
    let more = expires_ms != 0 || redeliveries != 0;
    into.push(if more { MESSAGE_WITH_MORE } else { VERSION });
    into.extend_from_slice(&size.to_be_bytes());
    into.extend_from_slice(&at_ms.to_be_bytes());
    if more {
        into.extend_from_slice(&expires_ms.to_be_bytes());
        into.extend_from_slice(&redeliveries.to_be_bytes());
    }
}

/// Encodes a subscription's share in a message.
pub(crate) fn encode_share(head: MessageHead, into: &mut Vec<u8>) {
    let MessageHead { size, at_ms, expires_ms, redeliveries } = head;
    into.clear();
    into.push(MESSAGE_SHARE);
    into.extend_from_slice(&size.to_be_bytes());
    into.extend_from_slice(&at_ms.to_be_bytes());
    into.extend_from_slice(&expires_ms.to_be_bytes());
    into.extend_from_slice(&redeliveries.to_be_bytes());
}

/// True if a record, or its first bytes, is a share in a message of a topic space.
pub(crate) fn is_share(value: &[u8]) -> bool {
    value.first() == Some(&MESSAGE_SHARE)
}

/// The head of a message record: everything but headers and body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct MessageHead {
    /// Size that counts against limits, in bytes.
    pub(crate) size: u32,
    /// Time at which the store took it, in Unix milliseconds.
    pub(crate) at_ms: u64,
    /// Time at which it expires, in Unix milliseconds; 0 = never.
    pub(crate) expires_ms: u64,
    /// Failed deliveries before it was stored here.
    pub(crate) redeliveries: u32,
}

impl MessageHead {
    /// Reads the first [`MESSAGE_HEAD_MAX`] bytes of a message, or all of it. Also returns the offset of the rest.
    pub(crate) fn read(value: &[u8]) -> io::Result<(Self, usize)> {
        let short = || damaged("a message that is too short");
        let Some((version, rest)) = value.split_first() else { return Err(short()) };
        let end = match *version {
            VERSION => MESSAGE_HEAD,
            MESSAGE_WITH_MORE | MESSAGE_SHARE => MESSAGE_HEAD_MAX,
            version => return Err(newer("message", version)),
        };
        let (size, rest) = rest.split_first_chunk::<4>().ok_or_else(short)?;
        let (at_ms, rest) = rest.split_first_chunk::<8>().ok_or_else(short)?;
        let (size, at_ms) = (u32::from_be_bytes(*size), u64::from_be_bytes(*at_ms));
        let mut head = Self { size, at_ms, ..Self::default() };
        if end == MESSAGE_HEAD_MAX {
            let (expires_ms, rest) = rest.split_first_chunk::<8>().ok_or_else(short)?;
            let redeliveries = rest.first_chunk::<4>().ok_or_else(short)?;
            head.expires_ms = u64::from_be_bytes(*expires_ms);
            head.redeliveries = u32::from_be_bytes(*redeliveries);
        }
        Ok((head, end))
    }
}

/// Decodes what [`encode_message`] wrote. `redeliveries` replaces the count in the record, if it is known from
/// elsewhere.
pub(crate) fn decode_message(value: &[u8], redeliveries: Option<u32>) -> io::Result<StoredMessage> {
    let (head, end) = MessageHead::read(value)?;
    if is_share(value) {
        return Err(damaged("a share where a message belongs"));
    }
    let message = read_tail(&Bytes::copy_from_slice(&value[end..])).map_err(damaged)?;
    let redeliveries = redeliveries.unwrap_or(head.redeliveries);
    Ok(StoredMessage { message, at_ms: head.at_ms, expires_ms: head.expires_ms, redeliveries })
}

/// Time of a producer's last activity, in Unix milliseconds.
pub(crate) fn producer_idle_since(value: &[u8]) -> io::Result<u64> {
    decode::<ProducerRecord>(value).map(|record| record.at_ms)
}

/// Decodes a redelivery count.
pub(crate) fn decode_redeliveries(value: &[u8]) -> io::Result<u32> {
    Ok(u32::from_be_bytes(array(value)?))
}

/// Size of a message in its record.
pub(super) fn counted_bytes(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_domain::Message;
    use baton_domain::message_batch::tail;

    #[test]
    fn messages_come_back_as_they_were() {
        for headers in [vec![], vec![("a".to_owned(), "b".to_owned()), (String::new(), "ü".to_owned())]] {
            let message = Message { headers, body: Bytes::from_static(b"body"), properties: None };
            for (expires_ms, redeliveries) in [(0, 0), (99, 0), (0, 2)] {
                let head = MessageHead { size: counted_bytes(message.size()), at_ms: 77, expires_ms, redeliveries };
                let mut value = Vec::new();
                encode_message(&tail(&message), head, &mut value);
                let (read, end) = MessageHead::read(&value[..value.len().min(MESSAGE_HEAD_MAX)]).unwrap();
                assert_eq!(read, head);
                let stored = StoredMessage { message: message.clone(), at_ms: 77, expires_ms, redeliveries };
                assert_eq!(decode_message(&value, None).unwrap(), stored);
                assert_eq!(decode_message(&value, Some(5)).unwrap(), StoredMessage { redeliveries: 5, ..stored });
                for cut in 0..end + 4 {
                    assert!(decode_message(&value[..cut], None).is_err());
                }
            }
        }
    }

    /// Within a lane, keys sort as ids do; and lanes lie apart.
    #[test]
    fn a_key_keeps_the_id_and_lanes_lie_one_after_the_other() {
        let queue = QueueId(7);
        let ids = [(1, 5, 0), (1, 5, 1), (1, 6, 0), (2, 1, 0)].map(|(generation, index, position)| MessageId {
            generation,
            index,
            position,
        });
        for lane in (0..=9).map(Lane::of_priority) {
            let keys = ids.map(|id| message_key(queue, id.in_lane(lane)));
            assert!(keys.is_sorted() && keys.iter().all(|key| key.as_slice() < &lane_end(queue, lane)[..]));
            assert!(keys[0] >= message_key(queue, lane.start()));
            assert_eq!(keys.map(|key| message_key_id(&key).unwrap()), ids.map(|id| id.in_lane(lane)));
            assert!(keys.iter().all(|key| message_key_queue(key) == queue));
        }
        assert_eq!(Lane::of_priority(4), Lane(0));
        assert_eq!(message_key(queue, ids[0])[4..], ids[0].to_bytes(), "the default priority's keys are the ids");
    }

    #[test]
    fn a_record_of_a_newer_program_is_named_as_such() {
        let error = decode::<u32>(&[9, 1]).unwrap_err().to_string();
        assert!(error.contains("newer baton"), "{error}");
        assert!(MessageHead::read(&[9, 0, 0, 0, 0]).is_err());
    }
}
