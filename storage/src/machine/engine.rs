//! What an engine writes: queues, producers, messages, consumers. Refused as a whole unless the engine's epoch is the
//! running activation.

use std::io;

use super::records::{
    NEXT_QUEUE_KEY, ProducerRecord, counted_bytes, encode, encode_message, message_key, queue_bounds, queue_key,
};
use super::{Family, Machine, QueueState, Tables, Writer};
use crate::seeded::{self, Bug};
use crate::store::QueueRecord;
use crate::{Applied, ConsumerId, EngineOp, Epoch, Message, MessageId, OpResult, ProducerId, QueueId, QueueName};

/// Where an entry stands and how many messages it has stored so far.
struct Entry {
    generation: u32,
    index: u64,
    at_ms: u64,
    position: u32,
    buffer: Vec<u8>,
}

impl Machine {
    pub(super) fn engine(
        &mut self,
        index: u64,
        epoch: Epoch,
        at_ms: u64,
        ops: &[EngineOp],
        tables: &dyn Tables,
        writer: &mut Writer<'_>,
    ) -> io::Result<Applied> {
        let current = self.cluster.epoch();
        let fenced = self.cluster.placement.is_none() || self.cluster.stopped.is_some() || epoch != current;
        if fenced && !seeded::is(Bug::FencingOff) {
            return Ok(Applied::Fenced { current });
        }
        let generation = self.cluster.generation;
        let mut entry = Entry { generation, index, at_ms, position: 0, buffer: Vec::new() };
        let mut results = Vec::with_capacity(ops.len());
        for op in ops {
            results.push(self.op(&mut entry, op, tables, writer)?);
        }
        Ok(Applied::Engine { results })
    }

    fn op(
        &mut self,
        entry: &mut Entry,
        op: &EngineOp,
        tables: &dyn Tables,
        writer: &mut Writer<'_>,
    ) -> io::Result<OpResult> {
        Ok(match op {
            EngineOp::CreateQueue { name } => self.create_queue(name, writer),
            EngineOp::DeleteQueue { name } => self.delete_queue(name, writer),
            EngineOp::OpenProducer { producer, queue } => {
                self.open_producer(entry.at_ms, *producer, queue, tables, writer)?
            }
            EngineOp::ForgetProducers { producers } => {
                for producer in producers {
                    if self.producers.get(*producer, tables)?.is_some() {
                        self.producers.set(*producer, None);
                        writer.delete(Family::Producers, &producer.0);
                    }
                }
                OpResult::Done
            }
            EngineOp::Send { producer, first, messages, dispatch } => {
                self.send(entry, *producer, *first, messages, *dispatch, tables, writer)?
            }
            EngineOp::Dispatch { queue, through } => match self.queues.get_mut(queue) {
                Some(queue) => {
                    if *through > queue.record.dispatched {
                        queue.record.dispatched = *through;
                        write_queue(queue, writer);
                    }
                    OpResult::Done
                }
                None => OpResult::NoSuchQueue,
            },
            EngineOp::Settle { queue, messages, head } => self.settle(*queue, messages, *head, tables, writer)?,
            EngineOp::Requeue { queue, messages } => self.requeue(*queue, messages, tables, writer)?,
            EngineOp::Attach { queue, consumer } => self.attach(queue, *consumer, writer),
            EngineOp::Detach { consumer } => {
                if self.consumers.remove(consumer).is_some() {
                    writer.delete(Family::Consumers, &consumer.0);
                }
                OpResult::Done
            }
        })
    }

    fn create_queue(&mut self, name: &QueueName, writer: &mut Writer<'_>) -> OpResult {
        if let Some(queue) = self.names.get(name) {
            return OpResult::Queue { queue: *queue, created: false };
        }
        let id = QueueId(self.next_queue);
        self.next_queue += 1;
        writer.put(Family::Meta, NEXT_QUEUE_KEY, &encode(&self.next_queue));
        let record = QueueRecord {
            id,
            name: name.clone(),
            depth: 0,
            bytes: 0,
            head: MessageId::default(),
            dispatched: MessageId::default(),
        };
        let queue = QueueState { record, redelivered: 0 };
        write_queue(&queue, writer);
        self.queues.insert(id, queue);
        self.names.insert(name.clone(), id);
        OpResult::Queue { queue: id, created: true }
    }

    /// Producers of a deleted queue are not looked for: a record that names a queue that is gone counts as none
    /// (numbers are never used again), and goes for good when it has been idle for long.
    fn delete_queue(&mut self, name: &QueueName, writer: &mut Writer<'_>) -> OpResult {
        let Some(id) = self.names.remove(name) else { return OpResult::NoSuchQueue };
        self.queues.remove(&id);
        writer.delete(Family::Queues, &queue_key(id));
        let (from, to) = queue_bounds(id);
        writer.delete_range(Family::Messages, &from, &to);
        writer.delete_range(Family::Redeliveries, &from, &to);
        let attached: Vec<ConsumerId> =
            self.consumers.iter().filter(|(_, queue)| **queue == id).map(|(consumer, _)| *consumer).collect();
        for consumer in attached {
            self.consumers.remove(&consumer);
            writer.delete(Family::Consumers, &consumer.0);
        }
        OpResult::Done
    }

    /// The producer's record, unless its queue is gone.
    fn producer(&mut self, id: ProducerId, tables: &dyn Tables) -> io::Result<Option<ProducerRecord>> {
        let record = self.producers.get(id, tables)?;
        Ok(record.filter(|record| self.queues.contains_key(&record.queue)))
    }

    fn write_producer(&mut self, id: ProducerId, record: ProducerRecord, writer: &mut Writer<'_>) {
        writer.put(Family::Producers, &id.0, &encode(&record));
        self.producers.set(id, Some(record));
    }

    fn open_producer(
        &mut self,
        at_ms: u64,
        id: ProducerId,
        queue: &QueueName,
        tables: &dyn Tables,
        writer: &mut Writer<'_>,
    ) -> io::Result<OpResult> {
        let Some(queue) = self.names.get(queue).copied() else { return Ok(OpResult::NoSuchQueue) };
        // A known one stays with its queue, and is told which that is.
        let known = self.producer(id, tables)?;
        let record = match known {
            Some(known) => ProducerRecord { at_ms: known.at_ms.max(at_ms), ..known },
            None => ProducerRecord { queue, last: 0, at_ms },
        };
        if known != Some(record) {
            self.write_producer(id, record, writer);
        }
        Ok(OpResult::Producer { queue: record.queue, next: record.last + 1 })
    }

    #[allow(clippy::too_many_arguments)]
    fn send(
        &mut self,
        entry: &mut Entry,
        producer: ProducerId,
        first: u64,
        messages: &[Message],
        dispatch: bool,
        tables: &dyn Tables,
        writer: &mut Writer<'_>,
    ) -> io::Result<OpResult> {
        let Some(known) = self.producer(producer, tables)? else { return Ok(OpResult::ProducerUnknown) };
        let expected = known.last + 1;
        // Numbers start at 1: a zero would pass for a duplicate and hide a message.
        if first == 0 || first > expected {
            // It was heard, which is what a producer that has nothing to send asks for: it is not idle.
            let heard = ProducerRecord { at_ms: known.at_ms.max(entry.at_ms), ..known };
            if heard != known {
                self.write_producer(producer, heard, writer);
            }
            return Ok(OpResult::Gap { expected });
        }
        let count =
            u32::try_from(messages.len()).map_err(|_| io::Error::other("an entry of over 4 billion messages"))?;
        let before = if seeded::is(Bug::DuplicateWindowOff) { 0 } else { expected - first };
        let duplicates = u32::try_from(before).map_or(count, |before| before.min(count));
        let accepted = count - duplicates;
        let first_id = MessageId { generation: entry.generation, index: entry.index, position: entry.position };
        let Some(queue) = self.queues.get_mut(&known.queue) else { return Ok(OpResult::ProducerUnknown) };
        let mut sizes = Vec::with_capacity(accepted as usize);
        for message in &messages[duplicates as usize..] {
            let id = MessageId { position: entry.position, ..first_id };
            let key = message_key(known.queue, id);
            encode_message(message, entry.at_ms, &mut entry.buffer);
            writer.put(Family::Messages, &key, &entry.buffer);
            let size = counted_bytes(message);
            sizes.push(size);
            queue.record.depth += 1;
            queue.record.bytes += u64::from(size);
            if dispatch {
                queue.record.dispatched = queue.record.dispatched.max(id);
            }
            entry.position += 1;
        }
        if accepted > 0 {
            self.recent.stored(known.queue, first_id, sizes);
            write_queue(queue, writer);
        }
        let record = ProducerRecord {
            last: known.last.max(first - 1 + u64::from(count)),
            at_ms: known.at_ms.max(entry.at_ms),
            queue: known.queue,
        };
        if record != known {
            self.write_producer(producer, record, writer);
        }
        Ok(OpResult::Sent { queue: known.queue, duplicates, accepted, first: first_id })
    }

    fn settle(
        &mut self,
        queue: QueueId,
        messages: &[MessageId],
        head: MessageId,
        tables: &dyn Tables,
        writer: &mut Writer<'_>,
    ) -> io::Result<OpResult> {
        let Some(state) = self.queues.get_mut(&queue) else { return Ok(OpResult::NoSuchQueue) };
        let before = state.clone();
        let mut settled = 0;
        for id in messages {
            let key = message_key(queue, *id);
            let Some(size) = self.recent.size(queue, *id, tables)? else { continue };
            writer.delete(Family::Messages, &key);
            self.recent.deleted(queue, *id);
            if state.redelivered > 0 && self.redeliveries.get(&key, tables)?.is_some() {
                writer.delete(Family::Redeliveries, &key);
                self.redeliveries.set(key, None);
                state.redelivered -= 1;
            }
            state.record.depth = state.record.depth.saturating_sub(1);
            state.record.bytes = state.record.bytes.saturating_sub(u64::from(size));
            settled += 1;
        }
        state.record.head = state.record.head.max(head);
        if *state != before {
            write_queue(state, writer);
        }
        Ok(OpResult::Settled { settled })
    }

    fn requeue(
        &mut self,
        queue: QueueId,
        messages: &[MessageId],
        tables: &dyn Tables,
        writer: &mut Writer<'_>,
    ) -> io::Result<OpResult> {
        let Some(state) = self.queues.get_mut(&queue) else { return Ok(OpResult::NoSuchQueue) };
        let before = state.redelivered;
        for id in messages {
            let key = message_key(queue, *id);
            if self.recent.size(queue, *id, tables)?.is_none() {
                continue;
            }
            let count = if state.redelivered == 0 { None } else { self.redeliveries.get(&key, tables)? };
            if count.is_none() {
                state.redelivered += 1;
            }
            let count = count.unwrap_or(0).saturating_add(1);
            writer.put(Family::Redeliveries, &key, &count.to_be_bytes());
            self.redeliveries.set(key, Some(count));
        }
        if state.redelivered != before {
            write_queue(state, writer);
        }
        Ok(OpResult::Done)
    }

    fn attach(&mut self, name: &QueueName, consumer: ConsumerId, writer: &mut Writer<'_>) -> OpResult {
        let Some(queue) = self.names.get(name).copied() else { return OpResult::NoSuchQueue };
        if self.consumers.insert(consumer, queue) != Some(queue) {
            writer.put(Family::Consumers, &consumer.0, &queue_key(queue));
        }
        OpResult::Queue { queue, created: false }
    }
}

fn write_queue(queue: &QueueState, writer: &mut Writer<'_>) {
    writer.put(Family::Queues, &queue_key(queue.record.id), &encode(queue));
}
