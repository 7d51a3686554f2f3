//! Invariant 5: messages of one producer to one queue are delivered first time in the order in which they were sent.
//!
//! At a single consumer the first deliveries of each producer ascend. Where consumers compete, they ascend at each of
//! them, but for redeliveries, which have no order: messages that the other one received as well, and in and soon after
//! a fault those that were on their way to the other one when the engine or its link failed. Neither command prints the
//! redelivery flag, so that the latter can only be told by the time.

use std::collections::{HashMap, HashSet};

use super::Outcome;
use crate::torture::history::{Consumer, History, parse_line};

/// How long after a fault what was on its way to a competitor may come, in milliseconds.
const REDELIVERY_MS: u64 = 5_000;

pub(super) fn check(history: &History) -> Outcome {
    if history.consumers.is_empty() {
        return Outcome::Violated(vec!["there were no consumers".to_owned()]);
    }
    Outcome::of(history.consumers.iter().flat_map(|consumer| out_of_order(history, consumer)).collect())
}

fn out_of_order(history: &History, consumer: &Consumer) -> Vec<String> {
    let competes = history.consumers.iter().any(|it| it.queue == consumer.queue && it.name != consumer.name);
    let rivals = history.consumers.iter().filter(|it| it.queue == consumer.queue && it.name != consumer.name);
    let elsewhere: HashSet<&str> = rivals.flat_map(|it| it.received.iter().map(|it| it.line.as_str())).collect();
    let (mut newest, mut seen) = (HashMap::<&str, u64>::new(), HashSet::new());
    let mut violations = Vec::new();
    for it in &consumer.received {
        let Some((producer, number)) = parse_line(&it.line) else { continue };
        if !seen.insert(&it.line) || elsewhere.contains(it.line.as_str()) {
            continue;
        }
        let newest = newest.entry(producer).or_insert(number);
        let at_ms = it.at_ms;
        if number < *newest && !(competes && in_a_fault(history, at_ms)) {
            violations.push(format!("{} received {:?} after number {newest}, at {at_ms} ms", consumer.name, it.line));
        }
        *newest = number.max(*newest);
    }
    violations
}

fn in_a_fault(history: &History, at_ms: u64) -> bool {
    history.faults.iter().any(|it| (it.began_ms..=it.ended_ms + REDELIVERY_MS).contains(&at_ms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torture::history::{Done, Received, line};
    use crate::torture::kind::Kind;
    use crate::torture::schedule::{Fault, Victims};

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
    fn after_a_fault_only_competitors_may_get_what_was_on_its_way_to_another() {
        let fault = Fault { kind: Kind::FreezeHost, victims: Victims::Host, after_ms: 0, length_ms: 9, seed: 0 };
        let done = Done { fault, victims: Vec::new(), began_ms: 0, ended_ms: 9, notes: Vec::new() };
        let mut competing = history(&[&[("a", 0)], &[("a", 2), ("a", 1)]]);
        competing.faults.push(done.clone());
        assert_eq!(check(&competing), Outcome::Held);
        let mut alone = history(&[&[("a", 2), ("a", 1)]]);
        alone.faults.push(done);
        assert!(matches!(check(&alone), Outcome::Violated(_)));
    }
}
