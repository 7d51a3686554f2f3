//! `baton status` in degraded clusters, and HTTP in healthy ones.

use std::time::Duration;

use baton_tests::{Cluster, Deadline, LIMIT, get, numbered};

/// Waits until a server has heard of the cluster: one that just started reports only itself.
#[track_caller]
fn knows(cluster: &Cluster, name: &str) {
    let known = || !cluster.status_of(name).servers.is_empty();
    assert!(Deadline::within(LIMIT).poll(Duration::from_millis(20), known), "{name} never heard of the cluster");
}

#[test]
fn without_a_quorum_the_status_says_so_and_without_an_answer_it_fails() {
    let mut cluster = Cluster::start(3, 0);
    assert_eq!(cluster.run(&["status"]).code, Some(0), "started");
    // Only a server that has heard of the cluster can answer.
    knows(&cluster, "server3");
    cluster.kill_all(&["server1", "server2"]);

    let status = cluster.wait("a stopped engine", |status| status.engine.state != "started" && status.quorum.up == 1);
    assert_eq!(status.quorum.needed, 2);
    assert!(status.instances_started().is_empty(), "{status:#?}");
    let reason = status.engine.reason.to_lowercase();
    assert!(reason.contains("quorum") || reason.contains("majority"), "it says why: {reason:?}");
    for name in ["server1", "server2"] {
        let server = status.server(name).expect("it is listed");
        assert_eq!((server.up, server.engine.as_str(), server.lag), (false, "unknown", None), "{name}");
    }
    let words = cluster.run(&["status"]);
    assert_eq!(words.code, Some(2), "not started: {}", words.stderr);
    let said = |line: &str| line.contains("majority") || (line.contains("quorum") && !line.starts_with("quorum"));
    let text = words.text().to_lowercase();
    assert!(text.lines().any(said), "it says why in words, beside the count of votes: {text}");

    cluster.kill("server3");
    let nobody = cluster.run(&["status"]);
    assert_eq!(nobody.code, Some(1), "nobody answers: {}", nobody.text());
    assert_eq!(nobody.stderr.trim().lines().count(), 1, "one clear line: {}", nobody.stderr);

    // It heals by itself when a majority is back.
    cluster.restart("server2");
    cluster.restart("server3");
    cluster.wait_engine_on("server2");
}

#[test]
fn any_single_server_answers_for_the_cluster() {
    let cluster = Cluster::start(3, 1);
    for name in ["server1", "server3", "witness1"] {
        knows(&cluster, name);
        let status = cluster.status_of(name);
        assert!(status.started_on("server1"), "{name} says: {status:#?}");
        assert_eq!(status.servers.len(), 4);
    }
}

#[test]
fn http_says_who_lives_who_is_ready_and_what_is_counted() {
    let mut cluster = Cluster::start(3, 1);
    let code = |cluster: &Cluster, name: &str, path: &str| {
        get(&cluster.http(name), path, Duration::from_secs(10)).map(|(code, _)| code)
    };
    for name in cluster.names() {
        assert_eq!(code(&cluster, &name, "/health"), Some(200), "{name} lives");
        let ready = if name == "server1" { 200 } else { 503 };
        assert_eq!(code(&cluster, &name, "/ready"), Some(ready), "/ready of {name}: is the engine started here");
    }
    cluster.create_queue("counted");
    cluster.send_lines("counted", &numbered(0, 5));
    let _ = cluster.receive_lines("counted", 3);
    let (status, metrics) = get(&cluster.http("server1"), "/metrics", Duration::from_secs(10)).expect("an answer");
    assert_eq!(status, 200);
    assert!(metrics.contains("# TYPE"), "Prometheus text: {metrics}");
    for sample in [
        "baton_engine_confirmed_total 5",
        "baton_engine_delivered_total 3",
        "baton_engine_acknowledged_total 3",
        "baton_queue_depth{queue=\"counted\"} 2",
    ] {
        assert!(metrics.lines().any(|line| line == sample), "{sample} in {metrics}");
    }

    cluster.ok(&["move", "server2"]);
    assert_eq!(code(&cluster, "server2", "/ready"), Some(200));
    assert_eq!(code(&cluster, "server1", "/ready"), Some(503));
    cluster.kill("server2");
    cluster.wait_engine_on("server1");
    assert_eq!(code(&cluster, "server1", "/ready"), Some(200));
}
