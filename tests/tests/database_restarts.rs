//! PostgreSQL or the servers are restarted: the engine pauses, goes on, and no confirmed message is lost.

use std::time::Duration;

use baton_test_postgres::{Postgres, Stop, skipped};
use baton_tests::check::assert_same;
use baton_tests::{Cluster, Workload, numbered};

/// Some received, some not, so that both must be remembered.
fn some_received_before(cluster: &Cluster, lines: &[String]) -> Vec<String> {
    cluster.create_queue("kept");
    cluster.send_lines("kept", lines);
    cluster.receive_lines("kept", lines.len() / 3)
}

#[test]
fn a_restart_of_postgresql_under_load_is_a_pause_and_no_activation() {
    let Some(mut database) = Postgres::start() else { return skipped("restarts of PostgreSQL") };
    let cluster = Cluster::over(&database.tcp_url());
    let lines = numbered(0, 1000);
    let mut received = some_received_before(&cluster, &lines);
    let epoch = cluster.status().epoch();
    let mut workload = Workload::start(&cluster, "orders");
    for how in [Stop::Fast, Stop::Immediate, Stop::Fast, Stop::Immediate] {
        database.stop(how);
        database.start_again();
        workload.flows();
        let status = cluster.wait("the database reached", |status| status.store.reached == Some(true));
        assert_eq!(status.epoch(), epoch, "after a {how:?} restart the engine runs on in its epoch: {status:#?}");
    }
    let account = workload.finish(&cluster);
    assert_eq!(cluster.wait_engine_on("server1").epoch(), epoch, "{account:?}");
    received.extend(cluster.drain("kept"));
    assert_same(&lines, &received);
    cluster.verify();
}

#[test]
fn while_postgresql_is_down_nothing_is_confirmed_and_status_says_so() {
    let Some(mut database) = Postgres::start() else { return skipped("PostgreSQL that is down") };
    let cluster = Cluster::over(&database.tcp_url());
    cluster.create_queue("orders");
    database.stop(Stop::Fast);
    cluster.wait("the database not reached", |status| status.store.reached == Some(false));
    let refused = cluster.run_with(&["send", "orders", "--timeout", "2"], "one\n");
    assert_ne!(refused.code, Some(0), "{}", refused.stderr);
    assert!(!refused.stderr.contains("confirmed 1"), "{}", refused.stderr);
    database.start_again();
    cluster.wait("a started engine", |status| status.host().is_some() && status.store.reached == Some(true));
    Workload::start(&cluster, "more").finish(&cluster);
}

/// The shared disk of the source document: a framework starts PostgreSQL on the same data at another address.
#[test]
fn postgresql_that_is_killed_and_started_elsewhere_on_its_data_is_found_by_the_url() {
    let Some(mut database) = Postgres::start() else { return skipped("PostgreSQL at another address") };
    let cluster = Cluster::over(&database.tcp_url_or(database.other_port()));
    let lines = numbered(0, 1000);
    let mut received = some_received_before(&cluster, &lines);
    let epoch = cluster.status().epoch();
    let mut workload = Workload::start(&cluster, "orders");
    for _ in 0..2 {
        database.kill();
        database.start_elsewhere();
        workload.flows();
    }
    workload.finish(&cluster);
    assert_eq!(cluster.wait_engine_on("server1").epoch(), epoch, "the engine ran on in its epoch");
    received.extend(cluster.drain("kept"));
    assert_same(&lines, &received);
}

#[test]
fn messages_and_policy_outlive_a_kill_of_every_server_at_once() {
    let Some(database) = Postgres::start() else { return skipped("a restart of all servers over PostgreSQL") };
    let mut cluster = Cluster::over(&database.tcp_url());
    let lines = numbered(0, 3000);
    let mut received = some_received_before(&cluster, &lines);
    cluster.ok(&["policy", "set", "--assistance", "none", "--preferred", "server2,server1"]);
    cluster.kill_all(&["server1", "server2", "server3"]);

    cluster.start_all();
    let status = cluster.wait_engine_on("server2");
    assert_eq!(status.policy.preferred, ["server2", "server1"]);
    received.extend(cluster.drain("kept"));
    assert_same(&lines, &received);
    cluster.wait("all caught up", |status| status.all_caught_up());
    cluster.verify();
}

#[test]
fn messages_outlive_postgresql_and_every_server_killed_together() {
    let Some(mut database) = Postgres::start() else { return skipped("a kill of everything over PostgreSQL") };
    let mut cluster = Cluster::over(&database.tcp_url());
    let lines = numbered(0, 3000);
    let mut received = some_received_before(&cluster, &lines);
    cluster.kill_all(&["server1", "server2", "server3"]);
    database.kill();
    // The servers come first, as after a power failure they may: they wait for the database.
    cluster.start_all();
    std::thread::sleep(Duration::from_secs(1));
    database.start_again();
    cluster.wait("a started engine", |status| status.host().is_some());
    received.extend(cluster.drain("kept"));
    assert_same(&lines, &received);
}

#[test]
fn a_server_whose_directory_is_deleted_fills_it_from_the_database() {
    let Some(database) = Postgres::start() else { return skipped("a deleted directory over PostgreSQL") };
    let mut cluster = Cluster::over(&database.tcp_url());
    let lines = numbered(0, 3000);
    let mut received = some_received_before(&cluster, &lines);
    cluster.kill("server3");
    cluster.wipe("server3");
    cluster.restart("server3");
    cluster.wait("all caught up", |status| status.all_caught_up());
    cluster.verify();
    // Only server3 is left to host the engine: it delivers from its own copy.
    cluster.kill_all(&["server1", "server2"]);
    cluster.wait_engine_on("server3");
    received.extend(cluster.drain("kept"));
    assert_same(&lines, &received);
}

#[test]
fn all_directories_may_be_deleted_while_the_servers_are_stopped() {
    let Some(database) = Postgres::start() else { return skipped("all directories deleted over PostgreSQL") };
    let mut cluster = Cluster::over(&database.tcp_url());
    let lines = numbered(0, 3000);
    let mut received = some_received_before(&cluster, &lines);
    cluster.terminate_all(&["server1", "server2", "server3"]);
    for name in cluster.names() {
        cluster.wipe(&name);
    }
    cluster.start_all();
    cluster.wait("a started engine", |status| status.host().is_some() && status.all_caught_up());
    received.extend(cluster.drain("kept"));
    assert_same(&lines, &received);
}
