//! The store in memory: what `apply` does with an engine's writes, with assertions where a write may not contradict it.

mod arrivals;
mod ops;

use std::collections::{BTreeMap, BTreeSet};

use baton_domain::{
    Applied, ChangeId, Command, Committed, ConsumerId, DestinationKind, Epoch, InDoubt, Lane, MessageId, OpResult,
    Prepared, ProducerId, QueueId, QueueName, Settings, StoredMessage, Timer, TimerKind, TransactionName,
};
use baton_replica::{LaneRecord, QueueRecord};

use crate::engine::Recorded;

#[derive(Debug, Clone)]
pub(super) struct ModelQueue {
    pub(super) name: QueueName,
    pub(super) kind: DestinationKind,
    pub(super) settings: Settings,
    version: u64,
    owner: Option<ConsumerId>,
    /// By lane, then by id.
    pub(super) messages: BTreeMap<(Lane, MessageId), StoredMessage>,
    pub(super) heads: BTreeMap<Lane, MessageId>,
    pub(super) dispatched: BTreeMap<Lane, MessageId>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Model {
    pub(super) epoch: Epoch,
    pub(super) index: u64,
    pub(super) queues: BTreeMap<QueueId, ModelQueue>,
    pub(super) producers: BTreeMap<ProducerId, (QueueId, u64, u64)>,
    pub(super) consumers: BTreeMap<ConsumerId, QueueId>,
    queues_made: u32,
    changes: BTreeMap<ChangeId, OpResult>,
    pub(super) in_doubt: BTreeMap<TransactionName, Prepared>,
    /// What went to an exception destination without having been in the store: the reason and the body.
    pub(super) set_aside: Vec<(String, String)>,
}

impl Model {
    pub(super) fn activate(&mut self) -> Epoch {
        self.index += 1;
        self.epoch = Epoch { generation: 0, index: self.index };
        self.epoch
    }

    pub(super) fn recorded(&self) -> Recorded {
        let queues = self.queues.iter().map(|(id, queue)| {
            let mut record = QueueRecord::new(*id, queue.name.clone());
            record.settings = queue.settings.clone();
            (record.kind, record.owner) = (queue.kind.clone(), queue.owner);
            let lanes: BTreeSet<Lane> = queue.messages.keys().map(|(lane, _)| *lane).chain([Lane(0)]).collect();
            record.lanes = lanes.into_iter().map(|lane| (lane, queue.lane(lane))).collect();
            record
        });
        Recorded {
            queues: queues.collect(),
            consumers: self.consumers.iter().map(|(consumer, queue)| (*consumer, *queue)).collect(),
            in_doubt: self.in_doubt.iter().map(|(name, prepared)| InDoubt::of(name.clone(), prepared)).collect(),
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
        let lane = from.lane();
        for ((_, id), stored) in
            queue.messages.range((lane, from)..(Lane(lane.0 + 1), MessageId::default())).take(max_messages)
        {
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

    pub(super) fn timers(&self, after: Option<Timer>, until_ms: u64) -> (Vec<Timer>, Option<u64>) {
        let all = self.queues.iter().flat_map(|(queue, state)| {
            let expires = state.messages.iter().filter(|(_, stored)| stored.expires_ms > 0);
            expires.map(|((_, message), stored)| Timer {
                due_ms: stored.expires_ms,
                kind: TimerKind::Expire,
                queue: *queue,
                message: *message,
            })
        });
        let mut all: Vec<Timer> = all.filter(|timer| Some(*timer) > after).collect();
        all.sort();
        let due = all.partition_point(|timer| timer.due_ms <= until_ms);
        let next = all.get(due).map(|timer| timer.due_ms);
        all.truncate(due);
        (all, next)
    }

    fn named(&self, name: &QueueName) -> Option<QueueId> {
        self.queues.iter().find(|(_, queue)| queue.name == *name).map(|(id, _)| *id)
    }
}

impl ModelQueue {
    fn new(name: &QueueName) -> Self {
        Self {
            name: name.clone(),
            kind: DestinationKind::Queue,
            settings: Settings::default(),
            version: 0,
            owner: None,
            messages: BTreeMap::new(),
            heads: BTreeMap::new(),
            dispatched: BTreeMap::new(),
        }
    }

    fn take(&mut self, id: MessageId) -> Option<StoredMessage> {
        self.messages.remove(&(id.lane(), id))
    }

    /// Of the lane of that message, what may have been delivered.
    pub(super) fn dispatched(&self, id: MessageId) -> MessageId {
        self.dispatched.get(&id.lane()).copied().unwrap_or(id.lane().start())
    }

    fn lane(&self, lane: Lane) -> LaneRecord {
        let of = |known: &BTreeMap<Lane, MessageId>| known.get(&lane).copied().unwrap_or(lane.start());
        let depth = self.messages.keys().filter(|(of, _)| *of == lane).count() as u64;
        LaneRecord { depth, head: of(&self.heads), dispatched: of(&self.dispatched) }
    }
}
