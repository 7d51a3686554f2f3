//! Deletion of a destination with its messages and consumers.

use std::io;

use baton_domain::{ConsumerId, DestinationKind, Destinations, OpResult, QueueId, QueueName};

use super::apply::Apply;
use super::records::{lane_end, message_key, queue_bounds, queue_key};
use super::{Family, Machine, QueueState};

impl Machine {
    /// Deletes a queue if it is as the caller expects. Judged here and not by the engine: messages and consumers that
    /// come before this entry of the log count, those that come after it do not.
    pub(super) fn delete(
        &mut self,
        apply: &mut Apply<'_>,
        name: &QueueName,
        if_empty: bool,
        if_unused: bool,
    ) -> io::Result<OpResult> {
        let Some(id) = self.names.get(name).copied() else { return Ok(OpResult::NoSuchQueue) };
        let messages = self.queues.get(&id).map_or(0, |state| state.all_messages());
        let consumers = self.consumers.values().filter(|known| known.queue == id).count() as u64;
        if if_empty && messages > 0 {
            return Ok(OpResult::NotEmpty { messages });
        }
        if if_unused && consumers > 0 {
            return Ok(OpResult::InUse { consumers });
        }
        Ok(match self.delete_queue(apply, id)? {
            OpResult::Done => OpResult::Deleted { messages, consumers },
            refused => refused,
        })
    }

    /// Timers of a deleted queue find nothing when they are due. Its producers are not searched: a record that names
    /// a deleted queue is ignored (numbers are never used again), and is removed when it has been idle for
    /// long.
    pub(super) fn delete_queue(&mut self, apply: &mut Apply<'_>, id: QueueId) -> io::Result<OpResult> {
        if self.has_subscriptions(id) {
            return Ok(OpResult::Refused { why: "it has subscriptions: delete those first".to_owned() });
        }
        if let Some(DestinationKind::Subscription(subscription)) = self.kind(id).cloned() {
            self.unsubscribe(apply, id, &subscription)?;
            self.messages.end_op(|queue| self.queues.contains_key(&queue), &mut apply.writer);
        }
        self.topics.remove(&id);
        let Some(state) = self.queues.remove(&id) else { return Ok(OpResult::NoSuchQueue) };
        self.names.remove(&state.name);
        apply.writer.delete(Family::Queues, &queue_key(id));
        if self.settings.remove(&id).is_some() {
            apply.writer.delete(Family::Settings, &queue_key(id));
        }
        delete_records(apply, &state)?;
        let attached: Vec<ConsumerId> =
            self.consumers.iter().filter(|(_, known)| known.queue == id).map(|(consumer, _)| *consumer).collect();
        for consumer in attached {
            self.consumers.remove(&consumer);
            apply.writer.delete(Family::Consumers, &consumer.0);
        }
        Ok(OpResult::Done)
    }
}

/// Maximum messages of a queue that are deleted one by one; more are deleted as a range.
const FEW: u64 = 1_024;

/// Deletes the records of a queue. Each reader of the tables passes all range tombstones that were not compacted
/// away: short-lived queues, as those of requesters, must not leave one each behind. So an empty queue deletes
/// nothing, and a few records are deleted one by one.
fn delete_records(apply: &mut Apply<'_>, state: &QueueState) -> io::Result<()> {
    let depth = state.depth();
    if depth == 0 {
        // Every record belongs to a message, and delayed messages have theirs elsewhere.
        return Ok(());
    }
    let families = [Family::Messages, Family::Redeliveries, Family::Packs];
    // Writes of this command are not in the tables yet.
    if depth > FEW || apply.writer.wrote_messages() {
        let (from, to) = queue_bounds(state.id);
        families.into_iter().for_each(|family| apply.writer.delete_range(family, &from, &to));
        return Ok(());
    }
    for (lane, record) in state.lanes.iter().filter(|(_, record)| record.depth > 0) {
        // No message is below the head; the tombstones there need not be passed.
        let from = message_key(state.id, record.head.first_of_entry());
        let to = lane_end(state.id, *lane);
        for family in families.into_iter().filter(|family| *family != Family::Redeliveries || state.redelivered > 0) {
            // At most as many as messages, and those that this command deleted.
            for key in apply.tables.keys(family, &from, &to, usize::MAX)? {
                apply.writer.delete(family, &key);
            }
        }
    }
    Ok(())
}
