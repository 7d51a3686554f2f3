//! Delays and deadlines are kept, also by messages that a transfer moves: none comes before its delay is over; a delay
//! applies once; and none comes when it is past its deadline.

use std::collections::BTreeMap;

use super::Outcome;
use crate::torture::history::{History, parse_line};
use crate::torture::operation::Request;
use crate::torture::queues::{BRIEF, DELAY_MS, LIVE_MS, TIMED};

/// Servers count in milliseconds, by clocks of their own.
const ROUNDING_MS: u64 = 5;
/// Longest delay of an expiry, in milliseconds: engines propose expiry now and then, and not while they move.
const EXPIRY_MS: u64 = 3_000;

pub(super) fn check(history: &History) -> Outcome {
    // The times of a wall clock that jumps are not checked.
    if history.clock_jumped() {
        return Outcome::Held;
    }
    let mut sent: BTreeMap<(&str, u64), (u64, Option<u64>)> = BTreeMap::new();
    for operation in &history.operations {
        if let Request::Send { producer, number } = &operation.what {
            let answered_ms = operation.answered_ns.map(|at_ns| history.ms_of_boot(at_ns));
            sent.insert((producer, *number), (history.ms_of_boot(operation.asked_ns), answered_ms));
        }
    }
    let came = |destination: &'static str| {
        let consumers = history.consumers.iter().chain(&history.others).filter(move |it| it.destination == destination);
        let received = consumers.flat_map(|consumer| &consumer.received);
        received.filter_map(|it| {
            let (producer, number) = parse_line(&it.line)?;
            Some((it, *sent.get(&(producer, number + 1))?))
        })
    };
    let (mut violations, mut all, mut late) = (Vec::new(), 0, 0);
    for (it, (asked_ms, _)) in came(TIMED) {
        let took_ms = it.at_ms.saturating_sub(asked_ms);
        if took_ms + ROUNDING_MS < DELAY_MS {
            violations.push(format!("{:?} came after {took_ms} ms; its delay is {DELAY_MS} ms", it.line));
        }
        all += 1;
        late += u64::from(took_ms >= 2 * DELAY_MS);
    }
    if all == 0 {
        violations.push(format!("nothing came out of {TIMED}"));
    }
    // An outage makes some of them late, a delay that applies twice makes all.
    if late * 2 > all {
        violations
            .push(format!("{late} of {all} messages took twice their delay: it applied again after the transfer"));
    }
    for (it, (_, answered_ms)) in came(BRIEF) {
        let Some(confirmed_ms) = answered_ms else { continue };
        let age_ms = it.at_ms.saturating_sub(confirmed_ms);
        if age_ms > LIVE_MS + EXPIRY_MS {
            violations.push(format!("{:?} came {age_ms} ms after its confirm; it lives for {LIVE_MS} ms", it.line));
        }
    }
    Outcome::of(violations)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torture::history::{Consumer, FaultRecord, Received};
    use crate::torture::kind::Kind;
    use crate::torture::operation::{Answer, Operation};

    fn history(destination: &str, took_ms: u64) -> History {
        let what = Request::Send { producer: "p".to_owned(), number: 1 };
        let (client, asked_ns) = ("p".to_owned(), 1_000_000_000);
        let operation = Operation { client, what, asked_ns, answered_ns: Some(asked_ns), answer: Answer::Done };
        let received = vec![Received { at_ms: 1_000 + took_ms, line: "p 00000000".to_owned(), ..Received::default() }];
        let consumer = Consumer { destination: destination.to_owned(), received, ..Consumer::default() };
        History { operations: vec![operation], consumers: vec![consumer], ..History::default() }
    }

    #[test]
    fn a_message_that_comes_before_its_delay_is_over_is_caught() {
        assert_eq!(check(&history(TIMED, DELAY_MS + 50)), Outcome::Held);
        let mut early = history(TIMED, DELAY_MS - 100);
        assert!(matches!(check(&early), Outcome::Violated(how) if how[0].contains("its delay is")));
        early.faults.push(FaultRecord::of(Kind::ClockJump));
        assert_eq!(check(&early), Outcome::Held);
    }

    #[test]
    fn a_second_delay_and_a_deadline_that_is_past_are_caught() {
        assert!(matches!(check(&history(TIMED, 2 * DELAY_MS)), Outcome::Violated(_)));
        let mut late = history(BRIEF, LIVE_MS + EXPIRY_MS + 1);
        late.consumers.extend(history(TIMED, DELAY_MS).consumers);
        assert!(matches!(check(&late), Outcome::Violated(_)));
    }
}
