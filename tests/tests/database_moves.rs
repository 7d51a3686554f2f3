//! Where the engine runs, over a PostgreSQL: fail back, moves, and a host that is told to stop.

use std::time::Duration;

use baton_test_postgres::{Postgres, skipped};
use baton_tests::{Cluster, Workload, now};

/// Default time that a returned server must last before the engine moves back to it.
const STABILITY: Duration = Duration::from_secs(5);

#[test]
fn the_engine_fails_back_to_a_caught_up_server_once_it_is_stable() {
    let Some(database) = Postgres::start() else { return skipped("fail back over PostgreSQL") };
    let mut cluster = Cluster::over(&database.tcp_url());
    cluster.ok(&["policy", "set", "--assistance", "none", "--preferred", "server1,server2", "--fail-back", "true"]);
    let mut workload = Workload::start(&cluster, "orders");
    cluster.kill("server1");
    cluster.wait_engine_on("server2");
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
fn the_engine_moves_on_command_and_stays_stopped_without_a_preferred_server() {
    let Some(database) = Postgres::start() else { return skipped("moves over PostgreSQL") };
    let mut cluster = Cluster::over(&database.tcp_url());
    let mut workload = Workload::start(&cluster, "orders");
    for target in ["server2", "server3", "server1"] {
        cluster.ok(&["move", target]);
        let status = cluster.status();
        assert!(status.started_on(target), "{status:#?}");
        workload.flows();
    }
    let epoch = cluster.status().epoch();
    cluster.ok(&["move", "server1"]);
    assert_eq!(cluster.status().epoch(), epoch, "a move to where it is already is no activation");
    cluster.refused(&["move", "server9"], &["server9"]);

    cluster.ok(&["policy", "set", "--assistance", "none", "--preferred", "server1", "--preferred-only", "true"]);
    cluster.refused(&["move", "server3"], &["server3", "preferred"]);
    cluster.kill("server1");
    cluster.wait("a stopped engine", |status| status.engine.state == "stopped" && !status.engine.reason.is_empty());
    cluster.stays("a stopped engine", Duration::from_secs(4), |status| status.engine.state == "stopped");
    cluster.ok(&["policy", "set", "--preferred", "server3"]);
    cluster.wait_engine_on("server3");
    workload.flows();
    workload.finish(&cluster);
}

#[test]
fn a_host_that_is_told_to_stop_hands_the_engine_over_first() {
    let Some(database) = Postgres::start() else { return skipped("SIGTERM over PostgreSQL") };
    let mut cluster = Cluster::over(&database.tcp_url());
    let mut workload = Workload::start(&cluster, "orders");
    cluster.terminate("server1");
    cluster.wait_engine_on("server2");
    workload.flows();
    workload.finish(&cluster);
    let log = cluster.log("server1");
    assert!(!log.contains("hand-over failed"), "{log}");
}
