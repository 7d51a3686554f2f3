//! Reading without consuming: lists of destinations, and pages of messages.

use baton_client::protocol::{Delivery, EngineReply, Kind, QueueStatus};
use baton_domain::{Lane, MessageId, QueueId, QueueName, StoredMessage};
use baton_replica::QueueRecord;

use super::Running;
use crate::engine::context::{Context, Halt};
use crate::engine::message::{Effect, ReadId, RequestId};
use crate::engine::parts::queue::Queue;

impl Running {
    /// All destinations in numbers. The number of messages that a topic space stores, only the store knows: its
    /// subscriptions share them.
    pub(in crate::engine) fn list(&mut self, request: RequestId, cx: &mut Context<'_>) {
        if self.queues.iter().any(|(id, _)| self.queues.is_topic_space(id)) {
            self.pending += 1;
            self.browsing.read_list(request);
            cx.effects.push(Effect::ReadQueues { request });
        } else {
            let queues = self.statuses(cx).collect();
            cx.reply(request, EngineReply::Queues(queues));
        }
    }

    /// The store was read for a list.
    pub(in crate::engine) fn listed(
        &mut self,
        request: RequestId,
        queues: Result<Vec<QueueRecord>, String>,
        cx: &mut Context<'_>,
    ) -> Result<(), Halt> {
        if !self.browsing.take_list(request) {
            return Ok(());
        }
        let queues = queues.map_err(|why| Halt { why: format!("cannot read the store: {why}") })?;
        let mut statuses: Vec<QueueStatus> = self.statuses(cx).collect();
        for status in statuses.iter_mut().filter(|status| status.kind == Kind::TopicSpace) {
            let record = queues.iter().find(|record| record.name == status.name);
            status.depth = record.map_or(0, QueueRecord::depth);
        }
        self.answer(request, EngineReply::Queues(statuses), cx);
        Ok(())
    }

    fn statuses(&self, cx: &Context<'_>) -> impl Iterator<Item = QueueStatus> {
        self.queues.by_name().map(|queue| QueueStatus {
            name: queue.name.clone(),
            depth: queue.depth + queue.nonpersistent.len() as u64,
            nonpersistent: queue.nonpersistent.len() as u64,
            dropped: queue.nonpersistent.dropped + queue.dropped,
            in_flight: queue.in_flight(),
            delayed: queue.delayed,
            kept: queue.kept(),
            consumers: queue.consumers.len() as u64,
            slow_consumers: self.slow_consumers(queue, cx),
            kind: self.queues.kind_by_name(&queue.kind),
            settings: queue.settings.clone(),
            version: queue.version,
            temporary: queue.temporary,
        })
    }

    pub(in crate::engine) fn browse(
        &mut self,
        request: RequestId,
        name: &QueueName,
        from: Option<MessageId>,
        limit: u32,
        cx: &mut Context<'_>,
    ) {
        let id = match self.find(name) {
            Ok(id) => id,
            Err(reply) => return cx.reply(request, reply),
        };
        let first = || self.queues.get(id).and_then(|queue| queue.lanes().first().map(|lane| lane.start()));
        let Some(from) = from.or_else(first).filter(|from| !from.is_nonpersistent()) else {
            return self.browse_memory(request, id, from, limit, cx);
        };
        self.pending += 1;
        let read = ReadId(cx.ids.next());
        self.browsing.read_page(read, request, from);
        let max_messages = (limit.max(1) as usize).min(cx.config.page_messages);
        let max_bytes = cx.config.page_bytes;
        cx.effects.push(Effect::ReadPage { read, queue: id, from, max_messages, max_bytes });
    }

    /// Messages in memory alone come after all stored ones.
    fn browse_memory(
        &mut self,
        request: RequestId,
        id: QueueId,
        from: Option<MessageId>,
        limit: u32,
        cx: &mut Context<'_>,
    ) {
        let Some(queue) = self.queues.get(id) else { return };
        let (mut messages, mut bytes, mut next) = (Vec::new(), 0, None);
        for (message, ready) in queue.nonpersistent.from(from) {
            let full = messages.len() >= (limit.max(1) as usize).min(cx.config.page_messages);
            if full || bytes > cx.config.page_bytes {
                next = Some(message);
                break;
            }
            bytes += ready.bytes();
            messages.push(ready.clone().delivery(message));
        }
        cx.reply(request, EngineReply::Messages { messages, next, newest: self.newest(id) });
    }

    /// A page was read for a browser.
    pub(in crate::engine) fn browsed(
        &mut self,
        request: RequestId,
        id: QueueId,
        from: MessageId,
        page: Vec<(MessageId, StoredMessage)>,
        cx: &mut Context<'_>,
    ) {
        // A page can end early for its bytes: only an empty one says that the lane has no more.
        let next = match page.last() {
            Some((last, _)) => Some(last.next()),
            None => {
                let lanes = self.queues.get(id).map(Queue::lanes).unwrap_or_default();
                let mut after = lanes.into_iter().filter(|lane| lane.priority() < from.lane().priority());
                let memory = self.queues.get(id).and_then(|queue| queue.nonpersistent.from(None).next());
                after.next().map(Lane::start).or(memory.map(|(first, _)| first))
            }
        };
        let delivery = |(id, stored): (MessageId, StoredMessage)| Delivery {
            id,
            redeliveries: stored.redeliveries,
            redelivered: false,
            message: stored.message.delivered(stored.expires_ms),
        };
        let messages = page.into_iter().map(delivery).collect();
        let newest = self.newest(id);
        self.answer(request, EngineReply::Messages { messages, next, newest }, cx);
    }

    /// Messages that come into a queue from now on have a greater id, lanes left aside.
    fn newest(&self, id: QueueId) -> MessageId {
        let windows = self.queues.get(id).into_iter().flat_map(Queue::windows);
        let ids = windows.map(|window| window.newest().in_lane(Lane::default()));
        let ids = ids.chain([Lane::default().end_of(self.epoch.generation, self.epoch.index)]);
        ids.max().unwrap_or_default()
    }
}
