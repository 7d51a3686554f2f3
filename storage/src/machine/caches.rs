//! What the state machine keeps in memory of the large tables. Every cache answers as the disk would: within a batch
//! it holds all that the batch wrote, and it forgets only between batches.

use std::collections::{HashMap, VecDeque};
use std::io;

use rustc_hash::{FxHashMap, FxHashSet};

use super::records::{
    MessageHead, MessageKey, ProducerRecord, array, decode, decode_redeliveries, is_share, message_key,
};
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
    queues: FxHashMap<QueueId, Runs>,
    /// Whose runs they are, in the order in which they were begun.
    begun: VecDeque<QueueId>,
    /// How many messages are in all runs.
    messages: usize,
    /// Deleted by this batch, in no run, and still on disk.
    gone: FxHashSet<MessageKey>,
    /// What the disk says of messages that are asked for next.
    looked_up: FxHashMap<MessageKey, Option<Known>>,
}

/// The runs of one queue, in the order in which they were stored.
#[derive(Default)]
struct Runs {
    runs: VecDeque<Run>,
    /// Where the last message was found: the next one is mostly beside it.
    found: usize,
}

/// Messages of one lane that were stored one after the other.
struct Run {
    first: MessageId,
    sizes: Vec<u32>,
    /// When they expire; empty if none does.
    expires_ms: Vec<u64>,
    /// Whether they are shares.
    shares: bool,
}

impl Run {
    fn holds(&self, id: MessageId) -> bool {
        let place = |id: MessageId| (id.generation, id.index, id.lane());
        let position = id.count().checked_sub(self.first.count());
        place(self.first) == place(id) && position.is_some_and(|position| (position as usize) < self.sizes.len())
    }

    fn ends_before(&self, id: MessageId) -> bool {
        let length = u32::try_from(self.sizes.len()).unwrap_or(u32::MAX);
        self.first.after(length, self.first.lane()) == id
    }
}

/// In which order messages were stored, whatever their lanes.
fn stored_order(id: MessageId) -> (u32, u64, u32) {
    (id.generation, id.index, id.count())
}

/// In the place of the size of a message that was deleted since. No message is that large.
const DELETED: u32 = u32::MAX;

/// What is known of a message without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) size: u32,
    /// 0: never.
    pub(super) expires_ms: u64,
    /// Whether it is a share in a message of the topic space.
    pub(super) share: bool,
}

impl Known {
    /// Reads the head of a message.
    fn read(value: &[u8]) -> io::Result<Self> {
        let (head, _) = MessageHead::read(value)?;
        Ok(Self { size: head.size, expires_ms: head.expires_ms, share: is_share(value) })
    }
}

impl RecentMessages {
    fn find(&mut self, queue: QueueId, id: MessageId) -> Option<(&mut Run, usize)> {
        let Runs { runs, found } = self.queues.get_mut(&queue)?;
        // Of a queue that is drained most messages are older than all that is remembered.
        if runs.front().is_none_or(|oldest| stored_order(id) < stored_order(oldest.first)) {
            return None;
        }
        if !runs.get(*found).is_some_and(|run| run.holds(id)) {
            let after = runs.partition_point(|run| stored_order(run.first) <= stored_order(id));
            *found = after.checked_sub(1).filter(|at| runs[*at].holds(id))?;
        }
        let run = runs.get_mut(*found)?;
        let at = (id.count() - run.first.count()) as usize;
        Some((run, at))
    }

    /// What is known of a message, if it is there.
    pub(super) fn get(&mut self, queue: QueueId, id: MessageId, tables: &dyn Tables) -> io::Result<Option<Known>> {
        if let Some((run, at)) = self.find(queue, id) {
            let expires_ms = run.expires_ms.get(at).copied().unwrap_or(0);
            let known = Known { size: run.sizes[at], expires_ms, share: run.shares };
            return Ok(Some(known).filter(|known| known.size != DELETED));
        }
        let key = message_key(queue, id);
        if !self.gone.is_empty() && self.gone.contains(&key) {
            return Ok(None);
        }
        if let Some(known) = self.looked_up.get(&key) {
            return Ok(*known);
        }
        let mut found = None;
        tables.get_each(Family::Messages, &[key], &mut |_, value| {
            found = Some(Known::read(value)?);
            Ok(())
        })?;
        Ok(found)
    }

    /// Looks up messages that are asked for next, as one: those of a queue that is drained are on the disk.
    pub(super) fn look_up(&mut self, queue: QueueId, ids: &[MessageId], tables: &dyn Tables) -> io::Result<()> {
        self.looked_up.clear();
        let unknown = ids.iter().filter(|id| self.find(queue, **id).is_none());
        let mut keys: Vec<MessageKey> = unknown.map(|id| message_key(queue, *id)).collect();
        if keys.len() < 2 {
            return Ok(());
        }
        keys.sort_unstable();
        self.looked_up.extend(keys.iter().map(|key| (*key, None)));
        tables.get_each(Family::Messages, &keys, &mut |key, value| {
            self.looked_up.insert(key, Some(Known::read(value)?));
            Ok(())
        })
    }

    /// A message was stored; its place is after that of all before in its queue.
    pub(super) fn stored(&mut self, queue: QueueId, id: MessageId, known: Known) {
        let Known { size, expires_ms, share } = known;
        self.messages += 1;
        let runs = &mut self.queues.entry(queue).or_default().runs;
        if !runs.back().is_some_and(|run| run.shares == share && run.ends_before(id)) {
            runs.push_back(Run { first: id, sizes: Vec::new(), expires_ms: Vec::new(), shares: share });
            self.begun.push_back(queue);
        }
        let Some(run) = runs.back_mut() else { return };
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
        self.looked_up.clear();
        while self.messages > MESSAGES_KEPT
            && let Some(queue) = self.begun.pop_front()
        {
            let Some(runs) = self.queues.get_mut(&queue) else { continue };
            self.messages -= runs.runs.pop_front().map_or(0, |run| run.sizes.len());
            runs.found = runs.found.saturating_sub(1);
            if runs.runs.is_empty() {
                self.queues.remove(&queue);
            }
        }
    }
}

/// How many subscriptions have a message, as far as this batch changed it.
#[derive(Default)]
pub(super) struct Shares {
    changed: HashMap<[u8; 20], u32>,
}

impl Shares {
    /// One, unless it says more.
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
