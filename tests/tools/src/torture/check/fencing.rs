//! Invariant 1: of the entries applied, none that an engine wrote and that was accepted carries an epoch older than the
//! newest activation before it; and all replicas agree on what was at each index.

use std::collections::BTreeMap;

use super::Outcome;
use crate::torture::history::History;
use crate::torture::trace::{Epoch, Trace};

/// The entry at an index, by a replica's trace.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    Write { epoch: Epoch, accepted: bool },
    Activation { epoch: Epoch, host: String },
}

pub(super) fn check(history: &History) -> Outcome {
    let trace = &history.trace;
    if trace.applied.is_empty() || trace.activated.is_empty() {
        return Outcome::NoTrace;
    }
    let mut violations: Vec<String> = trace.unreadable.iter().map(|line| format!("unreadable: {line}")).collect();
    let entries = agreed(trace, &mut violations);
    let mut newest = Epoch(0, 0);
    for (index, (server, entry)) in &entries {
        match entry {
            Entry::Activation { epoch, host } => {
                if *epoch <= newest {
                    violations.push(format!("{index}: {host} was activated with {epoch}, which is not above {newest}"));
                }
                newest = newest.max(*epoch);
            }
            Entry::Write { epoch, accepted: true } if *epoch < newest => {
                violations.push(format!("{index}: {server} accepted a write of {epoch} after the activation {newest}"));
            }
            Entry::Write { .. } => {}
        }
    }
    Outcome::of(violations)
}

/// The entry at each index, with the first server that traced it; a different entry is a violation.
fn agreed<'a>(trace: &'a Trace, violations: &mut Vec<String>) -> BTreeMap<u64, (&'a str, Entry)> {
    let writes = trace
        .applied
        .iter()
        .map(|it| (it.index, it.server.as_str(), Entry::Write { epoch: it.epoch, accepted: it.accepted }));
    let activations = trace
        .activated
        .iter()
        .map(|it| (it.index, it.server.as_str(), Entry::Activation { epoch: it.epoch, host: it.host.clone() }));
    let mut entries: BTreeMap<u64, (&str, Entry)> = BTreeMap::new();
    for (index, server, entry) in writes.chain(activations) {
        match entries.get(&index) {
            Some((other, said)) if *said != entry => {
                violations.push(format!("{index}: {server} applied {entry:?}, {other} applied {said:?}"));
            }
            Some(_) => {}
            None => {
                entries.insert(index, (server, entry));
            }
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torture::trace::{Activated, Applied};

    fn history(applied: &[(&str, u64, u64, bool)], activated: &[(&str, u64, &str)]) -> History {
        let mut history = History::default();
        history.trace.applied = applied
            .iter()
            .map(|&(server, index, epoch, accepted)| Applied {
                server: server.to_owned(),
                index,
                epoch: Epoch(0, epoch),
                accepted,
            })
            .collect();
        history.trace.activated = activated
            .iter()
            .map(|&(server, index, host)| Activated {
                server: server.to_owned(),
                index,
                epoch: Epoch(0, index),
                host: host.to_owned(),
            })
            .collect();
        history
    }

    fn caught(history: &History, words: &str) -> bool {
        matches!(check(history), Outcome::Violated(how) if how.iter().any(|one| one.contains(words)))
    }

    #[test]
    fn writes_of_the_newest_epoch_and_refused_ones_are_good() {
        let good = history(
            &[("a", 5, 1, true), ("b", 5, 1, true), ("a", 11, 1, false), ("a", 12, 10, true), ("a", 12, 10, true)],
            &[("a", 1, "a"), ("b", 1, "a"), ("a", 10, "b")],
        );
        assert_eq!(check(&good), Outcome::Held);
    }

    #[test]
    fn a_write_of_an_older_epoch_that_was_accepted_is_caught() {
        let bad = history(&[("a", 5, 1, true), ("a", 11, 1, true)], &[("a", 1, "a"), ("a", 10, "b")]);
        assert!(caught(&bad, "accepted a write of 0.1"));
    }

    #[test]
    fn replicas_that_disagree_are_caught() {
        let judged = history(&[("a", 5, 1, true), ("b", 5, 1, false)], &[("a", 1, "a")]);
        assert!(caught(&judged, "b applied"));
        let activated = history(&[("a", 5, 1, true)], &[("a", 1, "a"), ("b", 1, "b")]);
        assert!(caught(&activated, "b applied"));
    }

    #[test]
    fn an_epoch_that_does_not_grow_is_caught() {
        let mut bad = history(&[("a", 5, 1, true)], &[("a", 1, "a"), ("a", 9, "b")]);
        bad.trace.activated[1].epoch = Epoch(0, 1);
        assert!(caught(&bad, "not above"));
    }

    #[test]
    fn no_trace_is_not_a_good_trace() {
        assert_eq!(check(&History::default()), Outcome::NoTrace);
    }
}
