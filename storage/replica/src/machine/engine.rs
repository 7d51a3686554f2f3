//! The writes of an engine: queues, producers, consumers; `messages` has the rest. Refused as a whole unless the
//! engine's epoch is the running activation.

use std::collections::BTreeMap;
use std::io;

use baton_domain::seeded::{self, Bug};
use baton_domain::{
    Applied, ChangeId, Command, ConsumerId, DestinationKind, Destinations, EngineOp, Epoch, ExceptionDestination,
    OpResult, Prepared, ProducerId, QueueId, QueueName, SYSTEM_EXCEPTION_QUEUE, Settings, SettingsPatch, Written,
};

use super::apply::Apply;
use super::records::{ConsumerRecord, NEXT_QUEUE_KEY, ProducerRecord, QueueSettings, encode, queue_key};
use super::transactions::SESSIONS;
use super::{Family, Machine, QueueState, Tables, Writer};

impl Machine {
    pub(super) fn engine(
        &mut self,
        apply: &mut Apply<'_>,
        epoch: Epoch,
        at_ms: u64,
        ops: &[EngineOp],
    ) -> io::Result<Applied> {
        let current = self.cluster.epoch();
        let fenced = self.cluster.placement.is_none() || self.cluster.stopped.is_some() || epoch != current;
        if fenced && !seeded::is(Bug::FencingOff) {
            return Ok(Applied::Fenced { current });
        }
        apply.at_ms = at_ms;
        let mut results = Vec::with_capacity(ops.len());
        for op in ops {
            // Messages of several producers go into one pack, as long as nothing else comes in between.
            if !matches!(op, EngineOp::Send { .. } | EngineOp::Post { .. }) {
                self.write_pack(&mut apply.writer);
            }
            results.push(self.op(apply, op)?);
            self.messages.end_op(|queue| self.queues.contains_key(&queue), &mut apply.writer);
        }
        self.write_pack(&mut apply.writer);
        for queue in apply.writer.changed_queues() {
            if let Some(state) = self.queues.get(&queue) {
                apply.writer.put(Family::Queues, &queue_key(queue), &encode(state));
            }
        }
        Ok(Applied::Engine { results })
    }

    fn op(&mut self, apply: &mut Apply<'_>, op: &EngineOp) -> io::Result<OpResult> {
        Ok(match op {
            EngineOp::CreateQueue { name } => self.create_queue(name, &mut apply.writer),
            EngineOp::DeleteQueue { name } => match self.names.get(name).copied() {
                Some(queue) => self.delete_queue(apply, queue)?,
                None => OpResult::NoSuchQueue,
            },
            EngineOp::Delete { name, if_empty, if_unused } => self.delete(apply, name, *if_empty, *if_unused)?,
            EngineOp::Create { name, kind, settings, owner } => {
                self.create(name, kind, settings, owner.map(|consumer| (consumer, apply.order())), &mut apply.writer)
            }
            EngineOp::OpenProducer { producer, queue } => self.open_producer(apply, *producer, queue)?,
            EngineOp::ForgetProducers { producers } => {
                for producer in producers {
                    if self.producers.get(*producer, apply.tables)?.is_some() {
                        self.producers.set(*producer, None);
                        apply.writer.delete(Family::Producers, &producer.0);
                    }
                }
                OpResult::Done
            }
            EngineOp::Send { producer, registration, first, messages, dispatch } => {
                self.send(apply, *producer, (*registration, *first), messages, *dispatch)?
            }
            EngineOp::Dispatch { queue, through } => match self.queues.get_mut(queue) {
                Some(queue) => {
                    let known = queue.lanes.get(&through.lane()).map(|lane| lane.dispatched);
                    if *through > known.unwrap_or(through.lane().start()) {
                        queue.lane(through.lane()).dispatched = *through;
                        apply.writer.queue_changed(queue.id);
                    }
                    OpResult::Done
                }
                None => OpResult::NoSuchQueue,
            },
            EngineOp::Settle { queue, messages, heads } => self.settle(apply, *queue, messages, heads)?,
            EngineOp::Requeue { queue, messages } => self.requeue(apply, *queue, messages)?,
            // It may have been deleted since the engine looked.
            EngineOp::Configure { name, patch, if_version } => match self.names.get(name).copied() {
                Some(queue) => self.configure(queue, patch, *if_version, &mut apply.writer),
                None => OpResult::NoSuchQueue,
            },
            EngineOp::Move { queue, messages, to } => self.move_messages(apply, *queue, messages, to)?,
            EngineOp::Fire { timers } => self.fire(apply, timers)?,
            EngineOp::OpenSession { session } => self.open_session(apply, *session)?,
            EngineOp::Transact { session, number, sends, settles } => {
                self.transact(apply, *session, *number, sends, settles)?
            }
            EngineOp::Post { queue, messages, dispatch } => self.post(apply, *queue, messages, *dispatch),
            EngineOp::SetAside { queue, reason, messages } => self.set_aside_new(apply, *queue, reason, messages)?,
            EngineOp::Prepare { name, session, number, sends, settles } => {
                let (session, number, at_ms) = (*session, *number, apply.at_ms);
                let prepared = Prepared { session, number, at_ms, sends: sends.clone(), settles: settles.clone() };
                self.prepare(apply, name, prepared)?
            }
            EngineOp::Resolve { name, commit } => self.resolve(apply, name, *commit)?,
            EngineOp::Purge { queue, through, limit } => self.purge(apply, *queue, *through, *limit)?,
            EngineOp::Attach { queue, consumer } => self.attach(queue, *consumer, apply.order(), &mut apply.writer),
            EngineOp::Detach { consumer } => self.detach(apply, *consumer)?,
            EngineOp::ClaimProducer { producer, queue, seen } => self.claim_producer(apply, *producer, queue, *seen)?,
            EngineOp::CountLost { queue, through, except, consumers } => {
                self.count_lost(apply, *queue, through, except, *consumers)?
            }
            EngineOp::Once { change, op } => {
                if let Some(repeated) = self.recall(*change) {
                    return Ok(repeated);
                }
                let result = self.op(apply, op)?;
                if changed(&result) {
                    let answer = Applied::Engine { results: vec![result.clone()] };
                    self.changes.remember(*change, answer, &mut apply.writer);
                }
                result
            }
            EngineOp::TouchProducer { producer, registration } => {
                self.touch_producer(apply, *producer, *registration)?
            }
            EngineOp::Recall { change } => self.recall(*change).unwrap_or(OpResult::Done),
        })
    }

    /// The answer to an engine's change that was applied before.
    fn recall(&self, change: ChangeId) -> Option<OpResult> {
        let answer = match self.changes.answer(change)? {
            Applied::Engine { results } => results.first().cloned(),
            _ => None,
        };
        let other = || OpResult::Refused { why: "this change id was used for another kind of change".to_owned() };
        Some(OpResult::Repeated(Box::new(answer.unwrap_or_else(other))))
    }

    pub(super) fn create_queue(&mut self, name: &QueueName, writer: &mut Writer<'_>) -> OpResult {
        if let Some(queue) = self.names.get(name) {
            return OpResult::Queue { queue: *queue, created: false };
        }
        let id = QueueId(self.next_queue);
        let Some(next) = self.next_queue.checked_add(1) else {
            return OpResult::Refused { why: "the cluster has had 4 billion queues, as many as it may".to_owned() };
        };
        self.next_queue = next;
        writer.put(Family::Meta, NEXT_QUEUE_KEY, &encode(&self.next_queue));
        let lanes = BTreeMap::new();
        let queue = QueueState { id, name: name.clone(), bytes: 0, redelivered: 0, delayed: 0, lanes };
        writer.queue_changed(id);
        self.queues.insert(id, queue);
        self.names.insert(name.clone(), id);
        OpResult::Queue { queue: id, created: true }
    }

    fn configure(
        &mut self,
        queue: QueueId,
        patch: &SettingsPatch,
        if_version: Option<u64>,
        writer: &mut Writer<'_>,
    ) -> OpResult {
        let known = self.settings.get(&queue).cloned().unwrap_or_default();
        if if_version.is_some_and(|asked| asked != known.version) {
            return OpResult::OtherVersion { version: known.version };
        }
        let (settings, version) = (patch.applied_to(&known.settings), known.version.saturating_add(1));
        if seeded::is(Bug::SettingsLost) && settings.max_messages % 3 == 1 {
            return OpResult::Configured { queue, settings: Box::new(settings), version };
        }
        let record = QueueSettings { settings: settings.clone(), version, ..known };
        writer.put(Family::Settings, &queue_key(queue), &encode(&record));
        self.settings.insert(queue, record);
        OpResult::Configured { queue, settings: Box::new(settings), version }
    }

    /// Settings of a queue.
    pub(super) fn settings_of(&self, queue: QueueId) -> Settings {
        self.settings.get(&queue).map(|record| record.settings.clone()).unwrap_or_default()
    }

    /// Destination of dead letters of a queue; `None`: they stay. Only a queue takes them: the meaning of a name
    /// can change after it was set.
    pub(super) fn exception_queue(&mut self, of: QueueId, writer: &mut Writer<'_>) -> Option<QueueId> {
        let named = match self.settings_of(of).exception {
            ExceptionDestination::None => return None,
            ExceptionDestination::Queue(name) => self.names.get(&name).copied(),
            ExceptionDestination::System => None,
        };
        let target = match named.filter(|queue| self.kind(*queue) == Some(&DestinationKind::Queue)) {
            Some(queue) => queue,
            None => self.system_exception_queue(writer)?,
        };
        (target != of).then_some(target)
    }

    /// Creates it when it is first needed. Messages never leave it automatically.
    fn system_exception_queue(&mut self, writer: &mut Writer<'_>) -> Option<QueueId> {
        let name = QueueName::new(SYSTEM_EXCEPTION_QUEUE).ok()?;
        if let Some(known) = self.names.get(&name) {
            return Some(*known);
        }
        let OpResult::Queue { queue, .. } = self.create_queue(&name, writer) else { return None };
        self.configure(queue, &Settings::of_system_exception_queue().into(), None, writer);
        Some(queue)
    }

    /// Removes a consumer and the destinations that it owns.
    fn detach(&mut self, apply: &mut Apply<'_>, consumer: ConsumerId) -> io::Result<OpResult> {
        if self.consumers.remove(&consumer).is_none() {
            return Ok(OpResult::Detached { deleted: Vec::new() });
        }
        apply.writer.delete(Family::Consumers, &consumer.0);
        let own = self.settings.iter().filter(|(_, record)| record.owner == Some(consumer)).map(|(queue, _)| *queue);
        let deleted: Vec<QueueId> = own.collect();
        for queue in &deleted {
            self.delete_queue(apply, *queue)?;
        }
        Ok(OpResult::Detached { deleted })
    }

    /// The producer's record, unless its queue is gone.
    pub(super) fn producer(&mut self, id: ProducerId, tables: &dyn Tables) -> io::Result<Option<ProducerRecord>> {
        let record = self.producers.get(id, tables)?;
        Ok(record.filter(|record| record.queue == SESSIONS || self.queues.contains_key(&record.queue)))
    }

    pub(super) fn write_producer(&mut self, id: ProducerId, record: ProducerRecord, writer: &mut Writer<'_>) {
        writer.put(Family::Producers, &id.0, &encode(&record));
        self.producers.set(id, Some(record));
    }

    fn open_producer(&mut self, apply: &mut Apply<'_>, id: ProducerId, queue: &QueueName) -> io::Result<OpResult> {
        let Some(queue) = self.names.get(queue).copied() else { return Ok(OpResult::NoSuchQueue) };
        // A known producer keeps its queue.
        let known = self.producer(id, apply.tables)?;
        let record = known.unwrap_or_else(|| ProducerRecord::new(queue, apply.at_ms)).heard(apply.at_ms);
        if known != Some(record) {
            self.write_producer(id, record, &mut apply.writer);
        }
        Ok(record.registered(false))
    }

    /// A producer without messages stays alive.
    fn touch_producer(&mut self, apply: &mut Apply<'_>, id: ProducerId, registration: u64) -> io::Result<OpResult> {
        let Some(known) = self.producer(id, apply.tables)? else { return Ok(OpResult::ProducerUnknown) };
        if registration != known.registration {
            return Ok(OpResult::Fenced);
        }
        let heard = known.heard(apply.at_ms);
        if heard != known {
            self.write_producer(id, heard, &mut apply.writer);
        }
        Ok(heard.registered(false))
    }

    fn claim_producer(
        &mut self,
        apply: &mut Apply<'_>,
        id: ProducerId,
        queue: &QueueName,
        seen: Option<Written>,
    ) -> io::Result<OpResult> {
        let Some(queue) = self.names.get(queue).copied() else { return Ok(OpResult::NoSuchQueue) };
        let known = self.producer(id, apply.tables)?.unwrap_or_else(|| ProducerRecord::new(queue, apply.at_ms));
        let written = Written { last: known.last, digest: known.digest };
        if seen.is_some_and(|seen| seen != written) {
            return Ok(known.registered(false));
        }
        // The position in the log: unique among all claims, also of a name that was forgotten in between.
        let record = ProducerRecord { registration: apply.order(), ..known.heard(apply.at_ms) };
        self.write_producer(id, record, &mut apply.writer);
        Ok(record.registered(true))
    }

    pub(super) fn attach(
        &mut self,
        name: &QueueName,
        consumer: ConsumerId,
        order: u64,
        writer: &mut Writer<'_>,
    ) -> OpResult {
        let Some(queue) = self.names.get(name).copied() else { return OpResult::NoSuchQueue };
        if self.consumers.get(&consumer).is_none_or(|known| known.queue != queue) {
            let record = ConsumerRecord { queue, order };
            self.consumers.insert(consumer, record);
            writer.put(Family::Consumers, &consumer.0, &record.bytes());
        }
        OpResult::Queue { queue, created: false }
    }
}

/// True if a change of a destination was made. The answers to others take no place among those that are remembered: a
/// repetition is judged anew.
fn changed(result: &OpResult) -> bool {
    matches!(
        result,
        OpResult::Queue { created: true, .. } | OpResult::Done | OpResult::Deleted { .. } | OpResult::Configured { .. }
    )
}

/// True if a command reads messages or timers, and so has to find the writes of earlier commands in the tables.
pub(super) fn reads_messages(command: &Command) -> bool {
    let Command::Engine { ops, .. } = command else { return false };
    ops.iter().any(reads)
}

fn reads(op: &EngineOp) -> bool {
    match op {
        EngineOp::Once { op, .. } => reads(op),
        EngineOp::Requeue { .. }
        | EngineOp::Move { .. }
        | EngineOp::Fire { .. }
        | EngineOp::Purge { .. }
        | EngineOp::Resolve { .. }
        | EngineOp::DeleteQueue { .. }
        | EngineOp::CountLost { .. }
        | EngineOp::SetAside { .. }
        | EngineOp::Delete { .. }
        | EngineOp::Detach { .. } => true,
        EngineOp::CreateQueue { .. }
        | EngineOp::OpenSession { .. }
        | EngineOp::Transact { .. }
        | EngineOp::Prepare { .. }
        | EngineOp::Create { .. }
        | EngineOp::OpenProducer { .. }
        | EngineOp::ForgetProducers { .. }
        | EngineOp::Send { .. }
        | EngineOp::Post { .. }
        | EngineOp::Dispatch { .. }
        | EngineOp::Settle { .. }
        | EngineOp::Attach { .. }
        | EngineOp::ClaimProducer { .. }
        | EngineOp::Recall { .. }
        | EngineOp::TouchProducer { .. }
        | EngineOp::Configure { .. } => false,
    }
}
