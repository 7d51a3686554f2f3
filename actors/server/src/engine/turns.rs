//! Queues that have their turn one after the other.

use std::collections::BTreeSet;
use std::ops::Bound;

use baton_domain::QueueId;

/// A set of queues; the next in turn follows the last one that had it.
#[derive(Debug, Default)]
pub(super) struct Turns {
    queues: BTreeSet<QueueId>,
    last: Option<QueueId>,
}

impl Turns {
    pub(super) fn insert(&mut self, queue: QueueId) {
        self.queues.insert(queue);
    }

    pub(super) fn remove(&mut self, queue: QueueId) {
        self.queues.remove(&queue);
    }

    pub(super) fn contains(&self, queue: QueueId) -> bool {
        self.queues.contains(&queue)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.queues.clear();
    }

    /// Takes the next one out.
    pub(super) fn next(&mut self) -> Option<QueueId> {
        let after = (self.last.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let next = self.queues.range(after).next().or(self.queues.first()).copied()?;
        self.queues.remove(&next);
        self.last = Some(next);
        Some(next)
    }
}
