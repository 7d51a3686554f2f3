//! Many messages as one run of bytes: what requests, log entries and deliveries carry them in.
//!
//! Written by hand, for each message passes here several times. A message is the length of what follows, the number of
//! its headers, the headers (each text behind its length), and its body; all numbers are big-endian `u32`. Where the
//! highest bit of the number of headers is set, properties follow it: their length and their MessagePack. For
//! `#[serde(with = "baton_storage::message_batch")]` on a `Vec<Message>`.

use bytes::Bytes;
use serde::de::Visitor;
use serde::{Deserializer, Serializer};

use super::{Message, Properties};

/// Bodies share pieces of about this many bytes: less to allocate than each its own, and one message that is kept does
/// not keep a whole request.
const PIECE_BYTES: usize = 32 * 1024;

/// In the number of headers: properties follow.
const WITH_PROPERTIES: u32 = 1 << 31;

/// Writes messages.
pub fn write<'a>(messages: impl Iterator<Item = &'a Message> + Clone) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(self::bytes(messages.clone()));
    for message in messages {
        let start = bytes.len();
        put_u32(&mut bytes, 0);
        write_tail(message, &mut bytes);
        let length = u32::try_from(bytes.len() - start - 4).unwrap_or(u32::MAX);
        bytes[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }
    bytes
}

/// What messages take; about, if there are properties.
pub(crate) fn bytes<'a>(messages: impl Iterator<Item = &'a Message>) -> usize {
    messages.map(|message| 8 + tail_bytes(message)).sum()
}

/// The bytes of headers and body, without the number of headers; about, if there are properties.
fn tail_bytes(message: &Message) -> usize {
    message.size() + 8 * message.headers.len()
}

fn put_u32(bytes: &mut Vec<u8>, number: usize) {
    // Frames and entries are far smaller: what is larger is cut where it is read, and refused.
    bytes.extend_from_slice(&u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes());
}

/// Writes the number of headers, the headers and the body.
pub(crate) fn write_tail(message: &Message, bytes: &mut Vec<u8>) {
    match &message.properties {
        None => put_u32(bytes, message.headers.len()),
        Some(properties) => {
            put_u32(bytes, message.headers.len() | WITH_PROPERTIES as usize);
            // Writing a plain struct to memory cannot fail.
            #[allow(clippy::expect_used)]
            let properties = rmp_serde::to_vec(properties).expect("properties always encode");
            put_u32(bytes, properties.len());
            bytes.extend_from_slice(&properties);
        }
    }
    for text in message.headers.iter().flat_map(|(name, value)| [name, value]) {
        put_u32(bytes, text.len());
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes.extend_from_slice(&message.body);
}

/// Reads what [`write_tail`] wrote; the body shares the bytes.
pub(crate) fn read_tail(bytes: &Bytes) -> Result<Message, &'static str> {
    let mut rest = &bytes[..];
    let count = take_u32(&mut rest)?;
    let properties = if count & WITH_PROPERTIES == 0 { None } else { Some(take_properties(&mut rest)?) };
    let mut headers = Vec::new();
    for _ in 0..count & !WITH_PROPERTIES {
        headers.push((take_text(&mut rest)?, take_text(&mut rest)?));
    }
    Ok(Message { headers, properties, body: bytes.slice(bytes.len() - rest.len()..) })
}

fn take_properties(rest: &mut &[u8]) -> Result<Box<Properties>, &'static str> {
    let length = take_u32(rest)? as usize;
    let (head, tail) = rest.split_at_checked(length).ok_or(SHORT)?;
    *rest = tail;
    rmp_serde::from_slice(head).map_err(|_| "message properties that cannot be read")
}

/// Reads what [`write()`] wrote.
///
/// # Errors
/// In words, if it is cut short or a header is not text.
pub fn read(mut rest: &[u8]) -> Result<Vec<Message>, &'static str> {
    let (mut count, mut all) = (0, rest);
    while !all.is_empty() {
        take_one(&mut all)?;
        count += 1;
    }
    let mut messages = Vec::with_capacity(count);
    while !rest.is_empty() {
        let mut next = rest;
        while !next.is_empty() && rest.len() - next.len() < PIECE_BYTES {
            take_one(&mut next)?;
        }
        let piece = Bytes::copy_from_slice(&rest[..rest.len() - next.len()]);
        let mut left = &piece[..];
        while !left.is_empty() {
            let tail = take_one(&mut left)?;
            messages.push(read_tail(&piece.slice_ref(tail))?);
        }
        rest = next;
    }
    Ok(messages)
}

/// What a message is behind its length.
fn take_one<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], &'static str> {
    let length = take_u32(rest)? as usize;
    let (one, others) = rest.split_at_checked(length).ok_or(SHORT)?;
    *rest = others;
    Ok(one)
}

const SHORT: &str = "a message that ends early";

fn take_u32(rest: &mut &[u8]) -> Result<u32, &'static str> {
    let (head, tail) = rest.split_first_chunk::<4>().ok_or(SHORT)?;
    *rest = tail;
    Ok(u32::from_be_bytes(*head))
}

fn take_text(rest: &mut &[u8]) -> Result<String, &'static str> {
    let length = take_u32(rest)? as usize;
    let (head, tail) = rest.split_at_checked(length).ok_or(SHORT)?;
    *rest = tail;
    std::str::from_utf8(head).map(str::to_owned).map_err(|_| "a message header that is not UTF-8")
}

/// For serde.
///
/// # Errors
/// What the serializer says.
pub fn serialize<S: Serializer>(messages: &[Message], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(&write(messages.iter()))
}

/// For serde.
///
/// # Errors
/// What the deserializer says, or what is wrong with the bytes.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Message>, D::Error> {
    struct Batch;
    impl Visitor<'_> for Batch {
        type Value = Vec<Message>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("messages as bytes")
        }

        fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Vec<Message>, E> {
            read(bytes).map_err(E::custom)
        }
    }
    deserializer.deserialize_bytes(Batch)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn messages() -> Vec<Message> {
        let large = Message::new(vec![7; 3 * PIECE_BYTES]);
        let headed = Message::new("body").with_header("a", "ü").with_header("", "");
        let asking = headed.clone().with_priority(9).with_delay(Duration::from_secs(1)).with_reply_to("answers");
        let mut all = vec![headed.clone(), Message::default(), large, asking];
        all.extend((0..1_000).map(|number: u32| Message::new(number.to_be_bytes().to_vec())));
        all
    }

    #[test]
    fn messages_come_back_as_they_were_also_over_several_pieces() {
        assert_eq!(read(&write(messages().iter())), Ok(messages()));
        assert_eq!(read(&[]), Ok(Vec::new()));
    }

    #[test]
    fn what_is_cut_short_is_refused() {
        let bytes = write(messages()[..2].iter());
        for cut in 1..bytes.len() - 8 {
            assert!(read(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        assert!(read(&bytes[..bytes.len() - 8]).is_ok(), "a whole message");
        assert!(read(&[0xff; 8]).is_err());
    }

    /// One message that is kept must not keep all those that came with it.
    #[test]
    fn small_messages_share_pieces_of_a_bounded_size() {
        let many: Vec<_> = (0..1_000).map(|_| Message::new(vec![1; 256])).collect();
        let read = read(&write(many.iter())).unwrap();
        let apart = read.windows(2).filter(|pair| {
            let gap = (pair[1].body.as_ptr() as usize).abs_diff(pair[0].body.as_ptr() as usize);
            gap != 256 + 8
        });
        assert!(apart.count() >= 1_000 * 256 / PIECE_BYTES - 1);
    }
}
