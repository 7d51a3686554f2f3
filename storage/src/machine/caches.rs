//! What the state machine keeps in memory of the large tables. Every cache answers as the disk would: within a batch
//! it holds all that the batch wrote, and it forgets only between batches.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;

use super::records::{MESSAGE_HEAD_MAX, MessageHead, ProducerRecord, decode, decode_redeliveries, message_key};
use super::{Family, Tables};
use crate::{MessageId, ProducerId, QueueId};

/// How many producers are remembered between batches.
const PRODUCERS_KEPT: usize = 16_384;
/// How many messages' sizes are remembered between batches.
const MESSAGES_KEPT: usize = 131_072;

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

/// The sizes of messages that were stored lately, and when they expire: an acknowledgement that follows soon does not
/// read the disk.
#[derive(Default)]
pub(super) struct RecentMessages {
    /// In the order in which they were stored.
    runs: VecDeque<Run>,
    /// How many messages are in `runs`.
    messages: usize,
    /// Where the last one was found: the next one is mostly beside it.
    found: usize,
    /// Deleted by this batch, not in `runs`, and still on disk.
    gone: HashSet<[u8; 20]>,
}

/// Messages of one lane that one write stored, one after the other.
struct Run {
    queue: QueueId,
    first: MessageId,
    sizes: Vec<u32>,
    /// When they expire; empty if none does.
    expires_ms: Vec<u64>,
}

impl Run {
    fn holds(&self, queue: QueueId, id: MessageId) -> bool {
        let place = |id: MessageId| (id.generation, id.index, id.lane());
        let position = id.count().checked_sub(self.first.count());
        self.queue == queue
            && place(self.first) == place(id)
            && position.is_some_and(|position| (position as usize) < self.sizes.len())
    }
}

/// In which order messages were stored, whatever their lanes.
fn stored_order(id: MessageId) -> (u32, u64, u32) {
    (id.generation, id.index, id.count())
}

/// In the place of the size of a message that was deleted since. No message is that large.
const DELETED: u32 = u32::MAX;

impl RecentMessages {
    fn find(&mut self, queue: QueueId, id: MessageId) -> Option<(&mut Run, usize)> {
        if !self.runs.get(self.found).is_some_and(|run| run.holds(queue, id)) {
            let after = self.runs.partition_point(|run| stored_order(run.first) <= stored_order(id));
            self.found = after.checked_sub(1).filter(|at| self.runs[*at].holds(queue, id))?;
        }
        let run = self.runs.get_mut(self.found)?;
        let at = (id.count() - run.first.count()) as usize;
        Some((run, at))
    }

    /// The size of a message and when it expires (0: never), if it is there.
    pub(super) fn get(&mut self, queue: QueueId, id: MessageId, tables: &dyn Tables) -> io::Result<Option<(u32, u64)>> {
        if let Some((run, at)) = self.find(queue, id) {
            let known = (run.sizes[at], run.expires_ms.get(at).copied().unwrap_or(0));
            return Ok(Some(known).filter(|(size, _)| *size != DELETED));
        }
        let key = message_key(queue, id);
        if !self.gone.is_empty() && self.gone.contains(&key) {
            return Ok(None);
        }
        match tables.get_prefix(Family::Messages, &key, MESSAGE_HEAD_MAX)? {
            Some(prefix) => MessageHead::read(&prefix).map(|(head, _)| Some((head.size, head.expires_ms))),
            None => Ok(None),
        }
    }

    /// A message was stored; its place is after that of all before.
    pub(super) fn stored(&mut self, queue: QueueId, id: MessageId, size: u32, expires_ms: u64) {
        self.messages += 1;
        let follows = |run: &&mut Run| {
            let next = run.first.after(u32::try_from(run.sizes.len()).unwrap_or(u32::MAX), run.first.lane());
            run.queue == queue && next == id
        };
        let run = match self.runs.back_mut().filter(follows) {
            Some(run) => run,
            None => {
                self.runs.push_back(Run { queue, first: id, sizes: Vec::new(), expires_ms: Vec::new() });
                // Just pushed.
                #[allow(clippy::expect_used)]
                self.runs.back_mut().expect("a run")
            }
        };
        if expires_ms != 0 && run.expires_ms.is_empty() {
            run.expires_ms = vec![0; run.sizes.len()];
        }
        if expires_ms != 0 || !run.expires_ms.is_empty() {
            run.expires_ms.push(expires_ms);
        }
        run.sizes.push(size);
    }

    pub(super) fn deleted(&mut self, queue: QueueId, id: MessageId) {
        match self.find(queue, id) {
            Some((run, at)) => run.sizes[at] = DELETED,
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
