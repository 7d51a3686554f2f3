//! What the state machine keeps in memory of the large tables. Every cache answers as the disk would: within a batch
//! it holds all that the batch wrote, and it forgets only between batches.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;

use super::records::{ProducerRecord, decode, decode_redeliveries, message_size};
use super::{Family, Tables};
use crate::ProducerId;

/// How many producers are remembered between batches.
const PRODUCERS_KEPT: usize = 16_384;
/// How many messages' sizes are remembered between batches.
const MESSAGES_KEPT: usize = 131_072;
/// Enough of a stored message to read its size.
const SIZE_PREFIX: usize = 8;

/// Producers, read through; the least recently loaded or written are forgotten first.
#[derive(Default)]
pub(super) struct Producers {
    known: HashMap<ProducerId, Option<ProducerRecord>>,
    order: VecDeque<ProducerId>,
}

impl Producers {
    pub(super) fn get(&mut self, id: ProducerId, tables: &dyn Tables) -> io::Result<Option<ProducerRecord>> {
        if let Some(known) = self.known.get(&id) {
            return Ok(*known);
        }
        let found = match tables.get(Family::Producers, &id.0)? {
            Some(bytes) => Some(decode(&bytes)?),
            None => None,
        };
        self.set(id, found);
        Ok(found)
    }

    pub(super) fn set(&mut self, id: ProducerId, record: Option<ProducerRecord>) {
        if self.known.insert(id, record).is_none() {
            self.order.push_back(id);
        }
    }

    pub(super) fn end_batch(&mut self) {
        while self.order.len() > PRODUCERS_KEPT {
            if let Some(id) = self.order.pop_front() {
                self.known.remove(&id);
            }
        }
    }
}

/// The sizes of messages that were stored lately: an acknowledgement that follows soon does not read the disk.
#[derive(Default)]
pub(super) struct RecentMessages {
    sizes: HashMap<[u8; 20], u32>,
    order: VecDeque<[u8; 20]>,
    /// Deleted by this batch, and still on disk.
    gone: HashSet<[u8; 20]>,
}

impl RecentMessages {
    /// The size of a message, if there is one.
    pub(super) fn size(&self, key: &[u8; 20], tables: &dyn Tables) -> io::Result<Option<u32>> {
        if self.gone.contains(key) {
            return Ok(None);
        }
        if let Some(size) = self.sizes.get(key) {
            return Ok(Some(*size));
        }
        match tables.get_prefix(Family::Messages, key, SIZE_PREFIX)? {
            Some(prefix) => message_size(&prefix).map(Some),
            None => Ok(None),
        }
    }

    pub(super) fn stored(&mut self, key: [u8; 20], size: u32) {
        self.sizes.insert(key, size);
        self.order.push_back(key);
    }

    pub(super) fn deleted(&mut self, key: [u8; 20]) {
        self.sizes.remove(&key);
        self.gone.insert(key);
    }

    pub(super) fn end_batch(&mut self) {
        self.gone.clear();
        while self.order.len() > MESSAGES_KEPT {
            if let Some(key) = self.order.pop_front() {
                self.sizes.remove(&key);
            }
        }
    }
}

/// Redelivery counts that this batch changed.
#[derive(Default)]
pub(super) struct Redeliveries {
    changed: HashMap<[u8; 20], Option<u32>>,
}

impl Redeliveries {
    pub(super) fn get(&self, key: &[u8; 20], tables: &dyn Tables) -> io::Result<Option<u32>> {
        if let Some(changed) = self.changed.get(key) {
            return Ok(*changed);
        }
        match tables.get(Family::Redeliveries, key)? {
            Some(value) => decode_redeliveries(&value).map(Some),
            None => Ok(None),
        }
    }

    pub(super) fn set(&mut self, key: [u8; 20], count: Option<u32>) {
        self.changed.insert(key, count);
    }

    pub(super) fn end_batch(&mut self) {
        self.changed.clear();
    }
}
