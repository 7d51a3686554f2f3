//! The seed's three figures over a PostgreSQL: three servers and nothing else, so that one server of three is enough.

use baton_test_postgres::{Postgres, skipped};
use baton_tests::check::assert_same;
use baton_tests::{Cluster, Workload, numbered};

#[test]
fn figure_1_the_engine_starts_on_server1() {
    let Some(database) = Postgres::start() else { return skipped("figure 1 over PostgreSQL") };
    let cluster = Cluster::over(&database.tcp_url());
    let status = cluster.status();
    assert_eq!(status.instances_started(), ["server1"], "every other instance is standby");
    let instances: Vec<_> =
        status.servers.iter().map(|server| (server.name.as_str(), server.engine.as_str())).collect();
    assert_eq!(instances, [("server1", "started"), ("server2", "standby"), ("server3", "standby")]);
    assert_eq!((status.store.kind.as_str(), status.store.reached), ("database", Some(true)), "{status:#?}");
    assert_eq!(status.quorum.needed, 0, "there is no quorum of servers");
    Workload::start(&cluster, "orders").finish(&cluster);
    cluster.verify();
}

#[test]
fn figure_2_the_engine_fails_over_to_server2() {
    let Some(database) = Postgres::start() else { return skipped("figure 2 over PostgreSQL") };
    let mut cluster = Cluster::over(&database.tcp_url());
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
    let Some(database) = Postgres::start() else { return skipped("figure 3 over PostgreSQL") };
    let mut cluster = Cluster::over(&database.tcp_url());
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
    let Some(database) = Postgres::start() else { return skipped("figure 3, at once, over PostgreSQL") };
    let mut cluster = Cluster::over(&database.tcp_url());
    cluster.create_queue("kept");
    let kept = numbered(0, 1000);
    cluster.send_lines("kept", &kept);
    let mut workload = Workload::start(&cluster, "orders");
    cluster.kill_all(&["server1", "server2"]);
    cluster.wait_engine_on("server3");
    workload.flows();
    workload.finish(&cluster);
    assert_same(&kept, &cluster.drain("kept"));
}
