//! How the records of the state lie on disk. Each value starts with a version byte.

use std::io;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::domain::message_batch::{read_tail, write_tail};
use crate::store::QueueRecord;
use crate::{Message, MessageId, QueueId, StoredMessage};

/// The version of the records that this program writes.
const VERSION: u8 = 1;

pub(crate) const CLUSTER_KEY: &[u8] = b"cluster";
pub(crate) const NEXT_QUEUE_KEY: &[u8] = b"next_queue";
pub(crate) const HASH_KEY: &[u8] = b"hash";

/// Version, size, time: what stands before a message's headers.
const MESSAGE_HEAD: usize = 1 + 4 + 8;

/// A queue as the state machine keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct QueueState {
    pub(crate) record: QueueRecord,
    /// How many of its messages have a redelivery count: while it is zero, nobody has to look.
    pub(crate) redelivered: u64,
}

/// A producer: its queue, the last number it used, when it was last heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProducerRecord {
    pub(crate) queue: QueueId,
    pub(crate) last: u64,
    pub(crate) at_ms: u64,
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
        Some((&VERSION, rest)) => rmp_serde::from_slice(rest).map_err(damaged),
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

/// What a replica says that meets something of a newer program: it halts rather than guess.
pub(crate) fn newer(what: &str, version: u8) -> io::Error {
    let why = format!("a {what} of version {version} was written by a newer baton: start this server with that one");
    io::Error::new(io::ErrorKind::Unsupported, why)
}

/// A queue's key.
pub(crate) fn queue_key(queue: QueueId) -> [u8; 4] {
    queue.0.to_be_bytes()
}

/// A message's key: its queue, then its id, so that a queue's messages lie together in order.
pub(crate) fn message_key(queue: QueueId, id: MessageId) -> [u8; 20] {
    let mut key = [0; 20];
    key[..4].copy_from_slice(&queue_key(queue));
    key[4..].copy_from_slice(&id.to_bytes());
    key
}

/// The keys of a queue's messages lie from the first up to but without the second.
pub(crate) fn queue_bounds(queue: QueueId) -> ([u8; 4], Vec<u8>) {
    let end = match queue.0.checked_add(1) {
        Some(next) => next.to_be_bytes().to_vec(),
        None => vec![0xff; 21],
    };
    (queue_key(queue), end)
}

/// Encodes a message. Written by hand: this is the hot path, and its size is read without the rest.
pub(crate) fn encode_message(message: &Message, at_ms: u64, into: &mut Vec<u8>) {
    into.clear();
    into.push(VERSION);
    into.extend_from_slice(&counted_bytes(message).to_be_bytes());
    into.extend_from_slice(&at_ms.to_be_bytes());
    write_tail(message, into);
}

/// The size that counts against limits, of a stored message or its first bytes.
pub(crate) fn message_size(value: &[u8]) -> io::Result<u32> {
    match value {
        [VERSION, a, b, c, d, ..] => Ok(u32::from_be_bytes([*a, *b, *c, *d])),
        [version, ..] if *version != VERSION => Err(newer("message", *version)),
        _ => Err(damaged("a message that is too short")),
    }
}

/// Decodes what [`encode_message`] wrote.
pub(crate) fn decode_message(value: &[u8], redeliveries: u32) -> io::Result<StoredMessage> {
    message_size(value)?;
    if value.len() < MESSAGE_HEAD + 4 {
        return Err(damaged("a message that is too short"));
    }
    let at_ms = u64::from_be_bytes(array(&value[5..MESSAGE_HEAD])?);
    let message = read_tail(&Bytes::copy_from_slice(&value[MESSAGE_HEAD..])).map_err(damaged)?;
    Ok(StoredMessage { message, at_ms, redeliveries })
}

/// When a producer was last heard, in Unix milliseconds.
pub(crate) fn producer_idle_since(value: &[u8]) -> io::Result<u64> {
    decode::<ProducerRecord>(value).map(|record| record.at_ms)
}

/// Decodes a redelivery count.
pub(crate) fn decode_redeliveries(value: &[u8]) -> io::Result<u32> {
    Ok(u32::from_be_bytes(array(value)?))
}

/// What a message counts against limits, as its record says it.
pub(super) fn counted_bytes(message: &Message) -> u32 {
    u32::try_from(message.size()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_as_they_were() {
        for headers in [vec![], vec![("a".to_owned(), "b".to_owned()), (String::new(), "ü".to_owned())]] {
            let message = Message { headers, body: Bytes::from_static(b"body") };
            let mut value = Vec::new();
            encode_message(&message, 77, &mut value);
            assert_eq!(message_size(&value).unwrap() as usize, message.size());
            assert_eq!(decode_message(&value, 3).unwrap(), StoredMessage { message, at_ms: 77, redeliveries: 3 });
            for cut in 0..MESSAGE_HEAD + 4 {
                assert!(decode_message(&value[..cut], 0).is_err());
            }
        }
    }

    #[test]
    fn a_record_of_a_newer_program_is_named_as_such() {
        let error = decode::<u32>(&[9, 1]).unwrap_err().to_string();
        assert!(error.contains("newer baton"), "{error}");
        assert!(message_size(&[9, 0, 0, 0, 0]).is_err());
    }
}
