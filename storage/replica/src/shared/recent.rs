//! The last entries of the log that this server has, in memory. It gives them their order: whatever was read or written
//! twice is here once.

use std::collections::VecDeque;

use super::log::{Chain, LogEntry, Position};

/// The reason why entries do not follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Discord {
    /// This server has another entry with that index.
    Other {
        /// The index.
        index: u64,
    },
    /// The entry's hash is not that of its content behind the entry before it.
    Damaged {
        /// The index.
        index: u64,
    },
}

/// The last entries, without a gap.
#[derive(Debug, Clone)]
pub(crate) struct Recent {
    /// Before the first entry that is here.
    base: Position,
    entries: VecDeque<LogEntry>,
    bytes: usize,
    most_bytes: usize,
    term: u64,
}

impl Recent {
    /// Begins behind an entry of `term` that was applied; keeps up to some `most_bytes`.
    pub(crate) fn new(base: Position, term: u64, most_bytes: usize) -> Self {
        Self { base, entries: VecDeque::new(), bytes: 0, most_bytes, term }
    }

    /// Begins again before the first entry of the log.
    pub(crate) fn clear(&mut self) {
        *self = Self::new(Position::default(), 0, self.most_bytes);
    }

    /// Behind the last entry.
    pub(crate) fn position(&self) -> Position {
        self.entries.back().map_or(self.base, LogEntry::position)
    }

    /// The term of the last entry.
    pub(crate) fn term(&self) -> u64 {
        self.term
    }

    fn at(&self, index: u64) -> Option<usize> {
        usize::try_from(index.checked_sub(self.base.index)?).ok().filter(|at| *at <= self.entries.len())
    }

    /// The hash of all entries up to that one, if it is known here.
    pub(crate) fn chain_at(&self, index: u64) -> Option<Chain> {
        match self.at(index)? {
            0 => Some(self.base.chain),
            at => self.entries.get(at - 1).map(|entry| entry.chain),
        }
    }

    /// The entries behind that index; `None` if they are no longer here.
    pub(crate) fn after(&self, index: u64) -> Option<Vec<LogEntry>> {
        Some(self.entries.range(self.at(index)?..).cloned().collect())
    }

    /// Takes entries that are durable, and returns those that are new. Nothing of a batch with discord is taken.
    pub(crate) fn extend(&mut self, entries: Vec<LogEntry>) -> Result<Vec<LogEntry>, Discord> {
        let mut at = self.position();
        let mut new = Vec::with_capacity(entries.len());
        for entry in entries {
            let index = entry.index;
            if index <= at.index {
                let known = new.is_empty().then(|| self.chain_at(index)).flatten();
                if known.is_some_and(|known| known != entry.chain) {
                    return Err(Discord::Other { index });
                }
                continue;
            }
            if index != at.index + 1 || at.chain.after(index, entry.term, &entry.body) != entry.chain {
                return Err(Discord::Damaged { index });
            }
            at = entry.position();
            new.push(entry);
        }
        for entry in &new {
            self.bytes += entry.body.len();
            self.term = entry.term;
            self.entries.push_back(entry.clone());
        }
        while self.bytes > self.most_bytes
            && let Some(oldest) = self.entries.pop_front()
        {
            self.bytes -= oldest.body.len();
            self.base = oldest.position();
        }
        Ok(new)
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::{entries, forked};
    use super::*;

    #[test]
    fn entries_come_once_in_order_and_unchanged() {
        let all = entries(1, 1..=6);
        let mut recent = Recent::new(Position::default(), 0, 1 << 20);
        assert_eq!(recent.extend(all[..4].to_vec()).unwrap().len(), 4);
        assert_eq!(recent.extend(all[2..].to_vec()).unwrap(), all[4..], "what is known is left out");
        assert_eq!((recent.position(), recent.term()), (all[5].position(), 1));
        assert_eq!(recent.after(4).unwrap(), all[4..]);
        assert_eq!(recent.after(6).unwrap(), []);
        assert_eq!(recent.after(7), None);
        let fork = forked(&all, 3, 2);
        assert_eq!(recent.extend(fork[2..4].to_vec()), Err(Discord::Other { index: 4 }));
        let mut wrong = all[5].position().entry(1, "7".into());
        wrong.body = "8".into();
        assert_eq!(recent.extend(vec![wrong]), Err(Discord::Damaged { index: 7 }));
        let mut next = all[5].position().entry(1, "7".into());
        next.index = 8;
        assert_eq!(recent.extend(vec![next]), Err(Discord::Damaged { index: 8 }), "a gap");
        assert_eq!(recent.position(), all[5].position());
    }

    #[test]
    fn memory_is_bounded_and_forgets_the_oldest() {
        let all = entries(1, 1..=9);
        let mut recent = Recent::new(Position::default(), 0, 3);
        recent.extend(all.clone()).unwrap();
        assert_eq!(recent.position(), all[8].position());
        assert_eq!((recent.after(5), recent.chain_at(5)), (None, None));
        assert_eq!(recent.after(6).unwrap(), all[6..]);
        assert_eq!(recent.chain_at(6), Some(all[5].chain));
    }
}
