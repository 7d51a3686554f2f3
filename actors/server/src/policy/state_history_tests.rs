//! The pauses of fail back, and the reasons of activations.

use super::*;

/// What server2 sees `second` seconds after the start, which hosts the engine after those activations: host and second of
/// each, by turns server1 by fail back and server2 by failover.
fn after_losses(second: u64, list: &[u64], entries: &[(u64, u64)]) -> Observation {
    let mut seen = preferring(hosting(2, after(second)), list, true);
    let cluster = Arc::make_mut(&mut seen.cluster);
    let placement = |(index, (host, second)): (u64, &(u64, u64))| Placement {
        host: name(*host),
        epoch: Epoch { generation: 0, index },
        reason: if *host == 1 { ActivationReason::FailBack } else { ActivationReason::FailOver },
        at_ms: after(*second).0 / 1_000_000,
    };
    cluster.history = (1..).zip(entries).map(placement).collect();
    cluster.placement = cluster.history.last().cloned();
    seen.engine.1 = Some(cluster.epoch());
    seen
}

/// Server1 takes the engine and is lost a second later, again and again.
#[test]
fn a_server_that_dies_whenever_it_hosts_is_failed_back_to_ever_more_rarely() {
    let mut policy = policy(2);
    let mut entries = vec![(1, 0), (2, 1)];
    let (mut tries, mut waits) = (Vec::new(), Vec::new());
    for second in 1..400 {
        let seen = after_losses(second, &[1], &entries);
        for effect in policy.step(&seen) {
            assert!(matches!(&effect, Effect::HandOver { to, .. } if *to == name(1)), "{effect:?}");
            tries.push(second);
            policy.acted(Outcome::Done, after(second));
            entries.extend([(1, second), (2, second + 1)]);
        }
        waits.extend(policy.fail_back_waits().iter().map(|wait| (wait.losses, wait.until_ms - seen.unix_ms)));
    }
    // Five seconds of stability, and from the second loss on 10 s, 20 s, 40 s, ... after the loss.
    assert_eq!(tries, [6, 17, 38, 79, 160, 321]);
    assert!(waits.contains(&(2, 10_000)) && waits.contains(&(3, 1_000)), "{waits:?}");
    let changed = after_losses(400, &[1, 3], &entries);
    assert!(matches!(&policy.step(&changed)[..], [Effect::HandOver { to, .. }] if *to == name(1)));
    assert_eq!(policy.fail_back_waits(), [], "whoever changes the policy wants it followed");
}

/// The count comes from the replicated state: it outlives the leader that made it.
#[test]
fn a_new_leader_goes_on_with_the_pause() {
    let mut policy = policy(2);
    let seen = after_losses(30, &[1], &[(1, 0), (2, 1), (1, 6), (2, 7), (1, 17), (2, 18)]);
    assert_eq!(policy.step(&seen), []);
    let [wait] = policy.fail_back_waits() else { panic!("it waits") };
    assert_eq!((&wait.server, wait.losses, wait.until_ms - seen.unix_ms), (&name(1), 3, 8_000));
}

/// All servers were stopped, the host's engine handed over, and all started again: nothing of the time before says why the
/// engine starts.
#[test]
fn a_start_of_all_servers_is_a_start() {
    let at_ms = START.0 / 1_000_000;
    for (started_before, reason) in [(false, ActivationReason::Start), (true, ActivationReason::FailOver)] {
        let mut policy = policy(2);
        let mut seen = leading(2, after(1));
        let epoch = Epoch { generation: 0, index: 5 };
        let placement = Placement { host: name(1), epoch, reason: ActivationReason::Start, at_ms: at_ms - 60_000 };
        Arc::make_mut(&mut seen.cluster).placement = Some(placement);
        seen.links.values_mut().for_each(|link| link.incarnation = at_ms << 20);
        seen.links.remove(&name(1));
        if started_before {
            seen.links.get_mut(&name(3)).unwrap().incarnation = (at_ms - 90_000) << 20;
        }
        seen.now = after(4);
        seen.status.followers.values_mut().for_each(|follower| follower.heard = Some(after(4)));
        assert_eq!(policy.step(&seen), [Effect::Activate { reason }]);
    }
}

/// The policy kept the engine stopped, whoever leads when it is changed.
#[test]
fn an_engine_that_starts_because_the_policy_was_changed_says_so() {
    let mut policy = policy(2);
    let mut seen = preferring(leading(2, START), &[1], false);
    let cluster = Arc::make_mut(&mut seen.cluster);
    cluster.policy.preferred_only = true;
    let epoch = Epoch { generation: 0, index: 5 };
    cluster.placement = Some(Placement { host: name(1), epoch, reason: ActivationReason::Start, at_ms: 0 });
    seen.links.remove(&name(1));
    seen.status.leads = false;
    assert_eq!(policy.step(&seen), []);
    Arc::make_mut(&mut seen.cluster).policy.preferred_only = false;
    assert_eq!(policy.step(&seen), []);
    seen.status.leads = true;
    (seen.now, seen.cluster) = (after(4), seen.cluster.clone());
    seen.status.followers.values_mut().for_each(|follower| follower.heard = Some(after(4)));
    assert_eq!(policy.step(&seen), [Effect::Activate { reason: ActivationReason::PolicyChange }]);
}
