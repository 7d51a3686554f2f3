//! The destinations of a started engine, by number and by name, and which of them to look at next.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use baton_domain::{DestinationKind, Destinations, Epoch, QueueId, QueueName, Settings, Subscriptions};
use baton_replica::QueueRecord;

use super::queue::Queue;

#[derive(Debug)]
pub(in crate::engine) struct Queues {
    epoch: Epoch,
    queues: BTreeMap<QueueId, Queue>,
    ids: BTreeMap<QueueName, QueueId>,
    /// The subscriptions of each topic space.
    topics: HashMap<QueueId, Subscriptions>,
    /// Queues to serve with the next flush: something changed in them.
    active: BTreeSet<QueueId>,
}

impl Queues {
    /// None yet.
    pub(in crate::engine) fn new(epoch: Epoch) -> Self {
        let (queues, ids, topics, active) = Default::default();
        Self { epoch, queues, ids, topics, active }
    }

    pub(in crate::engine) fn len(&self) -> usize {
        self.queues.len()
    }

    pub(in crate::engine) fn get(&self, id: QueueId) -> Option<&Queue> {
        self.queues.get(&id)
    }

    pub(in crate::engine) fn get_mut(&mut self, id: QueueId) -> Option<&mut Queue> {
        self.queues.get_mut(&id)
    }

    pub(in crate::engine) fn contains(&self, id: QueueId) -> bool {
        self.queues.contains_key(&id)
    }

    pub(in crate::engine) fn named(&self, name: &QueueName) -> Option<&Queue> {
        self.get(self.id(name)?)
    }

    /// By number.
    pub(in crate::engine) fn iter(&self) -> impl Iterator<Item = (QueueId, &Queue)> {
        self.queues.iter().map(|(id, queue)| (*id, queue))
    }

    /// By number.
    pub(in crate::engine) fn iter_mut(&mut self) -> impl Iterator<Item = (QueueId, &mut Queue)> {
        self.queues.iter_mut().map(|(id, queue)| (*id, queue))
    }

    /// By name.
    pub(in crate::engine) fn by_name(&self) -> impl Iterator<Item = &Queue> {
        self.ids.values().filter_map(|id| self.get(*id))
    }

    /// The subscriptions of a topic space; `None` if it is none.
    pub(in crate::engine) fn topics(&self, id: QueueId) -> Option<&Subscriptions> {
        self.topics.get(&id)
    }

    pub(in crate::engine) fn is_topic_space(&self, id: QueueId) -> bool {
        self.topics.contains_key(&id)
    }

    pub(in crate::engine) fn is_subscription(&self, id: QueueId) -> bool {
        self.get(id).is_some_and(|queue| matches!(queue.kind, DestinationKind::Subscription(_)))
    }

    /// Adds a destination, unless it is there.
    pub(in crate::engine) fn add(&mut self, record: QueueRecord) {
        if self.contains(record.id) {
            return;
        }
        self.ids.insert(record.name.clone(), record.id);
        match &record.kind {
            DestinationKind::Queue => {}
            DestinationKind::TopicSpace => drop(self.topics.entry(record.id).or_default()),
            DestinationKind::Subscription(subscription) => {
                self.topics.entry(subscription.space).or_default().insert(record.id, subscription);
            }
        }
        self.queues.insert(record.id, Queue::recorded(record, self.epoch));
    }

    pub(in crate::engine) fn remove(&mut self, id: QueueId) -> Option<Queue> {
        let queue = self.queues.remove(&id)?;
        if let DestinationKind::Subscription(subscription) = &queue.kind
            && let Some(topics) = self.topics.get_mut(&subscription.space)
        {
            topics.remove(id, subscription);
        }
        self.topics.remove(&id);
        self.ids.remove(&queue.name);
        self.active.remove(&id);
        Some(queue)
    }

    /// Has a queue served with the next flush.
    pub(in crate::engine) fn wake(&mut self, id: QueueId) {
        self.active.insert(id);
    }

    /// A queue, which is served with the next flush.
    pub(in crate::engine) fn wake_mut(&mut self, id: QueueId) -> Option<&mut Queue> {
        let queue = self.queues.get_mut(&id)?;
        self.active.insert(id);
        Some(queue)
    }

    /// The queues to serve.
    pub(in crate::engine) fn take_active(&mut self) -> BTreeSet<QueueId> {
        std::mem::take(&mut self.active)
    }
}

impl Destinations for Queues {
    fn id(&self, name: &QueueName) -> Option<QueueId> {
        self.ids.get(name).copied()
    }

    fn kind(&self, id: QueueId) -> Option<&DestinationKind> {
        self.get(id).map(|queue| &queue.kind)
    }

    fn settings(&self, id: QueueId) -> Option<&Settings> {
        self.get(id).map(|queue| &queue.settings)
    }
}
