//! Entries for tests.

use std::ops::RangeInclusive;

use super::log::{LogEntry, Position};

/// Entries of one term with these indexes, of a log that begins with them; each holds its index as text.
pub(super) fn entries(term: u64, indexes: RangeInclusive<u64>) -> Vec<LogEntry> {
    let mut at = Position { index: indexes.start() - 1, ..Position::default() };
    let entry = |index: u64| {
        let entry = at.entry(term, index.to_string().into());
        at = entry.position();
        entry
    };
    indexes.map(entry).collect()
}

/// The same entries up to `common`, and then as many of `term`.
pub(super) fn forked(entries: &[LogEntry], common: usize, term: u64) -> Vec<LogEntry> {
    let mut fork = entries[..common].to_vec();
    for entry in &entries[common..] {
        let at = fork.last().map(LogEntry::position).unwrap_or_default();
        fork.push(at.entry(term, entry.body.clone()));
    }
    fork
}
