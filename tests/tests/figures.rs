//! The seed's three figures: where the engine runs when servers fail, and that no message suffers.

use baton_tests::{Cluster, Workload};

#[test]
fn figure_1_the_engine_starts_on_server1() {
    let cluster = Cluster::start(3, 2);
    let status = cluster.status();
    assert!(status.started_on("server1"), "{status:#?}");
    assert_eq!(status.instances_started(), ["server1"], "every other instance is standby");
    for server in status.servers.iter().filter(|server| server.role == "server" && server.name != "server1") {
        assert_eq!(server.engine, "standby", "{} has an instance, ready to be activated", server.name);
    }
    let preferences: Vec<_> = status.servers.iter().map(|server| (server.name.as_str(), server.preference)).collect();
    assert_eq!(
        preferences,
        [("server1", Some(1)), ("server2", Some(2)), ("server3", Some(3)), ("witness1", None), ("witness2", None)],
        "policy assistance keeps the list in the order in which servers joined; a witness never hosts"
    );
    assert_eq!((status.quorum.needed, status.quorum.up), (3, 5));
    Workload::start(&cluster, "orders").finish(&cluster);
}

#[test]
fn figure_2_the_engine_fails_over_to_server2() {
    let mut cluster = Cluster::start(3, 0);
    let before = cluster.status().epoch();
    let mut workload = Workload::start(&cluster, "orders");
    cluster.kill("server1");
    let status = cluster.wait_engine_on("server2");
    assert!(status.epoch() > before, "a new activation has a greater epoch: {before:?}, {:?}", status.epoch());
    assert!(status.server("server1").is_some_and(|server| !server.up), "{status:#?}");
    workload.flows();
    workload.finish(&cluster);
}

#[test]
fn figure_3_the_engine_fails_over_to_server3_when_the_others_die_one_after_the_other() {
    let mut cluster = Cluster::start(3, 2);
    let mut workload = Workload::start(&cluster, "orders");
    cluster.kill("server1");
    cluster.wait_engine_on("server2");
    workload.flows();
    cluster.kill("server2");
    cluster.wait_engine_on("server3");
    workload.flows();
    workload.finish(&cluster);
}

#[test]
fn figure_3_the_engine_fails_over_to_server3_when_the_others_die_at_once() {
    let mut cluster = Cluster::start(3, 2);
    let mut workload = Workload::start(&cluster, "orders");
    cluster.kill_all(&["server1", "server2"]);
    cluster.wait_engine_on("server3");
    workload.flows();
    workload.finish(&cluster);
}

#[test]
fn three_servers_and_a_witness_survive_two_failures_one_after_the_other() {
    let mut cluster = Cluster::start(3, 1);
    let mut workload = Workload::start(&cluster, "orders");
    cluster.kill("server1");
    cluster.wait_engine_on("server2");
    // The dead voter is removed after a while: then two of three are a majority.
    cluster.wait("a smaller majority", |status| status.quorum.needed == 2);
    cluster.kill("server2");
    cluster.wait_engine_on("server3");
    workload.flows();
    workload.finish(&cluster);
}
