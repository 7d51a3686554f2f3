//! What operators ask of queues: settings, looking at messages, moving and deleting them.

use baton_storage::{Changes, EngineOp, MessageId, MoveTo, QueueId, QueueName, QueueRecord, Settings, StoredMessage};

use super::message::{Effect, ReadId, RequestId};
use super::running::{Context, Running};
use super::writer::{ID_BYTES, OP_BYTES, Then, Write};
use crate::protocol::{Delivery, EngineError, EngineReply};

/// How many messages one entry deletes at most.
const PURGE_MESSAGES: u32 = 1_024;

impl Running {
    fn find(&self, name: &QueueName) -> Result<QueueId, EngineReply> {
        self.names.get(name).copied().ok_or_else(|| EngineReply::Error(EngineError::NoSuchQueue(name.clone())))
    }

    pub(super) fn configure(
        &mut self,
        request: RequestId,
        name: QueueName,
        settings: Settings,
        create: bool,
        cx: &mut Context<'_>,
    ) {
        match self.names.get(&name).and_then(|queue| self.queues.get(queue)) {
            Some(known) if known.settings == settings => {
                return cx.reply(request, EngineReply::Created { created: false });
            }
            Some(_) if create => return cx.refuse(request, EngineError::QueueExists(name)),
            Some(_) => {}
            None if !create => return cx.reply(request, EngineReply::Error(EngineError::NoSuchQueue(name))),
            None if self.queues.len() >= cx.config.queues => {
                let words = format!("the engine has its limit of {} queues", cx.config.queues);
                return cx.refuse(request, EngineError::BadRequest(words));
            }
            None => {}
        }
        let op = EngineOp::Configure { name: name.clone(), settings: settings.clone() };
        self.control(op, Then::Configure { request, name, settings: Box::new(settings) });
    }

    /// A queue has these settings now, or is new.
    pub(super) fn configured(&mut self, queue: QueueId, name: QueueName, settings: Settings) {
        match self.queues.get_mut(&queue) {
            Some(state) => state.settings = settings,
            None => self.add_queue(QueueRecord { settings, ..QueueRecord::new(queue, name) }),
        }
        self.active.insert(queue);
    }

    /// Messages go back to where they came from. What a consumer has, or is on its way out, stays.
    pub(super) fn replay(
        &mut self,
        request: RequestId,
        name: &QueueName,
        mut messages: Vec<MessageId>,
        cx: &mut Context<'_>,
    ) {
        let id = match self.find(name) {
            Ok(id) => id,
            Err(reply) => return cx.reply(request, reply),
        };
        let Some(queue) = self.queues.get_mut(&id) else { return };
        messages.retain(|message| {
            let window = queue.window(*message);
            let free = window.plausible(*message) && !window.is_held(*message);
            if free {
                let (_, bytes) = window.settling(*message);
                self.ready_bytes -= bytes;
            }
            free
        });
        if messages.is_empty() {
            return cx.reply(request, EngineReply::Moved { messages: 0 });
        }
        let bytes = OP_BYTES + messages.len() * ID_BYTES;
        let op = EngineOp::Move { queue: id, messages: messages.clone(), to: MoveTo::Origin };
        self.pending += 1;
        self.writer.control.push_back(Write { op, then: Then::Move { request, queue: id, messages }, bytes });
    }

    /// What was to leave and did not, waits again.
    pub(super) fn left_behind(&mut self, queue: QueueId, messages: &[MessageId]) {
        if let Some(state) = self.queues.get_mut(&queue) {
            messages.iter().for_each(|message| state.window(*message).stays(*message));
            self.active.insert(queue);
        }
    }

    pub(super) fn purge(&mut self, request: RequestId, name: &QueueName, cx: &mut Context<'_>) {
        match self.find(name) {
            Ok(queue) => {
                let state = self.queues.get(&queue);
                let left = state.map(|state| state.windows().map(super::window::Window::newest).collect());
                self.pending += 1;
                self.purge_next(request, queue, left.unwrap_or_default(), 0, cx);
            }
            Err(reply) => cx.reply(request, reply),
        }
    }

    fn purge_next(
        &mut self,
        request: RequestId,
        queue: QueueId,
        left: Vec<MessageId>,
        purged: u64,
        cx: &mut Context<'_>,
    ) {
        match left.last().copied() {
            None => self.answer(request, EngineReply::Moved { messages: purged }, cx),
            Some(through) => {
                let op = EngineOp::Purge { queue, through, limit: PURGE_MESSAGES };
                self.writer.control(op, Then::Purge { request, queue, left, purged });
            }
        }
    }

    /// A part of a purge is done.
    pub(super) fn purged(
        &mut self,
        request: RequestId,
        queue: QueueId,
        mut left: Vec<MessageId>,
        purged: u64,
        changes: Changes,
        cx: &mut Context<'_>,
    ) {
        let purged = purged + changes.removed.len() as u64;
        if !changes.more {
            left.pop();
        }
        self.changed(changes, cx);
        self.purge_next(request, queue, left, purged, cx);
    }

    pub(super) fn browse(
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
        let first = || self.queues.get(&id).and_then(|queue| queue.lanes().first().map(|lane| lane.start()));
        let Some(from) = from.or_else(first) else {
            return cx.reply(request, EngineReply::Messages { messages: Vec::new(), next: None });
        };
        self.pending += 1;
        let read = ReadId(cx.ids.next());
        self.browses.insert(read, (request, from));
        let max_messages = (limit.max(1) as usize).min(cx.config.page_messages);
        let max_bytes = cx.config.page_bytes;
        cx.effects.push(Effect::ReadPage { read, queue: id, from, max_messages, max_bytes });
    }

    /// What somebody looks at was read.
    pub(super) fn browsed(
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
                let lanes = self.queues.get(&id).map(super::queue::Queue::lanes).unwrap_or_default();
                let mut after = lanes.into_iter().skip_while(|lane| *lane != from.lane()).skip(1);
                after.next().map(baton_storage::Lane::start)
            }
        };
        let delivery = |(id, stored): (MessageId, StoredMessage)| Delivery {
            id,
            redeliveries: stored.redeliveries,
            redelivered: false,
            message: stored.message,
        };
        let messages = page.into_iter().map(delivery).collect();
        self.answer(request, EngineReply::Messages { messages, next }, cx);
    }
}
