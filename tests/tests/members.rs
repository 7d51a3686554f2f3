//! Members come and go while messages flow.

use baton_tests::{Cluster, Workload};

#[test]
fn a_new_server_joins_catches_up_and_can_host_the_engine() {
    let mut cluster = Cluster::start(3, 0);
    let mut workload = Workload::start(&cluster, "orders");
    let address = cluster.new_server("server4");
    cluster.ok(&["member", "add", "server4", "--address", &address]);
    cluster.restart("server4");
    let status = cluster.wait("server4 a caught-up voter", |status| {
        status.server("server4").is_some_and(|server| server.caught_up()) && status.quorum.up == 4
    });
    assert_eq!(status.server("server4").and_then(|server| server.preference), Some(4), "it joined last");
    cluster.ok(&["move", "server4"]);
    assert!(cluster.status().started_on("server4"));
    workload.flows();
    workload.finish(&cluster);
    cluster.verify();
}

#[test]
fn a_server_that_is_removed_hands_over_and_takes_no_part_any_more() {
    let mut cluster = Cluster::start(4, 0);
    let mut workload = Workload::start(&cluster, "orders");
    cluster.ok(&["member", "remove", "server1"]);
    let status = cluster.wait_engine_on("server2");
    assert!(status.server("server1").is_none(), "{status:#?}");
    assert_eq!(status.quorum.needed, 2, "three voters are left");
    workload.flows();

    // It is not missed: with server1 gone and one more dead, two of three go on.
    cluster.kill("server1");
    cluster.kill("server2");
    cluster.wait_engine_on("server3");
    workload.flows();
    workload.finish(&cluster);
}

#[test]
fn a_removed_server_comes_back_empty_and_joins_last() {
    let mut cluster = Cluster::start(3, 0);
    cluster.kill("server1");
    cluster.wait_engine_on("server2");
    cluster.ok(&["member", "remove", "server1"]);
    cluster.wipe("server1");
    let address = cluster.address("server1");
    cluster.ok(&["member", "add", "server1", "--address", &address]);
    cluster.restart("server1");
    let status = cluster.wait("server1 caught up", |status| status.all_caught_up() && status.quorum.up == 3);
    let names: Vec<&str> = status.servers.iter().map(|server| server.name.as_str()).collect();
    assert_eq!(names, ["server2", "server3", "server1"], "members stand in the order in which they joined");
    assert!(status.started_on("server2"));
    cluster.verify();
}

#[test]
fn members_that_make_no_sense_are_refused() {
    let cluster = Cluster::start(3, 0);
    cluster.refused(&["member", "remove", "server9"], &["server9"]);
    cluster.refused(&["member", "add", "server1", "--address", "127.0.0.1:1"], &["server1"]);
    cluster.refused(&["member", "add", "server4", "--address", &cluster.address("server2")], &["server2", "its own"]);
    cluster.refused(&["member", "add", "server 4", "--address", "127.0.0.1:1"], &["server 4"]);
}

/// More members that never start than there are real ones: whatever a script added by mistake can be taken back.
#[test]
fn members_that_never_start_keep_nobody_from_being_removed() {
    let cluster = Cluster::start(3, 0);
    let names: Vec<String> = (1..=6).map(|number| format!("typo{number}")).collect();
    for (port, name) in (1..).zip(&names) {
        cluster.ok(&["member", "add", name, "--address", &format!("127.0.0.1:{port}")]);
    }
    for name in &names {
        cluster.ok(&["member", "remove", name]);
    }
    assert_eq!(cluster.status().servers.len(), 3);
    // And a real one, as before.
    cluster.ok(&["member", "remove", "server3"]);
}
