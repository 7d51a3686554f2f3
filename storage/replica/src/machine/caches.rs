//! The state machine's caches of the large tables. Every cache answers as the disk would: within a batch
//! it holds all writes of the batch, and it shrinks only between batches.

use std::collections::{HashMap, VecDeque};
use std::io;

use baton_domain::ProducerId;

use super::records::{ProducerRecord, array, decode, decode_redeliveries};
use super::{Family, Tables};

/// Number of producers that are cached between batches.
const PRODUCERS_KEPT: usize = 16_384;

/// Read-through cache of producers; those that were loaded first are evicted first.
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

/// Number of subscriptions that share a message, as far as this batch changed it.
#[derive(Default)]
pub(super) struct Shares {
    changed: HashMap<[u8; 20], u32>,
}

impl Shares {
    /// One, unless a record says more.
    pub(super) fn get(&self, key: &[u8; 20], tables: &dyn Tables) -> io::Result<u32> {
        if let Some(changed) = self.changed.get(key) {
            return Ok(*changed);
        }
        match tables.get(Family::Shares, key)? {
            Some(value) => array(&value).map(u32::from_be_bytes),
            None => Ok(1),
        }
    }

    pub(super) fn set(&mut self, key: [u8; 20], count: u32) {
        self.changed.insert(key, count);
    }

    pub(super) fn end_batch(&mut self) {
        self.changed.clear();
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
