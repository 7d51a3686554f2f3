//! Faults of the database that take their time: frozen, cut from one server, out of connections, a dump that is held.

use std::time::Duration;

use baton_test_postgres::{Pooler, Postgres, Stop, skipped};
use baton_tests::check::assert_same;
use baton_tests::{Cluster, LIMIT, Relay, Server, Status, Workload, numbered, run, wait};

/// Longer than a lease.
const OUTAGE: Duration = Duration::from_secs(4);

/// Puts a relay between a server and the database.
fn relay(cluster: &Cluster, name: &str, database: &Postgres) -> Relay {
    let relay = Relay::to(database.port());
    let (old, new) = (format!(":{}/", database.port()), format!(":{}/", relay.port()));
    cluster.configure(name, |text| text.replace(&old, &new));
    relay
}

/// True if a server is up and says that it does not reach the database.
fn cut_off(status: &Status, name: &str) -> bool {
    let trouble = |server: &Server| server.trouble.as_ref().is_some_and(|said| said.contains("reach the database"));
    status.server(name).is_some_and(|server| server.up && trouble(server))
}

#[test]
#[ignore = "make test-database"]
fn a_frozen_database_is_a_pause_and_never_two_engines() {
    let Some(database) = Postgres::start() else { return skipped("a frozen PostgreSQL") };
    let cluster = Cluster::over(&database.tcp_url());
    let epoch = cluster.status().epoch();
    let mut workload = Workload::start(&cluster, "orders");
    database.freeze();
    cluster.stays("at most one engine", OUTAGE, |status| status.instances_started().len() <= 1);
    database.thaw();
    workload.flows();
    workload.finish(&cluster);
    assert_eq!(cluster.wait_engine_on("server1").epoch(), epoch, "the engine ran on in its epoch");
}

#[test]
#[ignore = "make test-database"]
fn a_database_that_is_away_for_longer_than_the_patience_is_followed_by_a_new_activation() {
    let Some(mut database) = Postgres::start() else { return skipped("a long outage of PostgreSQL") };
    let cluster = Cluster::over_with(&database.tcp_url(), "patience_ms = 2000");
    let lines = numbered(0, 500);
    cluster.create_queue("kept");
    cluster.send_lines("kept", &lines);
    let before = cluster.status().epoch();
    database.stop(Stop::Immediate);
    let status = cluster.wait("a stopped engine", |status| status.engine.state != "started");
    assert!(!status.engine.reason.is_empty(), "{status:#?}");
    database.start_again();
    let status = cluster.wait("a started engine", |status| status.host().is_some());
    assert!(status.epoch() >= before, "{status:#?}");
    assert_same(&lines, &cluster.drain("kept"));
}

#[test]
#[ignore = "make test-database"]
fn a_host_that_alone_loses_the_database_gives_the_engine_up_at_once() {
    let Some(database) = Postgres::start() else { return skipped("a host cut from PostgreSQL") };
    let mut cluster = Cluster::init_over(&database.tcp_url());
    let relay = relay(&cluster, "server1", &database);
    cluster.start_all();
    cluster.wait("the engine on server1 and all up", |status| status.started_on("server1") && status.all_caught_up());
    let mut workload = Workload::start(&cluster, "orders");
    relay.cut();
    cluster.wait_engine_away_from("server1");
    workload.flows();
    let status = cluster.wait("server1 up and without the database", |status| cut_off(status, "server1"));
    assert_eq!(status.instances_started().len(), 1, "{status:#?}");
    relay.mend();
    cluster.wait_caught_up("server1");
    cluster.ok(&["move", "server1"]);
    workload.flows();
    workload.finish(&cluster);
    cluster.verify();
}

#[test]
#[ignore = "make test-database"]
fn a_standby_server_that_loses_the_database_costs_nothing_and_does_not_host() {
    let Some(database) = Postgres::start() else { return skipped("a standby cut from PostgreSQL") };
    let mut cluster = Cluster::init_over(&database.tcp_url());
    let relay = relay(&cluster, "server2", &database);
    cluster.start_all();
    cluster.wait("the engine on server1 and all up", |status| status.started_on("server1") && status.all_caught_up());
    let epoch = cluster.status().epoch();
    let mut workload = Workload::start(&cluster, "orders");
    relay.cut();
    cluster.wait("server2 up and without the database", |status| cut_off(status, "server2"));
    cluster.stays("the engine on server1", OUTAGE, |status| status.epoch() == epoch);
    cluster.kill("server1");
    cluster.wait_engine_on("server3");
    workload.flows();
    relay.mend();
    cluster.wait_caught_up("server2");
    workload.finish(&cluster);
}

/// Each server opens its sessions once: a failover needs no new one.
#[test]
#[ignore = "make test-database"]
fn without_a_free_connection_the_engine_fails_over_and_a_new_server_waits() {
    let Some(database) = Postgres::start() else { return skipped("no free connections") };
    database.sql("CREATE ROLE baton LOGIN; GRANT CREATE ON DATABASE postgres TO baton");
    let mut cluster = Cluster::init_over(&database.tcp_url().replace("postgres@", "baton@"));
    for name in ["server1", "server2"] {
        cluster.restart(name);
    }
    cluster
        .wait("two servers", |status| status.started_on("server1") && status.server("server2").is_some_and(|s| s.up));
    database.sql("ALTER ROLE baton CONNECTION LIMIT 1");
    cluster.restart("server3");
    wait("server3 says why it waits", || cluster.log("server3").contains("too many connections"));
    let mut workload = Workload::start(&cluster, "orders");
    cluster.kill("server1");
    cluster.wait_engine_on("server2");
    workload.flows();
    assert!(cluster.runs("server3"), "it waits");
    database.sql("ALTER ROLE baton CONNECTION LIMIT 20");
    cluster.wait_caught_up("server3");
    workload.finish(&cluster);
}

/// What `pg_dump` does: one snapshot for hours, and a lock on each table that nothing else than TRUNCATE minds.
#[test]
#[ignore = "make test-database"]
fn a_dump_that_is_held_the_whole_time_stops_nothing() {
    let Some(database) = Postgres::start() else { return skipped("a dump that is held") };
    let mut cluster = Cluster::over(&database.tcp_url());
    std::thread::scope(|scope| {
        let tables: String = (0..8).map(|segment| format!(", baton.entries_{segment}")).collect();
        let held = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ; LOCK TABLE baton.lease, baton.segment{tables} IN ACCESS SHARE MODE; \
             SELECT count(*) FROM baton.lease; SELECT pg_sleep(3600)"
        );
        let database = &database;
        let dump =
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(3600)%' AND wait_event = 'PgSleep'";
        scope.spawn(move || std::panic::catch_unwind(|| database.sql(&held)).is_err());
        wait("the dump holds its snapshot", || database.sql(dump) == "1");
        let mut workload = Workload::start(&cluster, "orders");
        cluster.create_queue("large");
        for _ in 0..20 {
            cluster.send_lines("large", &vec!["x".repeat(1000); 5000]);
        }
        assert_eq!(cluster.drain("large").len(), 100_000);
        cluster.kill("server1");
        cluster.wait_engine_on("server2");
        workload.flows();
        workload.finish(&cluster);
        assert_eq!(database.sql(dump), "1", "it was held the whole time");
        database.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE query LIKE '%pg_sleep(3600)%' AND pid <> pg_backend_pid()",
        );
    });
}

#[test]
#[ignore = "make test-database"]
fn sessions_that_an_administrator_ends_come_back() {
    let Some(database) = Postgres::start() else { return skipped("ended sessions") };
    let cluster = Cluster::over(&database.tcp_url());
    let epoch = cluster.status().epoch();
    let mut workload = Workload::start(&cluster, "orders");
    for _ in 0..5 {
        database.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'baton-%'");
        workload.flows();
    }
    workload.finish(&cluster);
    assert_eq!(cluster.wait_engine_on("server1").epoch(), epoch, "the engine ran on in its epoch");
    cluster.verify();
}

/// A pooler in transaction mode drops what a session is told at its start: the one line says to name PostgreSQL itself.
#[test]
#[ignore = "make test-database"]
fn a_pooler_in_transaction_mode_is_refused_in_one_line() {
    let Some(database) = Postgres::start() else { return skipped("pgbouncer") };
    let Some(pooler) = Pooler::start(&database) else { return println!("SKIPPED: pgbouncer is not installed") };
    let temp = tempfile::tempdir().expect("a temporary directory");
    let dir = temp.path().join("cluster");
    let output = run(&["init", dir.to_str().expect("UTF-8"), "--database", &pooler.url()], "", LIMIT);
    assert_ne!(output.code, Some(0));
    assert_eq!(output.stderr.trim().lines().count(), 1, "{}", output.stderr);
    assert!(output.stderr.contains("pooler"), "{}", output.stderr);
    assert_eq!(database.sql("SELECT count(*) FROM pg_namespace WHERE nspname = 'baton'"), "0");
}
