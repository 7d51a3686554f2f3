//! What operators ask of queues: settings, looking at messages, moving and deleting them.

use baton_client::protocol::{Delivery, EngineError, EngineReply, Kind, QueueStatus};
use baton_domain::{
    Changes, DestinationKind, EngineOp, ExceptionDestination, Lane, MessageId, MoveTo, QueueId, QueueName,
    SYSTEM_EXCEPTION_QUEUE, Selector, SelectorError, Settings, SettingsPatch, StoredMessage, Subscription, topic,
};
use baton_replica::QueueRecord;

use super::consume::Attach;
use super::message::{Effect, ReadId, RequestId};
use super::queue::Queue;
use super::running::{Context, Halt, Running};
use super::window::Window;
use super::writer::{ID_BYTES, OP_BYTES, Then, Write};

/// How many messages one entry deletes at most.
const PURGE_MESSAGES: u32 = 1_024;

impl Running {
    pub(super) fn find(&self, name: &QueueName) -> Result<QueueId, EngineReply> {
        self.names.get(name).copied().ok_or_else(|| EngineReply::Error(EngineError::NoSuchQueue(name.clone())))
    }

    /// All destinations in numbers. How many messages a topic space stores, only the store knows: its subscriptions
    /// share them.
    pub(super) fn list(&mut self, request: RequestId, cx: &mut Context<'_>) {
        if self.queues.values().any(|queue| queue.kind == DestinationKind::TopicSpace) {
            self.pending += 1;
            self.lists.insert(request);
            cx.effects.push(Effect::ReadQueues { request });
        } else {
            let queues = self.statuses(cx).collect();
            cx.reply(request, EngineReply::Queues(queues));
        }
    }

    /// The store was looked at for a list.
    pub(super) fn listed(
        &mut self,
        request: RequestId,
        queues: Result<Vec<QueueRecord>, String>,
        cx: &mut Context<'_>,
    ) -> Result<(), Halt> {
        if !self.lists.remove(&request) {
            // It was answered when its activation ended.
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
        let queues = self.names.values().filter_map(|queue| self.queues.get(queue));
        queues.map(|queue| QueueStatus {
            name: queue.name.clone(),
            depth: queue.depth + queue.nonpersistent.len() as u64,
            nonpersistent: queue.nonpersistent.len() as u64,
            dropped: queue.nonpersistent.dropped + queue.dropped,
            in_flight: queue.in_flight(),
            delayed: queue.delayed,
            kept: queue.kept(),
            consumers: queue.consumers.len() as u64,
            slow_consumers: self.slow_consumers(queue, cx),
            kind: self.kind_by_name(&queue.kind),
            settings: queue.settings.clone(),
            version: queue.version,
            temporary: queue.temporary,
        })
    }

    /// A kind as the store knows it.
    fn kind_by_number(&self, kind: Kind) -> Result<DestinationKind, EngineError> {
        Ok(match kind {
            Kind::Queue => DestinationKind::Queue,
            Kind::TopicSpace => DestinationKind::TopicSpace,
            Kind::Subscription { space, topic, selector } => {
                topic::check_pattern(&topic).map_err(|error| EngineError::Refused(error.to_string()))?;
                if !selector.is_empty() {
                    let refused = |error: SelectorError| EngineError::Refused(format!("invalid selector: {error}"));
                    Selector::parse(&selector).map_err(refused)?;
                }
                let number = self.names.get(&space).copied();
                let known = number.and_then(|number| self.queues.get(&number));
                let Some(number) =
                    number.filter(|_| known.is_some_and(|known| known.kind == DestinationKind::TopicSpace))
                else {
                    let words = format!("there is no topic space {space}: create it with `baton topic create {space}`");
                    return Err(EngineError::Refused(words));
                };
                DestinationKind::Subscription(Subscription { space: number, topic, selector })
            }
        })
    }

    /// A kind as clients know it.
    pub(super) fn kind_by_name(&self, kind: &DestinationKind) -> Kind {
        match kind {
            DestinationKind::Queue => Kind::Queue,
            DestinationKind::TopicSpace => Kind::TopicSpace,
            DestinationKind::Subscription(Subscription { space, topic, selector }) => match self.queues.get(space) {
                Some(space) => {
                    let (topic, selector) = (topic.clone(), selector.clone());
                    Kind::Subscription { space: space.name.clone(), topic, selector }
                }
                // A space outlives its subscriptions.
                None => Kind::Queue,
            },
        }
    }

    pub(super) fn create(
        &mut self,
        request: RequestId,
        name: QueueName,
        kind: Kind,
        asked: Box<SettingsPatch>,
        cx: &mut Context<'_>,
    ) {
        let kind = match self.kind_by_number(kind) {
            Ok(kind) => kind,
            Err(error) => return cx.reply(request, EngineReply::Error(error)),
        };
        if self.names.contains_key(&name) {
            return cx.reply(request, self.declared(&name, &kind, &asked));
        }
        let base = match name.as_str() {
            SYSTEM_EXCEPTION_QUEUE => Settings::of_system_exception_queue(),
            _ => Settings::default(),
        };
        let settings = asked.applied_to(&base);
        if let Some(why) = self.cannot_behave(&name, &kind, &settings) {
            return cx.refuse(request, EngineError::Refused(why));
        }
        let record = QueueRecord { kind, settings, ..QueueRecord::new(QueueId(0), name) };
        self.propose_create(request, record, asked, None, cx);
    }

    /// The answer to somebody who declares a destination that is there: done, if nothing that they name is otherwise.
    fn declared(&self, name: &QueueName, kind: &DestinationKind, asked: &SettingsPatch) -> EngineReply {
        let Some(known) = self.names.get(name).and_then(|queue| self.queues.get(queue)) else {
            return EngineReply::Error(EngineError::NoSuchQueue(name.clone()));
        };
        if known.kind != *kind {
            return EngineReply::Error(EngineError::QueueExists(name.clone()));
        }
        let differences = asked.differences(&known.settings);
        if differences.is_empty() {
            return EngineReply::Created { created: false };
        }
        let differences = differences.into_iter().map(str::to_owned).collect();
        EngineReply::Error(EngineError::QueueDiffers { queue: name.clone(), differences })
    }

    /// Why a destination of that kind cannot behave as these settings say.
    fn cannot_behave(&self, name: &QueueName, kind: &DestinationKind, settings: &Settings) -> Option<String> {
        let exception = match &settings.exception {
            ExceptionDestination::Queue(exception) if exception == name => Some(format!(
                "{name} cannot be its own exception destination: use `none` to keep messages in the queue"
            )),
            ExceptionDestination::Queue(exception) => {
                let known = self.names.get(exception).and_then(|queue| self.queues.get(queue));
                known.filter(|known| known.kind != DestinationKind::Queue).map(|known| {
                    let what = match known.kind {
                        DestinationKind::TopicSpace => "topic space",
                        DestinationKind::Subscription(_) | DestinationKind::Queue => "subscription",
                    };
                    format!("{exception} is a {what}: an exception destination must be a queue")
                })
            }
            ExceptionDestination::System | ExceptionDestination::None => None,
        };
        exception.or_else(|| self.cannot_forward(name, kind, settings))
    }

    /// A consumer takes up a destination that is to be its own, and that is not there yet.
    pub(super) fn create_for(&mut self, request: RequestId, attach: Attach, kind: Kind, cx: &mut Context<'_>) {
        let kind = match self.kind_by_number(kind) {
            Ok(kind) => kind,
            Err(error) => return cx.reply(request, EngineReply::Error(error)),
        };
        if let Some(error) = self.cannot_attach(&attach, cx) {
            return cx.refuse(request, error);
        }
        let owner = Some(attach.consumer);
        let record = QueueRecord { kind, owner, ..QueueRecord::new(QueueId(0), attach.queue.clone()) };
        self.propose_create(request, record, Box::default(), Some(Box::new(attach)), cx);
    }

    fn propose_create(
        &mut self,
        request: RequestId,
        record: QueueRecord,
        asked: Box<SettingsPatch>,
        attach: Option<Box<Attach>>,
        cx: &mut Context<'_>,
    ) {
        if self.queues.len() >= cx.config.queues {
            return cx.refuse(request, cx.too_many_queues());
        }
        let QueueRecord { name, kind, settings, owner, .. } = record.clone();
        let op = EngineOp::Create { name, kind, settings, owner };
        self.control(op, Then::Create { request, record: Box::new(record), asked, attach });
    }

    /// A destination is there now.
    pub(super) fn created(
        &mut self,
        request: RequestId,
        record: QueueRecord,
        asked: &SettingsPatch,
        attach: Option<Box<Attach>>,
        created: bool,
        cx: &mut Context<'_>,
    ) {
        let (name, kind) = (record.name.clone(), record.kind.clone());
        if !self.queues.contains_key(&record.id) {
            self.add_queue(record);
        }
        match attach {
            Some(attach) => {
                self.pending -= 1;
                // Others may have come meanwhile. A destination whose owner is refused would have nobody to go with.
                if created && self.cannot_attach(&attach, cx).is_some() {
                    self.control(EngineOp::Detach { consumer: attach.consumer }, Then::Detach { request: None });
                }
                self.attach(request, *attach, cx);
            }
            None if created => self.answer(request, EngineReply::Created { created }, cx),
            // Somebody else was faster.
            None => {
                let reply = self.declared(&name, &kind, asked);
                self.answer(request, reply, cx);
            }
        }
    }

    /// Proposes a change of settings. It is the store that makes it, so that of two changes at once both hold.
    pub(super) fn configure(
        &mut self,
        request: RequestId,
        name: QueueName,
        patch: Box<SettingsPatch>,
        if_version: Option<u64>,
        cx: &mut Context<'_>,
    ) {
        let Some(known) = self.names.get(&name).and_then(|queue| self.queues.get(queue)) else {
            return cx.reply(request, EngineReply::Error(EngineError::NoSuchQueue(name)));
        };
        if let Some(why) = self.cannot_behave(&name, &known.kind, &patch.applied_to(&known.settings)) {
            return cx.refuse(request, EngineError::Refused(why));
        }
        let op = EngineOp::Configure { name: name.clone(), patch, if_version };
        self.control(op, Then::Configure { request, name });
    }

    /// A queue has these settings now.
    pub(super) fn configured(&mut self, queue: QueueId, settings: Settings, version: u64) {
        if let Some(state) = self.queues.get_mut(&queue) {
            (state.settings, state.version) = (settings, version);
            self.active.insert(queue);
        }
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
                self.ready_bytes -= window.leaving(*message);
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

    pub(super) fn purge(&mut self, request: RequestId, name: &QueueName, through: MessageId, cx: &mut Context<'_>) {
        match self.find(name) {
            Ok(queue) if self.queues.get(&queue).is_some_and(|state| state.kind == DestinationKind::TopicSpace) => {
                let words = format!("{name} is a topic space: purge its subscriptions");
                cx.refuse(request, EngineError::Refused(words));
            }
            Ok(queue) => {
                if let Some(error) = self.waits_for_decision(name) {
                    return cx.refuse(request, error);
                }
                let state = self.queues.get(&queue);
                let newest = state.into_iter().flat_map(Queue::windows).map(Window::newest);
                let left = newest.map(|newest| newest.min(through.in_lane(newest.lane()))).collect();
                self.pending += 1;
                let purged = self.purge_memory(queue);
                self.purge_next(request, queue, left, purged, cx);
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
        let Some(from) = from.or_else(first).filter(|from| !from.is_nonpersistent()) else {
            return self.browse_memory(request, id, from, limit, cx);
        };
        self.pending += 1;
        let read = ReadId(cx.ids.next());
        self.browses.insert(read, (request, from));
        let max_messages = (limit.max(1) as usize).min(cx.config.page_messages);
        let max_bytes = cx.config.page_bytes;
        cx.effects.push(Effect::ReadPage { read, queue: id, from, max_messages, max_bytes });
    }

    /// What is in memory alone comes after all that is stored.
    fn browse_memory(
        &mut self,
        request: RequestId,
        id: QueueId,
        from: Option<MessageId>,
        limit: u32,
        cx: &mut Context<'_>,
    ) {
        let Some(queue) = self.queues.get(&id) else { return };
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
                let lanes = self.queues.get(&id).map(Queue::lanes).unwrap_or_default();
                let mut after = lanes.into_iter().filter(|lane| lane.priority() < from.lane().priority());
                let memory = self.queues.get(&id).and_then(|queue| queue.nonpersistent.from(None).next());
                after.next().map(baton_domain::Lane::start).or(memory.map(|(first, _)| first))
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

    /// What comes into a queue from now on has a greater id, lanes left aside.
    fn newest(&self, id: QueueId) -> MessageId {
        let windows = self.queues.get(&id).into_iter().flat_map(Queue::windows);
        let ids = windows.map(|window| window.newest().in_lane(Lane::default()));
        let ids = ids.chain([Lane::default().end_of(self.epoch.generation, self.epoch.index)]);
        ids.max().unwrap_or_default()
    }
}
