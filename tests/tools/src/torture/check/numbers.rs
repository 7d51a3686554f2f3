//! A producer's number is a register that only grows: a producer that resumes under its name gets a number above each
//! that was confirmed or delivered before its request, at most one above the last that was ever sent, and none below a
//! number that another one got before.

use std::collections::BTreeMap;

use super::Outcome;
use crate::torture::history::{History, parse_line};
use crate::torture::operation::{Answer, Operation, Request};

pub(super) fn check(history: &History) -> Outcome {
    let mut producers: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
    for operation in &history.operations {
        if let Request::Open { producer } | Request::Send { producer, .. } = &operation.what {
            producers.entry(producer).or_default().push(operation);
        }
    }
    let told = |operation: &&&Operation| matches!(operation.answer, Answer::Number(_));
    if !producers.values().flatten().any(|operation| told(&operation)) {
        return Outcome::Violated(vec!["no producer was told its number".to_owned()]);
    }
    Outcome::of(producers.into_iter().flat_map(|(name, all)| wrong_numbers(history, name, &all)).collect())
}

fn wrong_numbers(history: &History, name: &str, all: &[&Operation]) -> Vec<String> {
    let opens = all.iter().filter_map(|it| match (&it.what, &it.answer, it.answered_ns) {
        (Request::Open { .. }, Answer::Number(next), Some(answered_ns)) => Some((it.asked_ns, answered_ns, *next)),
        _ => None,
    });
    let sent = |before_ns: u64, confirmed: bool| {
        let numbers = all.iter().filter_map(move |it| match it.what {
            Request::Send { number, .. } if confirmed => (it.answered_ns? < before_ns).then_some(number),
            Request::Send { number, .. } => (it.asked_ns < before_ns).then_some(number),
            _ => None,
        });
        numbers.max().unwrap_or(0)
    };
    // A received message is stored, whether or not its producer lived to see the confirm.
    let consumers = history.consumers.iter().chain(&history.others).flat_map(|consumer| &consumer.received);
    let of_it = consumers.filter_map(|it| Some((it.at_ms, parse_line(&it.line).filter(|(of, _)| *of == name)?.1 + 1)));
    let received: Vec<(u64, u64)> = of_it.collect();
    let delivered = |before_ms: u64| {
        let before = received.iter().filter(|(at_ms, _)| *at_ms < before_ms).map(|(_, number)| *number);
        before.max().unwrap_or(0)
    };
    let opens: Vec<_> = opens.collect();
    let mut violations = Vec::new();
    for (asked_ns, answered_ns, next) in &opens {
        let (confirmed, sent) = (sent(*asked_ns, true), sent(*answered_ns, false));
        let earlier = opens.iter().filter(|(_, answered, _)| answered < asked_ns).map(|(_, _, next)| *next);
        let stored = confirmed.max(delivered(history.ms_of_boot(*asked_ns)));
        let known = earlier.max().unwrap_or(0).max(stored + 1);
        let at_ms = history.ms_of_boot(*answered_ns);
        if *next < known {
            violations.push(format!("{name} was told {next} at {at_ms} ms; it was to be {known} at least"));
        }
        if *next > sent + 1 {
            violations.push(format!("{name} was told {next} at {at_ms} ms, and {sent} is the last that was ever sent"));
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torture::history::{Consumer, Received};

    fn operation(what: Request, asked_ns: u64, answer: Answer) -> Operation {
        let answered_ns = (answer != Answer::Unknown).then_some(asked_ns + 1);
        Operation { client: "c".to_owned(), what, asked_ns, answered_ns, answer }
    }

    #[test]
    fn a_number_that_is_too_low_or_too_high_is_caught() {
        let judge = |next: u64| {
            let producer = || "p".to_owned();
            let send = |number| Request::Send { producer: producer(), number };
            let open = || Request::Open { producer: producer() };
            let operations = vec![
                operation(open(), 1, Answer::Number(1)),
                operation(send(1), 3, Answer::Done),
                operation(send(2), 5, Answer::Unknown),
                operation(open(), 7, Answer::Number(next)),
            ];
            check(&History { operations, ..History::default() })
        };
        assert_eq!((judge(2), judge(3)), (Outcome::Held, Outcome::Held));
        assert!(matches!(judge(1), Outcome::Violated(how) if how[0].contains("2 at least")));
        assert!(matches!(judge(4), Outcome::Violated(how) if how[0].contains("2 is the last")));
        assert!(matches!(check(&History::default()), Outcome::Violated(_)));
    }

    #[test]
    fn what_was_delivered_counts_as_stored_without_a_confirm() {
        let open = Request::Open { producer: "p".to_owned() };
        let send = Request::Send { producer: "p".to_owned(), number: 1 };
        let later_ns = 9_000_000;
        let operations = vec![operation(send, 1, Answer::Unknown), operation(open, later_ns, Answer::Number(1))];
        let delivered = |at_ms| {
            let received = vec![Received { at_ms, line: "p 00000000".to_owned(), ..Received::default() }];
            let consumers = vec![Consumer { received, ..Consumer::default() }];
            check(&History { operations: operations.clone(), consumers, ..History::default() })
        };
        assert_eq!(delivered(9), Outcome::Held);
        assert!(matches!(delivered(8), Outcome::Violated(how) if how[0].contains("2 at least")));
    }
}
