//! The placement policies other than the automatic one, and changing them while messages flow.

use std::time::Duration;

use baton_tests::{Cluster, Deadline, Policy, Status, Stdout, Workload, check::assert_same, numbered};

/// Long enough for a failover to happen if one were to.
const A_WHILE: Duration = Duration::from_secs(4);

fn set(cluster: &Cluster, options: &[&str]) {
    cluster.ok(&[&["policy", "set", "--assistance", "none"], options].concat());
}

fn stopped(status: &Status) -> bool {
    status.engine.state == "stopped" && status.instances_started().is_empty()
}

#[test]
fn with_preferred_only_the_engine_runs_on_preferred_servers_or_not_at_all() {
    let mut cluster = Cluster::start(3, 2);
    set(&cluster, &["--preferred", "server2,server1", "--preferred-only", "true"]);
    cluster.wait_engine_on("server2");
    let mut workload = Workload::start(&cluster, "orders");
    cluster.kill("server2");
    cluster.wait_engine_on("server1");
    workload.flows();

    cluster.kill("server1");
    let why = |status: &Status| stopped(status) && status.engine.reason.contains("preferred");
    let status = cluster.wait("a stopped engine that says why", why);
    assert!(status.quorum.up >= status.quorum.needed, "a quorum is there: the policy alone keeps the engine stopped");
    cluster.stays("the engine stopped", A_WHILE, stopped);

    cluster.restart("server1");
    cluster.wait_engine_on("server1");
    workload.flows();

    // Allowed elsewhere, it starts there, and gives the reason.
    cluster.kill("server1");
    cluster.wait("a stopped engine", stopped);
    cluster.ok(&["policy", "set", "--preferred-only", "false"]);
    assert_eq!(cluster.wait_engine_on("server3").engine.reason, "policy-change");
    workload.flows();
    workload.finish(&cluster);
}

#[test]
fn the_static_policy_pins_the_engine_to_one_server() {
    let mut cluster = Cluster::start(3, 0);
    set(&cluster, &["--preferred", "server2", "--preferred-only", "true"]);
    cluster.wait_engine_on("server2");
    cluster.create_queue("orders");
    let lines = numbered(0, 1000);
    cluster.send_lines("orders", &lines[..500]);

    cluster.kill("server2");
    cluster.wait("a stopped engine", stopped);
    // A producer that starts in between waits; its messages are confirmed when the engine is back.
    let mut producer = cluster.spawn(&["send", "orders", "--timeout", "120"], Stdout::Collect);
    std::io::Write::write_all(&mut producer.stdin(), (lines[500..].join("\n") + "\n").as_bytes()).expect("it reads");
    cluster.stays("the engine stopped", A_WHILE, stopped);
    assert!(producer.runs(), "it waits for the engine: {}", producer.stderr());

    cluster.restart("server2");
    cluster.wait_engine_on("server2");
    let producer = producer.wait(baton_tests::LIMIT);
    assert_eq!((producer.code, producer.last_word()), (Some(0), "confirmed 500"), "{}", producer.stderr);
    assert_same(&lines, &cluster.drain("orders"));
}

#[test]
fn with_an_empty_list_the_engine_runs_on_any_available_server() {
    let mut cluster = Cluster::start(3, 2);
    set(&cluster, &["--preferred", "server1"]);
    set(&cluster, &["--preferred", ""]);
    assert_eq!(cluster.status().policy.preferred, Vec::<String>::new());
    let mut workload = Workload::start(&cluster, "orders");
    for _ in 0..2 {
        let host = cluster.wait("the engine anywhere", |status| status.host().is_some());
        let host = host.host().unwrap_or_default().to_owned();
        cluster.kill(&host);
        let next = cluster.wait_engine_away_from(&host);
        assert!(next.host().is_some_and(|name| name.starts_with("server")), "a witness never hosts: {next:#?}");
        workload.flows();
    }
    workload.finish(&cluster);
}

#[test]
fn when_no_preferred_server_is_there_the_engine_runs_on_any_other() {
    let mut cluster = Cluster::start(3, 2);
    set(&cluster, &["--preferred", "server3,server2"]);
    cluster.wait_engine_on("server3");
    let mut workload = Workload::start(&cluster, "orders");
    cluster.kill_all(&["server3", "server2"]);
    cluster.wait_engine_on("server1");
    workload.flows();
    workload.finish(&cluster);
}

#[test]
fn a_change_of_policy_takes_effect_at_once_and_survives_a_failover() {
    let mut cluster = Cluster::start(3, 0);
    let mut workload = Workload::start(&cluster, "orders");
    for host in ["server3", "server2"] {
        set(&cluster, &["--preferred", host]);
        cluster.wait_engine_on(host);
        workload.flows();
    }
    cluster.ok(&["policy", "set", "--preferred", "server2,server3,server1", "--fail-back", "true"]);
    cluster.kill("server2");
    let status = cluster.wait_engine_on("server3");
    let expected = Policy {
        assistance: "none".to_owned(),
        preferred: ["server2", "server3", "server1"].map(String::from).to_vec(),
        fail_back: true,
        preferred_only: false,
        manual: false,
    };
    assert_eq!(status.policy, expected, "the policy lives in the store");
    let shown = cluster.ok(&["policy", "show"]).text();
    for word in ["none", "server2", "server3", "server1"] {
        assert!(shown.contains(word), "`policy show` shows {word}: {shown}");
    }
    workload.finish(&cluster);
}

#[test]
fn with_manual_the_engine_moves_only_when_told() {
    let mut cluster = Cluster::start(3, 0);
    cluster.ok(&["policy", "set", "--manual", "true"]);
    let mut workload = Workload::start(&cluster, "orders");
    cluster.kill("server1");
    cluster.wait("a stopped engine that says why", |status| stopped(status) && status.engine.reason.contains("manual"));
    cluster.stays("the engine stopped", A_WHILE, stopped);
    let before = workload.received();

    cluster.ok(&["move", "server3"]);
    assert!(cluster.status().started_on("server3"), "`move` returns once the engine is started there");
    let flowed = Deadline::within(baton_tests::LIMIT).poll(Duration::from_millis(20), || workload.received() > before);
    assert!(flowed, "messages flow again");
    workload.flows();
    workload.finish(&cluster);
}
