//! A message is stored once: across resends, redeliveries and moves, one line has one id at its last queue.

use std::collections::{BTreeMap, BTreeSet};

use super::Outcome;
use crate::torture::history::History;

pub(super) fn check(history: &History) -> Outcome {
    let mut ids: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    for consumer in history.consumers.iter().chain(&history.others) {
        for it in consumer.received.iter().filter(|it| !it.id.is_empty()) {
            ids.entry((&consumer.destination, &it.line)).or_default().insert(&it.id);
        }
    }
    if ids.is_empty() {
        return Outcome::Violated(vec!["no message came with an id".to_owned()]);
    }
    let twice = ids.into_iter().filter(|(_, ids)| ids.len() > 1);
    let words = |((destination, line), ids): ((&str, &str), BTreeSet<&str>)| {
        let ids: Vec<&str> = ids.into_iter().collect();
        format!("{line:?} came out of {destination} as {}", ids.join(" and "))
    };
    Outcome::of(twice.map(words).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torture::history::{Consumer, Received};

    #[test]
    fn a_line_with_two_ids_is_caught() {
        let judge = |messages: &[(&str, &str)]| {
            let consumer = |(destination, id): &(&str, &str)| {
                let received = vec![Received { line: "p 1".to_owned(), id: (*id).to_owned(), ..Received::default() }];
                Consumer { destination: (*destination).to_owned(), received, ..Consumer::default() }
            };
            check(&History { consumers: messages.iter().map(consumer).collect(), ..History::default() })
        };
        assert_eq!(judge(&[("q", "0.1.0"), ("q", "0.1.0"), ("r", "0.2.0")]), Outcome::Held);
        assert!(matches!(judge(&[("q", "0.1.0"), ("q", "0.2.0")]), Outcome::Violated(how) if how.len() == 1));
        assert!(matches!(judge(&[]), Outcome::Violated(_)));
    }
}
