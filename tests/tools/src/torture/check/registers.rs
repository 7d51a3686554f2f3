//! Settings of queues and of the policy are linearizable registers: no update that was answered is lost, with
//! concurrent writers and wherever the engine goes, and nobody reads an older value after a newer one.

use std::collections::{BTreeMap, BTreeSet};

use super::Outcome;
use super::linearizable::{self, SearchResult, order};
use crate::torture::history::History;
use crate::torture::operation::{Answer, Operation, Request};

/// Neighbors that are reported with an operation that fits nowhere.
const AROUND_NS: u64 = 1_500_000_000;
const AROUND: usize = 8;

pub(super) fn check(history: &History) -> Outcome {
    let mut registers: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
    for operation in &history.operations {
        if let Request::Register { register, .. } = &operation.what {
            registers.entry(register).or_default().push(operation);
        }
    }
    if registers.values().flatten().all(|operation| operation.answered_ns.is_none()) {
        return Outcome::Violated(vec!["no setting was written or read".to_owned()]);
    }
    Outcome::of(registers.into_iter().filter_map(|(name, all)| is_no_register(history, name, &all)).collect())
}

fn is_no_register(history: &History, name: &str, all: &[&Operation]) -> Option<String> {
    // The first operation of each is a write of all fields by its creator.
    let initial = match all.iter().min_by_key(|operation| operation.asked_ns).map(|it| &it.answer) {
        Some(Answer::Saw(fields)) => fields.clone(),
        Some(_) | None => return Some(format!("{name}: it is not known how it began")),
    };
    let kept: Vec<&&Operation> = all.iter().filter(|it| !matches!(it.answer, Answer::NotDone(_))).collect();
    let operations: Vec<linearizable::Operation> = kept.iter().map(|operation| simple(operation)).collect();
    match order(&initial, &operations) {
        SearchResult::Order => None,
        SearchResult::GivenUp => {
            eprintln!("  {name}: {} operations are too many to judge", operations.len());
            None
        }
        SearchResult::None(fitting, at) => {
            let around = around(history, &kept, at);
            Some(format!("{name}: no order of its {} operations explains more than {fitting}; {around}", kept.len()))
        }
    }
}

fn simple(operation: &Operation) -> linearizable::Operation {
    let write = match &operation.what {
        Request::Register { write, .. } => write.clone(),
        _ => None,
    };
    let saw = match &operation.answer {
        Answer::Saw(fields) => Some(fields.clone()),
        _ => None,
    };
    linearizable::Operation { asked: operation.asked_ns, answered: operation.answered_ns, write, saw }
}

/// The operation that fits nowhere, and those at the same time.
fn around(history: &History, all: &[&&Operation], at: usize) -> String {
    let Some(middle) = all.get(at) else { return String::new() };
    let near = |operation: &&&&Operation| {
        let (from, to) = (middle.asked_ns.saturating_sub(AROUND_NS), middle.answered_ns.unwrap_or(u64::MAX));
        operation.asked_ns <= to && operation.answered_ns.unwrap_or(u64::MAX) >= from
    };
    let lines: BTreeSet<(u64, String)> = all.iter().filter(near).map(|it| (it.asked_ns, words(history, it))).collect();
    let first = lines.len().saturating_sub(AROUND);
    let told: Vec<String> = lines.into_iter().skip(first).map(|(_, words)| words).collect();
    format!("stuck at {}; before: {}", words(history, middle), told.join(" | "))
}

fn words(history: &History, operation: &Operation) -> String {
    let (from, to) = (history.ms_of_boot(operation.asked_ns), operation.answered_ns.map(|it| history.ms_of_boot(it)));
    let what = match &operation.what {
        Request::Register { write: Some((field, value)), .. } => format!("writes {value} to {field}"),
        _ => "reads".to_owned(),
    };
    let to = to.map_or_else(|| "never".to_owned(), |ms| format!("{ms} ms"));
    format!("{} {what} from {from} to {to}: {:?}", operation.client, operation.answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(at: u64, write: Option<&str>, answer: Answer) -> Operation {
        let write = write.map(|value| (0, value.to_owned()));
        let what = Request::Register { register: "r".to_owned(), write };
        let answered_ns = (answer != Answer::Unknown).then_some(at + 1);
        Operation { client: "c".to_owned(), what, asked_ns: at, answered_ns, answer }
    }

    fn saw(value: &str) -> Answer {
        Answer::Saw(vec![value.to_owned()])
    }

    #[test]
    fn a_lost_update_is_caught_and_one_whose_answer_was_lost_is_not() {
        let judge = |operations: Vec<Operation>| check(&History { operations, ..History::default() });
        let begin = || operation(1, None, saw("0"));
        assert_eq!(
            judge(vec![begin(), operation(3, Some("a"), Answer::Done), operation(5, None, saw("a"))]),
            Outcome::Held
        );
        assert_eq!(
            judge(vec![begin(), operation(3, Some("a"), Answer::Unknown), operation(5, None, saw("0"))]),
            Outcome::Held
        );
        let refused = Answer::NotDone(String::new());
        assert_eq!(judge(vec![begin(), operation(3, Some("a"), refused), operation(5, None, saw("0"))]), Outcome::Held);
        let lost = judge(vec![begin(), operation(3, Some("a"), Answer::Done), operation(5, None, saw("0"))]);
        assert!(matches!(lost, Outcome::Violated(how) if how[0].contains("stuck at c reads")));
        assert!(matches!(judge(Vec::new()), Outcome::Violated(_)));
    }
}
