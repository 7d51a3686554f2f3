//! Encoding of log entries. Each starts with a version byte and carries a checksum that covers its index too, so that
//! neither a flipped bit nor an entry in the wrong place passes.

use std::io;

use baton_domain::{ReplicaId, msgpack};
use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::types::{EncodedCommand, Entry, EntryPayload, LeaderId, LogId};
use crate::machine::{damaged, newer};

const ENTRY_VERSION: u8 = 1;

const BLANK: u8 = 0;
const NORMAL: u8 = 1;
const MEMBERSHIP: u8 = 2;

/// Version, checksum, term, leader, kind.
pub(super) const ENTRY_HEAD: usize = 1 + 8 + 8 + 8 + 1;

/// True if an entry may take up space for good. An entry that cannot be decoded stops the replica when it is applied.
pub(super) fn needs_room(entry: &Entry) -> bool {
    match &entry.payload {
        EntryPayload::Normal(command) => command.decode().is_ok_and(|command| command.needs_room()),
        EntryPayload::Blank | EntryPayload::Membership(_) => false,
    }
}

/// Encodes an entry for the log.
pub(super) fn encode_entry(entry: &Entry, into: &mut Vec<u8>) -> io::Result<()> {
    let (kind, body): (u8, &[u8]) = match &entry.payload {
        EntryPayload::Blank => (BLANK, &[]),
        EntryPayload::Normal(command) => (NORMAL, &command.0),
        EntryPayload::Membership(membership) => {
            (MEMBERSHIP, &rmp_serde::to_vec(&membership).map_err(io::Error::other)?)
        }
    };
    let start = into.len();
    into.push(ENTRY_VERSION);
    into.extend_from_slice(&[0; 8]);
    let leader = entry.log_id.committed_leader_id();
    into.extend_from_slice(&leader.term.to_be_bytes());
    into.extend_from_slice(&leader.node_id.0.to_be_bytes());
    into.push(kind);
    into.extend_from_slice(body);
    let checksum = checksum(entry.log_id.index, &into[start + 9..]);
    into[start + 1..start + 9].copy_from_slice(&checksum.to_be_bytes());
    Ok(())
}

fn checksum(index: u64, covered: &[u8]) -> u64 {
    xxh3_64_with_seed(covered, index)
}

/// Checks an entry's checksum and reads its log id.
pub(super) fn entry_log_id(index: u64, value: &[u8]) -> io::Result<LogId> {
    let broken = || damaged(format!("log entry {index} fails its checksum"));
    if value.len() < ENTRY_HEAD {
        return Err(broken());
    }
    let number =
        |at: usize| -> io::Result<u64> { Ok(u64::from_be_bytes(value[at..at + 8].try_into().map_err(|_| broken())?)) };
    // Before the version, in whatever version: a loss of power leaves anything in the place of an entry that was not
    // synced, and only an entry that was written whole can be one of a newer program.
    if number(1)? != checksum(index, &value[9..]) {
        return Err(broken());
    }
    if value[0] != ENTRY_VERSION {
        return Err(newer("log entry", value[0]));
    }
    Ok(LogId::new(LeaderId { term: number(9)?, node_id: ReplicaId(number(17)?) }, index))
}

/// Decodes what [`encode_entry`] wrote.
pub(super) fn decode_entry(index: u64, value: Vec<u8>) -> io::Result<Entry> {
    let log_id = entry_log_id(index, &value)?;
    let kind = value[ENTRY_HEAD - 1];
    let body = Bytes::from(value).slice(ENTRY_HEAD..);
    let payload = match kind {
        BLANK => EntryPayload::Blank,
        NORMAL => EntryPayload::Normal(EncodedCommand(body)),
        MEMBERSHIP => EntryPayload::Membership(msgpack::read(&body).map_err(damaged)?),
        kind => return Err(newer("log entry kind", kind)),
    };
    Ok(Entry { log_id, payload })
}

/// Bytes of an entry where bytes are limited.
pub(super) fn entry_bytes(entry: &Entry) -> usize {
    match &entry.payload {
        EntryPayload::Normal(command) => ENTRY_HEAD + command.0.len(),
        EntryPayload::Blank => ENTRY_HEAD,
        // Small and rare.
        EntryPayload::Membership(_) => 1024,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_domain::{Command, ServerName};

    fn entry(index: u64) -> Entry {
        let command = Command::Hold { server: Some(ServerName::new("a").unwrap()) };
        Entry {
            log_id: LogId::new(LeaderId { term: 3, node_id: ReplicaId(2) }, index),
            payload: EntryPayload::Normal(EncodedCommand::of(&command)),
        }
    }

    /// A flipped bit anywhere in a log entry is found, and so is an entry at another index than its own.
    #[test]
    fn every_flipped_bit_of_a_log_entry_is_found() {
        let mut value = Vec::new();
        encode_entry(&entry(7), &mut value).unwrap();
        assert_eq!(decode_entry(7, value.clone()).unwrap(), entry(7));
        assert!(decode_entry(8, value.clone()).is_err());
        for bit in 0..value.len() * 8 {
            let mut flipped = value.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_entry(7, flipped).is_err(), "bit {bit}");
        }
    }

    /// The head of a log record may be on disk without the page of its entry: what is there instead ends the log, as it
    /// was never synced, and is no entry of a newer program.
    #[test]
    fn what_a_loss_of_power_left_in_the_place_of_an_entry_is_damage() {
        let mut value = Vec::new();
        encode_entry(&entry(7), &mut value).unwrap();
        for left in [0, 0xff, ENTRY_VERSION, ENTRY_VERSION + 1] {
            let error = entry_log_id(7, &vec![left; value.len()]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{left}: {error}");
        }
        value[0] = ENTRY_VERSION + 1;
        let error = entry_log_id(7, &value).unwrap_err();
        assert!(error.kind() == io::ErrorKind::Unsupported && error.to_string().contains("newer baton"), "{error}");
    }
}
