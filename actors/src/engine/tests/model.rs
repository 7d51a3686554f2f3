//! The store in memory: what `apply` does with an engine's writes, with assertions where a write may not contradict it.

use std::collections::BTreeMap;

use baton_storage::{
    Applied, Command, Committed, ConsumerId, EngineOp, Epoch, MessageId, OpResult, ProducerId, QueueId, QueueName,
    QueueRecord, StoredMessage,
};

use crate::engine::Recorded;

#[derive(Debug, Clone)]
pub(super) struct ModelQueue {
    pub(super) name: QueueName,
    pub(super) messages: BTreeMap<MessageId, StoredMessage>,
    pub(super) head: MessageId,
    pub(super) dispatched: MessageId,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Model {
    pub(super) epoch: Epoch,
    pub(super) index: u64,
    pub(super) queues: BTreeMap<QueueId, ModelQueue>,
    pub(super) producers: BTreeMap<ProducerId, (QueueId, u64, u64)>,
    pub(super) consumers: BTreeMap<ConsumerId, QueueId>,
    queues_made: u32,
}

impl Model {
    pub(super) fn activate(&mut self) -> Epoch {
        self.index += 1;
        self.epoch = Epoch { generation: 0, index: self.index };
        self.epoch
    }

    pub(super) fn recorded(&self) -> Recorded {
        let queues = self.queues.iter().map(|(id, queue)| QueueRecord {
            id: *id,
            name: queue.name.clone(),
            depth: queue.messages.len() as u64,
            bytes: 0,
            head: queue.head,
            dispatched: queue.dispatched,
        });
        Recorded {
            queues: queues.collect(),
            consumers: self.consumers.iter().map(|(consumer, queue)| (*consumer, *queue)).collect(),
        }
    }

    pub(super) fn page(
        &self,
        queue: QueueId,
        from: MessageId,
        max_messages: usize,
        max_bytes: usize,
    ) -> Vec<(MessageId, StoredMessage)> {
        let (mut page, mut bytes) = (Vec::new(), 0);
        let Some(queue) = self.queues.get(&queue) else { return page };
        for (id, stored) in queue.messages.range(from..).take(max_messages) {
            bytes += stored.message.size();
            if !page.is_empty() && bytes > max_bytes {
                break;
            }
            page.push((*id, stored.clone()));
        }
        page
    }

    pub(super) fn apply(&mut self, command: &Command) -> Committed {
        self.index += 1;
        let Command::Engine { epoch, at_ms, ops } = command else { panic!("an engine proposes only its writes") };
        let applied = if *epoch == self.epoch {
            let mut position = 0;
            Applied::Engine { results: ops.iter().map(|op| self.op(op, *at_ms, &mut position)).collect() }
        } else {
            Applied::Fenced { current: self.epoch }
        };
        Committed { index: self.index, applied }
    }

    fn named(&self, name: &QueueName) -> Option<QueueId> {
        self.queues.iter().find(|(_, queue)| queue.name == *name).map(|(id, _)| *id)
    }

    fn op(&mut self, op: &EngineOp, at_ms: u64, position: &mut u32) -> OpResult {
        match op {
            EngineOp::CreateQueue { name } => {
                if let Some(queue) = self.named(name) {
                    return OpResult::Queue { queue, created: false };
                }
                self.queues_made += 1;
                let (id, nothing) = (QueueId(self.queues_made), MessageId::default());
                let queue =
                    ModelQueue { name: name.clone(), messages: BTreeMap::new(), head: nothing, dispatched: nothing };
                self.queues.insert(id, queue);
                OpResult::Queue { queue: id, created: true }
            }
            EngineOp::DeleteQueue { name } => {
                let Some(id) = self.named(name) else { return OpResult::NoSuchQueue };
                self.queues.remove(&id);
                self.producers.retain(|_, (queue, ..)| *queue != id);
                self.consumers.retain(|_, queue| *queue != id);
                OpResult::Done
            }
            EngineOp::OpenProducer { producer, queue } => {
                let Some(id) = self.named(queue) else { return OpResult::NoSuchQueue };
                let (queue, last, _) = *self.producers.entry(*producer).or_insert((id, 0, at_ms));
                OpResult::Producer { queue, next: last + 1 }
            }
            EngineOp::ForgetProducers { producers } => {
                self.producers.retain(|producer, _| !producers.contains(producer));
                OpResult::Done
            }
            EngineOp::Send { producer, first, messages, dispatch } => {
                let Some((queue, last, used)) = self.producers.get_mut(producer) else {
                    return OpResult::ProducerUnknown;
                };
                if *first > *last + 1 {
                    return OpResult::Gap { expected: *last + 1 };
                }
                *used = at_ms;
                let duplicates = (*last + 1 - first).min(messages.len() as u64) as usize;
                let first_id = MessageId { generation: 0, index: self.index, position: *position };
                let state = self.queues.get_mut(queue).unwrap();
                for message in &messages[duplicates..] {
                    let id = MessageId { position: *position, ..first_id };
                    let stored = StoredMessage { message: message.clone(), at_ms, redeliveries: 0 };
                    state.messages.insert(id, stored);
                    *position += 1;
                    *last += 1;
                    if *dispatch {
                        state.dispatched = id;
                    }
                }
                OpResult::Sent {
                    queue: *queue,
                    duplicates: duplicates as u32,
                    accepted: (messages.len() - duplicates) as u32,
                    first: first_id,
                }
            }
            EngineOp::Dispatch { queue, through } => {
                let Some(queue) = self.queues.get_mut(queue) else { return OpResult::NoSuchQueue };
                queue.dispatched = queue.dispatched.max(*through);
                OpResult::Done
            }
            EngineOp::Settle { queue, messages, head } => {
                let Some(queue) = self.queues.get_mut(queue) else { return OpResult::NoSuchQueue };
                let settled = messages.iter().filter(|id| queue.messages.remove(id).is_some()).count() as u32;
                queue.head = queue.head.max(*head);
                if let Some((lowest, _)) = queue.messages.first_key_value() {
                    assert!(queue.head <= *lowest, "head {} is above the live message {lowest}", queue.head);
                }
                OpResult::Settled { settled }
            }
            EngineOp::Requeue { queue, messages } => {
                let Some(queue) = self.queues.get_mut(queue) else { return OpResult::NoSuchQueue };
                for id in messages {
                    queue.messages.entry(*id).and_modify(|stored| stored.redeliveries += 1);
                }
                OpResult::Done
            }
            EngineOp::Attach { queue, consumer } => {
                let Some(id) = self.named(queue) else { return OpResult::NoSuchQueue };
                self.consumers.insert(*consumer, id);
                OpResult::Done
            }
            EngineOp::Detach { consumer } => {
                self.consumers.remove(consumer);
                OpResult::Done
            }
        }
    }
}
