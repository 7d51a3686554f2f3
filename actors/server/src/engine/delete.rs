//! Deleting a destination with all that it holds, and what the engine forgets with it.

use baton_client::protocol::{EngineError, EngineReply};
use baton_domain::{DestinationKind, EngineOp, QueueId, QueueName, Subscription};

use super::message::RequestId;
use super::queue::Queue;
use super::running::{Context, Running};
use super::writer::Then;

impl Running {
    /// Deletes a destination if it is as the caller expects. What is stored the store judges; what is in memory alone, only
    /// this engine knows.
    pub(super) fn delete(
        &mut self,
        request: RequestId,
        name: QueueName,
        if_empty: bool,
        if_unused: bool,
        cx: &mut Context<'_>,
    ) {
        if let Some(error) = self.waits_for_decision(&name) {
            return cx.refuse(request, error);
        }
        let queue = self.names.get(&name).and_then(|queue| self.queues.get(queue));
        let messages = queue.map_or(0, Queue::all_messages);
        // How many a topic space has, only the store knows.
        let known = queue.is_some_and(|queue| queue.kind != DestinationKind::TopicSpace);
        if if_empty && known && messages > 0 {
            return cx.reply(request, EngineReply::Error(EngineError::QueueNotEmpty { queue: name, messages }));
        }
        let op = EngineOp::Delete { name: name.clone(), if_empty, if_unused };
        self.control(op, Then::Delete { request, name });
    }

    /// The store deleted it.
    pub(super) fn deleted(
        &mut self,
        request: RequestId,
        name: &QueueName,
        stored: u64,
        consumers: u64,
        cx: &mut Context<'_>,
    ) {
        let mut messages = stored;
        if let Some(id) = self.names.get(name).copied() {
            messages += self.drop_memory(id);
            self.queue_deleted(id, cx);
        }
        self.answer(request, EngineReply::Deleted { messages, consumers }, cx);
    }

    /// A queue is gone, with its producers and its consumers.
    pub(super) fn queue_deleted(&mut self, id: QueueId, cx: &mut Context<'_>) {
        self.drop_memory(id);
        let Some(queue) = self.queues.remove(&id) else { return };
        if let DestinationKind::Subscription(Subscription { space, topic, .. }) = &queue.kind
            && let Some(topics) = self.topics.get_mut(space)
        {
            topics.remove(topic, id);
        }
        self.topics.remove(&id);
        self.names.remove(&queue.name);
        self.ready_bytes -= queue.ready_bytes() + queue.reserved_bytes();
        for settlement in queue.settlements {
            self.writer.settle_ids -= settlement.len();
            self.answer(settlement.request, EngineReply::Done, cx);
        }
        self.producers.retain(|_, known| known.queue != id);
        self.awaited.retain(|_, awaited| awaited.queue != id);
        self.forget_consumers(id);
    }

    fn forget_consumers(&mut self, id: QueueId) {
        self.consumers.retain(|_, state| state.queue != id);
        let consumers = &self.consumers;
        self.gone.retain(|(_, consumer)| consumers.contains_key(consumer));
        self.settling.remove(id);
        self.active.remove(&id);
        self.starved.remove(id);
    }
}
