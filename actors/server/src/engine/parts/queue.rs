//! A queue in the engine's memory: a window onto the store for each priority with messages, and the consumers.
//!
//! Priorities are strict: while messages of a higher priority wait, also in the store, none of a lower one is delivered.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use baton_domain::clock::BootTime;
use baton_domain::{ConsumerId, DestinationKind, Epoch, Lane, MessageId, PRIORITY_MAX, QueueName, Settings};
use baton_replica::{LaneRecord, QueueRecord};

use super::groups::Groups;
use super::nonpersistent::Nonpersistent;
use super::ready::Ready;
use super::window::{Reading, Window};
use crate::engine::message::{ReadId, RequestId};

/// A settlement that waits for its proposal.
#[derive(Debug)]
pub(in crate::engine) struct Settlement {
    pub(in crate::engine) acknowledged: Vec<MessageId>,
    pub(in crate::engine) refused: Vec<MessageId>,
    pub(in crate::engine) rejected: Vec<(MessageId, String)>,
    /// Released at once, without a proposal.
    pub(in crate::engine) released: Vec<MessageId>,
    pub(in crate::engine) request: RequestId,
}

impl Settlement {
    /// Number of messages to propose.
    pub(in crate::engine) fn len(&self) -> usize {
        self.acknowledged.len() + self.refused.len() + self.rejected.len()
    }
}

#[derive(Debug)]
pub(in crate::engine) struct Queue {
    pub(in crate::engine) name: QueueName,
    pub(in crate::engine) kind: DestinationKind,
    pub(in crate::engine) settings: Settings,
    /// Number of changes of the settings.
    pub(in crate::engine) version: u64,
    /// True if the queue is deleted when its consumer detaches.
    pub(in crate::engine) temporary: bool,
    /// Stored messages without delayed ones.
    pub(in crate::engine) depth: u64,
    /// Delayed messages.
    pub(in crate::engine) delayed: u64,
    /// Number of oldest messages that were dropped to make room for dead letters.
    pub(in crate::engine) dropped: u64,
    /// Approximate number of messages that wait because no exception destination takes them.
    pub(in crate::engine) kept_len: usize,
    /// The end of the time for which its exception destination counts as full.
    pub(in crate::engine) dead_letters_wait: Option<BootTime>,
    epoch: Epoch,
    /// The highest priority first.
    windows: BTreeMap<Reverse<u8>, Window>,
    /// Attached consumers, in the order of their turns.
    pub(in crate::engine) consumers: VecDeque<ConsumerId>,
    /// Consumers of the earlier engine that have not attached again. Nothing is delivered while there is one.
    pub(in crate::engine) awaited: BTreeSet<ConsumerId>,
    pub(in crate::engine) settlements: VecDeque<Settlement>,
    /// Messages that are not stored.
    pub(in crate::engine) nonpersistent: Nonpersistent,
    /// Among messages of one priority: true if one that is not stored is next.
    memory_turn: bool,
    /// Groups whose messages consumers hold.
    pub(in crate::engine) groups: Groups,
    /// True if messages with a group arrived since the queue was last empty.
    pub(in crate::engine) grouped: bool,
    /// True if a consumer has a selector.
    pub(in crate::engine) selective: bool,
    /// True if all messages in memory are for consumers without credit. Reset by every event except a read.
    pub(in crate::engine) stuck: bool,
}

impl Queue {
    /// A queue in the store, at the start of the engine of `epoch`.
    pub(in crate::engine) fn recorded(record: QueueRecord, epoch: Epoch) -> Self {
        let depth = record.depth();
        let window =
            |(lane, record): (Lane, LaneRecord)| (Reverse(lane.priority()), Window::recorded(lane, record, epoch));
        Self {
            name: record.name,
            kind: record.kind,
            settings: record.settings,
            version: record.version,
            temporary: record.owner.is_some(),
            depth,
            delayed: record.delayed,
            dropped: 0,
            kept_len: 0,
            dead_letters_wait: None,
            epoch,
            windows: record.lanes.into_iter().map(window).collect(),
            consumers: VecDeque::new(),
            awaited: BTreeSet::new(),
            settlements: VecDeque::new(),
            nonpersistent: Nonpersistent::default(),
            memory_turn: true,
            groups: Groups::default(),
            grouped: false,
            selective: false,
            stuck: false,
        }
    }

    /// The window of a message's priority; created if missing.
    pub(in crate::engine) fn window(&mut self, id: MessageId) -> &mut Window {
        let (lane, epoch) = (id.lane(), self.epoch);
        let nothing = LaneRecord { depth: 0, head: lane.start(), dispatched: lane.start() };
        self.windows.entry(Reverse(lane.priority())).or_insert_with(|| Window::recorded(lane, nothing, epoch))
    }

    /// All windows, the highest priority first.
    pub(in crate::engine) fn windows(&self) -> impl Iterator<Item = &Window> {
        self.windows.values()
    }

    /// Lanes with windows, the highest priority first.
    pub(in crate::engine) fn lanes(&self) -> Vec<Lane> {
        self.windows.keys().map(|Reverse(priority)| Lane::of_priority(*priority)).collect()
    }

    pub(in crate::engine) fn ready_len(&self) -> usize {
        self.windows().map(Window::ready_len).sum()
    }

    pub(in crate::engine) fn ready_bytes(&self) -> usize {
        self.windows().map(Window::ready_bytes).sum()
    }

    /// True if a consumer may take its messages now.
    pub(in crate::engine) fn is_taken(&self) -> bool {
        !self.consumers.is_empty() && !self.settings.receive_paused
    }

    pub(in crate::engine) fn caught_up(&self) -> bool {
        self.windows().all(Window::caught_up)
    }

    /// Number of messages that consumers hold.
    pub(in crate::engine) fn in_flight(&self) -> u64 {
        self.windows().map(|window| window.in_flight).sum::<u64>() + self.nonpersistent.in_flight()
    }

    /// Number of all its messages: stored, delayed and not stored.
    pub(in crate::engine) fn all_messages(&self) -> u64 {
        self.depth + self.delayed + self.nonpersistent.len() as u64
    }

    /// Number of messages that wait in memory.
    pub(in crate::engine) fn waiting_len(&self) -> usize {
        self.ready_len() + self.nonpersistent.waiting_len()
    }

    /// True if a message may not go to every consumer: it has a group, or a consumer has a selector.
    pub(in crate::engine) fn has_choice(&mut self) -> bool {
        self.grouped &= !self.groups.is_empty() || self.waiting_len() > 0 || !self.caught_up();
        self.selective || self.grouped
    }

    /// A consumer attached or detached.
    pub(in crate::engine) fn consumers_changed(&mut self, selective: bool) {
        self.selective = selective;
        self.windows.values_mut().for_each(Window::look_again);
    }

    /// Memory reserved for reads in flight, in bytes.
    pub(in crate::engine) fn reserved_bytes(&self) -> usize {
        self.windows().filter_map(|window| window.reading.as_ref()).map(|reading| reading.reserved_bytes).sum()
    }

    /// Ends a read: returns it and its window.
    pub(in crate::engine) fn end_read(&mut self, read: ReadId) -> Option<(Reading, &mut Window)> {
        self.windows.values_mut().find_map(|window| {
            let reading = window.reading.take_if(|reading| reading.read == read)?;
            Some((reading, window))
        })
    }

    pub(in crate::engine) fn is_reading(&self) -> bool {
        self.windows().any(|window| window.reading.is_some())
    }

    /// The lower bound of live messages for each priority.
    pub(in crate::engine) fn heads(&self) -> impl Iterator<Item = MessageId> {
        self.windows().map(Window::head)
    }

    /// The next message to deliver, if it may be delivered now. The highest priority goes first; within a priority, stored
    /// messages and others take turns.
    pub(in crate::engine) fn peek(&self) -> Option<(MessageId, &Ready)> {
        let stored = self.windows.iter().find(|(_, window)| window.is_waiting());
        let Some(priority) = self.nonpersistent.priority() else { return stored?.1.peek() };
        match stored {
            Some((Reverse(other), window)) if *other > priority => window.peek(),
            Some((Reverse(other), window)) if *other == priority && !self.memory_turn => {
                window.peek().or_else(|| self.nonpersistent.peek())
            }
            Some(_) | None => self.nonpersistent.peek(),
        }
    }

    /// Hands a message of [`Self::peek`] or [`Self::candidates`] to a consumer.
    /// `order` is its number in the consumer's order of delivery.
    pub(in crate::engine) fn take(&mut self, id: MessageId, consumer: ConsumerId, order: u64) -> Option<Ready> {
        self.memory_turn = !id.is_nonpersistent();
        if id.is_nonpersistent() {
            self.nonpersistent.take(id, consumer, order)
        } else {
            self.window(id).take(id, consumer, order)
        }
    }

    /// At most `most` messages that may be delivered now, in order. Lower priorities are included only if all messages of
    /// the higher ones are.
    pub(in crate::engine) fn candidates(&self, most: usize) -> Vec<(MessageId, &Ready)> {
        let mut found = Vec::new();
        for priority in (0..=PRIORITY_MAX).rev() {
            found.extend(self.nonpersistent.waiting(priority).take(most - found.len()));
            let Some(window) = self.windows.get(&Reverse(priority)) else { continue };
            found.extend(window.deliverable().take(most - found.len()));
            if found.len() == most || !window.is_all_deliverable() {
                break;
            }
        }
        found
    }

    /// The next dispatch watermark of each priority with messages that wait for one. Higher priorities use `ahead` first.
    pub(in crate::engine) fn dispatch_wanted(&mut self, mut ahead: usize) -> Vec<MessageId> {
        let mut wanted = Vec::new();
        for window in self.windows.values_mut() {
            if ahead == 0 {
                break;
            }
            if let Some(through) = window.dispatch_wanted(ahead) {
                window.dispatch_proposed = through;
                wanted.push(through);
            }
            ahead = ahead.saturating_sub(window.ready_len());
        }
        wanted
    }

    /// Messages that a consumer holds, each with its number in the consumer's order of delivery.
    pub(in crate::engine) fn held_by(&self, consumer: ConsumerId) -> Vec<(MessageId, u64)> {
        let mut held: Vec<_> = self.windows().flat_map(|window| window.held_by(consumer)).collect();
        held.extend(self.nonpersistent.held_by(consumer));
        held
    }

    /// The number of a message in the consumer's order of delivery; `None` if the consumer does not have it.
    pub(in crate::engine) fn order_of(&mut self, id: MessageId, consumer: ConsumerId) -> Option<u64> {
        if id.is_nonpersistent() {
            return self.nonpersistent.order_of(id, consumer);
        }
        self.window(id).having(id, consumer).map(|having| having.order)
    }

    /// Number of messages that wait because no exception destination takes them.
    pub(in crate::engine) fn kept(&self) -> u64 {
        self.windows().map(|window| window.kept() as u64).sum()
    }

    /// Drops bodies from memory, the lowest priority and the last message first, until `keep` messages have theirs. Returns
    /// the bytes freed.
    pub(in crate::engine) fn evict(&mut self, keep: usize) -> usize {
        let mut excess = self.ready_len().saturating_sub(keep);
        let mut freed = 0;
        for window in self.windows.values_mut().rev() {
            let evicted = excess.min(window.ready_len());
            freed += window.evict(window.ready_len() - evicted);
            excess -= evicted;
        }
        freed
    }

    /// The read to start next: of the highest priority with messages that are needed and not in memory. A priority is short
    /// of messages while it and the higher ones have at most `half_messages` and `half_bytes` in memory; bodies of lower
    /// priorities do not count.
    pub(in crate::engine) fn wants_read(&self, half_messages: usize, half_bytes: usize) -> Option<Want> {
        let (mut messages, mut bytes, mut first) = (0, 0, true);
        for (Reverse(priority), window) in &self.windows {
            messages += window.ready_len();
            bytes += window.ready_bytes();
            let low = messages <= half_messages && bytes <= half_bytes;
            // Returned messages go first: they are older, and so few ids without bodies stay in memory.
            let returned = window.has_returned();
            let due = if returned { low || (first && window.wants_returned()) } else { low && !window.caught_up() };
            if due {
                return Some(Want { lane: Lane::of_priority(*priority), forward: !returned, low });
            }
            first &= !window.is_waiting();
        }
        None
    }

    /// Entries in memory: with bodies, and ids alone.
    #[cfg(test)]
    pub(in crate::engine) fn sizes(&self) -> (usize, usize, usize) {
        let sum =
            |all: (usize, usize, usize), one: (usize, usize, usize)| (all.0 + one.0, all.1 + one.1, all.2 + one.2);
        self.windows().map(Window::sizes).fold((0, 0, 0), sum)
    }
}

/// A read to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) struct Want {
    pub(in crate::engine) lane: Lane,
    /// True if it continues from the cursor; false if it starts at the first returned message.
    pub(in crate::engine) forward: bool,
    /// True if the lane is short of messages in memory; false if only the next message is missing.
    pub(in crate::engine) low: bool,
}
