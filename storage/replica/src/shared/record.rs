//! The record of the last entry that was applied, in the state.

use std::io;

use baton_domain::ReplicaId;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::log::{Chain, LogEntry, Position};
use crate::machine::{Family, Sink, Tables, decode, encode};
use crate::skipped::SkippedEntry;
use crate::state::{LoggedEntry, Record};

const POSITION: &[u8] = b"position";

/// The position behind the last applied entry, and its term. Part of the state, so that both are of the same instant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogRecord {
    index: u64,
    term: u64,
    chain: [u8; 16],
}

impl LogRecord {
    /// Behind the entry.
    pub(crate) fn position(&self) -> Position {
        Position { index: self.index, chain: Chain(u128::from_be_bytes(self.chain)) }
    }

    /// The entry's term.
    pub(crate) fn term(&self) -> u64 {
        self.term
    }
}

impl Record for LogRecord {
    fn load(tables: &dyn Tables) -> io::Result<Self> {
        match tables.get(Family::Meta, POSITION)? {
            Some(bytes) => decode(&bytes),
            None => Ok(Self::default()),
        }
    }

    fn save(&self, sink: &mut dyn Sink) {
        sink.put(Family::Meta, POSITION, &encode(self));
    }

    fn is_ahead_of(&self, other: &Self) -> bool {
        self.index > other.index
    }
}

impl LoggedEntry for LogEntry {
    type Record = LogRecord;

    fn name(&self) -> SkippedEntry {
        SkippedEntry { index: self.index, term: self.term, leader: ReplicaId(0) }
    }

    fn bytes(&self) -> usize {
        /// About what it takes beside its command.
        const HEAD: usize = 64;
        HEAD + self.body.len()
    }

    fn command(&self) -> Option<&Bytes> {
        Some(&self.body)
    }

    fn note(&self, record: &mut LogRecord) {
        *record = LogRecord { index: self.index, term: self.term, chain: self.chain.0.to_be_bytes() };
    }
}
