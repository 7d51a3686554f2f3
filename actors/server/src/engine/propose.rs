//! From what waits to entries of the log: writes of consumers and queues first, then settlements, then sends.

use std::collections::BTreeMap;

use baton_domain::{Command, EngineOp, MessageId, MoveTo, QueueId};

use super::EngineConfig;
use super::message::{Effect, EntryId, RequestId};
use super::running::{Context, Running};
use super::writer::{Entry, ID_BYTES, OP_BYTES, Then, Writer};

impl Running {
    /// Proposes what waits, as far as entries may be on their way.
    pub(super) fn propose(&mut self, cx: &mut Context<'_>) {
        while self.may_propose(cx.config) {
            let (ops, mut then, bytes) = self.build(cx.config);
            if ops.is_empty() {
                return;
            }
            self.answer_early(&mut then, cx);
            let entry = EntryId(cx.ids.next());
            self.writer.in_flight.push_back(Entry { id: entry, then, bytes, at_ms: cx.now.unix_ms });
            self.writer.in_flight_bytes += bytes;
            let command = Command::Engine { epoch: self.epoch, at_ms: cx.now.unix_ms, ops };
            cx.effects.push(Effect::Commit { entry, command });
        }
    }

    fn may_propose(&self, config: &EngineConfig) -> bool {
        let Writer { control, produce, in_flight, in_flight_bytes, .. } = &self.writer;
        // Settlements alone wait for the entry before: an entry has its price, and they are in less of a hurry than who
        // waits for a confirm.
        let urgent = !control.is_empty() || !produce.is_empty();
        in_flight.is_empty()
            || (urgent && in_flight.len() < config.entries_in_flight && *in_flight_bytes < config.bytes_in_flight)
    }

    fn build(&mut self, config: &EngineConfig) -> (Vec<EngineOp>, Vec<Then>, usize) {
        let (mut ops, mut then, mut bytes) = (Vec::new(), Vec::new(), 0);
        while let Some(write) = self.writer.take_control(bytes, config.entry_bytes) {
            bytes += write.bytes;
            ops.push(write.op);
            then.push(write.then);
        }
        // Half an entry at most, so that settlements never starve producers.
        let limit = bytes + config.entry_bytes / 2;
        while bytes < limit
            && let Some(queue) = self.settling.next()
        {
            bytes += self.build_settlements(queue, limit - bytes, &mut ops, &mut then);
        }
        while let Some(mut write) = self.writer.take_produce(bytes, config.entry_bytes) {
            bytes += write.bytes;
            self.mark_dispatch(&mut write, config);
            ops.push(write.op);
            then.push(write.then);
        }
        (ops, then, bytes)
    }

    /// Takes back all that was not proposed; nothing more of this activation will be. Answers who waited for it.
    pub(super) fn take_unproposed(&mut self) -> Vec<RequestId> {
        let control = self.writer.control.drain(..);
        let waiting = control.chain(self.writer.produce.drain(..)).flat_map(|write| write.then.requests());
        let settlements = self.queues.values_mut().flat_map(|queue| queue.settlements.drain(..));
        let browses = self.browses.drain().map(|(_, (request, _))| request);
        let settlements = settlements.map(|settlement| settlement.request);
        let lists = std::mem::take(&mut self.lists);
        let requests = waiting.chain(settlements).chain(browses).chain(lists).collect::<Vec<_>>();
        self.writer.produce_bytes = 0;
        self.writer.settle_ids = 0;
        self.settling.clear();
        self.pending -= requests.len();
        requests
    }

    /// Takes settlements of a queue, at least one.
    fn build_settlements(&mut self, id: QueueId, room: usize, ops: &mut Vec<EngineOp>, then: &mut Vec<Then>) -> usize {
        let Some(queue) = self.queues.get_mut(&id) else { return 0 };
        let (mut acknowledged, mut refused, mut requests, mut bytes) = (Vec::new(), Vec::new(), Vec::new(), OP_BYTES);
        let mut rejected: BTreeMap<String, Vec<MessageId>> = BTreeMap::new();
        while let Some(next) = queue.settlements.front() {
            let ids = next.len();
            let cost = ids * ID_BYTES + next.rejected.iter().map(|(_, why)| why.len()).sum::<usize>();
            if bytes > OP_BYTES && bytes + cost > room {
                break;
            }
            let Some(next) = queue.settlements.pop_front() else { break };
            bytes += cost;
            self.writer.settle_ids -= ids;
            acknowledged.extend(next.acknowledged);
            refused.extend(next.refused);
            for (message, reason) in next.rejected {
                rejected.entry(reason).or_default().push(message);
            }
            requests.push(next.request);
        }
        if !queue.settlements.is_empty() {
            self.settling.insert(id);
        }
        if !acknowledged.is_empty() {
            // What is acknowledged and not proposed yet is still live when this entry is applied.
            let left = queue.settlements.iter().flat_map(|later| &later.acknowledged);
            let mut heads: Vec<MessageId> = queue.heads().collect();
            for message in left {
                for head in heads.iter_mut().filter(|head| head.lane() == message.lane()) {
                    *head = (*head).min(*message);
                }
            }
            ops.push(EngineOp::Settle { queue: id, messages: acknowledged.clone(), heads });
            then.push(Then::Settle { queue: id, messages: acknowledged });
        }
        if !refused.is_empty() {
            ops.push(EngineOp::Requeue { queue: id, messages: refused.clone() });
            then.push(Then::Requeue { queue: id, messages: refused });
        }
        for (reason, messages) in rejected {
            let to = MoveTo::Exception { reason: reason.clone() };
            ops.push(EngineOp::Move { queue: id, messages: messages.clone(), to });
            then.push(Then::Reject { queue: id, messages, reason });
        }
        then.push(Then::Settled { requests });
        bytes
    }
}
