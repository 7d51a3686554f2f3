//! A queue in the engine's memory: a window onto the store for each priority that it has messages of, and who takes them.
//!
//! Priorities are strict: while messages of a higher one wait, also such as have to be read first, no lower one is
//! delivered.

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

/// One settlement that waits to be proposed.
#[derive(Debug)]
pub(in crate::engine) struct Settlement {
    pub(in crate::engine) acknowledged: Vec<MessageId>,
    pub(in crate::engine) refused: Vec<MessageId>,
    pub(in crate::engine) rejected: Vec<(MessageId, String)>,
    /// Done at once: nothing of it is proposed.
    pub(in crate::engine) released: Vec<MessageId>,
    pub(in crate::engine) request: RequestId,
}

impl Settlement {
    /// Number of messages to propose for it.
    pub(in crate::engine) fn len(&self) -> usize {
        self.acknowledged.len() + self.refused.len() + self.rejected.len()
    }
}

#[derive(Debug)]
pub(in crate::engine) struct Queue {
    pub(in crate::engine) name: QueueName,
    pub(in crate::engine) kind: DestinationKind,
    pub(in crate::engine) settings: Settings,
    /// Number of changes of its settings.
    pub(in crate::engine) version: u64,
    /// True if it is deleted when its consumer goes.
    pub(in crate::engine) temporary: bool,
    /// Messages stored, those that are delayed left out.
    pub(in crate::engine) depth: u64,
    /// Messages that are delayed.
    pub(in crate::engine) delayed: u64,
    /// Number of the oldest messages that were dropped to make room for dead letters.
    pub(in crate::engine) dropped: u64,
    /// Approximate number of messages that wait because no exception destination takes them.
    pub(in crate::engine) kept_len: usize,
    /// Until when its exception destination counts as full, as the store said.
    pub(in crate::engine) dead_letters_wait: Option<BootTime>,
    epoch: Epoch,
    /// The highest priority first.
    windows: BTreeMap<Reverse<u8>, Window>,
    /// The attached consumers, the next in turn first.
    pub(in crate::engine) consumers: VecDeque<ConsumerId>,
    /// Consumers that an earlier engine knew and that did not attach again yet. Nothing is delivered until then.
    pub(in crate::engine) awaited: BTreeSet<ConsumerId>,
    pub(in crate::engine) settlements: VecDeque<Settlement>,
    /// Messages that are in no store.
    pub(in crate::engine) nonpersistent: Nonpersistent,
    /// True if of two messages of one priority, the one that is in no store is next.
    memory_turn: bool,
    /// The groups whose messages consumers hold.
    pub(in crate::engine) groups: Groups,
    /// True if messages of groups came since the queue was last empty.
    pub(in crate::engine) grouped: bool,
    /// True if a consumer has a selector.
    pub(in crate::engine) selective: bool,
    /// Whether what is in memory is for consumers that have no room, and for none of the others, as far as is known since
    /// something other than a read happened.
    pub(in crate::engine) stuck: bool,
}

impl Queue {
    /// A queue as an engine of `epoch` finds it.
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

    /// The window that a message is in; an empty one is made.
    pub(in crate::engine) fn window(&mut self, id: MessageId) -> &mut Window {
        let (lane, epoch) = (id.lane(), self.epoch);
        let nothing = LaneRecord { depth: 0, head: lane.start(), dispatched: lane.start() };
        self.windows.entry(Reverse(lane.priority())).or_insert_with(|| Window::recorded(lane, nothing, epoch))
    }

    /// All windows, the highest priority first.
    pub(in crate::engine) fn windows(&self) -> impl Iterator<Item = &Window> {
        self.windows.values()
    }

    /// The lanes that have windows, the highest priority first.
    pub(in crate::engine) fn lanes(&self) -> Vec<Lane> {
        self.windows.keys().map(|Reverse(priority)| Lane::of_priority(*priority)).collect()
    }

    pub(in crate::engine) fn ready_len(&self) -> usize {
        self.windows().map(Window::ready_len).sum()
    }

    pub(in crate::engine) fn ready_bytes(&self) -> usize {
        self.windows().map(Window::ready_bytes).sum()
    }

    /// True if somebody may take its messages now.
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

    /// Number of its messages, wherever they are, delayed ones included.
    pub(in crate::engine) fn all_messages(&self) -> u64 {
        self.depth + self.delayed + self.nonpersistent.len() as u64
    }

    /// Number of messages that wait in memory.
    pub(in crate::engine) fn waiting_len(&self) -> usize {
        self.ready_len() + self.nonpersistent.waiting_len()
    }

    /// True if some messages are not for every consumer.
    pub(in crate::engine) fn has_choice(&mut self) -> bool {
        self.grouped &= !self.groups.is_empty() || self.waiting_len() > 0 || !self.caught_up();
        self.selective || self.grouped
    }

    /// Other consumers are there, or fewer.
    pub(in crate::engine) fn consumers_changed(&mut self, selective: bool) {
        self.selective = selective;
        self.windows.values_mut().for_each(Window::look_again);
    }

    /// Bytes that reads under way may bring.
    pub(in crate::engine) fn reserved_bytes(&self) -> usize {
        self.windows().filter_map(|window| window.reading.as_ref()).map(|reading| reading.reserved_bytes).sum()
    }

    /// The read that came to its end, and the window that it was for.
    pub(in crate::engine) fn end_read(&mut self, read: ReadId) -> Option<(Reading, &mut Window)> {
        self.windows.values_mut().find_map(|window| {
            let reading = window.reading.take_if(|reading| reading.read == read)?;
            Some((reading, window))
        })
    }

    pub(in crate::engine) fn is_reading(&self) -> bool {
        self.windows().any(|window| window.reading.is_some())
    }

    /// Of each priority, below which message there is no live one.
    pub(in crate::engine) fn heads(&self) -> impl Iterator<Item = MessageId> {
        self.windows().map(Window::head)
    }

    /// The next message to deliver, if it may be delivered now: of the highest priority that messages wait of. Of the same
    /// priority, stored ones and others in turn.
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
    /// `order`: its place among all that the consumer was handed.
    pub(in crate::engine) fn take(&mut self, id: MessageId, consumer: ConsumerId, order: u64) -> Option<Ready> {
        self.memory_turn = !id.is_nonpersistent();
        if id.is_nonpersistent() {
            self.nonpersistent.take(id, consumer, order)
        } else {
            self.window(id).take(id, consumer, order)
        }
    }

    /// What could be delivered now, if there is somebody for it, in order and at most so many; lower priorities only if
    /// all of the higher ones are among it.
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

    /// The messages through which to promise delivery next, one a priority, if messages wait for that. Lower priorities
    /// only as far as higher ones leave room.
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

    /// Messages that a consumer holds, each with its place among all that it was handed.
    pub(in crate::engine) fn held_by(&self, consumer: ConsumerId) -> Vec<(MessageId, u64)> {
        let mut held: Vec<_> = self.windows().flat_map(|window| window.held_by(consumer)).collect();
        held.extend(self.nonpersistent.held_by(consumer));
        held
    }

    /// The place of a message among all that its consumer was handed; none if it has it not.
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

    /// Gives bodies in memory back to the store, those of the lowest priority first and the last first, until `keep`
    /// messages have theirs. Answers how many bytes that frees.
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

    /// The lane to read next, and whether it goes on from its cursor: the highest priority whose messages are needed
    /// and not in memory. Bodies of lower ones do not stand in its way: `half` messages and bytes are kept for it.
    pub(in crate::engine) fn wants_read(&self, half_messages: usize, half_bytes: usize) -> Option<Want> {
        let (mut messages, mut bytes, mut first) = (0, 0, true);
        for (Reverse(priority), window) in &self.windows {
            messages += window.ready_len();
            bytes += window.ready_bytes();
            let low = messages <= half_messages && bytes <= half_bytes;
            // What was handed back goes before what was never read: it is older, and ids without bodies stay few.
            let returned = window.has_returned();
            let due = if returned { low || (first && window.wants_returned()) } else { low && !window.caught_up() };
            if due {
                return Some(Want { lane: Lane::of_priority(*priority), forward: !returned, low });
            }
            first &= !window.is_waiting();
        }
        None
    }

    /// The queue's memory, in entries: bodies, and ids without.
    #[cfg(test)]
    pub(in crate::engine) fn sizes(&self) -> (usize, usize, usize) {
        let sum =
            |all: (usize, usize, usize), one: (usize, usize, usize)| (all.0 + one.0, all.1 + one.1, all.2 + one.2);
        self.windows().map(Window::sizes).fold((0, 0, 0), sum)
    }
}

/// A read that a queue needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) struct Want {
    pub(in crate::engine) lane: Lane,
    /// From the cursor on; otherwise from the first message that was handed back.
    pub(in crate::engine) forward: bool,
    /// True if there is room for it.
    pub(in crate::engine) low: bool,
}
