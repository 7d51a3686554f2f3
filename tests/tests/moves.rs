//! Planned moves: nothing is lost, no acknowledged message returns, and moves that the policy forbids are refused.

use std::time::Duration;

use baton_tests::{Cluster, Workload, check::assert_same, numbered};

#[test]
fn move_takes_the_engine_to_a_server_and_returns_once_it_is_started_there() {
    let cluster = Cluster::start(3, 0);
    let mut workload = Workload::start(&cluster, "orders");
    for target in ["server2", "server3", "server1"] {
        cluster.ok(&["move", target]);
        let status = cluster.status();
        assert!(status.started_on(target), "{status:#?}");
        workload.flows();
    }
    // A move to where it is already is done at once.
    let epoch = cluster.status().epoch();
    cluster.ok(&["move", "server1"]);
    assert_eq!(cluster.status().epoch(), epoch, "the engine was not started anew");
    workload.finish(&cluster);
}

#[test]
fn move_is_refused_in_one_line_where_the_engine_may_not_run() {
    let mut cluster = Cluster::start(3, 1);
    cluster.refused(&["move", "server9"], &["server9"]);
    cluster.refused(&["move", "witness1"], &["witness1", "witness"]);
    cluster.ok(&[
        "policy",
        "set",
        "--assistance",
        "none",
        "--preferred",
        "server1,server2",
        "--preferred-only",
        "true",
    ]);
    cluster.refused(&["move", "server3"], &["server3", "preferred"]);
    cluster.kill("server2");
    cluster.wait("server2 down", |status| status.server("server2").is_some_and(|server| !server.up));
    cluster.refused(&["move", "server2"], &["server2"]);
    assert!(cluster.status().started_on("server1"), "the engine stayed where it was");
}

#[test]
fn an_operators_move_holds_until_the_policy_changes() {
    let cluster = Cluster::start(3, 0);
    let list = ["--preferred", "server1,server2,server3", "--fail-back", "true"];
    cluster.ok(&[&["policy", "set", "--assistance", "none"], &list[..]].concat());
    cluster.ok(&["move", "server3"]);
    cluster.stays("the engine on server3", Duration::from_secs(9), |status| status.started_on("server3"));
    cluster.ok(&["policy", "set", "--preferred", "server1,server2"]);
    cluster.wait_engine_on("server1");
}

#[test]
fn an_operators_move_holds_until_that_server_fails() {
    let mut cluster = Cluster::start(3, 0);
    cluster.ok(&["move", "server3"]);
    let mut workload = Workload::start(&cluster, "orders");
    cluster.kill("server3");
    cluster.wait_engine_on("server1");
    workload.flows();
    workload.finish(&cluster);
}

#[test]
fn a_host_that_is_told_to_stop_hands_the_engine_over_first() {
    let mut cluster = Cluster::start(3, 0);
    let mut workload = Workload::start(&cluster, "orders");
    cluster.terminate("server1");
    cluster.wait_engine_on("server2");
    workload.flows();
    workload.finish(&cluster);
}

#[test]
fn nothing_that_was_acknowledged_comes_again_after_a_hand_over() {
    let mut cluster = Cluster::start(3, 0);
    cluster.create_queue("orders");
    let lines = numbered(0, 3000);
    cluster.send_lines("orders", &lines);
    // A new consumer each time: it does not know the acknowledgements of the others.
    let mut received = cluster.receive_lines("orders", 1000);
    cluster.terminate("server1");
    received.extend(cluster.receive_lines("orders", 1000));
    cluster.ok(&["move", "server3"]);
    received.extend(cluster.drain("orders"));
    assert_same(&lines, &received);
}
