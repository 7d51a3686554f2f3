//! Operators' requests: creating and configuring destinations, replay and purge.

use baton_client::protocol::{EngineError, EngineReply, Kind};
use baton_domain::{
    DestinationKind, Destinations, EngineOp, MessageId, MoveTo, OpResult, QueueId, QueueName, SYSTEM_EXCEPTION_QUEUE,
    Settings, SettingsPatch,
};
use baton_replica::QueueRecord;

use super::Running;
use super::once::repeated;
use crate::engine::context::Context;
use crate::engine::message::RequestId;
use crate::engine::parts::attach::Attach;
use crate::engine::parts::proposals::{ID_BYTES, OP_BYTES};
use crate::engine::parts::purpose::{Purpose, Resolved};
use crate::engine::parts::queue::Queue;
use crate::engine::parts::window::Window;

/// Maximum number of messages that one entry deletes.
const PURGE_MESSAGES: u32 = 1_024;

impl Running {
    pub(in crate::engine) fn find(&self, name: &QueueName) -> Result<QueueId, EngineReply> {
        self.queues.id(name).ok_or_else(|| EngineReply::Error(EngineError::NoSuchQueue(name.clone())))
    }

    pub(in crate::engine) fn create_queue(&mut self, request: RequestId, name: QueueName, cx: &mut Context<'_>) {
        if self.queues.len() >= cx.config.queues && self.queues.id(&name).is_none() {
            return cx.refuse(request, cx.too_many_queues());
        }
        self.control(EngineOp::CreateQueue { name: name.clone() }, Purpose::CreateQueue { request, name });
    }

    pub(in crate::engine) fn queue_created(
        &mut self,
        request: RequestId,
        name: QueueName,
        result: OpResult,
        cx: &mut Context<'_>,
    ) -> Resolved {
        let reply = match result {
            OpResult::Queue { queue, created } => {
                self.queues.add(QueueRecord::new(queue, name));
                EngineReply::Created { created }
            }
            OpResult::Refused { why } => EngineReply::Error(EngineError::Refused(why)),
            OpResult::Repeated(answer) => repeated(name, *answer),
            other => return Err(other.into()),
        };
        self.answer(request, reply, cx);
        Ok(())
    }

    pub(in crate::engine) fn create(
        &mut self,
        request: RequestId,
        name: QueueName,
        kind: Kind,
        asked: Box<SettingsPatch>,
        cx: &mut Context<'_>,
    ) {
        let kind = match self.queues.kind_by_number(kind) {
            Ok(kind) => kind,
            Err(error) => return cx.reply(request, EngineReply::Error(error)),
        };
        if self.queues.id(&name).is_some() {
            return cx.reply(request, self.declared(&name, &kind, &asked));
        }
        let base = match name.as_str() {
            SYSTEM_EXCEPTION_QUEUE => Settings::of_system_exception_queue(),
            _ => Settings::default(),
        };
        let settings = asked.applied_to(&base);
        if let Some(why) = self.queues.cannot_behave(&name, &kind, &settings) {
            return cx.refuse(request, EngineError::Refused(why));
        }
        let record = QueueRecord { kind, settings, ..QueueRecord::new(QueueId(0), name) };
        self.propose_create(request, record, asked, None, cx);
    }

    /// The reply to a declaration of a destination that exists: done, if it has the same values of all named settings.
    fn declared(&self, name: &QueueName, kind: &DestinationKind, asked: &SettingsPatch) -> EngineReply {
        let Some(known) = self.queues.named(name) else {
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

    /// A consumer takes up a destination that is to be its own, and that does not exist yet.
    pub(in crate::engine) fn create_for(
        &mut self,
        request: RequestId,
        attach: Attach,
        kind: Kind,
        cx: &mut Context<'_>,
    ) {
        let kind = match self.queues.kind_by_number(kind) {
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
        self.control(op, Purpose::Create { request, record: Box::new(record), asked, attach });
    }

    /// A destination exists now.
    pub(in crate::engine) fn created(
        &mut self,
        request: RequestId,
        mut record: QueueRecord,
        asked: &SettingsPatch,
        attach: Option<Box<Attach>>,
        result: OpResult,
        cx: &mut Context<'_>,
    ) -> Resolved {
        let created = match result {
            OpResult::Queue { queue, created } => {
                record.id = queue;
                created
            }
            OpResult::Refused { why } => {
                self.answer_error(request, EngineError::Refused(why), cx);
                return Ok(());
            }
            OpResult::Repeated(answer) => {
                self.answer(request, repeated(record.name, *answer), cx);
                return Ok(());
            }
            other => return Err(other.into()),
        };
        let (name, kind) = (record.name.clone(), record.kind.clone());
        self.queues.add(record);
        match attach {
            Some(attach) => {
                self.pending -= 1;
                // Others may have come meanwhile. A destination whose owner is refused would have nobody to go with.
                if created && self.cannot_attach(&attach, cx).is_some() {
                    let op = EngineOp::Detach { consumer: attach.consumer };
                    self.proposals.control(op, Purpose::Detach { request: None });
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
        Ok(())
    }

    /// Proposes a change of settings. The store makes it, so that of two changes at once both hold.
    pub(in crate::engine) fn configure(
        &mut self,
        request: RequestId,
        name: QueueName,
        patch: Box<SettingsPatch>,
        if_version: Option<u64>,
        cx: &mut Context<'_>,
    ) {
        let Some(known) = self.queues.named(&name) else {
            return cx.reply(request, EngineReply::Error(EngineError::NoSuchQueue(name)));
        };
        if let Some(why) = self.queues.cannot_behave(&name, &known.kind, &patch.applied_to(&known.settings)) {
            return cx.refuse(request, EngineError::Refused(why));
        }
        let op = EngineOp::Configure { name: name.clone(), patch, if_version };
        self.control(op, Purpose::Configure { request, name });
    }

    /// A destination has other settings now.
    pub(in crate::engine) fn configured(
        &mut self,
        request: RequestId,
        name: QueueName,
        result: OpResult,
        cx: &mut Context<'_>,
    ) -> Resolved {
        let reply = match result {
            OpResult::Configured { queue, settings, version } => {
                if let Some(state) = self.queues.wake_mut(queue) {
                    (state.settings, state.version) = (*settings, version);
                }
                EngineReply::Configured { version }
            }
            OpResult::OtherVersion { version } => {
                EngineReply::Error(EngineError::OtherVersion { queue: name, version })
            }
            OpResult::NoSuchQueue => EngineReply::Error(EngineError::NoSuchQueue(name)),
            OpResult::Repeated(answer) => repeated(name, *answer),
            other => return Err(other.into()),
        };
        self.answer(request, reply, cx);
        Ok(())
    }

    /// Messages go back to where they came from. Those that a consumer has, or that are leaving, stay.
    pub(in crate::engine) fn replay(
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
        let Some(queue) = self.queues.get_mut(id) else { return };
        messages.retain(|message| {
            let window = queue.window(*message);
            let free = window.plausible(*message) && !window.is_held(*message);
            if free {
                self.ready_memory.freed(window.leaving(*message));
            }
            free
        });
        if messages.is_empty() {
            return cx.reply(request, EngineReply::Moved { messages: 0 });
        }
        let bytes = OP_BYTES + messages.len() * ID_BYTES;
        let op = EngineOp::Move { queue: id, messages: messages.clone(), to: MoveTo::Origin };
        self.pending += 1;
        self.proposals.control_of(op, Purpose::Replay { request, queue: id, messages }, bytes);
    }

    pub(in crate::engine) fn replayed(
        &mut self,
        request: RequestId,
        queue: QueueId,
        messages: &[MessageId],
        result: OpResult,
        cx: &mut Context<'_>,
    ) -> Resolved {
        let moved = match result {
            OpResult::Changed(changes) => {
                let moved = changes.removed.len() as u64;
                self.changed(changes, cx);
                self.left_behind(queue, messages);
                moved
            }
            OpResult::NoSuchQueue => 0,
            other => return Err(other.into()),
        };
        self.answer(request, EngineReply::Moved { messages: moved }, cx);
        Ok(())
    }

    pub(in crate::engine) fn purge(
        &mut self,
        request: RequestId,
        name: &QueueName,
        through: MessageId,
        cx: &mut Context<'_>,
    ) {
        let queue = match self.find(name) {
            Ok(queue) => queue,
            Err(reply) => return cx.reply(request, reply),
        };
        if self.queues.is_topic_space(queue) {
            let words = format!("{name} is a topic space: purge its subscriptions");
            return cx.refuse(request, EngineError::Refused(words));
        }
        if let Some(error) = self.waits_for_decision(name) {
            return cx.refuse(request, error);
        }
        let newest = self.queues.get(queue).into_iter().flat_map(Queue::windows).map(Window::newest);
        let left = newest.map(|newest| newest.min(through.in_lane(newest.lane()))).collect();
        self.pending += 1;
        let purged = self.purge_memory(queue);
        self.purge_next(request, queue, left, purged, cx);
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
                self.proposals.control(op, Purpose::Purge { request, queue, left, purged });
            }
        }
    }

    /// A part of a purge is done.
    pub(in crate::engine) fn purged(
        &mut self,
        request: RequestId,
        queue: QueueId,
        (mut left, purged): (Vec<MessageId>, u64),
        result: OpResult,
        cx: &mut Context<'_>,
    ) -> Resolved {
        match result {
            OpResult::Changed(changes) => {
                let purged = purged + changes.removed.len() as u64;
                if !changes.more {
                    left.pop();
                }
                self.changed(changes, cx);
                self.purge_next(request, queue, left, purged, cx);
                Ok(())
            }
            OpResult::NoSuchQueue => {
                self.answer(request, EngineReply::Moved { messages: 0 }, cx);
                Ok(())
            }
            other => Err(other.into()),
        }
    }
}
