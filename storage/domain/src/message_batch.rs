//! Many messages as one run of bytes: what requests, log entries and deliveries carry them in.
//!
//! Written by hand, for each message passes here several times. A message is the length of what follows, the number of
//! its headers, the headers (each text behind its length), and its body; all numbers are big-endian `u32`. Where the
//! highest bit of the number of headers is set, properties follow it: their length and their MessagePack.

use bytes::Bytes;
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Message, Properties};

/// Bodies share pieces of about this many bytes: less to allocate than each its own, and one message that is kept does
/// not keep a whole request.
const PIECE_BYTES: usize = 32 * 1024;

/// In the number of headers: properties follow.
const WITH_PROPERTIES: u32 = 1 << 31;

/// Messages, in order, that stay one run of bytes until somebody wants to read them. Cheap to clone.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct MessageBatch {
    /// What [`write()`] writes.
    bytes: Bytes,
    messages: usize,
}

impl MessageBatch {
    /// Checks what [`write()`] wrote: all of it can be read.
    ///
    /// # Errors
    /// In words, if it is cut short or a header is not text.
    pub fn new(bytes: Bytes) -> Result<Self, &'static str> {
        let (mut messages, mut rest) = (0, &bytes[..]);
        while !rest.is_empty() {
            let tail = take_one(&mut rest)?;
            // Most have nothing but a body.
            if !is_plain(tail) {
                read_tail(&bytes.slice_ref(tail))?;
            }
            messages += 1;
        }
        Ok(Self { bytes, messages })
    }

    /// How many messages these are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// What they take here.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The messages.
    #[must_use]
    pub fn iter(&self) -> Iter<'_> {
        Iter { batch: &self.bytes, rest: &self.bytes }
    }

    /// The messages, read. Their bodies share pieces of a bounded size, so that one that is kept does not keep the others.
    #[must_use]
    pub fn read(&self) -> Vec<Message> {
        checked(read(&self.bytes))
    }
}

impl From<Vec<Message>> for MessageBatch {
    fn from(messages: Vec<Message>) -> Self {
        Self { bytes: write(messages.iter()).into(), messages: messages.len() }
    }
}

impl FromIterator<Message> for MessageBatch {
    fn from_iter<I: IntoIterator<Item = Message>>(messages: I) -> Self {
        messages.into_iter().collect::<Vec<_>>().into()
    }
}

impl<'a> IntoIterator for &'a MessageBatch {
    type Item = Encoded<'a>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl std::fmt::Debug for MessageBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter().map(|message| message.message())).finish()
    }
}

/// The messages of a batch, not read yet.
#[derive(Clone)]
pub struct Iter<'a> {
    batch: &'a Bytes,
    rest: &'a [u8],
}

impl<'a> Iter<'a> {
    /// Without the first ones.
    #[must_use]
    pub fn behind(mut self, messages: usize) -> Self {
        self.by_ref().take(messages).for_each(drop);
        self
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = Encoded<'a>;

    fn next(&mut self) -> Option<Encoded<'a>> {
        (!self.rest.is_empty()).then(|| Encoded { batch: self.batch, tail: checked(take_one(&mut self.rest)) })
    }
}

/// A message of a batch, not read yet.
#[derive(Clone, Copy)]
pub struct Encoded<'a> {
    batch: &'a Bytes,
    tail: &'a [u8],
}

impl<'a> Encoded<'a> {
    /// What `write_tail` wrote of it.
    pub fn tail(self) -> &'a [u8] {
        self.tail
    }

    /// What it counts against size limits, as [`Message::size`].
    #[must_use]
    pub fn size(self) -> usize {
        let (texts_and_body, properties) = self.parts();
        texts_and_body + properties.map_or(0, |properties| properties.size())
    }

    /// What it asks of the engine: a message that has its properties, but neither headers nor a body.
    #[must_use]
    pub fn asks(self) -> Message {
        Message { properties: self.parts().1, ..Message::default() }
    }

    /// What its headers' texts and its body take, and its properties: nothing else of it is read.
    fn parts(self) -> (usize, Option<Box<Properties>>) {
        let mut rest = self.tail;
        let count = checked(take_u32(&mut rest));
        let properties = (count & WITH_PROPERTIES != 0).then(|| checked(take_properties(&mut rest)));
        // Each header is two texts, each behind its length.
        (rest.len() - 8 * (count & !WITH_PROPERTIES) as usize, properties)
    }

    /// Its body.
    pub fn body(self) -> &'a [u8] {
        let mut rest = self.tail;
        let count = checked(take_u32(&mut rest));
        let properties = u32::from(count & WITH_PROPERTIES != 0);
        for _ in 0..properties + 2 * (count & !WITH_PROPERTIES) {
            checked(take_one(&mut rest));
        }
        rest
    }

    /// The message. Its body keeps the whole batch.
    #[must_use]
    pub fn message(self) -> Message {
        checked(read_tail(&self.batch.slice_ref(self.tail)))
    }
}

/// What was read of bytes that were checked before.
fn checked<T>(read: Result<T, &'static str>) -> T {
    read.unwrap_or_else(|error| unreachable!("the batch was checked when it was made: {error}"))
}

/// Whether a message has neither headers nor properties.
fn is_plain(tail: &[u8]) -> bool {
    tail.first_chunk() == Some(&[0; 4])
}

/// Writes messages.
pub fn write<'a>(messages: impl Iterator<Item = &'a Message> + Clone) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(messages.clone().map(|message| 8 + tail_bytes(message)).sum());
    for message in messages {
        let start = bytes.len();
        put_u32(&mut bytes, 0);
        write_tail(message, &mut bytes);
        let length = u32::try_from(bytes.len() - start - 4).unwrap_or(u32::MAX);
        bytes[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }
    bytes
}

/// The bytes of headers and body, without the number of headers; about, if there are properties.
fn tail_bytes(message: &Message) -> usize {
    message.size() + 8 * message.headers.len()
}

fn put_u32(bytes: &mut Vec<u8>, number: usize) {
    // Frames and entries are far smaller: what is larger is cut where it is read, and refused.
    bytes.extend_from_slice(&u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes());
}

/// What stands behind a message's length.
pub fn tail(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(4 + tail_bytes(message));
    write_tail(message, &mut bytes);
    bytes
}

/// Writes the number of headers, the headers and the body.
fn write_tail(message: &Message, bytes: &mut Vec<u8>) {
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

/// Reads what `write_tail` wrote; the body shares the bytes.
pub fn read_tail(bytes: &Bytes) -> Result<Message, &'static str> {
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
    crate::msgpack::read(head).map_err(|_| "message properties that cannot be read")
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

impl Serialize for MessageBatch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.bytes)
    }
}

impl<'de> Deserialize<'de> for MessageBatch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Batch;
        impl Visitor<'_> for Batch {
            type Value = MessageBatch;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("messages as bytes")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<MessageBatch, E> {
                MessageBatch::new(Bytes::copy_from_slice(bytes)).map_err(E::custom)
            }
        }
        deserializer.deserialize_bytes(Batch)
    }
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
    fn a_batch_says_of_its_messages_what_they_say_themselves() {
        let all = messages();
        let batch = MessageBatch::from(all.clone());
        assert_eq!((batch.len(), batch.is_empty(), batch.read()), (all.len(), false, all.clone()));
        assert_eq!(batch.iter().count(), all.len());
        for (encoded, message) in batch.iter().zip(&all) {
            assert_eq!((encoded.size(), &encoded.message()), (message.size(), message));
            assert_eq!(encoded.asks(), Message { properties: message.properties.clone(), ..Message::default() });
            assert_eq!(encoded.tail(), tail(message));
        }
        assert!(batch.iter().behind(2).map(Encoded::message).eq(all[2..].iter().cloned()));
        assert_eq!((batch.iter().behind(all.len() + 1).count(), MessageBatch::default().iter().count()), (0, 0));
        let encoded = rmp_serde::to_vec(&batch).unwrap();
        assert_eq!(crate::msgpack::read::<MessageBatch>(&encoded).unwrap(), batch);
        assert!(
            crate::msgpack::read::<MessageBatch>(&rmp_serde::to_vec(serde_bytes::Bytes::new(&[9])).unwrap()).is_err()
        );
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        let batch = |bytes: &[u8]| MessageBatch::new(Bytes::copy_from_slice(bytes));
        let bytes = write(messages()[..2].iter());
        for cut in 1..bytes.len() - 8 {
            assert!(read(&bytes[..cut]).is_err() && batch(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        assert!(read(&bytes[..bytes.len() - 8]).is_ok(), "a whole message");
        assert!(read(&[0xff; 8]).is_err() && batch(&[0xff; 8]).is_err());
        // What a batch takes, it can read: a flipped bit is refused, or gives other messages.
        let bytes = write([messages().remove(0), messages().remove(3)].iter());
        for (at, bit) in (0..bytes.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut wrong = bytes.clone();
            wrong[at] ^= 1 << bit;
            let read = read(&wrong);
            assert_eq!(batch(&wrong).map(|batch| batch.iter().map(Encoded::message).collect()), read, "{at}");
            if let Ok(batch) = batch(&wrong) {
                batch.iter().for_each(|message| drop((message.size(), message.asks())));
            }
        }
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
