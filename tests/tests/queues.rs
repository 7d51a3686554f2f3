//! Queues: made, listed and deleted; the limits of a message; and the benchmark, which cleans up behind itself.

use std::time::Duration;

use baton_tests::{Cluster, Workload, check::assert_same, numbered, run};

#[test]
fn a_queue_that_is_deleted_and_made_again_is_empty() {
    let cluster = Cluster::start(1, 0);
    assert!(cluster.queues().is_empty());
    cluster.create_queue("orders");
    cluster.create_queue("orders/new");
    cluster.send_lines("orders", &numbered(0, 10));
    assert_eq!((cluster.queue("orders").depth, cluster.queue("orders/new").depth), (10, 0));

    cluster.ok(&["queue", "delete", "orders"]);
    let names: Vec<String> = cluster.queues().into_iter().map(|queue| queue.name).collect();
    assert_eq!(names, ["orders/new"]);
    cluster.refused(&["receive", "orders"], &["orders"]);
    cluster.create_queue("orders");
    assert_eq!(cluster.drain("orders"), Vec::<String>::new());
    let lines = numbered(100, 110);
    cluster.send_lines("orders", &lines);
    assert_same(&lines, &cluster.drain("orders"));
}

#[test]
fn queues_do_not_mix() {
    let cluster = Cluster::start(3, 0);
    let workloads = ["one", "two", "three"].map(|queue| Workload::start(&cluster, queue));
    cluster.ok(&["move", "server2"]);
    for workload in workloads {
        workload.finish(&cluster);
    }
}

#[test]
fn a_message_of_the_largest_size_passes_and_a_larger_one_is_refused_by_name() {
    const LIMIT: usize = 1024 * 1024;
    let cluster = Cluster::start(3, 0);
    cluster.create_queue("large");
    let largest: Vec<String> = ["a", "b", "c"].map(|letter| letter.repeat(LIMIT)).to_vec();
    cluster.send_lines("large", &largest);
    assert_same(&largest, &cluster.drain("large"));

    let output = cluster.run_with(&["send", "large"], &"x".repeat(LIMIT + 1));
    assert!(output.code.is_some_and(|code| code != 0), "it was to be refused");
    assert!(output.stderr.contains(&LIMIT.to_string()), "it says the limit: {}", output.stderr);
    assert_eq!(cluster.queue("large").depth, 0);
}

#[test]
fn the_benchmark_measures_and_leaves_nothing_behind() {
    let cluster = Cluster::start(3, 0);
    let output = cluster.ok(&["bench", "--producers", "2", "--consumers", "2", "--secs", "2", "--json"]);
    let figures: serde_json::Value = serde_json::from_str(&output.text()).expect("JSON");
    for name in ["produced_per_s", "confirm_p50_ms", "confirm_p99_ms", "consumed_per_s", "longest_silence_ms"] {
        assert!(figures[name].as_f64().is_some_and(|figure| figure > 0.0), "{name} in {figures}");
    }
    assert!(cluster.queues().is_empty(), "its queue is gone: {:?}", cluster.queues());
}

#[test]
fn help_and_version_are_there() {
    for arguments in [&["--help"][..], &["--version"], &["send", "--help"]] {
        let output = run(arguments, "", Duration::from_secs(10));
        assert_eq!(output.code, Some(0), "{arguments:?}: {}", output.stderr);
        assert!(output.text().contains("baton"), "{arguments:?}: {}", output.text());
    }
}
