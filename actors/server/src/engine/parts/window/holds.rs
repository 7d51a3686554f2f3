//! Messages with a consumer or a transaction, and messages whose settlement or return is being committed.

use baton_domain::{ConsumerId, MessageId};

use super::{Returned, Window};
use crate::engine::parts::hold::{Having, Hold};
use crate::engine::parts::ready::Ready;

impl Window {
    /// A prepared transaction takes a message. Returns the bytes freed.
    pub(in crate::engine) fn put_in_doubt(&mut self, id: MessageId) -> usize {
        let bytes = self.take_ready(id).map_or(0, |ready| ready.bytes());
        self.returned.remove(&id);
        self.held.insert(id, Hold::InDoubt);
        bytes
    }

    /// A prepared transaction was rolled back: its message can be delivered again.
    pub(in crate::engine) fn back_from_doubt(&mut self, id: MessageId) {
        if self.is_in_doubt(id) {
            self.held.remove(&id);
            self.returned.insert(id, Returned { redelivered: true, redeliveries: 0 });
        }
    }

    /// True if a prepared transaction has the message.
    pub(in crate::engine) fn is_in_doubt(&self, id: MessageId) -> bool {
        self.held.get(&id) == Some(&Hold::InDoubt)
    }

    /// True if a transaction has the message, and its outcome is not known yet.
    pub(in crate::engine) fn is_leaving(&self, id: MessageId) -> bool {
        self.held.get(&id) == Some(&Hold::Leaving)
    }

    /// True if a consumer or a transaction has the message, or its settlement or return is being committed.
    pub(in crate::engine) fn is_held(&self, id: MessageId) -> bool {
        self.held.contains_key(&id)
    }

    /// True if that consumer has the message.
    pub(in crate::engine) fn is_held_by(&self, id: MessageId, consumer: ConsumerId) -> bool {
        self.held.get(&id).is_some_and(|hold| hold.is_with(consumer).is_some())
    }

    /// The message's state with that consumer; `None` if the consumer does not have it.
    pub(in crate::engine) fn having(&self, id: MessageId, consumer: ConsumerId) -> Option<Having> {
        self.held.get(&id)?.is_with(consumer)
    }

    /// True if a consumer has the message.
    pub(in crate::engine) fn is_with_consumer(&self, id: MessageId) -> bool {
        matches!(self.held.get(&id), Some(Hold::With { .. }))
    }

    /// Messages that are neither ready nor returned.
    pub(in crate::engine) fn held(&self) -> impl Iterator<Item = MessageId> {
        self.held.keys().copied()
    }

    /// Messages that a consumer holds, each with its number in the consumer's order of delivery.
    pub(in crate::engine) fn held_by(&self, consumer: ConsumerId) -> impl Iterator<Item = (MessageId, u64)> {
        self.held.iter().filter_map(move |(id, hold)| Some((*id, hold.is_with(consumer)?.order)))
    }

    fn hold_with(&mut self, id: MessageId, consumer: ConsumerId, Having { redeliveries, order }: Having) {
        self.held.insert(id, Hold::With { consumer, redeliveries, order });
        self.in_flight += 1;
    }

    /// Hands a ready message to a consumer.
    pub(in crate::engine) fn take(&mut self, id: MessageId, consumer: ConsumerId, order: u64) -> Option<Ready> {
        let ready = self.take_ready(id)?;
        self.hold_with(id, consumer, Having { redeliveries: ready.redeliveries, order });
        Some(ready)
    }

    /// An attaching consumer reports that it has this message. Returns false if the message is held already, and the bytes
    /// freed.
    pub(in crate::engine) fn withhold(&mut self, id: MessageId, consumer: ConsumerId, order: u64) -> (bool, usize) {
        if self.held.contains_key(&id) {
            return (false, 0);
        }
        let ready = self.take_ready(id);
        let returned = self.returned.remove(&id);
        let redeliveries = ready.as_ref().map(|ready| ready.redeliveries).or(returned.map(|known| known.redeliveries));
        self.hold_with(id, consumer, Having { redeliveries: redeliveries.unwrap_or(0), order });
        (true, ready.map_or(0, |ready| ready.bytes()))
    }

    /// No exception destination takes the message: it waits in the queue. Returns the bytes freed.
    pub(in crate::engine) fn keep(&mut self, id: MessageId, redeliveries: u32) -> usize {
        let ready = self.take_ready(id).map(|ready| ready.bytes());
        let returned = self.returned.remove(&id).is_some();
        let on_its_way = matches!(self.held.get(&id), Some(Hold::Returning { .. } | Hold::Settling | Hold::Leaving));
        if on_its_way || returned || ready.is_some() {
            self.held.insert(id, Hold::Kept { redeliveries });
        }
        ready.unwrap_or(0)
    }

    /// True if the message waits because no exception destination takes it.
    pub(in crate::engine) fn is_kept(&self, id: MessageId) -> bool {
        matches!(self.held.get(&id), Some(Hold::Kept { .. }))
    }

    /// A message that no exception destination takes can be delivered again. Returns false if its state changed meanwhile.
    pub(in crate::engine) fn kept_long_enough(&mut self, id: MessageId) -> bool {
        let Some(Hold::Kept { redeliveries }) = self.held.get(&id).copied() else { return false };
        self.held.remove(&id);
        self.returned.insert(id, Returned { redelivered: true, redeliveries });
        true
    }

    /// Number of messages that wait because no exception destination takes them.
    pub(in crate::engine) fn kept(&self) -> usize {
        self.held.values().filter(|hold| matches!(hold, Hold::Kept { .. })).count()
    }

    /// A message was acknowledged. Returns the consumer that had it, and the bytes freed.
    pub(in crate::engine) fn settling(&mut self, id: MessageId) -> (Option<ConsumerId>, usize) {
        let bytes = self.take_ready(id).map_or(0, |ready| ready.bytes());
        self.returned.remove(&id);
        match self.held.insert(id, Hold::Settling) {
            Some(Hold::With { consumer, .. }) => {
                self.in_flight -= 1;
                (Some(consumer), bytes)
            }
            Some(Hold::Settling | Hold::InDoubt | Hold::Leaving | Hold::Returning { .. } | Hold::Kept { .. })
            | None => (None, bytes),
        }
    }

    /// A message leaves the queue if the store accepts that. Returns the bytes freed.
    pub(in crate::engine) fn leaving(&mut self, id: MessageId) -> usize {
        let (_, bytes) = self.settling(id);
        self.held.insert(id, Hold::Leaving);
        bytes
    }

    /// The acknowledgement is committed.
    pub(in crate::engine) fn settled(&mut self, id: MessageId) {
        if matches!(self.held.get(&id), Some(Hold::Settling | Hold::Leaving)) {
            self.held.remove(&id);
        }
        self.passed(id);
    }

    /// A message left the queue without an acknowledgement. A consumer that has it keeps it. Returns the bytes freed.
    pub(in crate::engine) fn gone(&mut self, id: MessageId) -> usize {
        if !self.is_with_consumer(id) {
            self.held.remove(&id);
        }
        self.passed(id);
        self.returned.remove(&id);
        self.take_ready(id).map_or(0, |ready| ready.bytes())
    }

    /// The store did not accept that a message leaves. If the message still exists, a read finds it.
    pub(in crate::engine) fn stays(&mut self, id: MessageId) {
        if matches!(self.held.get(&id), Some(Hold::Settling | Hold::Leaving)) {
            self.held.remove(&id);
            // A consumer may have received it, for example one that acknowledged it in a transaction and is gone.
            self.returned.insert(id, Returned { redelivered: true, redeliveries: 0 });
        }
    }

    /// The store did not accept that a message leaves: its consumer has it again. Returns false if its state changed
    /// meanwhile.
    pub(in crate::engine) fn hold_again(&mut self, id: MessageId, consumer: ConsumerId, having: Having) -> bool {
        let waits = self.held.get(&id) == Some(&Hold::Leaving);
        if waits {
            self.hold_with(id, consumer, having);
        }
        waits
    }

    /// A consumer handed a message back, which counts as a failed delivery. Returns false if the consumer does not hold
    /// it.
    pub(in crate::engine) fn returning(&mut self, id: MessageId, consumer: ConsumerId) -> bool {
        let Some(Having { redeliveries, .. }) = self.having(id, consumer) else { return false };
        self.held.insert(id, Hold::Returning { redeliveries: redeliveries.saturating_add(1) });
        self.in_flight -= 1;
        true
    }

    /// The count of failed deliveries is committed: the message can be delivered again.
    pub(in crate::engine) fn count_committed(&mut self, id: MessageId) {
        if let Some(Hold::Returning { redeliveries }) = self.held.get(&id).copied() {
            self.held.remove(&id);
            self.returned.insert(id, Returned { redelivered: true, redeliveries });
        }
    }

    /// A message that the consumer did not receive, or did not give to its user, can be delivered again: no failed
    /// delivery is counted. Returns false if the consumer does not hold it.
    pub(in crate::engine) fn give_back(&mut self, id: MessageId, consumer: ConsumerId, redelivered: bool) -> bool {
        let Some(Having { redeliveries, .. }) = self.having(id, consumer) else { return false };
        self.held.remove(&id);
        self.in_flight -= 1;
        self.returned.insert(id, Returned { redelivered, redeliveries });
        true
    }
}
