//! The records of the log's files, one after the other:
//!
//! ```text
//! checksum  8  XXH3-64 of all that follows, without the body of an entry, which carries a checksum of its own
//! length    4  of the body
//! kind      1
//! sequence  8  one more than that of the record before, in whatever segment that is
//! number    8  of an entry its index; of a cut the first index that is gone, of a purge the last one
//! body         of an entry, a vote, a commit or a purge; of notes, the newest of the last three
//! ```
//!
//! All numbers are big-endian.

use std::io;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// Checksum, length, kind, sequence, number.
pub(super) const HEAD: usize = 8 + 4 + 1 + 8 + 8;

pub(super) const ENTRY: u8 = 1;
pub(super) const CUT: u8 = 2;
pub(super) const PURGE: u8 = 3;
pub(super) const VOTE: u8 = 4;
pub(super) const COMMIT: u8 = 5;
pub(super) const NOTES: u8 = 6;

/// The newest vote, commit and purge, encoded by their writers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Notes {
    pub(crate) vote: Option<Vec<u8>>,
    pub(crate) committed: Option<Vec<u8>>,
    /// The last purged index, and its log id.
    pub(crate) purged: Option<(u64, Vec<u8>)>,
}

impl Notes {
    /// The index of the first entry that was not purged.
    pub(super) fn first_kept(&self) -> u64 {
        self.purged.as_ref().map_or(0, |(through, _)| through + 1)
    }
}

/// The head of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) kind: u8,
    pub(super) number: u64,
    /// Offset of the head.
    at: usize,
    /// Length of the body.
    pub(super) length: u32,
}

impl Record {
    pub(super) fn body<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let start = self.at + HEAD;
        bytes.get(start..start + self.length as usize).unwrap_or_default()
    }

    /// The checksum of a record as it lies in `bytes`.
    fn checksum(&self, bytes: &[u8]) -> u64 {
        let end = if self.kind == ENTRY { self.at + HEAD } else { self.at + HEAD + self.length as usize };
        xxh3_64(bytes.get(self.at + 8..end).unwrap_or_default())
    }
}

/// Records that are written as one.
#[derive(Default)]
pub(crate) struct LogBatch {
    pub(super) bytes: Vec<u8>,
    pub(super) records: Vec<Record>,
}

impl LogBatch {
    /// An empty batch with room for `entries` entries of `bytes` bytes in total: growing copies.
    pub(crate) fn for_entries(entries: usize, bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes + (entries + 1) * 2 * HEAD), records: Vec::with_capacity(entries + 1) }
    }

    /// An entry, which must follow on the last one; `body` writes it.
    ///
    /// # Errors
    /// Errors of `body`.
    pub(crate) fn entry(&mut self, index: u64, body: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> io::Result<()> {
        self.record(ENTRY, index, body)
    }

    /// Cuts off the entries from `from` on.
    pub(crate) fn cut(&mut self, from: u64) -> io::Result<()> {
        self.small(CUT, from, &[])
    }

    /// Purges the entries up to and including `through`; `mark` is its log id.
    pub(crate) fn purge(&mut self, through: u64, mark: &[u8]) -> io::Result<()> {
        self.small(PURGE, through, mark)
    }

    /// The vote that was given.
    pub(crate) fn vote(&mut self, vote: &[u8]) -> io::Result<()> {
        self.small(VOTE, 0, vote)
    }

    /// The committed position.
    pub(crate) fn commit(&mut self, commit: &[u8]) -> io::Result<()> {
        self.small(COMMIT, 0, commit)
    }

    pub(super) fn notes(&mut self, notes: &Notes) -> io::Result<()> {
        self.record(NOTES, 0, |into| rmp_serde::encode::write(into, notes).map_err(io::Error::other))
    }

    fn small(&mut self, kind: u8, number: u64, body: &[u8]) -> io::Result<()> {
        self.record(kind, number, |into| {
            into.extend_from_slice(body);
            Ok(())
        })
    }

    fn record(&mut self, kind: u8, number: u64, body: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> io::Result<()> {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&[0; HEAD]);
        body(&mut self.bytes)?;
        let length = u32::try_from(self.bytes.len() - at - HEAD).map_err(io::Error::other)?;
        self.records.push(Record { kind, number, at, length });
        Ok(())
    }

    /// Writes the heads, the first with the sequence number after `sequence`.
    pub(super) fn seal(&mut self, sequence: u64) {
        for (record, sequence) in self.records.iter().zip(sequence + 1..) {
            let mut head = [0; HEAD];
            head[8..12].copy_from_slice(&record.length.to_be_bytes());
            head[12] = record.kind;
            head[13..21].copy_from_slice(&sequence.to_be_bytes());
            head[21..].copy_from_slice(&record.number.to_be_bytes());
            self.bytes[record.at..record.at + HEAD].copy_from_slice(&head);
            let checksum = record.checksum(&self.bytes);
            self.bytes[record.at..record.at + 8].copy_from_slice(&checksum.to_be_bytes());
        }
    }
}

/// Reads the record at `at`, and its sequence number; `None` if it is not sound.
pub(super) fn read_record(bytes: &[u8], at: usize) -> Option<(Record, u64)> {
    let head: &[u8; HEAD] = bytes.get(at..)?.first_chunk()?;
    let number = |at: usize| head[at..].first_chunk().copied().map(u64::from_be_bytes);
    let length = u32::from_be_bytes(*head[8..].first_chunk()?);
    let record = Record { kind: head[12], number: number(21)?, at, length };
    let whole = bytes.len() - at - HEAD >= length as usize;
    (whole && number(0)? == record.checksum(bytes)).then_some((record, number(13)?))
}
