//! Invariant 4: a resend makes no second message, and a failover brings nothing twice to a consumer that lives.
//!
//! Of a queue with one consumer no message comes twice. Where consumers compete, a message whose acknowledgement was on
//! its way when the engine failed may come to the other one, flagged as a redelivery: that is counted, not a violation.

use std::collections::{HashMap, HashSet};

use super::Outcome;
use crate::torture::history::History;

pub(super) fn check(history: &History) -> Outcome {
    if history.consumers.iter().all(|consumer| consumer.received.is_empty()) {
        return Outcome::Violated(vec!["nothing was received at all".to_owned()]);
    }
    Outcome::of(duplicates(history))
}

/// Messages that a consumer received more than once, in words.
#[must_use]
pub fn duplicates(history: &History) -> Vec<String> {
    let mut found = Vec::new();
    for consumer in &history.consumers {
        let mut first_ms = HashMap::new();
        for it in &consumer.received {
            match first_ms.get(it.line.as_str()) {
                Some(first) => {
                    found.push(format!("{} received {:?} at {first} and {} ms", consumer.name, it.line, it.at_ms));
                }
                None => {
                    first_ms.insert(it.line.as_str(), it.at_ms);
                }
            }
        }
    }
    found
}

/// The number of messages that reached more than one of the consumers that compete for a queue.
#[must_use]
pub fn at_competitors(history: &History) -> usize {
    let mut seen: HashSet<(&str, &str)> = HashSet::new();
    let mut count = 0;
    for consumer in &history.consumers {
        let lines: HashSet<&str> = consumer.received.iter().map(|it| it.line.as_str()).collect();
        count += lines.into_iter().filter(|line| !seen.insert((&consumer.queue, line))).count();
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torture::history::{Consumer, Received};

    fn history(lines: &[&[&str]]) -> History {
        let received = |lines: &[&str]| {
            (0..)
                .zip(lines)
                .map(|(at_ms, &line)| Received { at_ms, line: line.to_owned(), ..Received::default() })
                .collect()
        };
        let consumers =
            lines.iter().map(|lines| Consumer { received: received(lines), ..Consumer::default() }).collect();
        History { consumers, ..History::default() }
    }

    #[test]
    fn a_message_that_comes_twice_to_a_consumer_is_caught() {
        assert_eq!(check(&history(&[&["p 1", "p 2"]])), Outcome::Held);
        assert!(
            matches!(check(&history(&[&["p 1", "p 2", "p 1"]])), Outcome::Violated(how) if how[0].contains("0 and 2 ms"))
        );
    }

    #[test]
    fn a_message_that_comes_to_a_competitor_too_is_counted() {
        let both = history(&[&["p 1", "p 2"], &["p 2", "p 3"]]);
        assert_eq!((check(&both), at_competitors(&both)), (Outcome::Held, 1));
    }

    #[test]
    fn nothing_received_is_not_nothing_twice() {
        assert!(matches!(check(&history(&[&[]])), Outcome::Violated(_)));
    }
}
