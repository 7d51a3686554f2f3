//! From operations that wait to entries of the log: those of consumers and queues first, then settlements, then sends.

use std::collections::BTreeMap;

use baton_client::protocol::EngineReply;
use baton_domain::{Command, Destinations, EngineOp, MessageId, MoveTo, QueueId};

use super::Running;
use crate::engine::config::EngineConfig;
use crate::engine::context::Context;
use crate::engine::message::{Effect, EntryId};
use crate::engine::parts::proposals::{ID_BYTES, OP_BYTES, Proposal};
use crate::engine::parts::purpose::Purpose;

/// An entry while it is built.
#[derive(Default)]
struct Draft {
    ops: Vec<EngineOp>,
    purposes: Vec<Purpose>,
    bytes: usize,
}

impl Draft {
    fn push(&mut self, op: EngineOp, purpose: Purpose) {
        self.ops.push(op);
        self.purposes.push(purpose);
    }
}

impl Running {
    /// Proposes what waits, as far as entries may be on their way.
    pub(in crate::engine) fn propose(&mut self, cx: &mut Context<'_>) {
        while self.proposals.may_propose(cx.config) {
            let Draft { ops, mut purposes, bytes } = self.draft(cx.config);
            if ops.is_empty() {
                return;
            }
            self.answer_early(&mut purposes, cx);
            let entry = EntryId(cx.ids.next());
            self.proposals.proposed(entry, purposes, bytes, cx.now.unix_ms);
            let command = Command::Engine { epoch: self.epoch, at_ms: cx.now.unix_ms, ops };
            cx.effects.push(Effect::Commit { entry, command });
        }
    }

    fn draft(&mut self, config: &EngineConfig) -> Draft {
        let mut draft = Draft::default();
        while let Some(Proposal { op, purpose, bytes }) = self.proposals.take_control(draft.bytes, config.entry_bytes) {
            draft.bytes += bytes;
            draft.push(op, purpose);
        }
        // Half an entry at most, so that settlements never starve producers.
        let limit = draft.bytes + config.entry_bytes / 2;
        while draft.bytes < limit
            && let Some(queue) = self.proposals.next_settling()
        {
            self.draft_settlements(queue, limit, &mut draft);
        }
        while let Some(mut next) = self.proposals.take_produce(draft.bytes, config.entry_bytes) {
            self.promise_dispatch(&mut next, config);
            draft.bytes += next.bytes;
            draft.push(next.op, next.purpose);
        }
        draft
    }

    /// Takes settlements of a queue, at least one.
    fn draft_settlements(&mut self, id: QueueId, limit: usize, draft: &mut Draft) {
        let Some(queue) = self.queues.get_mut(id) else { return };
        let (mut acknowledged, mut refused, mut requests) = (Vec::new(), Vec::new(), Vec::new());
        let mut rejected: BTreeMap<String, Vec<MessageId>> = BTreeMap::new();
        draft.bytes += OP_BYTES;
        while let Some(next) = queue.settlements.front() {
            let ids = next.len();
            let cost = ids * ID_BYTES + next.rejected.iter().map(|(_, why)| why.len()).sum::<usize>();
            if !requests.is_empty() && draft.bytes + cost > limit {
                break;
            }
            let Some(next) = queue.settlements.pop_front() else { break };
            draft.bytes += cost;
            self.proposals.settlements_taken(ids);
            acknowledged.extend(next.acknowledged);
            refused.extend(next.refused);
            for (message, reason) in next.rejected {
                rejected.entry(reason).or_default().push(message);
            }
            requests.push(next.request);
        }
        if !queue.settlements.is_empty() {
            self.proposals.still_settling(id);
        }
        if !acknowledged.is_empty() {
            // Messages that are acknowledged and not proposed yet are still live when this entry is applied.
            let left = queue.settlements.iter().flat_map(|later| &later.acknowledged);
            let mut heads: Vec<MessageId> = queue.heads().collect();
            for message in left {
                for head in heads.iter_mut().filter(|head| head.lane() == message.lane()) {
                    *head = (*head).min(*message);
                }
            }
            let op = EngineOp::Settle { queue: id, messages: acknowledged.clone(), heads };
            draft.push(op, Purpose::Settle { queue: id, messages: acknowledged });
        }
        if !refused.is_empty() {
            let op = EngineOp::Requeue { queue: id, messages: refused.clone() };
            draft.push(op, Purpose::Requeue { queue: id, messages: refused });
        }
        for (reason, messages) in rejected {
            let to = MoveTo::Exception { reason: reason.clone() };
            let op = EngineOp::Move { queue: id, messages: messages.clone(), to };
            draft.push(op, Purpose::Reject { queue: id, messages, reason });
        }
        draft.purposes.push(Purpose::Settled { requests });
    }

    /// Lets a send promise delivery in the same entry, if its messages go straight to a consumer.
    fn promise_dispatch(&self, proposal: &mut Proposal, config: &EngineConfig) {
        let (dispatch, promised, queue) = match (&mut proposal.op, &mut proposal.purpose) {
            (EngineOp::Send { dispatch, .. }, Purpose::Send { producer, dispatch: promised, .. }) => {
                (dispatch, promised, self.producers.queue(*producer))
            }
            (EngineOp::Post { dispatch, queue, .. }, Purpose::Post { dispatch: promised, .. }) => {
                (dispatch, promised, Some(*queue))
            }
            _ => return,
        };
        if let Some(queue) = queue
            // Messages for several queues are promised by each of them.
            && let [target] = self.queues.forwarded(queue)[..]
            && let Some(queue) = self.queues.get(target)
        {
            let taken = queue.consumers.iter().any(|consumer| self.consumers.wants(*consumer));
            let fresh = queue.caught_up() && queue.ready_len() < config.dispatch_ahead;
            let delivers = queue.awaited.is_empty() && !queue.settings.receive_paused;
            *dispatch = taken && fresh && delivers;
            *promised = *dispatch;
        }
    }

    /// Answers the senders of an entry that is proposed, if they do not wait for its commit.
    fn answer_early(&mut self, purposes: &mut [Purpose], cx: &mut Context<'_>) {
        for purpose in purposes {
            if let Purpose::Post { request, early: true, .. } = purpose
                && let Some(request) = request.take()
            {
                self.answer(request, EngineReply::Posted, cx);
            }
        }
    }
}
