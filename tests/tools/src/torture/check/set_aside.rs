//! Messages of consumers that die are neither lost nor given up too early: each that a consumer took is acknowledged in the
//! end, and in the exception destination are only those whose delivery failed as often as the queue allows.

use std::collections::{BTreeMap, BTreeSet};

use super::Outcome;
use crate::torture::history::History;
use crate::torture::operation::Request;
use crate::torture::queues::{DEAD, DEAD_MOST, MAX_FAILED, SET_ASIDE};

/// The queue whose consumers die while they hold messages.
const QUEUE: &str = "prefetch";

pub(super) fn check(history: &History) -> Outcome {
    let mut taken: BTreeMap<&str, usize> = BTreeMap::new();
    let consumers = history.consumers.iter().filter(|consumer| consumer.destination == QUEUE);
    for it in consumers.flat_map(|consumer| &consumer.received) {
        *taken.entry(&it.line).or_default() += 1;
    }
    if taken.is_empty() {
        return Outcome::Violated(vec![format!("nothing came out of {QUEUE}")]);
    }
    // Also those whose answer was lost with their consumer.
    let acknowledged = history.operations.iter().filter_map(|operation| match &operation.what {
        Request::Acknowledge { destination, line, .. } if destination == QUEUE => Some(line.as_str()),
        _ => None,
    });
    let mut settled: BTreeSet<&str> = acknowledged.collect();
    let mut violations = Vec::new();
    let aside = history.others.iter().filter(|consumer| consumer.destination == SET_ASIDE);
    for it in aside.flat_map(|consumer| &consumer.received) {
        settled.insert(&it.line);
        let times = taken.get(it.line.as_str()).copied().unwrap_or(0);
        if times < MAX_FAILED {
            violations.push(format!("{:?} was set aside after {times} deliveries, of {MAX_FAILED} allowed", it.line));
        }
    }
    let lost = taken.keys().filter(|line| !settled.contains(*line));
    violations.extend(lost.map(|line| format!("{line:?} was taken, acknowledged by nobody, and is gone")));
    if let Some(dead) = history.ending.dead.filter(|dead| *dead > DEAD_MOST) {
        violations.push(format!("{DEAD} held {dead} messages; its bound is {DEAD_MOST}"));
    }
    Outcome::of(violations)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torture::history::{Consumer, Ending, Received};
    use crate::torture::operation::{Answer, Operation};

    fn consumer(destination: &str, times: usize) -> Consumer {
        let received = vec![Received { line: "p 1".to_owned(), ..Received::default() }; times];
        Consumer { destination: destination.to_owned(), received, ..Consumer::default() }
    }

    fn history(tries: usize, aside: usize, acknowledged: bool) -> History {
        let what = Request::Acknowledge { destination: QUEUE.to_owned(), line: "p 1".to_owned(), epoch: None };
        let client = "c".to_owned();
        let operation = Operation { client, what, asked_ns: 1, answered_ns: None, answer: Answer::Unknown };
        History {
            consumers: vec![consumer(QUEUE, tries)],
            others: vec![consumer(SET_ASIDE, aside)],
            operations: if acknowledged { vec![operation] } else { Vec::new() },
            ..History::default()
        }
    }

    #[test]
    fn what_is_set_aside_too_early_or_lost_is_caught() {
        assert_eq!(check(&history(1, 0, true)), Outcome::Held);
        assert_eq!(check(&history(MAX_FAILED, 1, false)), Outcome::Held);
        assert!(
            matches!(check(&history(MAX_FAILED - 1, 1, false)), Outcome::Violated(how) if how[0].contains("aside"))
        );
        assert!(matches!(check(&history(1, 0, false)), Outcome::Violated(how) if how[0].contains("gone")));
        assert!(matches!(check(&History::default()), Outcome::Violated(_)));
        let ending = Ending { dead: Some(DEAD_MOST + 1), ..Ending::default() };
        assert!(matches!(check(&History { ending, ..history(1, 0, true) }), Outcome::Violated(_)));
    }
}
