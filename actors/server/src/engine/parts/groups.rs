//! Message groups of a queue: while a consumer holds messages of a group, no other one gets any of it; and while one that
//! was handed back is on its way to its place, nobody does.
//!
//! Bounded by what consumers hold: a group that nobody holds messages of is not remembered, and its next message goes to
//! whoever has the turn.

use std::collections::HashMap;

use baton_domain::{ConsumerId, MessageId};

#[derive(Debug, Default)]
pub(in crate::engine) struct Groups {
    owners: HashMap<String, Owner>,
    /// The group of each message, and whether it was handed back.
    held: HashMap<MessageId, (String, bool)>,
}

/// The consumer that holds messages of a group, and their number.
#[derive(Debug)]
struct Owner {
    consumer: ConsumerId,
    held: u32,
    returning: u32,
}

/// The consumers that may have the next message of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Turn {
    Anybody,
    Only(ConsumerId),
    Nobody,
}

impl Groups {
    pub(in crate::engine) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    pub(in crate::engine) fn turn(&self, group: &str) -> Turn {
        match self.owners.get(group) {
            None => Turn::Anybody,
            Some(owner) if owner.returning > 0 => Turn::Nobody,
            Some(owner) => Turn::Only(owner.consumer),
        }
    }

    /// A consumer holds a message of that group.
    pub(in crate::engine) fn hold(&mut self, id: MessageId, group: &str, consumer: ConsumerId) {
        if group.is_empty() || self.held.contains_key(&id) {
            return;
        }
        let owner = self.owners.entry(group.to_owned()).or_insert(Owner { consumer, held: 0, returning: 0 });
        // Two may say at a failover that they hold some of it, for one of them was thought dead: then nobody gets more
        // until one of them is done.
        let foreign = owner.consumer != consumer;
        owner.held += 1;
        owner.returning += u32::from(foreign);
        self.held.insert(id, (group.to_owned(), foreign));
    }

    /// A message was handed back, and is not in its place yet.
    pub(in crate::engine) fn returning(&mut self, id: MessageId) {
        if let Some((group, returning @ false)) = self.held.get_mut(&id)
            && let Some(owner) = self.owners.get_mut(group)
        {
            *returning = true;
            owner.returning += 1;
        }
    }

    /// Nobody holds the message any more, and it is in its place again or gone.
    pub(in crate::engine) fn let_go(&mut self, id: MessageId) {
        if self.held.is_empty() {
            return;
        }
        let Some((group, returning)) = self.held.remove(&id) else { return };
        if let Some(owner) = self.owners.get_mut(&group) {
            owner.held -= 1;
            owner.returning -= u32::from(returning);
            if owner.held == 0 {
                self.owners.remove(&group);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_its_consumers_until_it_holds_nothing_of_it() {
        let (one, two) = (ConsumerId([1; 16]), ConsumerId([2; 16]));
        let id = |index| MessageId { generation: 1, index, position: 0 };
        let mut groups = Groups::default();
        groups.hold(id(1), "a", one);
        groups.hold(id(1), "a", one);
        groups.hold(id(2), "a", one);
        groups.hold(id(3), "b", two);
        groups.hold(id(4), "", two);
        groups.let_go(id(1));
        let turns = ["a", "b", ""].map(|group| groups.turn(group));
        assert_eq!(turns, [Turn::Only(one), Turn::Only(two), Turn::Anybody]);
        groups.returning(id(2));
        groups.returning(id(2));
        assert_eq!(groups.turn("a"), Turn::Nobody, "what was handed back comes first");
        groups.let_go(id(2));
        groups.let_go(id(2));
        assert_eq!(groups.turn("a"), Turn::Anybody);
        groups.let_go(id(3));
        groups.hold(id(5), "a", one);
        groups.hold(id(6), "a", two);
        assert_eq!(groups.turn("a"), Turn::Nobody, "both hold some");
        groups.let_go(id(6));
        assert_eq!(groups.turn("a"), Turn::Only(one));
        groups.let_go(id(5));
        assert!(groups.is_empty() && groups.owners.is_empty());
    }
}
