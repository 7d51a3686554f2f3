//! Failback: only if it is switched on, and only to a server that is caught up and stable.

use std::time::Duration;

use baton_tests::{Cluster, Status, Workload, now};

/// Default time that a returned server must last before the engine moves back to it.
const STABILITY: Duration = Duration::from_secs(5);
/// Clearly longer than that.
const LONGER: Duration = Duration::from_secs(9);

#[test]
fn policy_assistance_does_not_fail_back_and_a_policy_that_does_takes_effect_at_once() {
    let mut cluster = Cluster::start(3, 0);
    let mut workload = Workload::start(&cluster, "orders");
    cluster.kill("server1");
    cluster.wait_engine_on("server2");
    cluster.restart("server1");
    cluster.wait_caught_up("server1");
    cluster.stays("the engine on server2", LONGER, |status| status.started_on("server2"));

    cluster.ok(&["policy", "set", "--assistance", "none", "--preferred", "server1,server2", "--fail-back", "true"]);
    cluster.wait_engine_on("server1");
    workload.flows();
    workload.finish(&cluster);
}

#[test]
fn the_engine_fails_back_to_a_caught_up_server_once_it_is_stable() {
    let mut cluster = Cluster::start(3, 0);
    cluster.ok(&["policy", "set", "--assistance", "none", "--preferred", "server1,server2", "--fail-back", "true"]);
    let mut workload = Workload::start(&cluster, "orders");
    cluster.kill("server1");
    cluster.wait_engine_on("server2");
    // Written while server1 is away: it must have this before it may host the engine.
    workload.flows();

    let restarted = now();
    cluster.restart("server1");
    cluster.wait_engine_on("server1");
    let after = restarted.elapsed();
    assert!(after >= STABILITY, "the engine came back after {after:?}, before the server was stable for {STABILITY:?}");
    workload.flows();
    workload.finish(&cluster);
    cluster.verify();
}

#[test]
fn the_engine_does_not_fail_back_to_a_server_that_comes_and_goes() {
    // A busy machine takes its time until a server is caught up: long enough not to be over before it goes again.
    let mut cluster = Cluster::start_with(3, 0, "\n[timing]\nfail_back_stability_ms = 12000\n");
    cluster.ok(&["policy", "set", "--assistance", "none", "--preferred", "server1,server2", "--fail-back", "true"]);
    let workload = Workload::start(&cluster, "orders");
    cluster.kill("server1");
    let epoch = cluster.wait_engine_on("server2").epoch();
    for _ in 0..3 {
        cluster.restart("server1");
        cluster.wait_caught_up("server1");
        cluster.stays("the engine on server2", Duration::from_secs(2), |status| status.epoch() == epoch);
        cluster.kill("server1");
    }
    assert_eq!(cluster.status().epoch(), epoch, "the engine never moved");
    cluster.restart("server1");
    cluster.wait_engine_on("server1");
    workload.finish(&cluster);
}

/// It dies whenever it hosts the engine: clients must not pay for that every few seconds.
#[test]
fn a_server_that_keeps_dying_is_failed_back_to_ever_later_and_status_says_so() {
    let mut cluster = Cluster::start_with(3, 0, "\n[timing]\nfail_back_stability_ms = 1000\n");
    cluster.ok(&["policy", "set", "--assistance", "none", "--preferred", "server1,server2", "--fail-back", "true"]);
    let workload = Workload::start(&cluster, "orders");
    for _ in 0..2 {
        cluster.wait_engine_on("server1");
        cluster.kill("server1");
        cluster.wait_engine_on("server2");
        cluster.restart("server1");
    }
    let lost = now();
    let waits = |status: &Status| status.server("server1").and_then(|server| server.fail_back);
    let status = cluster.wait("a fail back that waits", |status| waits(status).is_some());
    assert_eq!(waits(&status).map(|wait| wait.losses), Some(2));
    let shown = cluster.ok(&["status"]).text();
    assert!(shown.contains("lost 2 times in a row") && shown.contains("failback to it waits"), "{shown}");
    cluster.wait_engine_on("server1");
    assert!(lost.elapsed() >= Duration::from_secs(7), "it failed back after {:?}", lost.elapsed());
    workload.finish(&cluster);
}
