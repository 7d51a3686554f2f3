//! The messages of a queue that are in no store: in the order of their coming within each priority, with their bodies
//! until they are settled.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use baton_domain::{ConsumerId, MessageId};

use super::ready::Ready;

/// The holder of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    /// A consumer, and the message's place among all that it was handed.
    With(ConsumerId, u64),
    /// Taken by a transaction whose outcome is not known.
    Leaving,
}

type Place = (Reverse<u8>, MessageId);

fn place(id: MessageId) -> Place {
    (Reverse(id.lane().priority()), id)
}

/// Messages in memory alone.
#[derive(Debug, Default)]
pub(in crate::engine) struct Nonpersistent {
    waiting: BTreeMap<Place, Ready>,
    /// Of those that wait, which may be dropped for newer ones.
    droppable: BTreeSet<MessageId>,
    held: HashMap<MessageId, (Holder, Ready)>,
    /// Number of messages that were dropped because there was no room.
    pub(in crate::engine) dropped: u64,
}

impl Nonpersistent {
    pub(in crate::engine) fn len(&self) -> usize {
        self.waiting.len() + self.held.len()
    }

    pub(in crate::engine) fn waiting_len(&self) -> usize {
        self.waiting.len()
    }

    /// Bytes of all of them.
    #[cfg(test)]
    pub(in crate::engine) fn bytes(&self) -> usize {
        let held = self.held.values().map(|(_, ready)| ready);
        self.waiting.values().chain(held).map(Ready::bytes).sum()
    }

    /// Number of messages that consumers hold.
    pub(in crate::engine) fn in_flight(&self) -> u64 {
        self.held.len() as u64
    }

    /// A message came, or came back.
    pub(in crate::engine) fn put(&mut self, id: MessageId, ready: Ready) {
        if ready.may_be_dropped {
            self.droppable.insert(id);
        }
        self.waiting.insert(place(id), ready);
    }

    /// The highest priority that messages wait of.
    pub(in crate::engine) fn priority(&self) -> Option<u8> {
        self.waiting.keys().next().map(|(Reverse(priority), _)| *priority)
    }

    /// The next message to deliver.
    pub(in crate::engine) fn peek(&self) -> Option<(MessageId, &Ready)> {
        self.waiting.iter().next().map(|((_, id), ready)| (*id, ready))
    }

    /// The messages of a priority that wait, in order.
    pub(in crate::engine) fn waiting(&self, priority: u8) -> impl Iterator<Item = (MessageId, &Ready)> {
        let priority = Reverse(priority);
        let least = (priority, MessageId::default());
        let own = self.waiting.range(least..).take_while(move |((other, _), _)| *other == priority);
        own.map(|((_, id), ready)| (*id, ready))
    }

    /// All that wait, from one on, in the order of delivery.
    pub(in crate::engine) fn from(&self, first: Option<MessageId>) -> impl Iterator<Item = (MessageId, &Ready)> {
        let least = first.map_or((Reverse(u8::MAX), MessageId::default()), place);
        self.waiting.range(least..).map(|((_, id), ready)| (*id, ready))
    }

    fn take_waiting(&mut self, id: MessageId) -> Option<Ready> {
        self.droppable.remove(&id);
        self.waiting.remove(&place(id))
    }

    /// Hands a message that waits to a consumer, as a copy: the message stays until it is settled.
    pub(in crate::engine) fn take(&mut self, id: MessageId, consumer: ConsumerId, order: u64) -> Option<Ready> {
        let ready = self.take_waiting(id)?;
        let copy = ready.clone();
        self.held.insert(id, (Holder::With(consumer, order), ready));
        Some(copy)
    }

    /// Takes the oldest message out that may be dropped.
    pub(in crate::engine) fn drop_oldest(&mut self) -> Option<(MessageId, Ready)> {
        let id = self.droppable.first().copied()?;
        self.dropped += 1;
        self.take_waiting(id).map(|ready| (id, ready))
    }

    /// Takes a message out that a consumer has.
    pub(in crate::engine) fn take_from(&mut self, id: MessageId, consumer: ConsumerId) -> Option<Ready> {
        self.is_held_by(id, consumer).then(|| self.held.remove(&id).map(|(_, ready)| ready))?
    }

    /// Takes a message out that waits; not one that a consumer has.
    pub(in crate::engine) fn take_out(&mut self, id: MessageId) -> Option<Ready> {
        self.take_waiting(id)
    }

    pub(in crate::engine) fn is_held_by(&self, id: MessageId, consumer: ConsumerId) -> bool {
        self.order_of(id, consumer).is_some()
    }

    /// The place of a message among all that its consumer was handed; none if it has it not.
    pub(in crate::engine) fn order_of(&self, id: MessageId, consumer: ConsumerId) -> Option<u64> {
        match self.held.get(&id) {
            Some((Holder::With(holder, order), _)) if *holder == consumer => Some(*order),
            Some(_) | None => None,
        }
    }

    /// Messages that a consumer holds, each with its place among all that it was handed.
    pub(in crate::engine) fn held_by(&self, consumer: ConsumerId) -> Vec<(MessageId, u64)> {
        let own = self.held.keys().filter_map(|id| Some((*id, self.order_of(*id, consumer)?)));
        let mut own: Vec<_> = own.collect();
        own.sort_unstable();
        own
    }

    /// A transaction takes it from its consumer.
    pub(in crate::engine) fn leaving(&mut self, id: MessageId) {
        if let Some((holder, _)) = self.held.get_mut(&id) {
            *holder = Holder::Leaving;
        }
    }

    /// The transaction was not done: the consumer has it again.
    pub(in crate::engine) fn hold_again(&mut self, id: MessageId, consumer: ConsumerId, order: u64) {
        if let Some((holder, _)) = self.held.get_mut(&id) {
            *holder = Holder::With(consumer, order);
        }
    }

    /// Takes a message out that a transaction took.
    pub(in crate::engine) fn take_left(&mut self, id: MessageId) -> Option<Ready> {
        let left = self.held.get(&id).is_some_and(|(holder, _)| *holder == Holder::Leaving);
        left.then(|| self.held.remove(&id).map(|(_, ready)| ready))?
    }

    /// Takes all out, whoever has them.
    pub(in crate::engine) fn take_all(&mut self) -> Vec<(MessageId, Ready)> {
        self.droppable.clear();
        let held = self.held.drain().map(|(id, (_, ready))| (id, ready));
        std::mem::take(&mut self.waiting).into_iter().map(|((_, id), ready)| (id, ready)).chain(held).collect()
    }
}
