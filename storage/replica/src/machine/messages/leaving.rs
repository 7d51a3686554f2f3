//! Messages that leave a queue: acknowledged, purged, or moved.

use std::io;

use baton_domain::{
    Changes, DestinationKind, Destinations, MessageId, OpResult, QueueId, Subscription, Timer, TimerKind,
};

use super::super::apply::Apply;
use super::super::known_messages::{Known, StoredAs};
use super::super::records::{lane_end, message_key, message_key_id};
use super::super::{Family, Machine, Tables};

/// Number of records that a purge reads at once: most hold many messages.
const PURGED_AT_ONCE: usize = 16;

impl Machine {
    /// Removes a message from its queue. False if it does not exist. The caller writes the queue's record.
    pub(in crate::machine) fn leave(
        &mut self,
        apply: &mut Apply<'_>,
        queue: QueueId,
        id: MessageId,
    ) -> io::Result<bool> {
        let Some(Known { size, expires_ms, stored_as }) = self.known(queue, id, apply.tables)? else {
            return Ok(false);
        };
        if stored_as == StoredAs::Share
            && let Some(DestinationKind::Subscription(Subscription { space, .. })) = self.kind(queue)
        {
            self.give_up_share(apply, *space, id, size)?;
        }
        let Some(state) = self.queues.get_mut(&queue) else { return Ok(false) };
        let key = message_key(queue, id);
        self.messages.delete(queue, id, &mut apply.writer);
        if expires_ms != 0 {
            let timer = Timer { due_ms: expires_ms, kind: TimerKind::Expire, queue, message: id };
            apply.writer.delete(Family::Timers, &timer.key());
        }
        if state.redelivered > 0 && self.redeliveries.get(&key, apply.tables)?.is_some() {
            apply.writer.delete(Family::Redeliveries, &key);
            self.redeliveries.set(key, None);
            state.redelivered = state.redelivered.saturating_sub(1);
        }
        let lane = state.lane(id.lane());
        lane.depth = lane.depth.saturating_sub(1);
        state.bytes = state.bytes.saturating_sub(u64::from(size));
        Ok(true)
    }

    pub(in crate::machine) fn settle(
        &mut self,
        apply: &mut Apply<'_>,
        queue: QueueId,
        messages: &[MessageId],
        heads: &[MessageId],
    ) -> io::Result<OpResult> {
        if !self.queues.contains_key(&queue) {
            return Ok(OpResult::NoSuchQueue);
        }
        self.messages.look_up(queue, messages, apply.tables)?;
        let mut settled = 0_u32;
        for id in messages {
            settled = settled.saturating_add(u32::from(self.leave(apply, queue, *id)?));
        }
        let Some(state) = self.queues.get_mut(&queue) else { return Ok(OpResult::NoSuchQueue) };
        let mut changed = settled > 0;
        for head in heads {
            let known = state.lanes.get(&head.lane()).map(|lane| lane.head);
            if *head > known.unwrap_or(head.lane().start()) {
                state.lane(head.lane()).head = *head;
                changed = true;
            }
        }
        if changed {
            apply.writer.queue_changed(state.id);
        }
        Ok(OpResult::Settled { settled })
    }

    /// The ids in the next `records` records from `from` on; `from` is
    /// moved behind them. Deleted messages are among them until their deletion is written.
    pub(in crate::machine) fn next_ids(
        &mut self,
        queue: QueueId,
        from: &mut Vec<u8>,
        end: &[u8],
        records: usize,
        tables: &dyn Tables,
    ) -> io::Result<Vec<MessageId>> {
        let keys = tables.keys(Family::Messages, from, end, records)?;
        *from = match keys.last() {
            Some(last) if keys.len() == records => [last.as_slice(), &[0]].concat(),
            Some(_) | None => end.to_vec(),
        };
        let mut ids = Vec::new();
        for key in &keys {
            ids.extend(self.messages.beside(queue, message_key_id(key)?, tables)?);
        }
        Ok(ids)
    }

    /// Deletes the messages of one lane up to `through`, the oldest first.
    pub(in crate::machine) fn purge(
        &mut self,
        apply: &mut Apply<'_>,
        queue: QueueId,
        through: MessageId,
        limit: u32,
    ) -> io::Result<OpResult> {
        let Some(state) = self.queues.get_mut(&queue) else { return Ok(OpResult::NoSuchQueue) };
        // The head may be in the middle of a pack.
        let mut from = message_key(queue, state.lane(through.lane()).head.first_of_entry()).to_vec();
        let end = message_key(queue, through.next()).to_vec().min(lane_end(queue, through.lane()));
        let (mut changes, mut head) = (Changes::default(), through.next());
        'all: while from < end {
            for id in self.next_ids(queue, &mut from, &end, PURGED_AT_ONCE, apply.tables)? {
                if id > through {
                    break 'all;
                }
                if changes.removed.len() == limit as usize {
                    (changes.more, head) = (true, id);
                    break 'all;
                }
                if self.leave(apply, queue, id)? {
                    changes.removed.push((queue, id));
                }
            }
        }
        if let Some(state) = self.queues.get_mut(&queue) {
            let lane = state.lane(through.lane());
            lane.head = lane.head.max(head);
            apply.writer.queue_changed(state.id);
        }
        Ok(OpResult::Changed(changes))
    }
}
