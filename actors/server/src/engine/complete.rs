//! What became of an entry, op by op.

use baton_client::protocol::{EngineError, EngineReply};
use baton_domain::seeded::{self, Bug};
use baton_domain::{
    Applied, Changes, Committed, DestinationKind, Lane, Message, MessageBatch, MessageId, OpResult, QueueId, Settings,
};
use baton_replica::{CommitError, QueueRecord};

use super::lost::WhyKept;
use super::message::{EntryId, RequestId};
use super::once::repeated;
use super::queue::Queue;
use super::running::{Context, Halt, Running};
use super::writer::Then;

/// What an op was for and what the store answered do not go together: a bug of the store or of the engine.
fn contradiction(then: &Then, result: &OpResult) -> Halt {
    Halt { why: format!("unexpected result of the store to {then:?}: {result:?}") }
}

impl Running {
    /// Takes the outcome of an entry. An entry that was refused or whose outcome is unknown ends the engine; its
    /// requests are then answered with what is known: nothing was written, or nobody knows.
    pub(super) fn committed(
        &mut self,
        entry: EntryId,
        result: Result<Committed, CommitError>,
        unwritten: &mut Vec<RequestId>,
        cx: &mut Context<'_>,
    ) -> Result<(), Halt> {
        if !self.writer.in_flight.iter().any(|known| known.id == entry) {
            // An answer to an entry of an earlier activation says nothing about this one.
            return Ok(());
        }
        let halt = match result {
            Ok(Committed { applied: Applied::Engine { results }, .. }) => return self.applied(entry, results, cx),
            Ok(Committed { applied: Applied::Fenced { current }, .. }) => {
                self.unwritten(entry, unwritten);
                Halt { why: format!("fenced by a newer activation: {current}") }
            }
            Ok(Committed {
                applied:
                    applied @ (Applied::Done
                    | Applied::Activated { .. }
                    | Applied::Admitted { .. }
                    | Applied::Policy { .. }
                    | Applied::Repeated(_)
                    | Applied::Marked { .. }
                    | Applied::Refused { .. }),
                ..
            }) => Halt { why: format!("unexpected result of the store to an engine's writes: {applied:?}") },
            Err(CommitError::NotLeader { .. }) => {
                self.unwritten(entry, unwritten);
                Halt { why: "this server no longer leads the store".to_owned() }
            }
            // Rare: the engine refuses messages before it comes to that. Whatever came in between is sent again.
            Err(error @ CommitError::NoRoom(_)) => {
                self.unwritten(entry, unwritten);
                Halt { why: error.to_string() }
            }
            Err(error @ (CommitError::Unknown | CommitError::Failed(_))) => Halt { why: error.to_string() },
        };
        Err(halt)
    }

    fn unwritten(&mut self, entry: EntryId, requests: &mut Vec<RequestId>) {
        if let Some(landed) = self.writer.landed(entry) {
            requests.extend(landed.then.into_iter().flat_map(Then::requests));
        }
    }

    fn applied(&mut self, entry: EntryId, results: Vec<OpResult>, cx: &mut Context<'_>) -> Result<(), Halt> {
        let Some(entry) = self.writer.landed(entry) else { return Ok(()) };
        let mut results = results.into_iter();
        for then in entry.then {
            if let Then::Settled { requests } = then {
                self.pending -= requests.len();
                requests.into_iter().for_each(|request| cx.reply(request, EngineReply::Done));
                continue;
            }
            let Some(result) = results.next() else {
                return Err(Halt { why: "the store returned fewer results than writes".to_owned() });
            };
            self.resolve(then, result, entry.at_ms, cx)?;
        }
        Ok(())
    }

    pub(super) fn answer(&mut self, request: RequestId, reply: EngineReply, cx: &mut Context<'_>) {
        self.pending -= 1;
        cx.reply(request, reply);
    }

    fn resolve(&mut self, then: Then, result: OpResult, at_ms: u64, cx: &mut Context<'_>) -> Result<(), Halt> {
        let error = EngineReply::Error;
        match (then, result) {
            (Then::CreateQueue { request, name }, OpResult::Queue { queue, created }) => {
                if !self.queues.contains_key(&queue) {
                    self.add_queue(QueueRecord::new(queue, name));
                }
                self.answer(request, EngineReply::Created { created }, cx);
            }
            (Then::DeleteQueue { request, name }, OpResult::Done) => {
                if let Some(queue) = self.names.get(&name).copied() {
                    self.queue_deleted(queue, cx);
                }
                self.answer(request, EngineReply::Done, cx);
            }
            (Then::DeleteQueue { request, name } | Then::Delete { request, name }, OpResult::NoSuchQueue) => {
                self.answer(request, error(EngineError::NoSuchQueue(name)), cx);
            }
            (Then::Delete { request, name }, OpResult::Deleted { messages, consumers }) => {
                self.deleted(request, &name, messages, consumers, cx);
            }
            (Then::Delete { request, name: queue }, OpResult::NotEmpty { messages }) => {
                self.answer(request, error(EngineError::QueueNotEmpty { queue, messages }), cx);
            }
            (Then::Delete { request, name: queue }, OpResult::InUse { consumers }) => {
                self.answer(request, error(EngineError::QueueInUse { queue, consumers }), cx);
            }
            (
                Then::OpenProducer { request, producer, .. },
                OpResult::Producer { queue, next, registration, digest, claimed },
            ) => {
                self.remember_producer(producer, queue, cx);
                let next = if seeded::is(Bug::NumberTooLow) { next.max(2) - 1 } else { next };
                let reply = self.registered(Some(queue), next, (registration, digest, claimed), cx);
                self.answer(request, reply, cx);
            }
            (Then::OpenProducer { request, name, .. }, OpResult::NoSuchQueue) => {
                self.answer(request, error(EngineError::NoSuchQueue(name)), cx);
            }
            (Then::TouchProducer { request }, OpResult::Producer { queue, next, registration, .. }) => {
                let reply = self.registered(Some(queue), next, (registration, 0, false), cx);
                self.answer(request, reply, cx);
            }
            (Then::TouchProducer { request } | Then::Send { request, .. }, OpResult::Fenced) => {
                self.answer(request, error(EngineError::Fenced), cx);
            }
            (Then::TouchProducer { request }, OpResult::ProducerUnknown) => {
                self.answer(request, error(EngineError::ProducerUnknown), cx);
            }
            (Then::Send { request, producer, through, messages, dispatch }, sent @ OpResult::Sent { queue, .. }) => {
                if !self.producers.contains_key(&producer) {
                    // A guess too: what it sends may be forwarded.
                    self.remember_producer(producer, queue, cx);
                }
                self.totals.confirmed += messages.len() as u64;
                self.stored(&messages, dispatch, &sent, at_ms, cx);
                self.answer(request, EngineReply::Sent { through }, cx);
            }
            (Then::Send { request, through, messages, .. }, published @ OpResult::Published { .. }) => {
                self.totals.confirmed += messages.len() as u64;
                self.published(&messages, published, at_ms, cx);
                self.answer(request, EngineReply::Sent { through }, cx);
            }
            (Then::Post { request, name, .. }, OpResult::NoSuchQueue) => {
                // Nobody waits for one that was answered early: its queue is gone, and it with that.
                if let Some(request) = request {
                    self.answer(request, error(EngineError::NoSuchQueue(name)), cx);
                }
            }
            (Then::Post { request, messages, dispatch, .. }, sent @ OpResult::Sent { .. }) => {
                self.totals.confirmed += messages.len() as u64;
                self.stored(&messages, dispatch, &sent, at_ms, cx);
                self.posted(request, cx);
            }
            (Then::Post { request, messages, .. }, published @ OpResult::Published { .. }) => {
                self.totals.confirmed += messages.len() as u64;
                self.published(&messages, published, at_ms, cx);
                self.posted(request, cx);
            }
            (Then::SetAside, OpResult::Changed(changes)) => self.changed(changes, cx),
            (Then::Send { request, .. }, OpResult::Gap { expected }) => {
                self.answer(request, error(EngineError::Gap { expected }), cx);
            }
            (Then::Send { request, .. }, OpResult::ProducerUnknown | OpResult::NoSuchQueue) => {
                self.answer(request, error(EngineError::ProducerUnknown), cx);
            }
            (Then::Dispatch { queue, through }, OpResult::Done) => {
                if let Some(state) = self.queues.get_mut(&queue) {
                    let window = state.window(through);
                    window.dispatched = window.dispatched.max(through);
                    self.active.insert(queue);
                }
            }
            (Then::Settle { queue, messages }, OpResult::Settled { settled }) => {
                self.totals.acknowledged += u64::from(settled);
                if let Some(state) = self.queues.get_mut(&queue) {
                    messages.into_iter().for_each(|message| state.window(message).settled(message));
                    state.depth = state.depth.saturating_sub(u64::from(settled));
                }
            }
            (Then::Requeue { queue, messages }, OpResult::Changed(changes)) => {
                self.changed(changes, cx);
                if let Some(state) = self.queues.get_mut(&queue) {
                    for message in messages {
                        state.window(message).count_committed(message);
                        state.groups.let_go(message);
                    }
                    self.active.insert(queue);
                }
            }
            (Then::CountLost { queue }, OpResult::Changed(changes)) => {
                self.changed(changes, cx);
                if let Some(state) = self.queues.get_mut(&queue) {
                    state.awaited.clear();
                    self.active.insert(queue);
                }
            }
            (Then::Create { request, mut record, asked, attach }, OpResult::Queue { queue, created }) => {
                record.id = queue;
                self.created(request, *record, &asked, attach, created, cx);
            }
            (
                Then::Create { request, .. } | Then::DeleteQueue { request, .. } | Then::Delete { request, .. },
                OpResult::Refused { why },
            ) => self.answer(request, error(EngineError::Refused(why)), cx),
            (Then::Configure { request, .. }, OpResult::Configured { queue, settings, version, .. }) => {
                self.configured(queue, *settings, version);
                self.answer(request, EngineReply::Configured { version }, cx);
            }
            (Then::Configure { request, name }, OpResult::OtherVersion { version }) => {
                self.answer(request, error(EngineError::OtherVersion { queue: name, version }), cx);
            }
            (Then::Move { request, queue, messages }, OpResult::Changed(changes)) => {
                let moved = changes.removed.len() as u64;
                self.changed(changes, cx);
                self.left_behind(queue, &messages);
                self.answer(request, EngineReply::Moved { messages: moved }, cx);
            }
            (Then::Reject { queue, messages, reason }, OpResult::Changed(changes)) => {
                self.changed_by(changes, &WhyKept::Rejected(reason), cx);
                self.left_behind(queue, &messages);
            }
            (Then::OpenSession { request }, OpResult::Producer { next, .. }) => {
                let reply = self.registered(None, next, (0, 0, false), cx);
                self.answer(request, reply, cx);
            }
            (Then::CheckTransaction { request, session, number, words }, OpResult::Producer { next, .. }) => {
                self.checked(request, (session, number, words), next, cx);
            }
            (Then::Transact { request, session, number, taken }, OpResult::Changed(changes)) => {
                self.changed(changes, cx);
                self.transacted(session, number, &taken, cx);
                self.answer(request, EngineReply::Done, cx);
            }
            (Then::Transact { request, session, number, taken }, OpResult::Done) => {
                self.transacted(session, number, &taken, cx);
                self.answer(request, EngineReply::Done, cx);
            }
            (
                Then::Transact { request, taken, .. } | Then::Prepare { request, taken, .. },
                OpResult::Refused { why },
            ) => {
                self.give_back_taken(&taken, cx.now);
                self.answer(request, error(EngineError::Refused(why)), cx);
            }
            (
                Then::Transact { request, taken, .. } | Then::Prepare { request, taken, .. },
                OpResult::Gone { message },
            ) => {
                self.give_back_taken(&taken, cx.now);
                self.answer(request, error(EngineError::MessageGone { message }), cx);
            }
            (
                Then::Transact { request, taken, .. } | Then::Prepare { request, taken, .. },
                OpResult::Gap { expected },
            ) => {
                self.give_back_taken(&taken, cx.now);
                self.answer(request, error(EngineError::Gap { expected }), cx);
            }
            (
                Then::Transact { request, taken, .. } | Then::Prepare { request, taken, .. },
                OpResult::ProducerUnknown,
            ) => {
                self.give_back_taken(&taken, cx.now);
                self.answer(request, error(EngineError::ProducerUnknown), cx);
            }
            (Then::Prepare { request, transaction, taken }, OpResult::Done) => {
                self.prepared(*transaction, &taken, cx);
                self.answer(request, EngineReply::Done, cx);
            }
            (Then::Resolve { request, name }, OpResult::Changed(changes)) => {
                self.changed(changes, cx);
                self.decided(&name);
                self.resolved(request, true, cx);
            }
            (Then::Resolve { request, name }, OpResult::Done) => {
                self.rolled_back(&name);
                self.resolved(request, true, cx);
            }
            (Then::Resolve { request, .. }, OpResult::NoSuchTransaction) => self.resolved(request, false, cx),
            (Then::Fire { timers }, OpResult::Changed(changes)) => self.fired(&timers, changes, cx),
            (Then::Purge { request, queue, left, purged }, OpResult::Changed(changes)) => {
                self.purged(request, queue, left, purged, changes, cx);
            }
            (Then::Recall { request, change, asked }, result @ (OpResult::Repeated(_) | OpResult::Done)) => {
                self.recalled(request, change, *asked, result, cx);
            }
            (
                Then::CreateQueue { request, name }
                | Then::DeleteQueue { request, name }
                | Then::Delete { request, name }
                | Then::Configure { request, name },
                OpResult::Repeated(answer),
            ) => self.answer(request, repeated(name, *answer), cx),
            (Then::Create { request, record, .. }, OpResult::Repeated(answer)) => {
                self.answer(request, repeated(record.name, *answer), cx);
            }
            (Then::Move { request, .. } | Then::Purge { request, .. }, OpResult::NoSuchQueue) => {
                self.answer(request, EngineReply::Moved { messages: 0 }, cx);
            }
            // The queue is deleted; the answer to that was processed before this one.
            (
                Then::Dispatch { .. }
                | Then::Settle { .. }
                | Then::Requeue { .. }
                | Then::Reject { .. }
                | Then::CountLost { .. }
                | Then::SetAside
                | Then::ForgetProducers,
                OpResult::NoSuchQueue | OpResult::Done,
            ) => {}
            (Then::Attach { request, consumer, .. }, OpResult::Done | OpResult::Queue { .. }) => {
                let reply = match self.consumers.get_mut(&consumer) {
                    Some(state) => {
                        state.recorded = true;
                        self.active.insert(state.queue);
                        EngineReply::Attached { epoch: self.epoch, limits: cx.limits() }
                    }
                    None => error(EngineError::ConsumerUnknown),
                };
                self.answer(request, reply, cx);
            }
            (Then::Attach { request, name, .. } | Then::Configure { request, name }, OpResult::NoSuchQueue) => {
                self.answer(request, error(EngineError::NoSuchQueue(name)), cx);
            }
            (Then::CloseProducer { request }, OpResult::Done) => self.answer(request, EngineReply::Done, cx),
            (Then::Detach { request }, OpResult::Detached { deleted }) => {
                for queue in deleted {
                    self.queue_deleted(queue, cx);
                }
                if let Some(request) = request {
                    self.answer(request, EngineReply::Done, cx);
                }
            }
            (
                then @ (Then::CreateQueue { .. }
                | Then::DeleteQueue { .. }
                | Then::Delete { .. }
                | Then::OpenProducer { .. }
                | Then::TouchProducer { .. }
                | Then::CloseProducer { .. }
                | Then::ForgetProducers
                | Then::Send { .. }
                | Then::Post { .. }
                | Then::SetAside
                | Then::Dispatch { .. }
                | Then::Settle { .. }
                | Then::Requeue { .. }
                | Then::Settled { .. }
                | Then::Attach { .. }
                | Then::Detach { .. }
                | Then::Configure { .. }
                | Then::Create { .. }
                | Then::Reject { .. }
                | Then::CountLost { .. }
                | Then::Move { .. }
                | Then::OpenSession { .. }
                | Then::CheckTransaction { .. }
                | Then::Transact { .. }
                | Then::Prepare { .. }
                | Then::Resolve { .. }
                | Then::Fire { .. }
                | Then::Recall { .. }
                | Then::Purge { .. }),
                result,
            ) => return Err(contradiction(&then, &result)),
        }
        Ok(())
    }

    /// A producer, or a session of transactions, is registered.
    fn registered(
        &self,
        queue: Option<QueueId>,
        next: u64,
        (registration, digest, claimed): (u64, u64, bool),
        cx: &Context<'_>,
    ) -> EngineReply {
        let state = queue.and_then(|queue| self.queues.get(&queue));
        let reliability = state.map(|state| state.settings.reliability).unwrap_or_default();
        let publishes = queue.is_some_and(|queue| self.publishes(queue));
        let (epoch, limits) = (self.epoch, cx.limits());
        EngineReply::Producer { epoch, next, limits, reliability, publishes, registration, digest, claimed }
    }

    /// Messages without a number were stored; their sender knows if it was answered early.
    fn posted(&mut self, request: Option<RequestId>, cx: &mut Context<'_>) {
        if let Some(request) = request {
            self.answer(request, EngineReply::Posted, cx);
        }
    }

    /// Messages were stored in a queue.
    fn stored(&mut self, messages: &MessageBatch, dispatch: bool, sent: &OpResult, at_ms: u64, cx: &Context<'_>) {
        let OpResult::Sent { queue, duplicates, accepted: _, first, due_ms } = *sent else { return };
        let known = duplicates as usize;
        if self.queues.get(&queue).is_some_and(Queue::is_taken) {
            let fresh = messages.read().into_iter().skip(known);
            self.put(queue, first, (0..).zip(fresh), dispatch, at_ms, cx);
        } else {
            // None is kept: what they ask for is enough.
            let fresh = messages.iter().skip(known).map(|message| message.asks());
            self.put(queue, first, (0..).zip(fresh), dispatch, at_ms, cx);
        }
        self.timers.note(due_ms, cx.now);
    }

    /// Messages were published, or forwarded to several queues: each subscription and queue has what is for it.
    fn published(&mut self, messages: &MessageBatch, published: OpResult, at_ms: u64, cx: &Context<'_>) {
        let OpResult::Published { duplicates, first, due_ms, matched, .. } = published else { return };
        let messages = messages.read();
        let fresh = messages.get(duplicates as usize..).unwrap_or_default();
        for (queue, places) in matched {
            let taken = places.into_iter().filter_map(|at| fresh.get(at as usize).map(|message| (at, message.clone())));
            self.put(queue, first, taken, false, at_ms, cx);
        }
        self.timers.note(due_ms, cx.now);
    }

    /// Messages are in a queue, each so many places after `first`: those that nothing waits before go straight to the
    /// ready ones.
    fn put(
        &mut self,
        id: QueueId,
        first: MessageId,
        messages: impl Iterator<Item = (u32, Message)>,
        dispatch: bool,
        at_ms: u64,
        cx: &Context<'_>,
    ) {
        let default_ms = self.time_to_live_ms(id);
        let Some(queue) = self.queues.get_mut(&id) else { return };
        let (mut ready_len, mut ready_bytes) = (queue.ready_len(), queue.ready_bytes());
        let taken = queue.is_taken();
        for (at, message) in messages {
            if message.delay_ms() > 0 && queue.kind == DestinationKind::Queue {
                queue.delayed += 1;
                continue;
            }
            let expires_ms = message.expires_ms(at_ms, default_ms);
            queue.depth += 1;
            let message_id = first.after(at, Lane::of_priority(message.priority()));
            queue.grouped |= !message.group().is_empty();
            let room = taken
                && ready_len < cx.config.ready_messages
                && ready_bytes < cx.config.ready_bytes
                && self.ready_bytes < cx.config.ready_total_bytes;
            let window = queue.window(message_id);
            let bytes = window.stored(message_id, message, expires_ms, room);
            ready_len += usize::from(bytes > 0);
            ready_bytes += bytes;
            self.ready_bytes += bytes;
            if dispatch {
                window.dispatched = window.dispatched.max(message_id);
                window.dispatch_proposed = window.dispatch_proposed.max(message_id);
            }
        }
        self.active.insert(id);
    }

    /// Messages changed their places.
    pub(super) fn changed(&mut self, changes: Changes, cx: &Context<'_>) {
        self.changed_by(changes, &WhyKept::Failed, cx);
    }

    /// Messages changed their places; `why` those that were to go to an exception destination and stayed.
    pub(super) fn changed_by(&mut self, changes: Changes, why: &WhyKept<'_>, cx: &Context<'_>) {
        for (queue, message) in changes.removed {
            if let Some(state) = self.queues.get_mut(&queue) {
                self.ready_bytes -= state.window(message).gone(message);
                if !state.window(message).is_with_consumer(message) {
                    state.groups.let_go(message);
                }
                state.depth = state.depth.saturating_sub(1);
                self.active.insert(queue);
            }
        }
        for arrival in changes.arrived {
            if !self.queues.contains_key(&arrival.queue) {
                // The only queue that the store makes by itself.
                let mut record = QueueRecord::new(arrival.queue, arrival.name);
                record.settings = Settings::of_system_exception_queue();
                record.version = 1;
                self.add_queue(record);
            }
            if let Some(state) = self.queues.get_mut(&arrival.queue) {
                state.window(arrival.last).arrived(arrival.last);
                state.depth += u64::from(arrival.messages);
                self.active.insert(arrival.queue);
            }
        }
        self.keep(changes.kept, why, cx);
        for (queue, dropped) in changes.dropped {
            if let Some(state) = self.queues.get_mut(&queue) {
                state.dropped += dropped;
            }
        }
        for (queue, message, failed) in changes.counted {
            if let Some(state) = self.queues.get_mut(&queue) {
                state.window(message).counted(message, failed);
            }
        }
        for (queue, more) in changes.delayed {
            if let Some(state) = self.queues.get_mut(&queue) {
                state.delayed = state.delayed.saturating_add_signed(more);
            }
        }
        self.timers.note(changes.due_ms, cx.now);
    }
}
