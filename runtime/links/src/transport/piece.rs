//! The format of a connection: a sequence of pieces, each with a kind (a byte), a number (8 bytes), a length (4 bytes),
//! and that many bytes. Numbers are big-endian. A call has a number, and its answer has the same one.
//!
//! A frame that is longer than a piece goes as several: each but the last is a [`PART`], and the last one has the kind
//! of the whole. One frame at a time is cut that way; whole pieces may come between its parts.

use std::io;

use bytes::{Buf, Bytes, BytesMut};

/// Kind, number, length.
pub(super) const HEAD: usize = 1 + 8 + 4;
/// Bytes of ractor_cluster's session.
pub(super) const SESSION: u8 = 0;
/// A frame, which is answered under its number.
pub(super) const CALL: u8 = 1;
/// The answer to a call.
pub(super) const ANSWER: u8 = 2;
/// A frame that overtakes others, and whose answer does.
pub(super) const CALL_AHEAD: u8 = 3;
/// A part of a frame or of an answer; its number is how many bytes there are from here on.
pub(super) const PART: u8 = 4;
/// The last part of a frame.
pub(super) const CALL_END: u8 = 5;
/// The last part of an answer.
pub(super) const ANSWER_END: u8 = 6;

/// Longest piece and longest frame; a longer one is refused. Frames and answers are far shorter.
pub(super) const PIECE_MAX: usize = 64 * 1024 * 1024;
/// Space that is reserved for a frame before its bytes have arrived.
const ROOM: usize = 1024 * 1024;

/// The header of a piece.
pub(super) fn head(kind: u8, number: u64, length: usize) -> [u8; HEAD] {
    let [n0, n1, n2, n3, n4, n5, n6, n7] = number.to_be_bytes();
    let [l0, l1, l2, l3] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    [kind, n0, n1, n2, n3, n4, n5, n6, n7, l0, l1, l2, l3]
}

/// Takes the next complete piece off the bytes that were read: kind, number, bytes.
pub(super) fn next_piece(read: &mut BytesMut) -> io::Result<Option<(u8, u64, Bytes)>> {
    let Some(head) = read.first_chunk::<HEAD>() else { return Ok(None) };
    let [kind, n0, n1, n2, n3, n4, n5, n6, n7, l0, l1, l2, l3] = *head;
    let number = u64::from_be_bytes([n0, n1, n2, n3, n4, n5, n6, n7]);
    let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
    if length > PIECE_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    if read.len() < HEAD + length {
        // Reserves room for all of it at once: growing copies the bytes so far.
        read.reserve(HEAD + length - read.len());
        return Ok(None);
    }
    read.advance(HEAD);
    Ok(Some((kind, number, read.split_to(length).freeze())))
}

/// The parts of a frame that have come.
#[derive(Default)]
pub(super) struct Parts(Option<BytesMut>);

impl Parts {
    /// Takes a part; `left` bytes of the frame, with this part, have not been taken.
    pub(super) fn add(&mut self, left: u64, part: &Bytes) -> io::Result<()> {
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        let parts = self.0.get_or_insert_with(|| BytesMut::with_capacity(left.min(ROOM)));
        if parts.len().saturating_add(left.max(part.len())) > PIECE_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        parts.extend_from_slice(part);
        Ok(())
    }

    /// The frame, whose last part this is.
    pub(super) fn end(&mut self, last: &Bytes) -> io::Result<Bytes> {
        let mut parts = self.0.take().ok_or(io::ErrorKind::InvalidData)?;
        if parts.len() + last.len() > PIECE_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        parts.extend_from_slice(last);
        Ok(parts.freeze())
    }
}
