//! What must hold of a run, whatever happened. Pure, so that it can be shown histories that must not pass.

use std::collections::{BTreeMap, BTreeSet};

use super::trace::{Trace, Traces};

/// Invariant 1: each write that was accepted carries the newest activation before it, each other one does not.
pub(super) fn fencing(traces: &Traces) -> Vec<String> {
    let mut broken = traces.contradictions.clone();
    let mut newest = 0;
    for (index, trace) in &traces.entries {
        match trace {
            Trace::Activated => newest = *index,
            Trace::Wrote { epoch, accepted } if *accepted != (*epoch == newest) => {
                let word = if *accepted { "accepted" } else { "refused" };
                broken.push(format!("entry {index} of epoch {epoch} was {word} under activation {newest}"));
            }
            Trace::Wrote { .. } => {}
        }
    }
    broken
}

/// Invariant 2, the store's part: who has a lease now.
pub(super) fn leases(holders: &[u64]) -> Option<String> {
    (holders.len() > 1).then(|| format!("replicas {holders:?} have a lease at one moment"))
}

/// Invariants 3, 4 and 5 at one replica: what is in the queue, and what was taken off it, is every number of each
/// producer once, from the first to beyond the last that was confirmed, in order.
pub(super) fn contents(
    replica: u64,
    queue: &[(u8, u64)],
    settled: &BTreeSet<(u8, u64)>,
    confirmed: &BTreeMap<u8, u64>,
) -> Vec<String> {
    let mut broken = Vec::new();
    let mut last: BTreeMap<u8, u64> = BTreeMap::new();
    for (producer, number) in queue {
        let before = last.insert(*producer, *number).unwrap_or(0);
        if *number <= before {
            broken.push(format!("replica {replica}: {producer}:{number} stands behind {producer}:{before}"));
        }
        for missing in before + 1..*number {
            if !settled.contains(&(*producer, missing)) {
                broken.push(format!("replica {replica}: {producer}:{missing} is missing before {producer}:{number}"));
            }
        }
    }
    for (producer, confirmed) in confirmed {
        let held = last.get(producer).copied().unwrap_or(0);
        for missing in held + 1..=*confirmed {
            if !settled.contains(&(*producer, missing)) {
                broken.push(format!("replica {replica}: {producer}:{missing} was confirmed and is missing"));
            }
        }
    }
    broken
}

/// Invariant 7: the hashes that replicas recorded at one entry are the same.
pub(super) fn hashes(index: u64, expected: u128, found: &[(u64, Option<u128>)]) -> Vec<String> {
    let other = found.iter().filter(|(_, hash)| hash.is_some_and(|hash| hash != expected));
    other.map(|(replica, _)| format!("replica {replica} holds other bytes at entry {index}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traces(entries: &[(u64, Trace)]) -> Traces {
        Traces { entries: entries.iter().cloned().collect(), ..Traces::default() }
    }

    #[test]
    fn fencing_that_fails_is_found() {
        let wrote = |epoch, accepted| Trace::Wrote { epoch, accepted };
        let sound = [
            (1, Trace::Activated),
            (2, wrote(1, true)),
            (3, Trace::Activated),
            (4, wrote(1, false)),
            (5, wrote(3, true)),
        ];
        assert_eq!(fencing(&traces(&sound)), Vec::<String>::new());
        for (index, bad) in [(4, wrote(1, true)), (5, wrote(3, false)), (2, wrote(3, true))] {
            let mut entries = sound.to_vec();
            entries[index as usize - 1] = (index, bad);
            assert_eq!(fencing(&traces(&entries)).len(), 1, "{entries:?}");
        }
        let contradicted = Traces { contradictions: vec!["x".into()], ..Traces::default() };
        assert_eq!(fencing(&contradicted).len(), 1);
        assert_eq!((leases(&[]), leases(&[1])), (None, None));
        assert!(leases(&[1, 2]).is_some());
    }

    #[test]
    fn loss_duplicates_and_disorder_are_found() {
        let confirmed = BTreeMap::from([(1, 3), (2, 1)]);
        let check = |queue: &[(u8, u64)], settled: &[(u8, u64)]| {
            contents(1, queue, &settled.iter().copied().collect(), &confirmed).len()
        };
        assert_eq!(check(&[(1, 1), (2, 1), (1, 2), (1, 3), (1, 4)], &[]), 0);
        assert_eq!(check(&[(1, 2), (1, 3)], &[(1, 1), (2, 1)]), 0);
        assert_eq!(check(&[(1, 1), (2, 1), (1, 2)], &[]), 1, "lost at the end");
        assert_eq!(check(&[(1, 1), (1, 3), (2, 1)], &[]), 1, "lost in between");
        assert_eq!(check(&[(1, 1), (1, 2), (1, 2), (1, 3), (2, 1)], &[]), 1, "twice");
        assert_eq!(check(&[(2, 1), (1, 2), (1, 1), (1, 3)], &[]), 3, "out of order");
        assert_eq!(check(&[(1, 1), (1, 2), (1, 3)], &[]), 1, "all of a producer");
    }

    #[test]
    fn other_bytes_are_found() {
        assert_eq!(hashes(7, 5, &[(1, Some(5)), (2, None), (3, Some(5))]).len(), 0);
        assert_eq!(hashes(7, 5, &[(1, Some(5)), (2, Some(6))]).len(), 1);
    }
}
