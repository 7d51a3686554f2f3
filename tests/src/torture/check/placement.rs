//! Invariant 6: the engine goes where the policy says: at the end of the run, when all servers are there and the policy
//! fails back, it is on the first of the list; epochs only grow; and it does not flap: there are no more activations than
//! the faults explain.

use std::collections::BTreeSet;

use super::Outcome;
use crate::torture::history::History;

/// Activations beside those that faults explain: the first one, the policy of the end, and little more.
const BESIDE: usize = 4;

pub(super) fn check(history: &History) -> Outcome {
    let mut violations = Vec::new();
    let (wanted, host) = (history.ending.list.first(), history.ending.host.as_ref());
    if wanted.is_none() || wanted != host {
        let list = history.ending.list.join(", ");
        violations.push(format!("at the end the engine was on {host:?}; the policy fails back to the first of {list}"));
    }
    let (made, explained) = (activations(history), explained(history));
    if made > explained {
        violations.push(format!("the engine flaps: {made} activations, and the faults explain at most {explained}"));
    }
    violations.extend(shrinking(history));
    Outcome::of(violations)
}

/// How many times the engine was activated: by the traces, or without traces by what `baton status` saw.
#[must_use]
pub fn activations(history: &History) -> usize {
    let traced: BTreeSet<_> = history.trace.activated.iter().map(|it| it.epoch).collect();
    let seen: BTreeSet<_> = epochs(history).into_iter().map(|(_, epoch)| epoch).collect();
    if traced.is_empty() { seen.len() } else { traced.len() }
}

fn explained(history: &History) -> usize {
    BESIDE + history.faults.iter().map(|done| done.fault.kind.activations()).sum::<usize>()
}

/// The epochs of started engines that `baton status` showed, each with when the answer came.
fn epochs(history: &History) -> Vec<(u64, (u64, u64))> {
    let started = history.status.iter().filter_map(|sample| {
        let status = sample.answer.as_ref().ok()?;
        status.host()?;
        Some((sample.at_ms, status.epoch()?))
    });
    started.collect()
}

/// Epochs that shrink. Only among those asked for when no fault lasted: a server that was cut off may show the past.
fn shrinking(history: &History) -> Vec<String> {
    let quiet = |at_ms: u64| {
        history.faults.iter().all(|done| at_ms < done.began_ms || at_ms > done.ended_ms.saturating_add(2_000))
    };
    let (mut newest, mut violations) = ((0, 0), Vec::new());
    for (at_ms, epoch) in epochs(history) {
        if epoch < newest && quiet(at_ms) {
            violations.push(format!("at {at_ms} ms status shows epoch {epoch:?}, after {newest:?}"));
        }
        newest = newest.max(epoch);
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torture::history::{Ending, Sample};
    use crate::torture::trace::{Activated, Epoch};

    fn history(host: &str, epochs: &[u64]) -> History {
        let list = vec!["server2".to_owned(), "server1".to_owned()];
        let status = |epoch: &u64| {
            let json = format!(
                r#"{{"engine":{{"state":"started","server":"server2","epoch":"0.{epoch}","since":0,"reason":"it is the first"}},
                "policy":{{"assistance":"none","preferred":[],"fail_back":true,"preferred_only":false,"manual":false}},
                "servers":[],"quorum":{{"needed":3,"up":5}}}}"#
            );
            Sample { asked_ms: *epoch, at_ms: *epoch, answer: Ok(serde_json::from_str(&json).unwrap()) }
        };
        let ending = Ending { list, host: Some(host.to_owned()), ..Ending::default() };
        History { ending, status: epochs.iter().map(status).collect(), ..History::default() }
    }

    #[test]
    fn the_first_of_the_list_with_growing_epochs_is_good() {
        assert_eq!(check(&history("server2", &[1, 1, 9])), Outcome::Held);
    }

    #[test]
    fn another_server_at_the_end_is_caught() {
        assert!(matches!(check(&history("server1", &[1])), Outcome::Violated(how) if how[0].contains("server1")));
        assert!(matches!(check(&History::default()), Outcome::Violated(_)));
    }

    #[test]
    fn an_epoch_that_shrinks_is_caught() {
        assert!(
            matches!(check(&history("server2", &[9, 1])), Outcome::Violated(how) if how[0].contains("shows epoch"))
        );
    }

    #[test]
    fn more_activations_than_faults_explain_are_caught() {
        let mut bad = history("server2", &[1]);
        bad.trace.activated = (0..=BESIDE as u64)
            .map(|index| {
                let (server, host) = ("server1".to_owned(), "server2".to_owned());
                Activated { server, index, epoch: Epoch(0, index), host }
            })
            .collect();
        assert!(matches!(check(&bad), Outcome::Violated(how) if how[0].contains("flaps")));
    }
}
