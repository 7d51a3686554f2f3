//! Invariant 3: every confirmed message was received, and nothing was received that was not sent. The confirms of a
//! producer that was killed are not known: but messages are accepted in the order of their numbers, so that the
//! messages received from it must be its first ones, without a gap.

use std::collections::BTreeSet;

use super::Outcome;
use crate::torture::history::{History, Producer, parse_line};
use crate::torture::queues::DELAYED;

pub(super) fn check(history: &History) -> Outcome {
    if history.producers.is_empty() {
        return Outcome::Violated(vec!["there were no producers".to_owned()]);
    }
    let mut violations = Vec::new();
    for producer in &history.producers {
        let received = received(history, producer);
        let missing = missing(producer, &received);
        if let Some(first) = missing.first().filter(|_| !are_delayed(history, producer, missing.len())) {
            violations.push(format!("{} lost {} confirmed: the first is {first}", producer.name, missing.len()));
        }
        if producer.killed_ms.is_some() && received.len() as u64 != received.last().map_or(0, |last| last + 1) {
            let first = (0..).find(|number| !received.contains(number)).unwrap_or(0);
            violations
                .push(format!("{} was killed, and of what it sent {first} is missing before others", producer.name));
        }
        if producer.code == Some(0) && producer.confirmed != Some(producer.fed) {
            let said = producer.said.trim();
            violations.push(format!("{} sent {} and said {said:?}", producer.name, producer.fed));
        }
    }
    violations.extend(foreign(history));
    Outcome::of(violations)
}

/// Number of confirmed messages that were not received and are in no queue.
#[must_use]
pub fn lost(history: &History) -> usize {
    not_received(history, false)
}

/// Number of messages that still wait in their queue for hours: they were sent with a delay while the wall clock of the
/// engine's host was ahead.
pub(super) fn delayed_for_hours(history: &History) -> u64 {
    not_received(history, true) as u64
}

/// Number of confirmed messages that were not received, of the producers whose messages are delayed or of the others.
fn not_received(history: &History, delayed: bool) -> usize {
    let missing = history.producers.iter().map(|it| (it, missing(it, &received(history, it)).len()));
    missing.filter(|(producer, count)| are_delayed(history, producer, *count) == delayed).map(|(_, count)| count).sum()
}

/// True if this many missing messages of a producer can be delayed ones: a clock jumped, and they are in a queue.
fn are_delayed(history: &History, producer: &Producer, missing: usize) -> bool {
    producer.queue == DELAYED && history.clock_jumped() && history.ending.left >= missing as u64
}

/// The numbers of a producer's lines that came out of its queue.
fn received(history: &History, producer: &Producer) -> BTreeSet<u64> {
    let lines = history.consumers.iter().filter(|it| it.queue == producer.queue).flat_map(|it| &it.received);
    let parsed = lines.filter_map(|it| parse_line(&it.line));
    parsed.filter(|(name, _)| *name == producer.name).map(|(_, number)| number).collect()
}

/// Missing messages, in words. Exit code 0 means that all are confirmed. Otherwise only the count is known, not the
/// messages, so that only fewer received than confirmed is certainly a loss.
fn missing(producer: &Producer, received: &BTreeSet<u64>) -> Vec<String> {
    if producer.code == Some(0) {
        return (0..producer.fed).filter(|number| !received.contains(number)).map(|it| it.to_string()).collect();
    }
    let short = producer.confirmed.unwrap_or(0).saturating_sub(received.len() as u64);
    (0..short).map(|_| "one of unknown number".to_owned()).collect()
}

fn foreign(history: &History) -> Vec<String> {
    let sent = |queue: &str, line: &str| {
        parse_line(line).is_some_and(|(name, number)| {
            history.producers.iter().any(|it| it.name == name && it.queue == queue && number < it.fed)
        })
    };
    let lines = history.consumers.iter().flat_map(|consumer| consumer.received.iter().map(move |it| (consumer, it)));
    lines
        .filter(|(consumer, it)| !sent(&consumer.queue, &it.line))
        .map(|(consumer, it)| format!("{} received {:?}, which nobody sent", consumer.name, it.line))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torture::history::{Consumer, FaultRecord, Received, line};
    use crate::torture::kind::Kind;

    fn history(code: Option<i32>, confirmed: u64, numbers: &[u64]) -> History {
        let received = numbers
            .iter()
            .map(|&number| Received { at_ms: number, line: line("p", number), ..Received::default() })
            .collect();
        let queue = "q".to_owned();
        let producer = Producer {
            name: "p".to_owned(),
            queue: queue.clone(),
            fed: 4,
            code,
            confirmed: Some(confirmed),
            ..Producer::default()
        };
        let consumer = Consumer { name: "c".to_owned(), queue, received, ..Consumer::default() };
        History { producers: vec![producer], consumers: vec![consumer], ..History::default() }
    }

    #[test]
    fn messages_with_a_delay_wait_for_the_hours_by_which_a_clock_jumped() {
        let mut waits = history(Some(0), 4, &[0, 1, 3]);
        waits.producers[0].queue = DELAYED.to_owned();
        waits.consumers[0].queue = DELAYED.to_owned();
        waits.ending.left = 1;
        assert!(matches!(check(&waits), Outcome::Violated(_)), "no clock jumped");
        waits.faults = vec![FaultRecord::of(Kind::ClockJump)];
        assert_eq!((check(&waits), delayed_for_hours(&waits), lost(&waits)), (Outcome::Held, 1, 0));
        waits.ending.left = 0;
        assert!(matches!(check(&waits), Outcome::Violated(_)), "it is in no queue");
    }

    #[test]
    fn all_received_is_good_and_so_is_what_is_not_known_to_be_confirmed() {
        assert_eq!(check(&history(Some(0), 4, &[0, 1, 2, 3])), Outcome::Held);
        assert_eq!(check(&history(Some(1), 2, &[0, 1, 3])), Outcome::Held);
        assert_eq!(check(&history(None, 0, &[])), Outcome::Held);
    }

    #[test]
    fn a_confirmed_message_that_nobody_received_is_caught() {
        let bad = history(Some(0), 4, &[0, 1, 3]);
        assert!(matches!(check(&bad), Outcome::Violated(how) if how[0].contains("the first is 2")));
        assert_eq!(lost(&bad), 1);
        assert_eq!(lost(&history(Some(1), 3, &[0])), 2);
    }

    #[test]
    fn a_gap_in_what_a_killed_producer_sent_is_caught() {
        let killed = |numbers: &[u64]| {
            let mut history = history(None, 0, numbers);
            history.producers[0].killed_ms = Some(7);
            check(&history)
        };
        assert_eq!((killed(&[]), killed(&[0, 1])), (Outcome::Held, Outcome::Held));
        assert!(matches!(killed(&[0, 2]), Outcome::Violated(how) if how[0].contains("1 is missing")));
    }

    #[test]
    fn a_message_that_nobody_sent_is_caught() {
        assert!(matches!(check(&history(Some(0), 4, &[0, 1, 2, 3, 9])), Outcome::Violated(how) if how.len() == 1));
    }

    #[test]
    fn success_with_a_wrong_count_is_caught() {
        assert!(matches!(check(&history(Some(0), 3, &[0, 1, 2, 3])), Outcome::Violated(_)));
    }
}
