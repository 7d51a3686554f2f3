//! Packs: messages that one command stored in a queue one after the other, as one record.
//!
//! Every record has a fixed cost: an entry in the memtable, one in a table file, a tombstone. A pack is stored under
//! the key of its first message, and is deleted as a whole with its last message. Its remainder, in a family of its
//! own, lists the messages that are left: a settlement reads and writes only that. A message that expires is a record
//! of its own.
//!
//! A pack is a version byte, the number of messages, their time (Unix milliseconds), their headers and bodies,
//! and the end of each of these. A remainder is a version byte and the sizes of the messages,
//! run-length encoded: a count and a size; the size of a deleted message is [`GONE`]. All numbers
//! are big-endian.

use std::io;

use baton_domain::message_batch::read_tail;
use baton_domain::{MessageId, QueueId, StoredMessage};
use bytes::Bytes;

use super::records::{MessageHead, damaged, newer, write_head};

/// The version byte; the others are in [`super::records`].
pub(super) const VERSION: u8 = 4;
/// Version, number of messages, time.
const HEAD: usize = 1 + 4 + 8;
/// Size marker of a deleted message (tombstone); no real message is this large.
pub(super) const GONE: u32 = u32::MAX;
/// Version of a remainder.
const REMAINDER_VERSION: u8 = 1;

/// Maximum bytes of a pack: one message that stays keeps all of it, on disk and in the engine's memory.
const BYTES_MAX: usize = 32 * 1024;
/// Maximum messages of a pack: every settlement writes the whole remainder.
const MESSAGES_MAX: usize = 256;

/// A pack that is being built.
#[derive(Default)]
pub(super) struct PackBuilder {
    /// Queue and first message.
    first: Option<(QueueId, MessageId)>,
    bytes: Vec<u8>,
    sizes: Vec<u32>,
    ends: Vec<u32>,
}

impl PackBuilder {
    /// Queue and first message; `None` while it is empty.
    pub(super) fn first(&self) -> Option<(QueueId, MessageId)> {
        self.first
    }

    /// Sizes of its messages.
    pub(super) fn sizes(&self) -> &[u32] {
        &self.sizes
    }

    /// True if a message of that size can follow.
    pub(super) fn has_room(&self, queue: QueueId, id: MessageId, size: usize) -> bool {
        let messages = u32::try_from(self.sizes.len()).unwrap_or(u32::MAX);
        self.first.is_none_or(|(of, first)| {
            of == queue
                && self.sizes.len() < MESSAGES_MAX
                && first.after(messages, first.lane()) == id
                && self.bytes.len().saturating_add(size) <= BYTES_MAX
        })
    }

    /// Adds an encoded message. The caller checks [`Self::has_room`].
    pub(super) fn push(&mut self, queue: QueueId, id: MessageId, tail: &[u8], head: MessageHead) {
        if self.first.is_none() {
            self.first = Some((queue, id));
            // A message that stays alone becomes a plain record.
            write_head(head, &mut self.bytes);
        }
        self.bytes.extend_from_slice(tail);
        self.sizes.push(head.size);
        self.ends.push(u32::try_from(self.bytes.len().saturating_sub(HEAD)).unwrap_or(u32::MAX));
    }

    /// Its record.
    pub(super) fn finish(&mut self) -> &[u8] {
        let messages = u32::try_from(self.sizes.len()).unwrap_or(u32::MAX);
        if messages > 1 {
            self.bytes[0] = VERSION;
            self.bytes[1..5].copy_from_slice(&messages.to_be_bytes());
            self.ends.iter().for_each(|end| self.bytes.extend_from_slice(&end.to_be_bytes()));
        }
        &self.bytes
    }

    pub(super) fn clear(&mut self) {
        self.first = None;
        self.bytes.clear();
        self.sizes.clear();
        self.ends.clear();
    }
}

/// True if a record is a pack.
pub(crate) fn is_pack(value: &[u8]) -> bool {
    value.first() == Some(&VERSION)
}

/// A pack that was read.
#[derive(Clone, Copy)]
pub(crate) struct Pack<'a> {
    at_ms: u64,
    bodies: &'a [u8],
    ends: &'a [[u8; 4]],
}

impl<'a> Pack<'a> {
    /// Reads the record of a builder with several messages.
    pub(crate) fn read(value: &'a [u8]) -> io::Result<Self> {
        let short = || damaged("a pack of messages that is too short");
        let (head, rest) = value.split_first_chunk::<HEAD>().ok_or_else(short)?;
        let [version, m0, m1, m2, m3, time @ ..] = *head;
        if version != VERSION {
            return Err(damaged("a message where a pack belongs"));
        }
        let messages = u32::from_be_bytes([m0, m1, m2, m3]) as usize;
        let table = messages.checked_mul(4).and_then(|table| rest.len().checked_sub(table)).ok_or_else(short)?;
        let (bodies, table) = rest.split_at(table);
        let pack = Self { at_ms: u64::from_be_bytes(time), bodies, ends: table.as_chunks().0 };
        let mut ends = (0..messages).map(|at| pack.end(at));
        if !ends.clone().is_sorted() || ends.next_back() != Some(bodies.len()) {
            return Err(damaged("a pack of messages whose ends are not in order"));
        }
        Ok(pack)
    }

    /// End of a message in `bodies`.
    fn end(&self, at: usize) -> usize {
        u32::from_be_bytes(self.ends[at]) as usize
    }

    /// Start of a message in `bodies`.
    fn begin(&self, at: usize) -> usize {
        at.checked_sub(1).map_or(0, |before| self.end(before))
    }

    /// Number of messages that it was built of.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Position of a message in the pack, whose first message is `first`.
    pub(crate) fn place(&self, first: MessageId, id: MessageId) -> Option<usize> {
        place(first, self.len(), id)
    }

    /// The messages from position `from` on that are not deleted, with their positions. They share one copy of the
    /// bytes.
    pub(crate) fn messages(
        self,
        from: usize,
        left: &PackRemainder,
    ) -> impl Iterator<Item = io::Result<(usize, StoredMessage)>> {
        let cut = self.begin(from.min(self.len()));
        let bytes = Bytes::copy_from_slice(&self.bodies[cut..]);
        let places = (from..self.len()).filter(|at| left.has(*at));
        places.map(move |at| {
            Ok((at, self.stored(&bytes.slice(self.begin(at).saturating_sub(cut)..self.end(at).saturating_sub(cut)))?))
        })
    }

    fn stored(&self, bytes: &Bytes) -> io::Result<StoredMessage> {
        let message = read_tail(bytes).map_err(damaged)?;
        Ok(StoredMessage { message, at_ms: self.at_ms, expires_ms: 0, redeliveries: 0 })
    }

    /// One message of the pack, whose first message is `first`.
    pub(super) fn message(&self, first: MessageId, id: MessageId) -> io::Result<StoredMessage> {
        let at = self.place(first, id).ok_or_else(|| damaged("a message that is not in its pack"))?;
        self.stored(&Bytes::copy_from_slice(&self.bodies[self.begin(at)..self.end(at)]))
    }
}

/// Position of a message among `len` that were stored one after the other.
pub(super) fn place(first: MessageId, len: usize, id: MessageId) -> Option<usize> {
    let entry = |id: MessageId| (id.generation, id.index, id.lane());
    let at = id.count().checked_sub(first.count())? as usize;
    (entry(first) == entry(id) && at < len).then_some(at)
}

/// The messages of a pack that are not deleted: the size of each message, or [`GONE`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PackRemainder(pub(super) Vec<u32>);

impl PackRemainder {
    pub(super) fn has(&self, at: usize) -> bool {
        self.0.get(at).is_some_and(|size| *size != GONE)
    }

    /// Its record.
    pub(super) fn write(sizes: &[u32]) -> Vec<u8> {
        let mut record = vec![REMAINDER_VERSION];
        for same in sizes.chunk_by(|a, b| a == b) {
            record.extend_from_slice(&u16::try_from(same.len()).unwrap_or(u16::MAX).to_be_bytes());
            record.extend_from_slice(&same[0].to_be_bytes());
        }
        record
    }

    /// Reads what [`Self::write`] wrote.
    pub(crate) fn read(record: &[u8]) -> io::Result<Self> {
        let Some((&version, rest)) = record.split_first() else { return Err(damaged("an empty record")) };
        if version != REMAINDER_VERSION {
            return Err(newer("pack of messages", version));
        }
        let mut sizes = Vec::new();
        let (rows, []) = rest.as_chunks::<6>() else { return Err(damaged("the remainder of a pack ends early")) };
        for [n0, n1, s0, s1, s2, s3] in rows {
            let size = u32::from_be_bytes([*s0, *s1, *s2, *s3]);
            sizes.extend(std::iter::repeat_n(size, usize::from(u16::from_be_bytes([*n0, *n1]))));
        }
        Ok(Self(sizes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::decode_message;
    use baton_domain::Message;
    use baton_domain::message_batch::tail;

    const QUEUE: QueueId = QueueId(1);

    fn id(position: u32) -> MessageId {
        MessageId { generation: 1, index: 2, position }
    }

    fn head(size: u32) -> MessageHead {
        MessageHead { size, at_ms: 77, expires_ms: 0, redeliveries: 0 }
    }

    /// A message without headers.
    fn body(byte: u8, size: usize) -> Vec<u8> {
        tail(&Message::new(vec![byte; size]))
    }

    /// Of messages with that many bytes, from position 5 on.
    fn pack(sizes: &[usize]) -> Vec<u8> {
        let mut builder = PackBuilder::default();
        for (at, size) in (5..).zip(sizes) {
            builder.push(QUEUE, id(at), &body(at as u8, *size), head(*size as u32));
        }
        builder.finish().to_vec()
    }

    #[test]
    fn messages_come_back_but_for_those_that_are_gone() {
        let value = pack(&[3, 0, 9, 4]);
        let pack = Pack::read(&value).unwrap();
        assert_eq!(pack.len(), 4);
        let left = PackRemainder(vec![3, 0, GONE, 4]);
        for from in 0..6 {
            let found: Vec<_> = pack.messages(from, &left).map(Result::unwrap).collect();
            let expected = [(0, 3), (1, 0), (3, 4)].into_iter().filter(|(at, _)| *at >= from);
            assert_eq!(
                found.iter().map(|(at, stored)| (*at, stored.message.body.len())).collect::<Vec<_>>(),
                expected.collect::<Vec<_>>()
            );
            assert!(found.iter().all(|(at, stored)| stored.at_ms == 77
                && stored.message.body.iter().all(|byte| usize::from(*byte) == at + 5)));
        }
        assert_eq!(pack.message(id(5), id(7)).unwrap().message.body.len(), 9);
        assert!(pack.message(id(5), id(9)).is_err());
        assert_eq!([4, 5, 8, 9].map(|at| pack.place(id(5), id(at))), [None, Some(0), Some(3), None]);
        assert_eq!(pack.place(id(5), MessageId { index: 3, ..id(6) }), None);
    }

    #[test]
    fn one_message_is_as_any_other() {
        let value = pack(&[7]);
        assert!(!is_pack(&value));
        assert_eq!(decode_message(&value, None).unwrap().message.body.len(), 7);
        assert_eq!(MessageHead::read(&value).unwrap().0, head(7));
    }

    #[test]
    fn it_ends_where_a_message_is_not_the_next_or_too_much() {
        let mut builder = PackBuilder::default();
        assert!(builder.has_room(QUEUE, id(5), BYTES_MAX), "any as the first");
        builder.push(QUEUE, id(5), &body(0, 9), head(9));
        assert!(builder.has_room(QUEUE, id(6), 99));
        assert!(!builder.has_room(QUEUE, id(6), BYTES_MAX));
        for other in [id(7), id(6).in_lane(baton_domain::Lane(3)), MessageId { index: 3, ..id(6) }] {
            assert!(!builder.has_room(QUEUE, other, 0));
        }
        assert!(!builder.has_room(QueueId(2), id(6), 0));
        for at in 1..MESSAGES_MAX as u32 {
            builder.push(QUEUE, id(5 + at), &body(0, 0), head(0));
        }
        assert!(!builder.has_room(QUEUE, id(5 + MESSAGES_MAX as u32), 0));
    }

    #[test]
    fn what_is_left_comes_back_as_it_was() {
        for sizes in [vec![], vec![7; 256], vec![GONE, GONE, 3, 4, 4, GONE]] {
            let record = PackRemainder::write(&sizes);
            assert_eq!(PackRemainder::read(&record).unwrap(), PackRemainder(sizes));
            assert!(
                (0..record.len()).filter(|cut| cut % 6 != 1).all(|cut| PackRemainder::read(&record[..cut]).is_err())
            );
        }
        assert_eq!(PackRemainder::write(&[7; 256]).len(), 7);
        assert!(PackRemainder::read(&[9]).unwrap_err().to_string().contains("newer baton"));
        assert!(
            [PackRemainder(vec![1, GONE]).has(0), !PackRemainder(vec![1, GONE]).has(1), !PackRemainder(vec![1]).has(1)]
                .iter()
                .all(|ok| *ok)
        );
    }

    #[test]
    fn what_is_damaged_is_an_error() {
        let value = pack(&[3, 5]);
        for cut in 0..value.len() {
            assert!(Pack::read(&value[..cut]).is_err_and(|error| error.kind() == io::ErrorKind::InvalidData), "{cut}");
        }
        for (at, byte) in [(0, 1), (4, 0), (1, 255), (value.len() - 1, 0), (value.len() - 1, 200)] {
            let mut wrong = value.clone();
            wrong[at] = byte;
            assert!(Pack::read(&wrong).is_err(), "{at}");
        }
        // Whatever else is wrong with it: an error, or messages.
        for (at, bit) in (0..value.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut wrong = value.clone();
            wrong[at] ^= 1 << bit;
            let _ = Pack::read(&wrong)
                .map(|pack| pack.messages(0, &PackRemainder(vec![1; 9])).filter(Result::is_ok).count());
        }
    }
}
