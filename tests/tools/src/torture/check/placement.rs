//! Invariant 6: the engine goes where the policy says. At the end of the run, and whenever all members were up for long
//! enough under a policy that fails back, it is on the first of the list; it does not fail back to a server that
//! started a moment ago; epochs only grow; and it does not flap: there are no more activations than the faults explain,
//! neither in total nor after any one of them.

use std::collections::{BTreeMap, BTreeSet};

use baton_tests::status::{Server, Status};

use super::Outcome;
use crate::torture::history::{FaultRecord, History};
use crate::torture::trace::Epoch;

/// Time for which all members must have been up before the engine must be back: 5 s of stability, and then the move.
const SETTLED_MS: u64 = 8_000;
/// Time for which a server must have run before the engine fails back to it: 5 s, less the time between its start and
/// ours.
const STABLE_MS: u64 = 4_000;
/// Time for which a server on which the engine failed is left alone, and a little more.
const COOLDOWN_MS: u64 = 32_000;
/// It is left alone for longer when it fails again; twice as long, and so on. More is not expected in a run.
const COOLDOWNS: u64 = 2;
/// Answers further apart than this may hide something in between.
const GAP_MS: u64 = 1_500;
/// Activations that one fault may cost beyond those that its kind explains.
const BESIDE_EACH: usize = 1;
/// Activations beyond those that faults explain: the first one, the policy of the end, and a small margin.
const BESIDE: usize = 4;

pub(super) fn check(history: &History) -> Outcome {
    let mut violations = Vec::new();
    let (wanted, host) = (history.ending.list.first(), history.ending.host.as_ref());
    if wanted.is_none() || wanted != host {
        let list = history.ending.list.join(", ");
        violations.push(format!("at the end the engine was on {host:?}; the policy fails back to the first of {list}"));
    }
    violations.extend(late(history));
    let (made, explained) = (activations(history), explained(history));
    if made > explained {
        violations.push(format!("the engine flaps: {made} activations, and the faults explain at most {explained}"));
    }
    violations.extend(flapping(history));
    violations.extend(misplaced(history));
    violations.extend(too_soon(history));
    violations.extend(shrinking(history));
    Outcome::of(violations)
}

/// The number of activations: by the traces, or without traces by the samples of `baton status`.
#[must_use]
pub fn activations(history: &History) -> usize {
    let traced: BTreeSet<_> = history.trace.activated.iter().map(|it| it.epoch).collect();
    let seen: BTreeSet<_> = epochs(history).into_iter().map(|(_, epoch)| epoch).collect();
    if traced.is_empty() { seen.len() } else { traced.len() }
}

/// An engine that was not back in time at the end, when all members were there, though none had failed of late.
fn late(history: &History) -> Option<String> {
    let back_after_ms = history.ending.back_after_ms?;
    let failed = history.status.iter().any(|sample| {
        let recent = sample.at_ms + COOLDOWN_MS * COOLDOWNS > history.ending.last_fault_ms;
        let waits = |status: &Status| status.servers.iter().any(is_left_alone);
        recent && sample.answer.as_ref().is_ok_and(|status| status.engine.reason == "engine-failed" || waits(status))
    });
    (back_after_ms > SETTLED_MS && !failed)
        .then(|| format!("at the end the engine took {back_after_ms} ms to fail back"))
}

fn explained(history: &History) -> usize {
    BESIDE + history.faults.iter().map(|done| done.fault.kind.activations()).sum::<usize>()
}

/// The time of each epoch's first release.
fn first_releases(history: &History) -> BTreeMap<Epoch, u64> {
    let mut first_ms: BTreeMap<Epoch, u64> = BTreeMap::new();
    for release in &history.trace.releases {
        let at_ms = history.ms_of_boot(release.boot_ns);
        first_ms.entry(release.epoch).and_modify(|first| *first = at_ms.min(*first)).or_insert(at_ms);
    }
    first_ms
}

/// Fail backs to a server that a fault had ended and that was started again only a moment before.
fn too_soon(history: &History) -> Vec<String> {
    let first_ms = first_releases(history);
    let mut violations = BTreeMap::new();
    for stopped in history.trace.stopped.iter().filter(|stopped| stopped.reason == "fail-back") {
        // Where it went: the new host itself may say that it failed over, if it has not applied the stop yet.
        let later = history.trace.activated.iter().filter(|it| it.index > stopped.index);
        let Some(activated) = later.min_by_key(|it| it.index) else { continue };
        let (host, epoch) = (&activated.host, activated.epoch);
        let Some(&at_ms) = first_ms.get(&epoch) else { continue };
        let just_before = |ms: u64| ms <= at_ms && at_ms - ms < STABLE_MS;
        let restarted = history.faults.iter().rfind(|done| {
            done.fault.kind.restarts_victims() && done.victims.contains(host) && just_before(done.ended_ms)
        });
        // If faults overlap, another one may have started it before: only a server that was seen down was down.
        let down = history.status.iter().any(|sample| {
            let seen = sample.answer.as_ref().ok().and_then(|answer| answer.server(host));
            just_before(sample.asked_ms) && sample.at_ms < at_ms && seen.is_some_and(|server| !server.up)
        });
        if let Some(restarted) = restarted.filter(|_| down) {
            let ms = at_ms - restarted.ended_ms;
            violations.insert(epoch, format!("{epoch}: the engine failed back to {host} {ms} ms after its start"));
        }
    }
    violations.into_values().collect()
}

/// Episodes of faults that cost more activations than their kinds explain, by the first release of each epoch.
fn flapping(history: &History) -> Vec<String> {
    let first_ms = first_releases(history);
    let mut faults: Vec<&FaultRecord> = history.faults.iter().collect();
    faults.sort_by_key(|done| done.began_ms);
    // Faults that overlap are one episode.
    let mut episodes: Vec<(u64, u64, usize, Vec<&str>)> = Vec::new();
    for done in faults {
        let (kind, allowed) = (done.fault.kind.name(), done.fault.kind.activations());
        match episodes.last_mut() {
            Some((_, ended_ms, sum, kinds)) if done.began_ms <= *ended_ms => {
                (*ended_ms, *sum) = (done.ended_ms.max(*ended_ms), *sum + allowed);
                kinds.push(kind);
            }
            Some(_) | None => episodes.push((done.began_ms, done.ended_ms, allowed + BESIDE_EACH, vec![kind])),
        }
    }
    let ends = episodes.iter().skip(1).map(|(began_ms, ..)| *began_ms).chain([history.ending.last_fault_ms]);
    let found = episodes.iter().zip(ends).filter_map(|((began_ms, _, allowed, kinds), end_ms)| {
        let made = first_ms.values().filter(|at_ms| (*began_ms..end_ms).contains(at_ms)).count();
        let kinds = kinds.join(" and ");
        (made > *allowed)
            .then(|| format!("{made} activations after {kinds} at {began_ms} ms, at most {allowed} expected"))
    });
    found.collect()
}

/// True if the engine stays away from a server for a while: it was lost repeatedly soon after it took the engine, or its
/// engines stopped repeatedly, which it reports itself.
fn is_left_alone(server: &Server) -> bool {
    server.fail_back.is_some() || server.trouble.is_some()
}

/// The first of the list, if the policy fails back to it and all members are up and caught up.
fn wanted(status: &Status) -> Option<&str> {
    let policy = &status.policy;
    let fails_back = policy.assistance == "none" && policy.fail_back && !policy.manual;
    let there = status.all_caught_up();
    let waits = |name: &&String| status.server(name).is_some_and(is_left_alone);
    policy.preferred.first().filter(|name| fails_back && there && !waits(name)).map(String::as_str)
}

/// Answers that show the engine elsewhere although the first of the list was there for long enough.
fn misplaced(history: &History) -> Vec<String> {
    let (mut since, mut last_ms, mut violations): (Option<(&str, u64)>, _, _) = (None, 0, Vec::new());
    let mut engine_failed_ms: Option<u64> = None;
    for sample in &history.status {
        let Ok(status) = &sample.answer else {
            since = None;
            continue;
        };
        let gap = sample.at_ms.saturating_sub(last_ms) > GAP_MS;
        last_ms = sample.at_ms;
        if status.engine.reason == "engine-failed" {
            engine_failed_ms = Some(sample.at_ms);
        }
        // Where an operator moved it, it stays.
        let moved = status.engine.reason == "move";
        let cooling = engine_failed_ms.is_some_and(|failed_ms| sample.at_ms < failed_ms + COOLDOWN_MS);
        let Some(first) = wanted(status).filter(|_| !moved) else {
            since = None;
            continue;
        };
        match since {
            Some((before, from_ms)) if before == first && !gap => {
                let settled = !cooling && sample.asked_ms.saturating_sub(from_ms) > SETTLED_MS;
                if settled && status.host() != Some(first) {
                    let host = status.engine.server.as_deref().unwrap_or("nowhere");
                    violations.push(format!(
                        "at {} ms the engine is on {host}, {first} is there since {from_ms} ms",
                        sample.at_ms
                    ));
                }
            }
            Some(_) | None => since = Some((first, sample.at_ms)),
        }
    }
    violations
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
    use crate::torture::kind::Kind;
    use crate::torture::schedule::{Fault, Victims};
    use crate::torture::trace::{Activated, Release, Stopped};

    fn history(host: &str, epochs: &[u64]) -> History {
        let list = vec!["server2".to_owned(), "server1".to_owned()];
        let status = |epoch: &u64| {
            let json = format!(
                r#"{{"engine":{{"state":"started","server":"server2","epoch":"0.{epoch}","since":0,"reason":"it is the first"}},
                "policy":{{"assistance":"none","preferred":["server1"],"fail_back":true,"preferred_only":false,"manual":false}},
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
    fn an_engine_that_is_back_late_is_caught_unless_it_had_failed() {
        let mut late = history("server2", &[1]);
        late.ending.back_after_ms = Some(SETTLED_MS);
        assert_eq!(check(&late), Outcome::Held);
        late.ending.back_after_ms = Some(SETTLED_MS + 1);
        assert!(matches!(check(&late), Outcome::Violated(how) if how[0].contains("to fail back")));
        late.status.iter_mut().for_each(|sample| {
            if let Ok(status) = &mut sample.answer {
                "engine-failed".clone_into(&mut status.engine.reason);
            }
        });
        assert_eq!(check(&late), Outcome::Held);
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

    #[test]
    fn an_engine_that_does_not_fail_back_is_caught() {
        // The engine is on server2 all the while, in one epoch, and the list begins with server1.
        let during = |ms: u64| {
            let mut history = history("server2", &[1]);
            let first = history.status.remove(0);
            let at = |step: u64| Sample { asked_ms: step * 500, at_ms: step * 500, answer: first.answer.clone() };
            history.status = (0..=ms / 500).map(at).collect();
            history
        };
        assert_eq!(check(&during(SETTLED_MS)), Outcome::Held);
        let long = check(&during(SETTLED_MS + 500));
        assert!(matches!(&long, Outcome::Violated(how) if how[0].contains("server1 is there since")), "{long:?}");
        // The same, while server1 says why it takes no engine.
        let mut left_alone = during(SETTLED_MS + 500);
        for status in left_alone.status.iter_mut().filter_map(|sample| sample.answer.as_mut().ok()) {
            let json = r#"{"name":"server1","role":"server","up":true,"engine":"standby","leader":false,"lag":0,
                "preference":1,"trouble":"its engine stopped again and again"}"#;
            status.servers.push(serde_json::from_str(json).unwrap());
        }
        assert_eq!(check(&left_alone), Outcome::Held);
    }

    #[test]
    fn a_fault_that_costs_too_many_activations_is_caught() {
        let mut bad = history("server2", &[1]);
        let fault = Fault { kind: Kind::KillHost, victims: Victims::Host, after_ms: 0, length_ms: 9, seed: 0 };
        bad.faults = vec![FaultRecord {
            fault,
            victims: Vec::new(),
            began_ms: 10,
            ended_ms: 900,
            notes: Vec::new(),
            lost_bytes: 0,
        }];
        bad.ending.last_fault_ms = 1_000;
        let release = |index: u64| {
            let (server, what) = ("server1".to_owned(), "reply".to_owned());
            Release { server, boot_ns: index * 100_000_000, epoch: Epoch(0, index), what }
        };
        let allowed = Kind::KillHost.activations() + BESIDE_EACH;
        bad.trace.releases = (1..=allowed as u64).map(release).collect();
        assert_eq!(check(&bad), Outcome::Held);
        bad.trace.releases = (1..=allowed as u64 + 1).map(release).collect();
        assert!(matches!(check(&bad), Outcome::Violated(how) if how[0].contains("kill-host at 10 ms")));
    }

    #[test]
    fn a_fail_back_to_a_server_that_was_started_a_moment_ago_is_caught() {
        // server2 is killed, seen to be down, started at 2 s, and gets the engine back at the given time in
        // milliseconds.
        let back_at = |back_ms: u64, reason: &str, down: bool| {
            let mut history = history("server2", &[1]);
            let json = format!(
                r#"{{"name":"server2","role":"server","up":{},"engine":"standby","leader":false,"lag":null,"preference":1}}"#,
                !down
            );
            let sample = &mut history.status[0];
            (sample.asked_ms, sample.at_ms) = (1_900, 1_950);
            sample.answer.as_mut().unwrap().servers = vec![serde_json::from_str(&json).unwrap()];
            let fault = Fault { kind: Kind::KillHost, victims: Victims::Host, after_ms: 0, length_ms: 9, seed: 0 };
            let victims = vec!["server2".to_owned()];
            history.faults = vec![FaultRecord {
                fault,
                victims,
                began_ms: 1_000,
                ended_ms: 2_000,
                notes: Vec::new(),
                lost_bytes: 0,
            }];
            history.trace.stopped = vec![Stopped { index: 8, epoch: Epoch(0, 5), reason: reason.to_owned() }];
            let (server, host, epoch) = ("server2".to_owned(), "server2".to_owned(), Epoch(0, 9));
            history.trace.activated = vec![Activated { server: server.clone(), index: 9, epoch, host }];
            let what = "reply".to_owned();
            history.trace.releases = vec![Release { server, boot_ns: back_ms * 1_000_000, epoch, what }];
            too_soon(&history)
        };
        let found = back_at(2_700, "fail-back", true);
        assert!(found.len() == 1 && found[0].contains("failed back to server2 700 ms"), "{found:?}");
        assert_eq!(back_at(7_000, "fail-back", true), [""; 0], "after 5 s");
        assert_eq!(back_at(2_700, "move", true), [""; 0], "another reason");
        assert_eq!(back_at(2_700, "fail-back", false), [""; 0], "it was there all the while");
    }
}
