//! Nothing is delivered after its acknowledgement was answered as committed. A message is identified by its line and
//! its queue: another consumer may get it under another id, if it was stored twice.
//!
//! Deliveries that an engine had sent before may arrive after the answer that another consumer got, by the time that a
//! link may delay them. Deliveries of a newer engine were certainly sent later.

use std::collections::HashMap;

use super::Outcome;
use crate::torture::history::{Consumer, History, Received};
use crate::torture::operation::{Answer, Request};
use crate::torture::trace::Epoch;

/// Longest time of a delivery in flight, with a wait at a client that does not run for a moment, in milliseconds.
const ON_THE_WAY_MS: u64 = 4_000;

/// An acknowledgement that was committed.
struct Settled<'a> {
    by: &'a str,
    at_ms: u64,
    /// The newest engine that its consumer knew.
    epoch: Option<Epoch>,
}

pub(super) fn check(history: &History) -> Outcome {
    let mut settled: HashMap<(&str, &str), Settled> = HashMap::new();
    for operation in &history.operations {
        let Request::Acknowledge { destination, line, epoch } = &operation.what else { continue };
        let (Answer::Done, Some(at_ns)) = (&operation.answer, operation.answered_ns) else { continue };
        let this = Settled { by: &operation.client, at_ms: history.ms_of_boot(at_ns), epoch: *epoch };
        let first = settled.entry((destination, line)).or_insert(Settled { ..this });
        if this.at_ms < first.at_ms {
            *first = this;
        }
    }
    if settled.is_empty() {
        return Outcome::Violated(vec!["no acknowledgement was answered".to_owned()]);
    }
    let consumers = history.consumers.iter().chain(&history.others);
    let received = consumers.flat_map(|consumer| consumer.received.iter().map(move |it| (consumer, it)));
    let late = received.filter_map(|(consumer, it)| {
        let settled = settled.get(&(consumer.destination.as_str(), it.line.as_str()))?;
        is_late(history, settled, it).then(|| words(consumer, settled, it))
    });
    Outcome::of(late.collect())
}

fn is_late(history: &History, settled: &Settled<'_>, it: &Received) -> bool {
    if it.at_ms <= settled.at_ms {
        return false;
    }
    match (it.epoch, settled.epoch) {
        (Some(delivered), Some(known)) if delivered > known => true,
        // Of an older engine: certainly sent before.
        (Some(delivered), Some(known)) if delivered < known => false,
        (Some(_), Some(_)) => {
            let parted =
                |began_ms: u64, ended_ms: u64| began_ms <= it.at_ms && ended_ms + ON_THE_WAY_MS >= settled.at_ms;
            let held_up = history
                .faults
                .iter()
                .any(|done| done.fault.kind.parts_clients() && parted(done.began_ms, done.ended_ms));
            it.at_ms > settled.at_ms + ON_THE_WAY_MS && !held_up
        }
        (None, _) | (_, None) => false,
    }
}

fn words(consumer: &Consumer, settled: &Settled<'_>, it: &Received) -> String {
    let epoch = |epoch: Option<Epoch>| epoch.map_or_else(|| "none".to_owned(), |epoch| epoch.to_string());
    format!(
        "{} took {:?} of {} at {} ms in epoch {}; {} had it settled at {} ms in epoch {}",
        consumer.name,
        it.line,
        consumer.destination,
        it.at_ms,
        epoch(it.epoch),
        settled.by,
        settled.at_ms,
        epoch(settled.epoch)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torture::operation::Operation;

    fn judge(at_ms: u64, epoch: u64, destination: &str) -> Outcome {
        let ack =
            Request::Acknowledge { destination: "q".to_owned(), line: "p 1".to_owned(), epoch: Some(Epoch(0, 5)) };
        let (client, asked_ns, answered_ns) = ("a".to_owned(), 1_000_000, Some(50_000_000));
        let operations = vec![Operation { client, what: ack, asked_ns, answered_ns, answer: Answer::Done }];
        let epoch = Some(Epoch(0, epoch));
        let received = vec![Received { at_ms, epoch, line: "p 1".to_owned(), ..Received::default() }];
        let (name, destination) = ("b".to_owned(), destination.to_owned());
        let consumers = vec![Consumer { name, destination, received, ..Consumer::default() }];
        check(&History { operations, consumers, ..History::default() })
    }

    #[test]
    fn a_delivery_after_the_acknowledgement_is_caught() {
        assert_eq!(judge(49, 5, "q"), Outcome::Held);
        assert_eq!(judge(60, 5, "q"), Outcome::Held, "on its way");
        assert_eq!(judge(9_000, 4, "q"), Outcome::Held, "of an older engine");
        assert_eq!(judge(9_000, 5, "elsewhere"), Outcome::Held);
        for (at_ms, epoch) in [(60, 6), (9_000, 5)] {
            assert!(matches!(judge(at_ms, epoch, "q"), Outcome::Violated(how) if how[0].contains("b took")));
        }
        assert!(matches!(check(&History::default()), Outcome::Violated(_)));
    }
}
