//! After the faults the cluster heals by itself within a bound: the engine is started, all members are up and caught
//! up, all queues are drained, and every client lived through it. No server ends by itself.

use super::Outcome;
use super::confirmed::delayed_for_hours;
use crate::torture::history::History;

pub(super) fn check(history: &History) -> Outcome {
    let mut violations = history.unhealthy.clone();
    violations.extend(history.deaths.iter().cloned());
    let ending = &history.ending;
    if ending.healthy_after_ms.is_none() {
        violations.push("the cluster was not healthy in time after the last fault".to_owned());
    }
    if !ending.drained && (ending.left == 0 || ending.left != delayed_for_hours(history)) {
        violations.push(format!("the queues were not drained in time: {} messages are left", ending.left));
    }
    // Those that were killed gave no exit code.
    let producers = history.producers.iter().filter(|it| it.killed_ms.is_none());
    let consumers = history.consumers.iter().chain(&history.others).filter(|it| it.killed_ms.is_none());
    let producers = producers.map(|it| (&it.name, it.code, &it.said));
    let clients = producers.chain(consumers.map(|it| (&it.name, it.code, &it.said)));
    for (name, code, said) in clients.filter(|(_, code, _)| *code != Some(0)) {
        violations.push(format!("{name} ended with {code:?}: {}", said.trim()));
    }
    Outcome::of(violations)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torture::history::{Consumer, Ending};

    fn good() -> History {
        let ending = Ending { healthy_after_ms: Some(900), drained: true, ..Ending::default() };
        History { ending, consumers: vec![Consumer { code: Some(0), ..Consumer::default() }], ..History::default() }
    }

    #[test]
    fn every_way_not_to_heal_is_caught() {
        assert_eq!(check(&good()), Outcome::Held);
        let spoil: [fn(&mut History); 5] = [
            |it| it.ending.healthy_after_ms = None,
            |it| it.ending.drained = false,
            |it| it.unhealthy.push("engine stopped".to_owned()),
            |it| it.deaths.push("server1 ended by itself".to_owned()),
            |it| it.consumers[0].code = Some(1),
        ];
        for spoil in spoil {
            let mut bad = good();
            spoil(&mut bad);
            assert!(matches!(check(&bad), Outcome::Violated(how) if how.len() == 1));
        }
    }
}
