//! A queue in the engine's memory: a window onto the store for each priority that it has messages of, and who takes them.
//!
//! Priorities are strict: while messages of a higher one wait, also such as have to be read first, no lower one is
//! delivered.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use baton_storage::{
    ConsumerId, DestinationKind, Epoch, Lane, LaneRecord, MessageId, QueueName, QueueRecord, Settings,
};

use super::message::{ReadId, RequestId};
use super::window::{Reading, Ready, Window};

/// One settlement that waits to be proposed.
#[derive(Debug)]
pub(super) struct Settlement {
    pub(super) acknowledged: Vec<MessageId>,
    pub(super) refused: Vec<MessageId>,
    pub(super) rejected: Vec<(MessageId, String)>,
    pub(super) request: RequestId,
}

impl Settlement {
    /// How many messages it settles.
    pub(super) fn len(&self) -> usize {
        self.acknowledged.len() + self.refused.len() + self.rejected.len()
    }
}

#[derive(Debug)]
pub(super) struct Queue {
    pub(super) name: QueueName,
    pub(super) kind: DestinationKind,
    pub(super) settings: Settings,
    /// Whether it goes when a consumer goes.
    pub(super) temporary: bool,
    /// Messages stored, those that are delayed left out.
    pub(super) depth: u64,
    /// Messages that are delayed.
    pub(super) delayed: u64,
    epoch: Epoch,
    /// The highest priority first.
    windows: BTreeMap<Reverse<u8>, Window>,
    /// The attached consumers, the next in turn first.
    pub(super) consumers: VecDeque<ConsumerId>,
    /// Consumers that an earlier engine knew and that did not attach again yet. Nothing is delivered until then.
    pub(super) awaited: BTreeSet<ConsumerId>,
    pub(super) settlements: VecDeque<Settlement>,
}

impl Queue {
    /// A queue as an engine of `epoch` finds it.
    pub(super) fn recorded(record: QueueRecord, epoch: Epoch) -> Self {
        let depth = record.depth();
        let window =
            |(lane, record): (Lane, LaneRecord)| (Reverse(lane.priority()), Window::recorded(lane, record, epoch));
        Self {
            name: record.name,
            kind: record.kind,
            settings: record.settings,
            temporary: record.owner.is_some(),
            depth,
            delayed: record.delayed,
            epoch,
            windows: record.lanes.into_iter().map(window).collect(),
            consumers: VecDeque::new(),
            awaited: BTreeSet::new(),
            settlements: VecDeque::new(),
        }
    }

    /// The window that a message is in; an empty one is made.
    pub(super) fn window(&mut self, id: MessageId) -> &mut Window {
        let (lane, epoch) = (id.lane(), self.epoch);
        let nothing = LaneRecord { depth: 0, head: lane.start(), dispatched: lane.start() };
        self.windows.entry(Reverse(lane.priority())).or_insert_with(|| Window::recorded(lane, nothing, epoch))
    }

    /// All windows, the highest priority first.
    pub(super) fn windows(&self) -> impl Iterator<Item = &Window> {
        self.windows.values()
    }

    fn windows_mut(&mut self) -> impl Iterator<Item = &mut Window> {
        self.windows.values_mut()
    }

    /// The lanes that have windows, the highest priority first.
    pub(super) fn lanes(&self) -> Vec<Lane> {
        self.windows.keys().map(|Reverse(priority)| Lane::of_priority(*priority)).collect()
    }

    pub(super) fn ready_len(&self) -> usize {
        self.windows().map(Window::ready_len).sum()
    }

    pub(super) fn ready_bytes(&self) -> usize {
        self.windows().map(Window::ready_bytes).sum()
    }

    pub(super) fn caught_up(&self) -> bool {
        self.windows().all(Window::caught_up)
    }

    /// How many messages consumers hold.
    pub(super) fn in_flight(&self) -> u64 {
        self.windows().map(|window| window.in_flight).sum()
    }

    /// What reads under way may bring, in bytes.
    pub(super) fn reserved_bytes(&self) -> usize {
        self.windows().filter_map(|window| window.reading.as_ref()).map(|reading| reading.reserved_bytes).sum()
    }

    /// The read that came to its end, and the window that it was for.
    pub(super) fn end_read(&mut self, read: ReadId) -> Option<(Reading, &mut Window)> {
        self.windows.values_mut().find_map(|window| {
            let reading = window.reading.take_if(|reading| reading.read == read)?;
            Some((reading, window))
        })
    }

    pub(super) fn is_reading(&self) -> bool {
        self.windows().any(|window| window.reading.is_some())
    }

    /// Of each priority, below which message there is no live one.
    pub(super) fn heads(&self) -> impl Iterator<Item = MessageId> {
        self.windows().map(Window::head)
    }

    /// The next message to deliver, if it may be delivered now: of the highest priority that messages wait of.
    pub(super) fn peek(&self) -> Option<(MessageId, &Ready)> {
        self.windows().find(|window| window.is_waiting())?.peek()
    }

    /// Hands the next message to a consumer.
    pub(super) fn take_next(&mut self, consumer: ConsumerId) -> Option<(MessageId, Ready)> {
        self.windows_mut().find(|window| window.is_waiting())?.take_next(consumer)
    }

    /// The messages through which to promise delivery next, one a priority, if messages wait for that. Lower priorities
    /// only as far as higher ones leave room.
    pub(super) fn dispatch_wanted(&mut self, mut ahead: usize) -> Vec<MessageId> {
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

    /// What a consumer holds.
    pub(super) fn held_by(&self, consumer: ConsumerId) -> Vec<MessageId> {
        self.windows().flat_map(|window| window.held_by(consumer)).collect()
    }

    /// Gives bodies in memory back to the store, those of the lowest priority first and the last first, until `keep`
    /// messages have theirs. Answers how many bytes that frees.
    pub(super) fn evict(&mut self, keep: usize) -> usize {
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
    pub(super) fn wants_read(&self, half_messages: usize, half_bytes: usize) -> Option<Want> {
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

    /// What bounds the queue's memory, in entries: bodies, and ids without.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize, usize) {
        let sum =
            |all: (usize, usize, usize), one: (usize, usize, usize)| (all.0 + one.0, all.1 + one.1, all.2 + one.2);
        self.windows().map(Window::sizes).fold((0, 0, 0), sum)
    }
}

/// A read that a queue needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Want {
    pub(super) lane: Lane,
    /// From the cursor on; otherwise from the first message that was handed back.
    pub(super) forward: bool,
    /// Whether there is room for it.
    pub(super) low: bool,
}
