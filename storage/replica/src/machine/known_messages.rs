//! Cache of message heads: size, expiry, and the record that holds the message. An
//! acknowledgement that follows soon does not read the disk.
//!
//! As every cache here it answers as the disk would, the writes of the batch included, and shrinks only
//! between batches.

use std::collections::VecDeque;
use std::io;

use baton_domain::{MessageId, QueueId};
use rustc_hash::{FxHashMap, FxHashSet};

use super::pack::{self, GONE, PackRemainder};
use super::records::{MessageHead, MessageKey, is_share, message_key, message_key_id, message_key_queue};
use super::{Family, Tables, Writer};

/// Number of recently stored messages that are cached between batches.
const STORED_KEPT: usize = 131_072;
/// Number of messages of packs that were read and are cached between batches.
const READ_KEPT: usize = 32_768;

/// Messages that were stored lately, and those of packs that were read.
#[derive(Default)]
pub(super) struct KnownMessages {
    queues: FxHashMap<QueueId, KnownOfQueue>,
    /// Queues of the stored runs, in the order in which the runs were begun.
    begun: VecDeque<QueueId>,
    /// Number of messages in these.
    in_stored: usize,
    /// Packs that were read, in that order.
    order: VecDeque<(QueueId, MessageId)>,
    /// Number of messages in these.
    in_read: usize,
    /// Packs whose remainder must be written.
    touched: Vec<(QueueId, MessageId)>,
    /// Deleted by this batch, in no run, and still on disk.
    gone: FxHashSet<MessageKey>,
    /// Result of a lookup in advance.
    looked_up: FxHashMap<MessageKey, Option<Known>>,
}

/// Cached messages of one queue.
#[derive(Default)]
struct KnownOfQueue {
    stored: Runs,
    /// Packs.
    read: Runs,
}

/// Runs of one queue, in the order in which they were stored.
#[derive(Default)]
struct Runs {
    runs: VecDeque<Run>,
    /// Run of the last message that was found: the next one is mostly in it, too.
    found: usize,
}

impl Runs {
    /// Run of a message, and its position in the run.
    fn place(&mut self, id: MessageId) -> Option<(usize, usize)> {
        if let Some(at) = self.runs.get(self.found).and_then(|run| run.place(id)) {
            return Some((self.found, at));
        }
        // Most messages of a queue that is drained are older than the cached ones.
        if self.runs.front().is_none_or(|oldest| stored_order(id) < stored_order(oldest.first)) {
            return None;
        }
        let before = self.after(id).checked_sub(1)?;
        let at = self.runs[before].place(id)?;
        self.found = before;
        Some((before, at))
    }

    /// Number of runs that begin at or before a message.
    fn after(&self, id: MessageId) -> usize {
        self.runs.partition_point(|run| stored_order(run.first) <= stored_order(id))
    }

    fn insert(&mut self, run: Run) {
        let at = self.after(run.first);
        self.runs.insert(at, run);
    }

    /// Removes a run, and returns its number of messages.
    fn forget(&mut self, at: usize) -> usize {
        self.found = self.found.saturating_sub(1);
        self.runs.remove(at).map_or(0, |run| run.sizes.len())
    }
}

/// Messages of one lane that were stored one after the other.
struct Run {
    first: MessageId,
    /// Sizes; [`GONE`] for deleted messages.
    sizes: Vec<u32>,
    /// Times of expiry; empty if no message expires.
    expires_ms: Vec<u64>,
    records: Records,
}

/// The records that hold the messages of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Records {
    /// Each in a record of its own.
    Alone,
    /// Each in a record of its own, as a share.
    AsShares,
    /// All in one pack; `touched` if its remainder must be written.
    Packed { touched: bool },
}

impl Run {
    fn of_pack(first: MessageId, sizes: Vec<u32>) -> Self {
        Self { first, sizes, expires_ms: Vec::new(), records: Records::Packed { touched: false } }
    }

    fn place(&self, id: MessageId) -> Option<usize> {
        pack::place(self.first, self.sizes.len(), id)
    }

    fn ends_before(&self, id: MessageId) -> bool {
        let length = u32::try_from(self.sizes.len()).unwrap_or(u32::MAX);
        self.first.after(length, self.first.lane()) == id
    }

    fn known(&self, at: usize) -> Option<Known> {
        let stored_as = match self.records {
            Records::Alone => StoredAs::Alone,
            Records::AsShares => StoredAs::Share,
            Records::Packed { .. } => StoredAs::InPack(self.first),
        };
        let expires_ms = self.expires_ms.get(at).copied().unwrap_or(0);
        Some(Known { size: self.sizes[at], expires_ms, stored_as }).filter(|known| known.size != GONE)
    }
}

/// Sort key: the order in which messages were stored, across lanes.
fn stored_order(id: MessageId) -> (u32, u64, u32) {
    (id.generation, id.index, id.count())
}

/// Head of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) size: u32,
    /// 0: never.
    pub(super) expires_ms: u64,
    pub(super) stored_as: StoredAs,
}

/// The record that holds a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StoredAs {
    /// A record of its own.
    Alone,
    /// A record of its own, as a share in a message of the topic space.
    Share,
    /// The pack that begins with this message.
    InPack(MessageId),
}

impl Known {
    /// Reads the head of a message.
    fn read(value: &[u8]) -> io::Result<Self> {
        let (head, _) = MessageHead::read(value)?;
        let stored_as = if is_share(value) { StoredAs::Share } else { StoredAs::Alone };
        Ok(Self { size: head.size, expires_ms: head.expires_ms, stored_as })
    }
}

impl KnownMessages {
    fn find(&mut self, queue: QueueId, id: MessageId) -> Option<(&mut Run, usize)> {
        let KnownOfQueue { stored, read } = self.queues.get_mut(&queue)?;
        let (runs, (run, at)) = match stored.place(id) {
            Some(found) => (stored, found),
            None => {
                let found = read.place(id)?;
                (read, found)
            }
        };
        Some((&mut runs.runs[run], at))
    }

    /// Head of a message, if it exists.
    pub(super) fn get(&mut self, queue: QueueId, id: MessageId, tables: &dyn Tables) -> io::Result<Option<Known>> {
        if let Some((run, at)) = self.find(queue, id) {
            return Ok(run.known(at));
        }
        let key = message_key(queue, id);
        if !self.gone.is_empty() && self.gone.contains(&key) {
            return Ok(None);
        }
        if let Some(known) = self.looked_up.get(&key) {
            return Ok(*known);
        }
        self.read(vec![key], tables)?;
        match self.find(queue, id) {
            Some((run, at)) => Ok(run.known(at)),
            None => Ok(self.looked_up.get(&key).copied().flatten()),
        }
    }

    /// Looks up messages in advance, in one read: the messages of a queue that is drained are on disk.
    pub(super) fn look_up(&mut self, queue: QueueId, ids: &[MessageId], tables: &dyn Tables) -> io::Result<()> {
        self.looked_up.clear();
        let unknown = ids.iter().filter(|id| self.find(queue, **id).is_none());
        let mut keys: Vec<MessageKey> = unknown.map(|id| message_key(queue, *id)).collect();
        keys.sort_unstable();
        self.read(keys, tables)
    }

    /// Reads the heads of messages that are in no run. The keys are sorted.
    fn read(&mut self, mut keys: Vec<MessageKey>, tables: &dyn Tables) -> io::Result<()> {
        let mut packs = Vec::new();
        tables.packs(&keys, &mut |key, left| {
            let (queue, first, left) = (message_key_queue(&key), message_key_id(&key)?, PackRemainder::read(left)?);
            let others = u32::try_from(left.0.len()).unwrap_or(u32::MAX).saturating_sub(1);
            packs.push((queue, first, left));
            Ok(message_key(queue, first.after(others, first.lane())))
        })?;
        for (queue, first, PackRemainder(sizes)) in packs {
            // The cache may be newer than the disk.
            if self.find(queue, first).is_none() {
                self.in_read = self.in_read.saturating_add(sizes.len());
                self.order.push_back((queue, first));
                self.queues.entry(queue).or_default().read.insert(Run::of_pack(first, sizes));
            }
        }
        keys.retain(|key| message_key_id(key).is_ok_and(|id| self.find(message_key_queue(key), id).is_none()));
        self.looked_up.extend(keys.iter().map(|key| (*key, None)));
        tables.get_each(Family::Messages, &keys, &mut |key, value| {
            self.looked_up.insert(key, Some(Known::read(value)?));
            Ok(())
        })
    }

    /// The ids of the record that begins with `first`; deleted messages are among them.
    pub(super) fn beside(
        &mut self,
        queue: QueueId,
        first: MessageId,
        tables: &dyn Tables,
    ) -> io::Result<Vec<MessageId>> {
        if self.find(queue, first).is_none() {
            self.read(vec![message_key(queue, first)], tables)?;
        }
        let messages = match self.find(queue, first) {
            Some((Run { records: Records::Packed { .. }, sizes, .. }, _)) => {
                u32::try_from(sizes.len()).unwrap_or(u32::MAX)
            }
            Some(_) | None => 1,
        };
        Ok((0..messages).map(|more| first.after(more, first.lane())).collect())
    }

    /// Adds a message that was stored in a record of its own, behind all others of its queue.
    pub(super) fn stored(&mut self, queue: QueueId, id: MessageId, size: u32, expires_ms: u64, share: bool) {
        let records = if share { Records::AsShares } else { Records::Alone };
        self.in_stored = self.in_stored.saturating_add(1);
        let runs = &mut self.queues.entry(queue).or_default().stored.runs;
        if !runs.back().is_some_and(|run| run.records == records && run.ends_before(id)) {
            runs.push_back(Run { first: id, sizes: Vec::new(), expires_ms: Vec::new(), records });
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

    /// Adds the messages of a new pack, behind all others of their queue.
    pub(super) fn stored_pack(&mut self, queue: QueueId, first: MessageId, sizes: Vec<u32>) {
        self.in_stored = self.in_stored.saturating_add(sizes.len());
        self.queues.entry(queue).or_default().stored.runs.push_back(Run::of_pack(first, sizes));
        self.begun.push_back(queue);
    }

    /// Deletes a message; the remainder of a pack is written by [`Self::end_op`].
    pub(super) fn delete(&mut self, queue: QueueId, id: MessageId, writer: &mut Writer<'_>) {
        let key = message_key(queue, id);
        let Some((run, at)) = self.find(queue, id) else {
            self.gone.insert(key);
            return writer.delete(Family::Messages, &key);
        };
        run.sizes[at] = GONE;
        let Records::Packed { touched } = &mut run.records else { return writer.delete(Family::Messages, &key) };
        if !std::mem::replace(touched, true) {
            let first = run.first;
            self.touched.push((queue, first));
        }
    }

    /// Writes the remainders of the packs that an op took messages of, except those of deleted queues.
    pub(super) fn end_op(&mut self, is_there: impl Fn(QueueId) -> bool, writer: &mut Writer<'_>) {
        let mut touched = std::mem::take(&mut self.touched);
        for (queue, first) in touched.drain(..) {
            let Some((run, _)) = self.find(queue, first) else { continue };
            run.records = Records::Packed { touched: false };
            let key = message_key(queue, first);
            if !is_there(queue) {
                continue;
            }
            if run.sizes.iter().any(|size| *size != GONE) {
                writer.put(Family::Packs, &key, &PackRemainder::write(&run.sizes));
            } else {
                writer.delete(Family::Messages, &key);
                writer.delete(Family::Packs, &key);
            }
        }
        self.touched = touched;
    }

    pub(super) fn end_batch(&mut self) {
        self.gone.clear();
        self.looked_up.clear();
        while self.in_stored > STORED_KEPT
            && let Some(queue) = self.begun.pop_front()
        {
            let forgotten = self.forget(queue, |known| known.stored.forget(0));
            self.in_stored = self.in_stored.saturating_sub(forgotten);
        }
        while self.in_read > READ_KEPT
            && let Some((queue, first)) = self.order.pop_front()
        {
            let forgotten = self.forget(queue, |known| match known.read.place(first) {
                Some((run, _)) => known.read.forget(run),
                None => 0,
            });
            self.in_read = self.in_read.saturating_sub(forgotten);
        }
    }

    /// Removes something of a queue from the cache, and returns the number of messages.
    fn forget(&mut self, queue: QueueId, forget: impl Fn(&mut KnownOfQueue) -> usize) -> usize {
        let Some(known) = self.queues.get_mut(&queue) else { return 0 };
        let messages = forget(known);
        if known.stored.runs.is_empty() && known.read.runs.is_empty() {
            self.queues.remove(&queue);
        }
        messages
    }
}
