//! The ids settled last, up to a bound.

use std::collections::{HashSet, VecDeque};

use baton_storage::MessageId;

/// Remembers the last so many ids.
#[derive(Debug)]
pub(crate) struct Recent {
    ids: HashSet<MessageId>,
    order: VecDeque<MessageId>,
    most: usize,
}

impl Recent {
    /// Remembers up to `most` ids.
    pub(crate) fn new(most: usize) -> Self {
        Self { ids: HashSet::new(), order: VecDeque::new(), most }
    }

    /// Remembers an id, and forgets the oldest if there are too many.
    pub(crate) fn insert(&mut self, id: MessageId) {
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
        self.ids.contains(id)
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
