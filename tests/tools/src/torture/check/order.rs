//! Invariant 5: messages of one producer to one queue are delivered first time in the order in which they were sent.
//!
//! At a single consumer the first deliveries of each producer ascend. Where consumers compete, they ascend at each of
//! them, but for redeliveries, which have no order: messages that another one received as well, and those that were on
//! their way to another one which did not get them, because the engine changed, or the link to a client broke, or that
//! consumer was killed. The command does not print the redelivery flag, so that the latter can only be told by the time.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::Outcome;
use crate::torture::history::{Consumer, History, parse_line};
use crate::torture::queues::UNORDERED;
use crate::torture::trace::Epoch;

/// Longest delay after such an event of a message that was on its way to another consumer, in milliseconds: an engine
/// waits one second for a consumer that it has lost, and test machines are busy.
const REDELIVERY_MS: u64 = 3_000;

pub(super) fn check(history: &History) -> Outcome {
    if history.consumers.is_empty() {
        return Outcome::Violated(vec!["there were no consumers".to_owned()]);
    }
    let ordered = history.consumers.iter().filter(|consumer| !UNORDERED.contains(&consumer.queue.as_str()));
    Outcome::of(ordered.flat_map(|consumer| out_of_order(history, consumer)).collect())
}

fn out_of_order(history: &History, consumer: &Consumer) -> Vec<String> {
    let others = || history.consumers.iter().filter(|it| it.queue == consumer.queue && it.name != consumer.name);
    let redeliveries: Vec<(u64, u64)> = others().flat_map(|other| redeliveries(history, other)).collect();
    let may_be_one = |at_ms: u64| redeliveries.iter().any(|(from_ms, to_ms)| (*from_ms..=*to_ms).contains(&at_ms));
    let elsewhere: HashSet<&str> = others().flat_map(|it| it.received.iter().map(|it| it.line.as_str())).collect();
    let (mut newest, mut seen) = (HashMap::<&str, u64>::new(), HashSet::new());
    let mut violations = Vec::new();
    for it in &consumer.received {
        let Some((producer, number)) = parse_line(&it.line) else { continue };
        if !seen.insert(&it.line) || elsewhere.contains(it.line.as_str()) {
            continue;
        }
        let newest = newest.entry(producer).or_insert(number);
        let at_ms = it.at_ms;
        if number < *newest && !may_be_one(at_ms) {
            violations.push(format!("{} received {:?} after number {newest}, at {at_ms} ms", consumer.name, it.line));
        }
        *newest = number.max(*newest);
    }
    violations
}

/// Periods in which others may get messages that were on their way to a consumer: from and to.
fn redeliveries(history: &History, consumer: &Consumer) -> Vec<(u64, u64)> {
    let lived =
        |from_ms: u64, to_ms: u64| consumer.from_ms <= to_ms && from_ms <= consumer.killed_ms.unwrap_or(u64::MAX);
    let links = history.faults.iter().filter(|it| it.fault.kind.parts_clients()).map(|it| (it.began_ms, it.ended_ms));
    let events = engine_changes(history).into_iter().chain(links).filter(|(from_ms, to_ms)| lived(*from_ms, *to_ms));
    let killed = consumer.killed_ms.map(|at_ms| (at_ms, at_ms));
    events.chain(killed).map(|(from_ms, to_ms)| (from_ms, to_ms + REDELIVERY_MS)).collect()
}

/// Changes of the engine: from the last release of an epoch to the first one of the next. Without traces it may have
/// changed in every fault.
fn engine_changes(history: &History) -> Vec<(u64, u64)> {
    if history.trace.releases.is_empty() {
        return history.faults.iter().map(|it| (it.began_ms, it.ended_ms)).collect();
    }
    let mut epochs: BTreeMap<Epoch, (u64, u64)> = BTreeMap::new();
    for release in &history.trace.releases {
        let at_ms = history.ms_of_boot(release.boot_ns);
        let span = epochs.entry(release.epoch).or_insert((at_ms, at_ms));
        *span = (span.0.min(at_ms), span.1.max(at_ms));
    }
    let spans: Vec<(u64, u64)> = epochs.into_values().collect();
    spans.windows(2).map(|pair| (pair[0].1, pair[1].0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torture::history::{FaultRecord, Received, line};
    use crate::torture::kind::Kind;
    use crate::torture::schedule::{Fault, Victims};
    use crate::torture::trace::Release;

    fn history(numbers: &[&[(&str, u64)]]) -> History {
        let received = |numbers: &[(&str, u64)]| {
            numbers
                .iter()
                .map(|&(producer, number)| Received { line: line(producer, number), ..Received::default() })
                .collect()
        };
        let consumer = |(at, numbers): (usize, &&[(&str, u64)])| Consumer {
            name: format!("c{at}"),
            received: received(numbers),
            ..Consumer::default()
        };
        History { consumers: numbers.iter().enumerate().map(consumer).collect(), ..History::default() }
    }

    #[test]
    fn producers_may_mix_and_a_redelivery_has_no_order() {
        let good = history(&[&[("a", 0), ("b", 0), ("a", 1), ("b", 5), ("a", 0), ("a", 2)]]);
        assert_eq!(check(&good), Outcome::Held);
        // Number 1 was received by both: at the second one it is a redelivery.
        let good = history(&[&[("a", 0), ("a", 1), ("a", 4)], &[("a", 3), ("a", 1), ("a", 5)]]);
        assert_eq!(check(&good), Outcome::Held);
    }

    #[test]
    fn a_first_delivery_out_of_order_is_caught() {
        assert!(
            matches!(check(&history(&[&[("a", 0), ("a", 2), ("a", 1)]])), Outcome::Violated(how) if how.len() == 1)
        );
        assert!(matches!(check(&history(&[&[("a", 0)], &[("a", 2), ("a", 1)]])), Outcome::Violated(_)));
    }

    #[test]
    fn what_was_on_its_way_to_another_may_come_late_where_the_engine_changed() {
        let mut competing = history(&[&[("a", 0)], &[("a", 2), ("a", 1)]]);
        assert!(matches!(check(&competing), Outcome::Violated(_)));
        let release = |epoch: u64, ms: u64| {
            let (server, what) = ("server1".to_owned(), "deliver".to_owned());
            Release { server, boot_ns: ms * 1_000_000, epoch: Epoch(0, epoch), what }
        };
        // All is received at 0 ms.
        competing.trace.releases = vec![release(1, 0), release(2, 90)];
        assert_eq!(check(&competing), Outcome::Held);
        competing.trace.releases = vec![release(1, 1), release(2, 90)];
        assert!(matches!(check(&competing), Outcome::Violated(_)));
        let mut alone = history(&[&[("a", 2), ("a", 1)]]);
        alone.trace.releases = vec![release(1, 0), release(2, 90)];
        assert!(matches!(check(&alone), Outcome::Violated(_)));
    }

    #[test]
    fn what_a_killed_consumer_held_goes_to_its_successor() {
        let mut good = history(&[&[("a", 0)], &[("a", 2), ("a", 1)]]);
        (good.consumers[0].killed_ms, good.consumers[1].from_ms) = (Some(0), 0);
        assert_eq!(check(&good), Outcome::Held);
        good.consumers[1].received[1].at_ms = REDELIVERY_MS + 1;
        assert!(matches!(check(&good), Outcome::Violated(_)));
    }

    #[test]
    fn only_a_fault_that_parts_clients_from_an_engine_that_lives_excuses() {
        let during = |kind: Kind| {
            let mut history = history(&[&[("a", 0)], &[("a", 2), ("a", 1)]]);
            history.trace.releases =
                vec![Release { server: String::new(), boot_ns: 0, epoch: Epoch(0, 1), what: String::new() }];
            let fault = Fault { kind, victims: Victims::Host, after_ms: 0, length_ms: 9, seed: 0 };
            let (victims, notes) = (Vec::new(), Vec::new());
            history.faults.push(FaultRecord { fault, victims, began_ms: 0, ended_ms: 9, notes, lost_bytes: 0 });
            check(&history)
        };
        assert_eq!(during(Kind::FreezeHost), Outcome::Held);
        assert!(matches!(during(Kind::SlowDisk), Outcome::Violated(_)));
    }
}
