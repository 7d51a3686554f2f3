//! The ids settled last, up to a bound.

use std::collections::VecDeque;

use baton_storage::MessageId;
use rustc_hash::FxHashSet;

/// Remembers the last so many ids.
#[derive(Debug)]
pub(crate) struct Recent {
    ids: FxHashSet<MessageId>,
    order: VecDeque<MessageId>,
    /// Of all that was ever remembered: what is newer, which is nearly all that comes, need not be looked for.
    newest: MessageId,
    most: usize,
}

impl Recent {
    /// Remembers up to `most` ids.
    pub(crate) fn new(most: usize) -> Self {
        Self { ids: FxHashSet::default(), order: VecDeque::new(), newest: MessageId::default(), most }
    }

    /// Remembers an id, and forgets the oldest if there are too many.
    pub(crate) fn insert(&mut self, id: MessageId) {
        self.newest = self.newest.max(id);
        if self.ids.insert(id) {
            self.order.push_back(id);
        }
        while self.order.len() > self.most {
            if let Some(oldest) = self.order.pop_front() {
                self.ids.remove(&oldest);
            }
        }
    }

    /// Whether the id is remembered.
    pub(crate) fn contains(&self, id: &MessageId) -> bool {
        *id <= self.newest && self.ids.contains(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(index: u64) -> MessageId {
        MessageId { generation: 0, index, position: 0 }
    }

    #[test]
    fn the_oldest_is_forgotten_first() {
        let mut recent = Recent::new(2);
        for index in [1, 2, 2, 3] {
            recent.insert(id(index));
        }
        assert_eq!([1, 2, 3].map(|index| recent.contains(&id(index))), [false, true, true]);
    }
}
