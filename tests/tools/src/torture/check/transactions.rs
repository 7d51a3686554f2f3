//! A transaction is atomic and performed at most once. Each message that it sends carries its tag, which identifies it
//! at the receivers: if it was answered as committed, every message is there, in every queue, once; if it was rolled
//! back, none is; if its outcome is unknown, all are or none.

use std::collections::{BTreeMap, BTreeSet};

use super::Outcome;
use crate::torture::history::History;
use crate::torture::operation::{Answer, Request};
use crate::torture::queues::MOVED;

pub(super) fn check(history: &History) -> Outcome {
    // By queue and tag: the lines that came, and under which ids.
    let mut came: BTreeMap<(&str, &str), BTreeMap<&str, BTreeSet<&str>>> = BTreeMap::new();
    for consumer in history.consumers.iter().chain(&history.others) {
        for it in consumer.received.iter().filter(|it| !it.tag.is_empty()) {
            let lines = came.entry((&consumer.destination, &it.tag)).or_default();
            lines.entry(&it.line).or_default().insert(&it.id);
        }
    }
    let none = BTreeMap::new();
    let (mut violations, mut committed) = (Vec::new(), 0);
    for operation in &history.operations {
        let Request::Transaction { tag, lines, commit } = &operation.what else { continue };
        let there = MOVED.map(|queue| came.get(&(queue, tag.as_str())).unwrap_or(&none));
        let counts: Vec<usize> = there.iter().map(|it| it.len()).collect();
        let twice = there.iter().flat_map(|it| it.iter()).find(|(_, ids)| ids.len() > 1);
        let foreign = there.iter().flat_map(|it| it.keys()).find(|line| !lines.iter().any(|known| known == *line));
        let all = counts.iter().all(|count| *count == lines.len());
        let nothing = counts.iter().all(|count| *count == 0);
        committed += u32::from(operation.answer == Answer::Done);
        let wrong = match &operation.answer {
            Answer::Done => (!all).then(|| "was committed".to_owned()),
            Answer::NotDone(why) => (!nothing).then(|| format!("was rolled back ({why})")),
            _ if !commit => (!nothing).then(|| "was never committed".to_owned()),
            _ => (!all && !nothing).then(|| "has an unknown outcome".to_owned()),
        };
        if let Some(what) = wrong {
            let (at_ms, of) = (history.ms_of_boot(operation.asked_ns), lines.len());
            let counts: Vec<String> = counts.iter().map(usize::to_string).collect();
            let counts = counts.join(" and ");
            violations.push(format!("{tag} at {at_ms} ms {what}: {counts} of its {of} messages came out"));
        }
        if let Some((line, ids)) = twice {
            violations.push(format!("{tag} moved {line:?} more than once: {ids:?}"));
        }
        if let Some(line) = foreign {
            violations.push(format!("{tag} never had {line:?}, which came with its tag"));
        }
    }
    if committed == 0 {
        violations.push("no transaction was committed".to_owned());
    }
    Outcome::of(violations)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torture::history::{Consumer, Received};
    use crate::torture::operation::Operation;

    /// A transaction that moves two lines, and the contents of the two queues.
    fn judge(answer: Answer, commit: bool, came: [&[(u8, &str)]; 2]) -> usize {
        let line = |number: &u8| format!("p {number}");
        let consumer = |(destination, came): (&str, &[(u8, &str)])| {
            let received = |(number, id): &(u8, &str)| {
                let (line, id, tag) = (line(number), (*id).to_owned(), "m/1".to_owned());
                Received { line, id, tag, ..Received::default() }
            };
            let received = came.iter().map(received).collect();
            Consumer { destination: destination.to_owned(), received, ..Consumer::default() }
        };
        let operation = |tag: &str, lines: &[u8], commit, answer| {
            let what = Request::Transaction { tag: tag.to_owned(), lines: lines.iter().map(line).collect(), commit };
            Operation { client: "m".to_owned(), what, asked_ns: 1, answered_ns: Some(2), answer }
        };
        let consumers = MOVED.into_iter().zip(came).map(consumer).collect();
        // Beside one that is good: that there was one is checked, too.
        let operations = vec![operation("m/1", &[1, 2], commit, answer), operation("m/0", &[], true, Answer::Done)];
        match check(&History { consumers, operations, ..History::default() }) {
            Outcome::Violated(how) => how.len(),
            _ => 0,
        }
    }

    #[test]
    fn all_or_nothing_as_it_was_answered_is_good() {
        let all: [&[(u8, &str)]; 2] = [&[(1, "a"), (2, "b")], &[(1, "c"), (2, "d")]];
        assert_eq!(judge(Answer::Done, true, all), 0);
        assert_eq!(judge(Answer::NotDone(String::new()), true, [&[], &[]]), 0);
        assert_eq!(judge(Answer::Unknown, true, all), 0);
        assert_eq!(judge(Answer::Unknown, true, [&[], &[]]), 0);
        assert_eq!(judge(Answer::Unknown, false, [&[], &[]]), 0);
    }

    #[test]
    fn a_part_of_a_transaction_and_one_done_twice_are_caught() {
        let all: [&[(u8, &str)]; 2] = [&[(1, "a"), (2, "b")], &[(1, "c"), (2, "d")]];
        let part: [&[(u8, &str)]; 2] = [&[(1, "a"), (2, "b")], &[]];
        assert_eq!(judge(Answer::Done, true, part), 1);
        assert_eq!(judge(Answer::Done, true, [&[], &[]]), 1);
        assert_eq!(judge(Answer::Unknown, true, part), 1);
        assert_eq!(judge(Answer::NotDone(String::new()), true, all), 1);
        assert_eq!(judge(Answer::Unknown, false, all), 1);
        let twice: [&[(u8, &str)]; 2] = [&[(1, "a"), (2, "b"), (1, "e")], &[(1, "c"), (2, "d")]];
        assert_eq!(judge(Answer::Done, true, twice), 1);
        let foreign: [&[(u8, &str)]; 2] = [&[(1, "a"), (3, "b")], &[(1, "c"), (2, "d")]];
        assert_eq!(judge(Answer::Done, true, foreign), 1);
        assert!(matches!(check(&History::default()), Outcome::Violated(_)));
    }
}
