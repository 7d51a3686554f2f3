//! What must hold of a run, whatever happened. Pure, so that it can be shown histories that must not pass.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::super::log::LogEntry;

/// Invariant 2: the servers that have a lease now.
pub(super) fn leases(holders: &[String]) -> Option<String> {
    (holders.len() > 1).then(|| format!("{holders:?} have a lease at one moment"))
}

/// Invariant 3: the holder of `term` has applied what was confirmed in the terms before.
pub(super) fn has_all(server: &str, term: u64, state: &[LogEntry], confirmed: &[(u64, u64, Bytes)]) -> Option<String> {
    let lacks = |(index, of, body): &&(u64, u64, Bytes)| {
        let entry = usize::try_from(*index).ok().and_then(|index| state.get(index.checked_sub(1)?));
        *of < term && entry.is_none_or(|entry| entry.body != *body)
    };
    let (index, of, _) = confirmed.iter().find(lacks)?;
    Some(format!("{server} leads without entry {index}, in term {term}, which was confirmed in term {of}"))
}

/// Invariants 3 and 4: each confirmed entry is where it was, and no proposal is there twice.
pub(super) fn contents(log: &[LogEntry], confirmed: &[(u64, u64, Bytes)]) -> Vec<String> {
    let mut broken = Vec::new();
    let entries: BTreeMap<u64, &LogEntry> = log.iter().map(|entry| (entry.index, entry)).collect();
    for (index, term, body) in confirmed {
        match entries.get(index) {
            Some(entry) if entry.body == *body => {}
            Some(entry) => {
                broken.push(format!("entry {index} was confirmed in term {term} as {body:?} and is {:?}", entry.body))
            }
            None => broken.push(format!("entry {index} was confirmed in term {term} and is missing")),
        }
    }
    let mut bodies = BTreeSet::new();
    for entry in log {
        if !bodies.insert(&entry.body) {
            broken.push(format!("{:?} is in the log twice, the second time as entry {}", entry.body, entry.index));
        }
    }
    broken
}

/// Invariant 7: a server has what the log has.
pub(super) fn same(server: &str, state: &[LogEntry], log: &[LogEntry]) -> Option<String> {
    let differs = state.iter().zip(log).find(|(own, entry)| own != entry).map(|(own, _)| own.index);
    let first = differs.or((state.len() != log.len()).then_some(state.len().min(log.len()) as u64 + 1))?;
    Some(format!("{server} differs from the log at entry {first}: it has {} entries of {}", state.len(), log.len()))
}

#[cfg(test)]
mod tests {
    use super::super::super::cases::{entries, forked};
    use super::*;

    #[test]
    fn loss_doubles_and_differences_are_found() {
        let log = entries(1, 1..=5);
        let confirmed: Vec<_> = log[..4].iter().map(|entry| (entry.index, 1, entry.body.clone())).collect();
        assert_eq!(contents(&log, &confirmed), [""; 0]);
        assert_eq!(contents(&log[..3], &confirmed).len(), 1, "missing");
        let mut other = confirmed.clone();
        other[2].2 = "x".into();
        assert_eq!(contents(&log, &other).len(), 1, "another content");
        let mut twice = log.clone();
        twice.push(log[4].position().entry(1, log[1].body.clone()));
        assert_eq!(contents(&twice, &confirmed).len(), 1, "twice");
        assert_eq!(has_all("a", 2, &log[..4], &confirmed), None);
        assert!(has_all("a", 2, &log[..3], &confirmed).is_some());
        assert_eq!(has_all("a", 1, &log[..3], &confirmed), None, "of its own term it may have to apply some");
        assert_eq!(same("a", &log, &log), None);
        assert!(same("a", &log[..4], &log).is_some_and(|words| words.contains("at entry 5")));
        assert!(same("a", &forked(&log, 2, 2), &log).is_some_and(|words| words.contains("at entry 3")));
        assert_eq!(leases(&["a".to_owned()]), None);
        assert!(leases(&["a".to_owned(), "b".to_owned()]).is_some());
    }
}
