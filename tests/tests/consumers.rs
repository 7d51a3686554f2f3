//! Attached and slow consumers in `baton consumer list`, across a failover.

use std::time::Duration;

use baton_tests::{Cluster, Deadline, LIMIT, Stdout};
use serde_json::Value;

#[track_caller]
fn wait(what: &str, condition: impl FnMut() -> bool) {
    assert!(Deadline::within(LIMIT).poll(Duration::from_millis(50), condition), "{what}: not in time");
}

fn consumers(cluster: &Cluster, arguments: &[&str]) -> Vec<Value> {
    let text = cluster.ok(&[&["consumer", "list", "--json"], arguments].concat()).text();
    match serde_json::from_str(&text) {
        Ok(Value::Array(all)) => all,
        other => panic!("no array: {other:?} in {text}"),
    }
}

/// The one slow consumer, once there is one.
fn slow_one(cluster: &Cluster) -> Value {
    let mut found = Vec::new();
    wait("the consumer is reported as slow", || {
        found = consumers(cluster, &["orders", "--slow"]);
        !found.is_empty()
    });
    assert_eq!(found.len(), 1);
    found.remove(0)
}

#[test]
fn a_consumer_that_takes_and_does_not_settle_is_reported_as_slow_also_by_the_next_engine() {
    let mut cluster = Cluster::start_with(3, 0, "\n[timing]\nslow_consumer_ms = 1000\n");
    cluster.create_queue("orders");
    cluster.create_queue("idle");
    let long = "x".repeat(400);
    let lines: Vec<String> = (0..3_000).map(|number| format!("{number} {long}")).collect();
    cluster.send_lines("orders", &lines);
    // Nobody reads its output, so it blocks with all its credit in use; the other one has nothing to do.
    let slow = cluster.spawn(&["receive", "orders", "--follow"], Stdout::Hold);
    let _idle = cluster.spawn(&["receive", "idle", "--follow"], Stdout::Collect);

    let before = slow_one(&cluster);
    assert_eq!((&before["queue"], &before["lost"]), (&"orders".into(), &false.into()));
    assert_eq!(before["held"], before["credit"]);
    assert!(before["unsettled_ms"].as_u64().is_some_and(|ms| ms > 1_000), "{before}");
    wait("both are listed", || consumers(&cluster, &[]).len() == 2);
    assert_eq!(consumers(&cluster, &["--slow"]).len(), 1);
    assert!(consumers(&cluster, &["idle", "--slow"]).is_empty());
    let table = cluster.ok(&["consumer", "list"]).text();
    assert!(table.lines().any(|line| line.contains(" orders ") && line.ends_with(" slow")), "{table}");
    cluster.refused(&["consumer", "list", "none"], &["no queue none"]);

    cluster.kill("server1");
    cluster.wait_engine_on("server2");
    let after = slow_one(&cluster);
    assert_eq!((&after["consumer"], &after["held"]), (&before["consumer"], &before["held"]));

    drop(slow.kill());
    wait("what it held is free for others", || consumers(&cluster, &["orders"]).is_empty());
}
