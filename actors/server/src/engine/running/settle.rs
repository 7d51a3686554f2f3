//! Settlements: acknowledged, refused, rejected and released messages.

use baton_client::protocol::{EngineError, EngineReply};
use baton_domain::seeded::{self, Bug};
use baton_domain::{ConsumerId, MessageId, OpResult, QueueId};

use super::Running;
use crate::engine::context::Context;
use crate::engine::parts::kept::WhyKept;
use crate::engine::parts::purpose::Resolved;
use crate::engine::parts::queue::Settlement;

impl Running {
    /// A consumer said which message its user received last.
    pub(in crate::engine) fn note_received(&mut self, consumer: ConsumerId, received: Option<MessageId>) {
        let Some(received) = received else { return };
        let Some(state) = self.consumers.get_mut(consumer) else { return };
        let Some(queue) = self.queues.get_mut(state.queue) else { return };
        if let Some(order) = queue.order_of(received, consumer) {
            state.received = state.received.max(order);
        }
    }

    /// Credit is free at once; the answer comes when it is committed.
    pub(in crate::engine) fn settle(&mut self, consumer: ConsumerId, mut settlement: Settlement, cx: &mut Context<'_>) {
        let request = settlement.request;
        let Some(id) = self.consumers.queue(consumer) else {
            return cx.refuse(request, EngineError::ConsumerUnknown);
        };
        if self.proposals.settlements_full(settlement.len(), cx.config) {
            return cx.refuse(request, EngineError::Busy);
        }
        let mut returned = self.settle_in_memory(consumer, id, &mut settlement, cx.now);
        let Some(queue) = self.queues.wake_mut(id) else {
            return cx.refuse(request, EngineError::ConsumerUnknown);
        };
        // Messages of a prepared transaction wait for its decision. An id newer than all messages names none of them, and
        // must not hit one that comes.
        settlement.acknowledged.retain(|message| {
            let window = queue.window(*message);
            window.plausible(*message) && !window.is_in_doubt(*message)
        });
        for message in &settlement.acknowledged {
            let (holder, bytes) = queue.window(*message).settling(*message);
            queue.groups.let_go(*message);
            self.ready_memory.freed(bytes);
            if let Some(holder) = holder.and_then(|holder| self.consumers.get_mut(holder)) {
                holder.held -= 1;
            }
        }
        settlement.refused.retain(|message| {
            let returning = queue.window(*message).returning(*message, consumer);
            if returning {
                queue.groups.returning(*message);
            }
            returning
        });
        settlement.rejected.retain(|(message, _)| {
            let window = queue.window(*message);
            let has = window.is_held_by(*message, consumer);
            if has {
                // It may stay: until that is known, the queue's head is not above it.
                window.leaving(*message);
                queue.groups.let_go(*message);
            }
            has
        });
        if let Some(state) = self.consumers.get_mut(consumer) {
            returned += u32::try_from(settlement.refused.len() + settlement.rejected.len()).unwrap_or(u32::MAX);
            state.held -= returned;
        }
        for message in std::mem::take(&mut settlement.released) {
            let back = self.give_back(consumer, id, message, true, cx.now);
            if let Some(state) = self.consumers.get_mut(consumer) {
                state.held -= u32::from(back);
            }
        }
        if settlement.len() == 0 {
            return cx.reply(request, EngineReply::Done);
        }
        if let Some(state) = self.consumers.get_mut(consumer) {
            state.progress.settles(settlement.acknowledged.len(), cx.now.boot);
        }
        if seeded::is(Bug::AcknowledgeBeforeCommit) {
            cx.reply(request, EngineReply::Done);
        }
        let Some(queue) = self.queues.get_mut(id) else { return };
        self.pending += 1;
        self.proposals.settlement_added(id, settlement.len());
        queue.settlements.push_back(settlement);
    }

    /// Acknowledged messages left their queue.
    pub(in crate::engine) fn settled(&mut self, id: QueueId, messages: Vec<MessageId>, result: OpResult) -> Resolved {
        match result {
            OpResult::Settled { settled } => {
                self.totals.acknowledged += u64::from(settled);
                if let Some(queue) = self.queues.get_mut(id) {
                    messages.into_iter().for_each(|message| queue.window(message).settled(message));
                    queue.depth = queue.depth.saturating_sub(u64::from(settled));
                }
                Ok(())
            }
            // The queue is deleted; that was answered before this.
            OpResult::NoSuchQueue => Ok(()),
            other => Err(other.into()),
        }
    }

    /// Failed deliveries are counted.
    pub(in crate::engine) fn requeued(
        &mut self,
        id: QueueId,
        messages: Vec<MessageId>,
        result: OpResult,
        cx: &Context<'_>,
    ) -> Resolved {
        match result {
            OpResult::Changed(changes) => {
                self.changed(changes, cx);
                if let Some(queue) = self.queues.wake_mut(id) {
                    for message in messages {
                        queue.window(message).count_committed(message);
                        queue.groups.let_go(message);
                    }
                }
                Ok(())
            }
            OpResult::NoSuchQueue => Ok(()),
            other => Err(other.into()),
        }
    }

    /// Rejected messages went to the exception destination, or stayed.
    pub(in crate::engine) fn rejected(
        &mut self,
        id: QueueId,
        messages: &[MessageId],
        reason: String,
        result: OpResult,
        cx: &Context<'_>,
    ) -> Resolved {
        match result {
            OpResult::Changed(changes) => {
                self.changed_by(changes, &WhyKept::Rejected(reason), cx);
                self.left_behind(id, messages);
                Ok(())
            }
            OpResult::NoSuchQueue => Ok(()),
            other => Err(other.into()),
        }
    }

    /// Messages that were to leave their queue and did not wait again.
    pub(in crate::engine) fn left_behind(&mut self, id: QueueId, messages: &[MessageId]) {
        if let Some(queue) = self.queues.wake_mut(id) {
            messages.iter().for_each(|message| queue.window(*message).stays(*message));
        }
    }
}
