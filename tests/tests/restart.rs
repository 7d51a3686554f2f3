//! Messages and policy across a restart, and a server that lost its disk.

use baton_tests::{Cluster, check::assert_same, numbered};

/// Some received, some not, so that both must be remembered.
fn some_received_before(cluster: &Cluster, lines: &[String]) -> Vec<String> {
    cluster.create_queue("orders");
    cluster.send_lines("orders", lines);
    cluster.receive_lines("orders", lines.len() / 3)
}

#[test]
fn messages_and_policy_outlive_a_kill_of_every_server_at_once() {
    let mut cluster = Cluster::start(3, 0);
    let lines = numbered(0, 3000);
    let mut received = some_received_before(&cluster, &lines);
    cluster.ok(&["policy", "set", "--assistance", "none", "--preferred", "server2,server1"]);
    cluster.kill_all(&["server1", "server2", "server3"]);

    cluster.start_all();
    let status = cluster.wait_engine_on("server2");
    assert_eq!(status.policy.preferred, ["server2", "server1"]);
    received.extend(cluster.drain("orders"));
    assert_same(&lines, &received);
    cluster.wait("all caught up", |status| status.all_caught_up());
    cluster.verify();
}

#[test]
fn messages_outlive_a_planned_stop_of_every_server() {
    let mut cluster = Cluster::start(3, 2);
    let lines = numbered(0, 3000);
    let mut received = some_received_before(&cluster, &lines);
    // Of the time before it takes a move with it, and nothing of both is why it starts again.
    cluster.ok(&["move", "server2"]);
    cluster.terminate_all(&["server1", "server2", "server3", "witness1", "witness2"]);
    for name in cluster.names() {
        let log = cluster.log(&name);
        assert!(!log.contains("hand-over failed"), "{name} warns, though all were told to stop: {log}");
    }

    cluster.start_all();
    let status = cluster.wait("a started engine", |status| status.host().is_some());
    assert_eq!(status.engine.reason, "start", "{status:#?}");
    received.extend(cluster.drain("orders"));
    assert_same(&lines, &received);
}

#[test]
fn a_server_that_lost_its_store_comes_back_and_holds_everything_again() {
    let mut cluster = Cluster::start(3, 2);
    let lines = numbered(0, 5000);
    let mut received = some_received_before(&cluster, &lines);
    cluster.kill("server3");
    cluster.wipe("server3");
    cluster.restart("server3");
    cluster.wait("all caught up", |status| status.all_caught_up() && status.quorum.up == 5);
    cluster.verify();

    // Only server3 is left to host the engine: it delivers from its own copy.
    cluster.kill_all(&["server1", "server2"]);
    cluster.wait_engine_on("server3");
    received.extend(cluster.drain("orders"));
    assert_same(&lines, &received);
}
