//! What the state machine keeps in memory of the large tables. Every cache answers as the disk would: within a batch
//! it holds all that the batch wrote, and it forgets only between batches.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;

use super::records::{ProducerRecord, decode, decode_redeliveries, message_key, message_size};
use super::{Family, Tables};
use crate::{MessageId, ProducerId, QueueId};

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
    /// In the order of their ids.
    runs: VecDeque<Run>,
    /// How many messages are in `runs`.
    messages: usize,
    /// Where the last one was found: the next one is mostly beside it.
    found: usize,
    /// Deleted by this batch, not in `runs`, and still on disk.
    gone: HashSet<[u8; 20]>,
}

/// Messages that one write stored, one after the other.
struct Run {
    queue: QueueId,
    first: MessageId,
    sizes: Vec<u32>,
}

impl Run {
    fn holds(&self, queue: QueueId, id: MessageId) -> bool {
        let same_entry = (self.first.generation, self.first.index) == (id.generation, id.index);
        let position = id.position.checked_sub(self.first.position);
        self.queue == queue && same_entry && position.is_some_and(|position| (position as usize) < self.sizes.len())
    }
}

/// In the place of the size of a message that was deleted since. No message is that large.
const DELETED: u32 = u32::MAX;

impl RecentMessages {
    fn find(&mut self, queue: QueueId, id: MessageId) -> Option<&mut u32> {
        if !self.runs.get(self.found).is_some_and(|run| run.holds(queue, id)) {
            let after = self.runs.partition_point(|run| run.first <= id);
            self.found = after.checked_sub(1).filter(|at| self.runs[*at].holds(queue, id))?;
        }
        let run = self.runs.get_mut(self.found)?;
        run.sizes.get_mut((id.position - run.first.position) as usize)
    }

    /// The size of a message, if there is one.
    pub(super) fn size(&mut self, queue: QueueId, id: MessageId, tables: &dyn Tables) -> io::Result<Option<u32>> {
        if let Some(size) = self.find(queue, id) {
            return Ok(Some(*size).filter(|size| *size != DELETED));
        }
        let key = message_key(queue, id);
        if !self.gone.is_empty() && self.gone.contains(&key) {
            return Ok(None);
        }
        match tables.get_prefix(Family::Messages, &key, SIZE_PREFIX)? {
            Some(prefix) => message_size(&prefix).map(Some),
            None => Ok(None),
        }
    }

    /// Messages of these sizes were stored under ids that count up from `first`, which is after all before.
    pub(super) fn stored(&mut self, queue: QueueId, first: MessageId, sizes: Vec<u32>) {
        self.messages += sizes.len();
        self.runs.push_back(Run { queue, first, sizes });
    }

    pub(super) fn deleted(&mut self, queue: QueueId, id: MessageId) {
        match self.find(queue, id) {
            Some(size) => *size = DELETED,
            None => drop(self.gone.insert(message_key(queue, id))),
        }
    }

    pub(super) fn end_batch(&mut self) {
        self.gone.clear();
        while self.messages > MESSAGES_KEPT
            && let Some(oldest) = self.runs.pop_front()
        {
            self.messages -= oldest.sizes.len();
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
