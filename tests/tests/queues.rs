//! Queues: creation, listing and deletion; the limits of a message; and the benchmark, which cleans up after itself.

use std::time::Duration;

use baton_tests::{Cluster, Deadline, LIMIT, Stdout, Workload, check::assert_same, numbered, run};

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

/// Runs the benchmark and returns its findings. No queue is left behind.
#[track_caller]
fn bench(cluster: &Cluster, options: &str, positive: &[&str]) -> serde_json::Value {
    let arguments: Vec<&str> = ["bench", "--json"].into_iter().chain(options.split_whitespace()).collect();
    let figures: serde_json::Value = serde_json::from_str(&cluster.ok(&arguments).text()).expect("JSON");
    for name in positive {
        assert!(figures[name].as_f64().is_some_and(|figure| figure > 0.0), "{options}: {name} in {figures}");
    }
    assert!(cluster.queues().is_empty(), "{options}: its queues are gone: {:?}", cluster.queues());
    figures
}

#[test]
fn the_benchmark_measures_and_leaves_nothing_behind() {
    let cluster = Cluster::start(3, 0);
    let rates = ["produced_per_s", "consumed_per_s", "longest_silence_ms"];
    let latencies = ["confirm_p50_ms", "confirm_p90_ms", "confirm_p99_ms", "confirm_p999_ms", "confirm_max_ms"];
    let deliveries = ["delivery_p50_ms", "delivery_p999_ms"];
    bench(&cluster, "--producers 2 --consumers 2 --secs 2", &[&rates[..], &latencies, &deliveries].concat());
}

#[test]
fn the_benchmark_drains_a_backlog_over_many_queues() {
    let cluster = Cluster::start(3, 0);
    bench(&cluster, "--producers 0 --consumers 40 --queues 20 --backlog 30001", &["consumed_per_s"]);
    bench(&cluster, "--producers 2 --queues 2 --backlog 10000 --secs 1", &["produced_per_s", "confirm_p50_ms"]);
}

#[test]
fn the_benchmark_keeps_a_steady_rate_and_a_move_of_the_engine_delays_what_was_due_meanwhile() {
    let cluster = Cluster::start(3, 0);
    let measured =
        cluster.spawn(&["bench", "--json", "--producers", "2", "--rate", "500", "--secs", "3"], Stdout::Collect);
    let sends = Deadline::within(LIMIT)
        .poll(Duration::from_millis(20), || cluster.queues().iter().any(|queue| queue.depth > 0));
    assert!(sends, "it gets no confirms");
    cluster.ok(&["move", "server2"]);
    let output = measured.wait(LIMIT);
    assert_eq!(output.code, Some(0), "baton bench: {}", output.stderr);
    let figures: serde_json::Value = serde_json::from_str(&output.text()).expect("JSON");
    let figure = |name: &str| figures[name].as_f64().expect("a figure");
    let counts = figures["confirm_histogram"].as_array().expect("buckets").iter();
    assert_eq!(counts.filter_map(|bucket| bucket[1].as_u64()).sum::<u64>(), 1_500, "all that was due: {figures}");
    assert!(figure("produced_per_s") <= 500.0, "no more than was asked for: {figures}");
    // A message that was due right after the last confirm before the move waits for about as long as the silence
    // lasted.
    assert!(figure("confirm_max_ms") >= figure("longest_silence_ms") / 2.0, "the stall counts: {figures}");
}

#[test]
fn help_and_version_are_there() {
    for arguments in [&["--help"][..], &["--version"], &["send", "--help"]] {
        let output = run(arguments, "", Duration::from_secs(10));
        assert_eq!(output.code, Some(0), "{arguments:?}: {}", output.stderr);
        assert!(output.text().contains("baton"), "{arguments:?}: {}", output.text());
    }
}
