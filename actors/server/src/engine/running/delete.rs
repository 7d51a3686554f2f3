//! Deleting a destination with everything that it holds, and what the engine forgets with it.

use baton_client::protocol::{EngineError, EngineReply};
use baton_domain::{Destinations, EngineOp, OpResult, QueueId, QueueName};

use super::Running;
use super::once::repeated;
use crate::engine::context::Context;
use crate::engine::message::RequestId;
use crate::engine::parts::purpose::{Purpose, Resolved};
use crate::engine::parts::queue::Queue;

impl Running {
    pub(in crate::engine) fn delete_queue(&mut self, request: RequestId, name: QueueName, cx: &mut Context<'_>) {
        if let Some(error) = self.waits_for_decision(&name) {
            return cx.refuse(request, error);
        }
        self.control(EngineOp::DeleteQueue { name: name.clone() }, Purpose::DeleteQueue { request, name });
    }

    /// Deletes a destination if it is as the caller expects. The store judges stored messages; those in memory alone, only
    /// this engine knows.
    pub(in crate::engine) fn delete(
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
        // The messages of a topic space, only the store knows.
        let id = self.queues.id(&name).filter(|id| !self.queues.is_topic_space(*id));
        let messages = id.and_then(|id| self.queues.get(id)).map_or(0, Queue::all_messages);
        if if_empty && messages > 0 {
            return cx.reply(request, EngineReply::Error(EngineError::QueueNotEmpty { queue: name, messages }));
        }
        let op = EngineOp::Delete { name: name.clone(), if_empty, if_unused };
        self.control(op, Purpose::Delete { request, name });
    }

    /// The store deleted a destination, or did not.
    pub(in crate::engine) fn deleted(
        &mut self,
        request: RequestId,
        name: QueueName,
        result: OpResult,
        cx: &mut Context<'_>,
    ) -> Resolved {
        let queue = self.queues.id(&name);
        let reply = match result {
            OpResult::Done => {
                if let Some(queue) = queue {
                    self.queue_deleted(queue, cx);
                }
                EngineReply::Done
            }
            OpResult::Deleted { mut messages, consumers } => {
                if let Some(queue) = queue {
                    messages += self.drop_memory(queue);
                    self.queue_deleted(queue, cx);
                }
                EngineReply::Deleted { messages, consumers }
            }
            OpResult::NoSuchQueue => EngineReply::Error(EngineError::NoSuchQueue(name)),
            OpResult::NotEmpty { messages } => EngineReply::Error(EngineError::QueueNotEmpty { queue: name, messages }),
            OpResult::InUse { consumers } => EngineReply::Error(EngineError::QueueInUse { queue: name, consumers }),
            OpResult::Refused { why } => EngineReply::Error(EngineError::Refused(why)),
            OpResult::Repeated(answer) => repeated(name, *answer),
            other => return Err(other.into()),
        };
        self.answer(request, reply, cx);
        Ok(())
    }

    /// A queue is gone, with its producers and its consumers.
    pub(in crate::engine) fn queue_deleted(&mut self, id: QueueId, cx: &mut Context<'_>) {
        self.drop_memory(id);
        let Some(queue) = self.queues.remove(id) else { return };
        self.ready_memory.freed(queue.ready_bytes() + queue.reserved_bytes());
        self.ready_memory.stop_waiting(id);
        self.proposals.forget_queue(id);
        for settlement in queue.settlements {
            self.proposals.settlements_taken(settlement.len());
            self.answer(settlement.request, EngineReply::Done, cx);
        }
        self.producers.forget_all_of(id);
        self.consumers.remove_all_of(id);
    }
}
