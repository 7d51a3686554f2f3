//! Settings of queues across failovers: priorities, expiry, delays, exception destinations, pauses, purges.

use baton_tests::{Cluster, Stdout, check::assert_same, wait};

fn send(cluster: &Cluster, arguments: &[&str], lines: &[&str]) {
    let input: String = lines.iter().flat_map(|line| [*line, "\n"]).collect();
    let output = cluster.run_with(&[&["send"], arguments].concat(), &input);
    assert_eq!(output.code, Some(0), "baton send: {}", output.stderr);
}

/// The objects that a command prints, one a line.
fn objects(cluster: &Cluster, arguments: &[&str]) -> Vec<serde_json::Value> {
    cluster.ok(arguments).lines.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn bodies(cluster: &Cluster, arguments: &[&str]) -> Vec<String> {
    let body = |object: &serde_json::Value| object["body"].as_str().expect("a text").to_owned();
    objects(cluster, arguments).iter().map(body).collect()
}

#[test]
fn priorities_time_to_live_and_delays_outlive_the_engines_host() {
    let mut cluster = Cluster::start(3, 0);
    cluster.create_queue("orders");
    send(&cluster, &["orders"], &["n1", "n2"]);
    send(&cluster, &["orders", "--priority", "0"], &["low"]);
    send(&cluster, &["orders", "--priority", "9", "--header", "kind=alarm"], &["u1", "u2"]);
    send(&cluster, &["orders", "--time-to-live", "0.5"], &["short"]);
    send(&cluster, &["orders", "--delay", "4"], &["later"]);
    assert_eq!(cluster.queue("orders").delayed, 1);
    cluster.kill("server1");
    cluster.wait_engine_on("server2");
    wait("what expired leaves", || cluster.queue("orders").depth == 5);
    assert_same(&["u1", "u2", "n1", "n2", "low"], &bodies(&cluster, &["browse", "orders", "--json"]));
    let first = objects(&cluster, &["receive", "orders", "--count", "1", "--json"]).remove(0);
    assert_eq!(
        (&first["body"], &first["priority"], &first["headers"]["kind"]),
        (&"u1".into(), &9.into(), &"alarm".into())
    );
    assert_same(&["u2", "n1", "n2", "low"], &cluster.receive_lines("orders", 4));
    assert_same(&["later"], &cluster.receive_lines("orders", 1));
    let queue = cluster.queue("orders");
    assert_eq!((queue.depth, queue.delayed), (0, 0));
}

/// A message that kills its consumers ends where an operator finds it, and comes back by one command.
#[test]
fn a_poison_message_goes_to_the_exception_destination_across_fail_overs_and_back_by_replay() {
    let mut cluster = Cluster::start(3, 0);
    cluster.ok(&["queue", "create", "orders", "--max-failed", "3", "--exception", "system"]);
    cluster.send_lines("orders", &["poison"]);
    // Also counted by an engine whose host dies with the consumer.
    for turn in 0..3 {
        // It is blocked before it can acknowledge: nobody reads its output, and it waits for more messages than there
        // are.
        let consumer = cluster.spawn(&["receive", "orders", "--count", "2"], Stdout::Hold);
        wait("a consumer has it", || cluster.queue("orders").in_flight == 1);
        drop(consumer.kill());
        if turn == 1 {
            cluster.kill("server1");
            cluster.wait_engine_on("server2");
        }
        wait("it is counted", || cluster.queue("orders").in_flight == 0 && cluster.queue("orders").consumers == 0);
    }
    wait("it leaves", || cluster.queue("orders").depth == 0);
    let found = objects(&cluster, &["exception", "list", "--json"]).remove(0);
    assert_eq!((&found["body"], &found["headers"]["baton-exception-from"]), (&"poison".into(), &"orders".into()));
    let reason = found["headers"]["baton-exception-reason"].as_str().expect("a reason");
    assert!(reason.contains("3 deliveries failed"), "{reason}");
    let table = cluster.ok(&["exception", "list"]).text();
    assert!(table.contains("orders") && table.contains("3 deliveries failed"), "{table}");

    cluster.restart("server1");
    cluster.ok(&["move", "server3"]);
    let replayed = objects(&cluster, &["exception", "replay", "--json"]).remove(0);
    assert_eq!((&replayed["replayed"], &replayed["stayed"]), (&1.into(), &0.into()));
    assert!(objects(&cluster, &["exception", "list", "--json"]).is_empty());
    let back = objects(&cluster, &["receive", "orders", "--json"]).remove(0);
    assert_eq!((&back["body"], &back["redeliveries"]), (&"poison".into(), &0.into()));
    assert!(back.get("headers").is_none(), "{back}");
    cluster.wait_caught_up("server1");
    cluster.verify();
}

#[test]
fn a_rejected_message_is_set_aside_with_its_reason_in_the_queue_that_was_named() {
    let mut cluster = Cluster::start(3, 0);
    cluster.ok(&["queue", "create", "bad-orders"]);
    cluster.ok(&["queue", "create", "orders", "--exception", "bad-orders"]);
    cluster.send_lines("orders", &["a", "b"]);
    cluster.ok(&["receive", "orders", "--count", "1", "--reject", "not an order"]);
    cluster.kill("server1");
    cluster.wait_engine_on("server2");
    let found = objects(&cluster, &["exception", "list", "bad-orders", "--json"]).remove(0);
    assert_eq!((&found["body"], &found["headers"]["baton-exception-reason"]), (&"a".into(), &"not an order".into()));
    assert_same(&["b"], &cluster.drain("orders"));
}

#[test]
fn settings_pauses_and_purges_hold_across_a_fail_over() {
    let mut cluster = Cluster::start(3, 0);
    cluster.ok(&["queue", "create", "orders", "--max-messages", "3", "--redelivery-delay", "0.5"]);
    cluster.send_lines("orders", &["a", "b", "c"]);
    cluster.ok(&["queue", "pause", "orders", "--receive"]);
    cluster.kill("server1");
    cluster.wait_engine_on("server2");
    let full = cluster.run_with(&["send", "orders", "--timeout", "1"], "d\n");
    assert_ne!(full.code, Some(0), "a full queue takes no more");
    let shown = objects(&cluster, &["queue", "show", "orders", "--json"]).remove(0);
    let settings = &shown["settings"];
    assert_eq!((&settings["max_messages"], &settings["redelivery_delay_ms"]), (&3.into(), &500.into()));
    assert_eq!((&settings["receive_paused"], &settings["send_paused"]), (&true.into(), &false.into()));
    let nothing = cluster.run(&["receive", "orders", "--count", "1", "--wait", "1"]);
    assert_eq!((nothing.code, nothing.lines.len()), (Some(3), 0), "a paused queue delivers nothing");
    cluster.ok(&["queue", "resume", "orders"]);
    assert_same(&["a"], &cluster.receive_lines("orders", 1));
    let purged = objects(&cluster, &["queue", "purge", "orders", "--json"]).remove(0);
    assert_eq!(purged["purged"], 2);
    cluster.send_lines("orders", &["new"]);
    assert_same(&["new"], &cluster.drain("orders"));
    cluster.refused(
        &["queue", "create", "orders", "--max-messages", "9"],
        &["differs in max_messages", "baton queue set orders"],
    );
    cluster.restart("server1");
    cluster.wait_caught_up("server1");
    cluster.verify();
}
