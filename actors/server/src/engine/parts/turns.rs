//! Queues that have their turn one after the other.

use std::collections::BTreeSet;
use std::ops::Bound;

use baton_domain::QueueId;

/// A set of queues; the next in turn follows the last one that had it.
#[derive(Debug, Default)]
pub(in crate::engine) struct Turns {
    queues: BTreeSet<QueueId>,
    last: Option<QueueId>,
}

impl Turns {
    pub(in crate::engine) fn insert(&mut self, queue: QueueId) {
        self.queues.insert(queue);
    }

    pub(in crate::engine) fn remove(&mut self, queue: QueueId) {
        self.queues.remove(&queue);
    }

    pub(in crate::engine) fn contains(&self, queue: QueueId) -> bool {
        self.queues.contains(&queue)
    }

    pub(in crate::engine) fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    pub(in crate::engine) fn clear(&mut self) {
        self.queues.clear();
    }

    /// Takes the next one out.
    pub(in crate::engine) fn next(&mut self) -> Option<QueueId> {
        let after = (self.last.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let next = self.queues.range(after).next().or(self.queues.first()).copied()?;
        self.queues.remove(&next);
        self.last = Some(next);
        Some(next)
    }
}
