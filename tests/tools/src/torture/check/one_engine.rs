//! Invariant 2: at no moment are two engine instances started. Nothing leaves an engine of an older epoch after
//! anything left one of a newer epoch, all output of an epoch leaves one server, and no consumer accepts a delivery of
//! an older epoch after one of a newer epoch.

use std::collections::BTreeMap;

use super::Outcome;
use crate::torture::history::{Consumer, History};
use crate::torture::trace::{Epoch, Trace};

pub(super) fn check(history: &History) -> Outcome {
    let mut violations = overlaps(&history.trace);
    violations.extend(history.consumers.iter().flat_map(stale));
    if violations.is_empty() && history.trace.releases.is_empty() {
        return Outcome::NoTrace;
    }
    Outcome::of(violations)
}

/// Deliveries that a consumer accepted although it had accepted one of a newer epoch, in words.
fn stale(consumer: &Consumer) -> Vec<String> {
    let (mut newest, mut violations) = (None, Vec::new());
    for it in &consumer.received {
        let what = match (it.epoch, newest) {
            (None, _) => "without an epoch".to_owned(),
            (Some(epoch), Some(newest)) if epoch < newest => format!("of epoch {epoch} after one of {newest}"),
            (Some(_), _) => {
                newest = it.epoch;
                continue;
            }
        };
        violations.push(format!("{} took {:?} {what}, at {} ms", consumer.name, it.line, it.at_ms));
    }
    violations
}

/// The releases of one epoch, and their server.
struct Span<'a> {
    first_ns: u64,
    last_ns: u64,
    last_what: &'a str,
    servers: Vec<&'a str>,
}

/// Neighboring epochs that overlap in time, and epochs on two servers, in words.
#[must_use]
pub fn overlaps(trace: &Trace) -> Vec<String> {
    let mut spans: BTreeMap<Epoch, Span> = BTreeMap::new();
    for release in &trace.releases {
        let (at, server, what) = (release.boot_ns, release.server.as_str(), release.what.as_str());
        let span = spans.entry(release.epoch).or_insert_with(|| Span {
            first_ns: at,
            last_ns: at,
            last_what: what,
            servers: Vec::new(),
        });
        span.first_ns = span.first_ns.min(at);
        if at >= span.last_ns {
            (span.last_ns, span.last_what) = (at, what);
        }
        if !span.servers.contains(&server) {
            span.servers.push(server);
        }
    }
    let mut violations = Vec::new();
    // From the newest epoch to the oldest: the earliest release of all that are newer.
    let mut newer: Option<(Epoch, u64)> = None;
    for (epoch, span) in spans.iter().rev() {
        if span.servers.len() > 1 {
            violations.push(format!("epoch {epoch} was served by {}", span.servers.join(" and ")));
        }
        if let Some((after, first_ns)) = newer.filter(|(_, first_ns)| span.last_ns > *first_ns) {
            let late_us = (span.last_ns - first_ns) / 1_000;
            violations.push(format!(
                "{} released a {} in epoch {epoch} {late_us} us after the first release in epoch {after} (boot_ns {})",
                span.servers.join(" and "),
                span.last_what,
                span.last_ns
            ));
        }
        if newer.is_none_or(|(_, first_ns)| span.first_ns < first_ns) {
            newer = Some((*epoch, span.first_ns));
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torture::history::Received;
    use crate::torture::trace::Release;

    fn history(releases: &[(&str, u64, u64)]) -> History {
        let mut history = History::default();
        history.trace.releases = releases
            .iter()
            .map(|&(server, boot_ns, epoch)| Release {
                server: server.to_owned(),
                boot_ns,
                epoch: Epoch(0, epoch),
                what: "deliver".to_owned(),
            })
            .collect();
        history
    }

    #[test]
    fn epochs_one_after_the_other_are_good_in_whatever_order_the_logs_are_read() {
        assert_eq!(check(&history(&[("b", 50, 9), ("a", 10, 1), ("a", 40, 1), ("b", 90, 9)])), Outcome::Held);
    }

    #[test]
    fn a_release_of_an_older_epoch_after_a_newer_one_is_caught() {
        let bad = history(&[("a", 10, 1), ("b", 50, 9), ("a", 60, 1)]);
        assert!(matches!(check(&bad), Outcome::Violated(how) if how.len() == 1 && how[0].contains("a released")));
        // Also over an epoch in between.
        let bad = history(&[("a", 10, 1), ("c", 70, 12), ("b", 50, 9), ("a", 60, 1)]);
        assert!(matches!(check(&bad), Outcome::Violated(how) if how.len() == 1));
    }

    #[test]
    fn two_servers_in_one_epoch_are_caught() {
        let bad = history(&[("a", 10, 1), ("b", 20, 1)]);
        assert!(matches!(check(&bad), Outcome::Violated(how) if how[0].contains("a and b")));
    }

    #[test]
    fn a_delivery_of_an_older_epoch_that_is_taken_after_a_newer_one_is_caught() {
        let consumed = |epochs: &[Option<u64>]| {
            let mut history = history(&[("a", 10, 1), ("b", 50, 9)]);
            let received =
                |epoch: &Option<u64>| Received { epoch: epoch.map(|index| Epoch(0, index)), ..Received::default() };
            let received = epochs.iter().map(received).collect();
            history.consumers = vec![Consumer { received, ..Consumer::default() }, Consumer::default()];
            history
        };
        assert_eq!(check(&consumed(&[Some(1), Some(1), Some(9)])), Outcome::Held);
        let late = check(&consumed(&[Some(1), Some(9), Some(1), Some(9)]));
        assert!(matches!(&late, Outcome::Violated(how) if how.len() == 1 && how[0].contains("0.1 after one of 0.9")));
        assert!(matches!(check(&consumed(&[Some(1), None])), Outcome::Violated(how) if how.len() == 1));
        // Two consumers may learn of a new engine at different times.
        let mut apart = consumed(&[Some(9)]);
        apart.consumers[1].received = consumed(&[Some(1)]).consumers[0].received.clone();
        assert_eq!(check(&apart), Outcome::Held);
        // It needs no trace of the servers.
        apart.trace = Trace::default();
        apart.consumers[0].received.extend(consumed(&[Some(1)]).consumers.remove(0).received);
        assert!(matches!(check(&apart), Outcome::Violated(_)));
    }

    #[test]
    fn no_trace_is_not_a_good_trace() {
        assert_eq!(check(&history(&[])), Outcome::NoTrace);
    }
}
