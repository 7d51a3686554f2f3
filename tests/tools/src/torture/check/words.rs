//! While something is wrong `baton status` says what: an engine that is not started has a reason in words, and members
//! that are dead, frozen or cut off are shown as not up.

use super::Outcome;
use crate::torture::history::{FaultRecord, History};

/// Time in which the survivors must notice; a frozen process is noticed by its silence alone.
const NOTICED_MS: u64 = 3_000;
/// With fewer samples in the remaining time there is no verdict: the machine was too busy to ask.
const SAMPLES: usize = 2;

pub(super) fn check(history: &History) -> Outcome {
    if history.status.is_empty() {
        return Outcome::Violated(vec!["status was never asked".to_owned()]);
    }
    let mut violations = speechless(history);
    violations.extend(history.faults.iter().flat_map(|done| unnoticed(history, done)));
    Outcome::of(violations)
}

/// Status answers without a reason for an engine that is not started, and commands that fail without a message.
fn speechless(history: &History) -> Vec<String> {
    let wrong = history.status.iter().filter_map(|sample| match &sample.answer {
        Ok(status) if status.host().is_none() && status.engine.reason.trim().is_empty() => {
            Some(format!("at {} ms the engine is {} and nothing says why", sample.at_ms, status.engine.state))
        }
        Err(said) if said.trim().is_empty() => Some(format!("at {} ms status failed without a word", sample.at_ms)),
        Ok(_) | Err(_) => None,
    });
    wrong.collect()
}

/// Victims that no answer shows as not up, though the fault lasted long enough.
fn unnoticed(history: &History, done: &FaultRecord) -> Vec<String> {
    if !done.fault.kind.takes_victims_away() {
        return Vec::new();
    }
    let noticed_ms = done.began_ms + NOTICED_MS;
    let end_ms = done.began_ms + done.fault.length_ms;
    let during = history.status.iter().filter(|it| it.asked_ms >= noticed_ms && it.at_ms <= end_ms);
    let answers: Vec<_> = during.filter_map(|it| it.answer.as_ref().ok()).collect();
    if answers.len() < SAMPLES {
        return Vec::new();
    }
    let up = |victim: &&String| answers.iter().all(|status| status.server(victim).is_some_and(|server| server.up));
    let kind = done.fault.kind.name();
    let said = |victim: &String| format!("{kind} from {} ms: {victim} is always shown as up", done.began_ms);
    done.victims.iter().filter(up).map(said).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torture::history::Sample;
    use crate::torture::kind::Kind;
    use crate::torture::schedule::{Fault, Victims};

    fn sample(at_ms: u64, state: &str, reason: &str, up: bool) -> Sample {
        let json = format!(
            r#"{{"engine":{{"state":"{state}","server":"server1","epoch":"0.1","since":0,"reason":"{reason}"}},
            "policy":{{"assistance":"none","preferred":[],"fail_back":true,"preferred_only":false,"manual":false}},
            "servers":[{{"name":"server2","role":"server","up":{up},"engine":"standby","leader":false,"lag":0,
            "preference":2}}],"quorum":{{"needed":3,"up":5}}}}"#
        );
        Sample { asked_ms: at_ms, at_ms, answer: Ok(serde_json::from_str(&json).unwrap()) }
    }

    fn killed(status: Vec<Sample>) -> History {
        let victims = vec!["server2".to_owned()];
        let fault = Fault {
            kind: Kind::KillMembers,
            victims: Victims::Members(victims.clone()),
            after_ms: 0,
            length_ms: 9_000,
            seed: 0,
        };
        let done = FaultRecord { fault, victims, began_ms: 1_000, ended_ms: 10_000, notes: Vec::new(), lost_bytes: 0 };
        History { status, faults: vec![done], ..History::default() }
    }

    #[test]
    fn a_dead_member_that_is_shown_as_down_is_good() {
        let status = vec![
            sample(1_100, "started", "first", true),
            sample(5_000, "started", "first", false),
            sample(6_000, "started", "first", false),
        ];
        assert_eq!(check(&killed(status)), Outcome::Held);
    }

    #[test]
    fn a_dead_member_that_is_always_shown_as_up_is_caught() {
        let status = vec![sample(5_000, "started", "first", true), sample(6_000, "started", "first", true)];
        assert!(matches!(check(&killed(status)), Outcome::Violated(how) if how[0].contains("server2")));
    }

    #[test]
    fn a_stopped_engine_without_a_reason_is_caught() {
        let status = vec![sample(1, "stopped", " ", true)];
        assert!(matches!(check(&History { status, ..History::default() }), Outcome::Violated(_)));
        let status = vec![sample(1, "stopped", "no quorum", true)];
        assert_eq!(check(&History { status, ..History::default() }), Outcome::Held);
    }
}
