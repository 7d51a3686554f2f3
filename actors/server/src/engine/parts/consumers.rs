//! The attached consumers of a started engine, and those that it waits for.

use std::collections::{BTreeSet, HashMap};

use baton_domain::clock::BootTime;
use baton_domain::{ConsumerId, QueueId, Selector};

use super::progress::Progress;
use crate::engine::config::EngineConfig;

/// The connection over which a consumer is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Link {
    /// Over this link.
    Up(u64),
    /// It attached before its link was in the table of links.
    Unknown,
    /// Its link is gone, or a delivery got no answer: it has to attach again.
    Lost,
}

/// A consumer that an earlier engine knew.
#[derive(Debug, Clone, Copy)]
pub(in crate::engine) struct Awaited {
    pub(in crate::engine) queue: QueueId,
    pub(in crate::engine) order: u64,
}

/// The orders of all consumers that an earlier engine knew lie below this one.
pub(in crate::engine) const NEW_CONSUMERS: u64 = 1 << 32;

/// An attached consumer.
#[derive(Debug)]
pub(in crate::engine) struct Consumer {
    pub(in crate::engine) queue: QueueId,
    /// Its place among the consumers of its queue, in the order of attachment.
    pub(in crate::engine) order: u64,
    pub(in crate::engine) client: String,
    pub(in crate::engine) link: Link,
    /// Maximum number of messages that it holds.
    pub(in crate::engine) credit: u32,
    /// Number of messages that it holds.
    pub(in crate::engine) held: u32,
    pub(in crate::engine) progress: Progress,
    /// Number of messages that it was handed so far. Counted by [`Consumer::next_place`] alone.
    pub(in crate::engine) handed: u64,
    /// Of these, those that its user received at least, as it said.
    pub(in crate::engine) received: u64,
    /// Deliveries without an answer.
    pub(in crate::engine) calls: u32,
    /// True once its attachment is committed: before, nothing is delivered to it.
    pub(in crate::engine) recorded: bool,
    /// Names this entry of the table.
    pub(in crate::engine) instance: u64,
    /// Names its last attachment.
    pub(in crate::engine) attachment: u64,
    /// Deadline for it to attach again; then it is given up. Set by [`Consumers`] alone.
    gone: Option<BootTime>,
    /// The messages that it wants; `None`: all.
    pub(in crate::engine) selector: Option<Selector>,
}

impl Consumer {
    /// A consumer that just attached.
    pub(in crate::engine) fn new(queue: QueueId, order: u64, instance: u64, recorded: bool, now: BootTime) -> Self {
        Self {
            queue,
            order,
            client: String::new(),
            link: Link::Unknown,
            credit: 0,
            held: 0,
            progress: Progress::new(now),
            handed: 0,
            received: 0,
            calls: 0,
            recorded,
            instance,
            attachment: instance,
            gone: None,
            selector: None,
        }
    }

    /// The place of one more message among all that it is handed, from 1.
    pub(in crate::engine) fn next_place(&mut self) -> u64 {
        self.handed += 1;
        self.handed
    }

    /// True if a delivery can go to it now.
    pub(in crate::engine) fn can_take(&self, config: &EngineConfig) -> bool {
        self.recorded
            && matches!(self.link, Link::Up(_))
            && self.held < self.credit
            && self.calls < config.deliver_calls
    }

    /// Milliseconds for which it has held messages without settling any.
    pub(in crate::engine) fn unsettled_ms(&self, now: BootTime) -> u64 {
        if self.held == 0 { 0 } else { self.progress.idle_ms(now) }
    }
}

/// All of them.
#[derive(Debug)]
pub(in crate::engine) struct Consumers {
    consumers: HashMap<ConsumerId, Consumer>,
    /// Those without a link, by the time at which they are given up.
    gone: BTreeSet<(BootTime, ConsumerId)>,
    /// Those that an earlier engine knew and that did not attach again yet.
    awaited: HashMap<ConsumerId, Awaited>,
    /// Deadline for these to attach again.
    awaited_until: BootTime,
}

impl Consumers {
    /// None yet.
    pub(in crate::engine) fn new(awaited_until: BootTime) -> Self {
        Self { consumers: HashMap::new(), gone: BTreeSet::new(), awaited: HashMap::new(), awaited_until }
    }

    pub(in crate::engine) fn len(&self) -> usize {
        self.consumers.len()
    }

    pub(in crate::engine) fn get(&self, id: ConsumerId) -> Option<&Consumer> {
        self.consumers.get(&id)
    }

    pub(in crate::engine) fn get_mut(&mut self, id: ConsumerId) -> Option<&mut Consumer> {
        self.consumers.get_mut(&id)
    }

    pub(in crate::engine) fn contains(&self, id: ConsumerId) -> bool {
        self.consumers.contains_key(&id)
    }

    pub(in crate::engine) fn queue(&self, id: ConsumerId) -> Option<QueueId> {
        self.get(id).map(|consumer| consumer.queue)
    }

    /// True if a consumer takes messages, now or when it has settled some.
    pub(in crate::engine) fn wants(&self, id: ConsumerId) -> bool {
        self.get(id).is_some_and(|consumer| consumer.recorded && consumer.credit > 0)
    }

    #[cfg(test)]
    pub(in crate::engine) fn iter(&self) -> impl Iterator<Item = (ConsumerId, &Consumer)> {
        self.consumers.iter().map(|(id, consumer)| (*id, consumer))
    }

    /// The consumer, added if it is new.
    pub(in crate::engine) fn entry(&mut self, id: ConsumerId, new: impl FnOnce() -> Consumer) -> &mut Consumer {
        self.consumers.entry(id).or_insert_with(new)
    }

    pub(in crate::engine) fn remove(&mut self, id: ConsumerId) -> Option<Consumer> {
        let consumer = self.consumers.remove(&id)?;
        consumer.gone.map(|when| self.gone.remove(&(when, id)));
        Some(consumer)
    }

    /// Forgets the consumers of a queue, and those that it waits for.
    pub(in crate::engine) fn remove_all_of(&mut self, queue: QueueId) {
        self.consumers.retain(|_, consumer| consumer.queue != queue);
        self.awaited.retain(|_, awaited| awaited.queue != queue);
        let consumers = &self.consumers;
        self.gone.retain(|(_, consumer)| consumers.contains_key(consumer));
    }

    /// A consumer has a link, or has until then to attach again.
    pub(in crate::engine) fn set_gone(&mut self, id: ConsumerId, gone: Option<BootTime>) {
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        let before = std::mem::replace(&mut consumer.gone, gone);
        before.map(|when| self.gone.remove(&(when, id)));
        gone.map(|when| self.gone.insert((when, id)));
    }

    /// A consumer's link is gone, or it does not answer: it has until then to attach again, if not less already.
    pub(in crate::engine) fn lose(&mut self, id: ConsumerId, until: BootTime) {
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        consumer.link = Link::Lost;
        let until = consumer.gone.unwrap_or(until);
        self.set_gone(id, Some(until));
    }

    /// The next consumer whose time is over.
    pub(in crate::engine) fn next_given_up(&mut self, now: BootTime) -> Option<ConsumerId> {
        while let Some((when, consumer)) = self.gone.first().copied().filter(|(when, _)| *when <= now) {
            self.gone.pop_first();
            if let Some(state) = self.consumers.get_mut(&consumer).filter(|state| state.gone == Some(when)) {
                state.gone = None;
                return Some(consumer);
            }
        }
        None
    }

    /// A link came up: the consumers that attached over it before it was known can be reached. Their queues.
    pub(in crate::engine) fn link_up(&mut self, client: &str, connection: u64) -> Vec<QueueId> {
        let mut queues = Vec::new();
        for (id, consumer) in &mut self.consumers {
            if consumer.link == Link::Unknown && consumer.client == client {
                consumer.link = Link::Up(connection);
                consumer.gone.take().map(|when| self.gone.remove(&(when, *id)));
                queues.push(consumer.queue);
            }
        }
        queues
    }

    /// The consumers over links of which `is_gone` says so.
    pub(in crate::engine) fn over(&self, is_gone: impl Fn(&str, u64) -> bool) -> Vec<ConsumerId> {
        let over = self.consumers.iter().filter(|(_, consumer)| match consumer.link {
            Link::Up(connection) => is_gone(&consumer.client, connection),
            Link::Unknown | Link::Lost => false,
        });
        over.map(|(id, _)| *id).collect()
    }

    /// Waits for a consumer that an earlier engine knew.
    pub(in crate::engine) fn wait_for(&mut self, id: ConsumerId, awaited: Awaited) {
        self.awaited.insert(id, awaited);
    }

    pub(in crate::engine) fn awaited(&self, id: ConsumerId) -> Option<Awaited> {
        self.awaited.get(&id).copied()
    }

    /// It came back, or goes for good.
    pub(in crate::engine) fn take_awaited(&mut self, id: ConsumerId) -> Option<Awaited> {
        self.awaited.remove(&id)
    }

    /// Those that did not come back in time.
    pub(in crate::engine) fn give_up_awaited(&mut self, now: BootTime) -> HashMap<ConsumerId, Awaited> {
        if now >= self.awaited_until { std::mem::take(&mut self.awaited) } else { HashMap::new() }
    }

    /// The next deadline of a consumer.
    pub(in crate::engine) fn deadline(&self) -> Option<BootTime> {
        let awaited = (!self.awaited.is_empty()).then_some(self.awaited_until);
        [awaited, self.gone.first().map(|(when, _)| *when)].into_iter().flatten().min()
    }
}
