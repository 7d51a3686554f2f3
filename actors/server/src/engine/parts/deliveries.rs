//! Deliveries without an answer.

use std::collections::{BTreeSet, HashMap};

use baton_domain::{ConsumerId, MessageId};

use crate::engine::message::CallId;

#[derive(Debug)]
pub(in crate::engine) struct Delivery {
    pub(in crate::engine) consumer: ConsumerId,
    /// See [`super::consumers::Consumer::instance`].
    pub(in crate::engine) instance: u64,
    /// See [`super::consumers::Consumer::attachment`].
    pub(in crate::engine) attachment: u64,
    /// The messages that go back if it did not arrive.
    pub(in crate::engine) messages: Vec<MessageId>,
    pub(in crate::engine) bytes: usize,
}

/// All of them.
#[derive(Debug, Default)]
pub(in crate::engine) struct Deliveries {
    calls: HashMap<CallId, Delivery>,
    bytes: usize,
}

impl Deliveries {
    /// Bytes of all of them.
    pub(in crate::engine) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(in crate::engine) fn insert(&mut self, call: CallId, delivery: Delivery) {
        self.bytes += delivery.bytes;
        self.calls.insert(call, delivery);
    }

    pub(in crate::engine) fn remove(&mut self, call: CallId) -> Option<Delivery> {
        let delivery = self.calls.remove(&call)?;
        self.bytes -= delivery.bytes;
        Some(delivery)
    }

    /// The messages on their way to a consumer. Those that it says it has do not go back any more.
    pub(in crate::engine) fn arrived(
        &mut self,
        consumer: ConsumerId,
        has: &BTreeSet<MessageId>,
    ) -> BTreeSet<MessageId> {
        let mut on_the_way = BTreeSet::new();
        for call in self.calls.values_mut().filter(|call| call.consumer == consumer) {
            on_the_way.extend(call.messages.iter().copied());
            call.messages.retain(|message| !has.contains(message));
        }
        on_the_way
    }

    #[cfg(test)]
    pub(in crate::engine) fn len(&self) -> usize {
        self.calls.len()
    }

    #[cfg(test)]
    pub(in crate::engine) fn assert_invariants(&self) {
        assert_eq!(self.bytes, self.calls.values().map(|call| call.bytes).sum::<usize>(), "bytes on their way");
    }
}
