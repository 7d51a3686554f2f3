//! Linearizability of operations on a register: each can be thought to happen at one moment between its
//! invocation and its answer, so that every answer is that of one register. An operation without an answer may have
//! happened at any moment after its invocation, or never.
//!
//! The search is that of Wing and Gong ("Testing and verifying concurrent objects", 1993), which passes over states that
//! it has seen, as Lowe does ("Testing for linearizability", 2017). The tester of the crate `stateright` passes over none:
//! its time grows exponentially with the operations whose clients were killed, and a run has many.

use std::collections::{BTreeMap, HashSet};

/// An operation on a register of some fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Operation {
    /// Time of the invocation.
    pub asked: u64,
    /// Time of the answer.
    pub answered: Option<u64>,
    /// The field that it writes, and the value.
    pub write: Option<(usize, String)>,
    /// The fields as the answer tells them, after the write.
    pub saw: Option<Vec<String>>,
}

/// Results of the search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SearchResult {
    /// An order in which every answer is right.
    Order,
    /// There is none. So many operations fit at most; the first that never does is that one, by its place.
    None(usize, usize),
    /// The search was given up.
    GivenUp,
}

/// States after which the search is given up.
const STATES: usize = 3_000_000;

/// An operation with its values as numbers, which are compared and stored faster.
#[derive(Debug)]
struct NumberedOperation {
    asked: u64,
    answered: u64,
    write: Option<(usize, u32)>,
    saw: Option<Vec<u32>>,
}

/// Searches an order that begins with these fields.
#[must_use]
pub(super) fn order(initial: &[String], operations: &[Operation]) -> SearchResult {
    let mut values: BTreeMap<&str, u32> = BTreeMap::new();
    let mut number = |value| {
        let next = u32::try_from(values.len()).unwrap_or(u32::MAX);
        *values.entry(value).or_insert(next)
    };
    let state: Vec<u32> = initial.iter().map(|value| number(value)).collect();
    let mut numbered: Vec<NumberedOperation> = Vec::new();
    let mut places: Vec<usize> = Vec::new();
    let mut sorted: Vec<usize> = (0..operations.len()).collect();
    sorted.sort_by_key(|at| operations[*at].asked);
    for at in sorted {
        let operation = &operations[at];
        if operation.answered.is_none() && !is_ever_seen(operation, operations) {
            // An operation whose effect nobody saw may never have happened.
            continue;
        }
        places.push(at);
        numbered.push(NumberedOperation {
            asked: operation.asked,
            answered: operation.answered.unwrap_or(u64::MAX),
            write: operation.write.as_ref().map(|(field, value)| (*field, number(value))),
            saw: operation.saw.as_ref().map(|saw| saw.iter().map(|value| number(value)).collect()),
        });
    }
    search(state, &numbered, &places)
}

/// True if some answer contains the value that an operation writes.
fn is_ever_seen(operation: &Operation, operations: &[Operation]) -> bool {
    let Some((field, value)) = &operation.write else { return false };
    operations.iter().any(|other| other.saw.as_ref().and_then(|saw| saw.get(*field)) == Some(value))
}

/// A state of the search: which operations happened, and the fields then.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    /// All before this place happened.
    first: usize,
    /// Of those behind it these happened.
    later: Vec<usize>,
    /// So many of them have an answer.
    answered: usize,
    fields: Vec<u32>,
}

impl State {
    fn has(&self, at: usize) -> bool {
        at < self.first || self.later.binary_search(&at).is_ok()
    }

    /// After the operation at that place; `None` if its answer is another one.
    fn after(&self, at: usize, operation: &NumberedOperation) -> Option<Self> {
        let mut next = self.clone();
        if let Some((field, value)) = operation.write {
            *next.fields.get_mut(field)? = value;
        }
        if operation.saw.as_ref().is_some_and(|saw| *saw != next.fields) {
            return None;
        }
        if let Err(place) = next.later.binary_search(&at) {
            next.later.insert(place, at);
        }
        next.answered += usize::from(operation.answered != u64::MAX);
        let together = next.later.iter().zip(next.first..).take_while(|(at, first)| **at == *first).count();
        next.later.drain(..together);
        next.first += together;
        Some(next)
    }

    fn count(&self) -> usize {
        self.first + self.later.len()
    }
}

fn search(fields: Vec<u32>, operations: &[NumberedOperation], places: &[usize]) -> SearchResult {
    let answered = operations.iter().filter(|it| it.answered != u64::MAX).count();
    let mut seen = HashSet::new();
    let mut waiting = vec![State { first: 0, later: Vec::new(), answered: 0, fields }];
    let (mut most, mut stuck) = (0, 0);
    while let Some(state) = waiting.pop() {
        let open = |at: &usize| !state.has(*at);
        if state.answered == answered {
            return SearchResult::Order;
        }
        // An operation that was requested after another one's answer cannot come before it.
        let from = (state.first..operations.len()).filter(open);
        let end = from.clone().map(|at| operations[at].answered).min().unwrap_or(u64::MAX);
        if state.count() >= most {
            most = state.count();
            stuck = from.clone().min_by_key(|at| operations[*at].answered).unwrap_or(0);
        }
        let begun = from.take_while(|at| operations[*at].asked <= end);
        // The last one is looked at first: those with an answer before those that may never have happened.
        let mut next: Vec<(u64, State)> = begun
            .filter_map(|at| Some((operations[at].answered, state.after(at, &operations[at])?)))
            .filter(|(_, state)| !seen.contains(state))
            .collect();
        next.sort_by_key(|(answered, _)| std::cmp::Reverse(*answered));
        for (_, state) in next {
            seen.insert(state.clone());
            waiting.push(state);
        }
        if seen.len() > STATES {
            return SearchResult::GivenUp;
        }
    }
    SearchResult::None(most, places.get(stuck).copied().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(asked: u64, answered: Option<u64>, value: &str) -> Operation {
        Operation { asked, answered, write: Some((0, value.to_owned())), saw: None }
    }

    fn read(asked: u64, answered: u64, value: &str) -> Operation {
        Operation { asked, answered: Some(answered), write: None, saw: Some(vec![value.to_owned()]) }
    }

    fn found(operations: &[Operation]) -> SearchResult {
        order(&["0".to_owned()], operations)
    }

    #[test]
    fn answers_in_the_order_of_time_are_linearizable() {
        assert_eq!(found(&[]), SearchResult::Order);
        assert_eq!(found(&[read(1, 2, "0"), write(3, Some(4), "a"), read(5, 6, "a")]), SearchResult::Order);
        // Two at once, in either order.
        for last in ["a", "b"] {
            let both = [write(1, Some(9), "a"), write(2, Some(8), "b"), read(10, 11, last)];
            assert_eq!(found(&both), SearchResult::Order, "{last}");
        }
    }

    #[test]
    fn a_lost_update_is_caught() {
        let lost = [write(1, Some(2), "a"), write(3, Some(4), "b"), read(5, 6, "a")];
        assert_eq!(found(&lost), SearchResult::None(2, 2));
        assert!(matches!(found(&[write(1, Some(2), "a"), read(3, 4, "0")]), SearchResult::None(..)));
    }

    #[test]
    fn a_read_that_goes_back_is_caught_also_while_the_write_lasts() {
        let back = [write(1, Some(20), "a"), read(2, 3, "a"), read(4, 5, "0")];
        assert!(matches!(found(&back), SearchResult::None(..)));
    }

    #[test]
    fn a_write_without_an_answer_may_happen_late_or_never_but_not_twice() {
        let unknown = write(1, None, "a");
        assert_eq!(found(&[unknown.clone(), read(2, 3, "0"), read(4, 5, "0")]), SearchResult::Order);
        assert_eq!(found(&[unknown.clone(), read(2, 3, "0"), read(4, 5, "a")]), SearchResult::Order);
        let twice = [unknown, read(2, 3, "a"), write(4, Some(5), "b"), read(6, 7, "b"), read(8, 9, "a")];
        assert!(matches!(found(&twice), SearchResult::None(..)));
    }

    #[test]
    fn a_field_that_another_write_overwrites_is_caught() {
        let set = |asked, field, value: &str, saw: [&str; 2]| Operation {
            asked,
            answered: Some(asked + 1),
            write: Some((field, value.to_owned())),
            saw: Some(saw.map(str::to_owned).to_vec()),
        };
        let initial = ["no", "no"].map(str::to_owned);
        assert_eq!(
            order(&initial, &[set(1, 0, "yes", ["yes", "no"]), set(3, 1, "yes", ["yes", "yes"])]),
            SearchResult::Order
        );
        let lost = [set(1, 0, "yes", ["yes", "no"]), set(3, 1, "yes", ["no", "yes"])];
        assert!(matches!(order(&initial, &lost), SearchResult::None(1, 1)));
    }

    #[test]
    fn a_long_history_with_many_unknown_writes_is_searched_in_time() {
        let mut all = Vec::new();
        for turn in 0..600_u64 {
            let (at, value) = (turn * 10, turn.to_string());
            // One in forty is never answered, and the next read tells that it happened.
            all.push(write(at, (turn % 40 != 7).then_some(at + 5), &value));
            all.push(read(at + 6, at + 12, &value));
        }
        assert_eq!(found(&all), SearchResult::Order);
        all.push(read(9_000, 9_001, "5"));
        assert_eq!(found(&all), SearchResult::None(1_200, 1_200));
    }
}
