//! The ids of the messages that were acknowledged last, up to a bound.

use baton_domain::MessageId;
use rustc_hash::FxHashSet;

/// A bounded set of the newest ids: at least `least`, and up to twice as many.
#[derive(Debug)]
pub(crate) struct Recent {
    ids: FxHashSet<MessageId>,
    /// Older ids, which are dropped all at once: dropping them one by one takes as long as inserting them.
    before: FxHashSet<MessageId>,
    /// The highest id that was ever inserted. A higher one, as in nearly every lookup, is not in the set.
    newest: MessageId,
    least: usize,
}

impl Recent {
    /// An empty set that keeps at least `least` ids.
    pub(crate) fn new(least: usize) -> Self {
        Self { ids: FxHashSet::default(), before: FxHashSet::default(), newest: MessageId::default(), least }
    }

    /// Adds an id.
    pub(crate) fn insert(&mut self, id: MessageId) {
        self.newest = self.newest.max(id);
        if self.ids.len() >= self.least {
            std::mem::swap(&mut self.ids, &mut self.before);
            self.ids.clear();
        }
        self.ids.insert(id);
    }

    /// True if the id is in the set.
    pub(crate) fn contains(&self, id: &MessageId) -> bool {
        *id <= self.newest && (self.ids.contains(id) || self.before.contains(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(index: u64) -> MessageId {
        MessageId { generation: 0, index, position: 0 }
    }

    #[test]
    fn the_oldest_ids_are_dropped_first_and_the_newest_are_kept() {
        let mut recent = Recent::new(2);
        for last in 1..100 {
            recent.insert(id(last));
            assert!((last.saturating_sub(1).max(1)..=last).all(|index| recent.contains(&id(index))), "after {last}");
            assert!(!(0..last.saturating_sub(4)).any(|index| recent.contains(&id(index))), "after {last}");
        }
    }

    #[test]
    fn an_id_that_is_inserted_twice_takes_one_place() {
        let mut recent = Recent::new(2);
        for index in [1, 2, 2, 2] {
            recent.insert(id(index));
        }
        assert!([1, 2].iter().all(|index| recent.contains(&id(*index))));
    }
}
