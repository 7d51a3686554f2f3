//! Deleting a destination, with all that it holds.

use std::io;

use super::records::{queue_bounds, queue_key};
use super::{Family, Machine, Tables, Writer};
use crate::{ConsumerId, DestinationKind, OpResult, QueueId, QueueName};

impl Machine {
    /// Deletes a queue if it is as the caller expects. Judged here and not by the engine: messages and consumers that come
    /// before this entry of the log count, those that come after it do not.
    pub(super) fn delete(
        &mut self,
        name: &QueueName,
        if_empty: bool,
        if_unused: bool,
        tables: &dyn Tables,
        writer: &mut Writer<'_>,
    ) -> io::Result<OpResult> {
        let Some(id) = self.names.get(name).copied() else { return Ok(OpResult::NoSuchQueue) };
        let messages = self.queues.get(&id).map_or(0, |state| state.depth() + state.delayed);
        let consumers = self.consumers.values().filter(|known| known.queue == id).count() as u64;
        if if_empty && messages > 0 {
            return Ok(OpResult::NotEmpty { messages });
        }
        if if_unused && consumers > 0 {
            return Ok(OpResult::InUse { consumers });
        }
        Ok(match self.delete_queue(id, tables, writer)? {
            OpResult::Done => OpResult::Deleted { messages, consumers },
            refused => refused,
        })
    }

    /// Its timers find nothing when they are due. Producers of a deleted queue are not looked for: a record that names a
    /// queue that is gone counts as none (numbers are never used again), and goes for good when it has been idle for
    /// long.
    pub(super) fn delete_queue(
        &mut self,
        id: QueueId,
        tables: &dyn Tables,
        writer: &mut Writer<'_>,
    ) -> io::Result<OpResult> {
        if self.has_subscriptions(id) {
            return Ok(OpResult::Refused { why: "it has subscriptions: delete those first".to_owned() });
        }
        if let Some(DestinationKind::Subscription(subscription)) = self.kind(id).cloned() {
            self.unsubscribe(id, &subscription, tables, writer)?;
        }
        self.topics.remove(&id);
        let Some(state) = self.queues.remove(&id) else { return Ok(OpResult::NoSuchQueue) };
        self.names.remove(&state.name);
        writer.delete(Family::Queues, &queue_key(id));
        if self.settings.remove(&id).is_some() {
            writer.delete(Family::Settings, &queue_key(id));
        }
        let (from, to) = queue_bounds(id);
        writer.delete_range(Family::Messages, &from, &to);
        writer.delete_range(Family::Redeliveries, &from, &to);
        writer.delete_range(Family::Packs, &from, &to);
        let attached: Vec<ConsumerId> =
            self.consumers.iter().filter(|(_, known)| known.queue == id).map(|(consumer, _)| *consumer).collect();
        for consumer in attached {
            self.consumers.remove(&consumer);
            writer.delete(Family::Consumers, &consumer.0);
        }
        Ok(OpResult::Done)
    }
}
