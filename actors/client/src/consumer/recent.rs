//! The ids settled last, up to a bound.

use baton_domain::MessageId;
use rustc_hash::FxHashSet;

/// Remembers the last so many ids at least, and up to twice as many.
#[derive(Debug)]
pub(crate) struct Recent {
    ids: FxHashSet<MessageId>,
    /// Those before them. They are forgotten all at once: to forget each by itself takes as long as to remember it.
    before: FxHashSet<MessageId>,
    /// Of all that was ever remembered: what is newer, which is nearly all that comes, need not be looked for.
    newest: MessageId,
    least: usize,
}

impl Recent {
    /// Remembers `least` ids, or some more.
    pub(crate) fn new(least: usize) -> Self {
        Self { ids: FxHashSet::default(), before: FxHashSet::default(), newest: MessageId::default(), least }
    }

    /// Remembers an id.
    pub(crate) fn insert(&mut self, id: MessageId) {
        self.newest = self.newest.max(id);
        if self.ids.len() >= self.least {
            std::mem::swap(&mut self.ids, &mut self.before);
            self.ids.clear();
        }
        self.ids.insert(id);
    }

    /// Whether the id is remembered.
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
    fn the_oldest_are_forgotten_first_and_the_last_are_remembered() {
        let mut recent = Recent::new(2);
        for last in 1..100 {
            recent.insert(id(last));
            assert!((last.saturating_sub(1).max(1)..=last).all(|index| recent.contains(&id(index))), "after {last}");
            assert!(!(0..last.saturating_sub(4)).any(|index| recent.contains(&id(index))), "after {last}");
        }
    }

    #[test]
    fn what_is_remembered_twice_takes_one_place() {
        let mut recent = Recent::new(2);
        for index in [1, 2, 2, 2] {
            recent.insert(id(index));
        }
        assert!([1, 2].iter().all(|index| recent.contains(&id(*index))));
    }
}
