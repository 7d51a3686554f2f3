//! Failed deliveries of a message on a queue with a redelivery delay, also while the engine is away.

use std::time::{Duration, Instant};

use baton_tests::{Background, Cluster, LIMIT, Stdout, now, wait};

/// After the first failure; twice as long after each further one.
const DELAY: Duration = Duration::from_millis(1_500);
/// The servers reckon in the time of day, in milliseconds; the scenario does not.
const INACCURACY: Duration = Duration::from_millis(250);

/// Waits until a consumer has printed the message; answers its count of failed deliveries, and when it came.
#[track_caller]
fn delivered(consumer: &Background) -> (u64, Instant) {
    wait("the message comes", || consumer.printed() > 0);
    let message: serde_json::Value = serde_json::from_str(&consumer.lines()[0]).expect("JSON");
    assert_eq!(message["body"], "order");
    (message["redeliveries"].as_u64().expect("a number"), consumer.times()[0])
}

#[test]
fn a_message_waits_longer_after_each_failed_delivery_also_when_the_engines_host_dies_meanwhile() {
    let mut cluster = Cluster::start(3, 0);
    let delay = DELAY.as_secs_f64().to_string();
    cluster.ok(&["queue", "create", "orders", "--redelivery-delay", &delay, "--max-failed", "0"]);
    cluster.send_lines("orders", &["order"]);
    // It waits for more messages than there are before it acknowledges any.
    let mut holder = cluster.spawn(&["receive", "orders", "--count", "2", "--json"], Stdout::Collect);
    assert_eq!(delivered(&holder).0, 0);
    let mut waited = Vec::new();
    for failed in 1..=3 {
        // The next one is there from before the failure, so that it gets the message as soon as it may come.
        let wanted = if failed == 3 { "1" } else { "2" };
        let next = cluster.spawn(&["receive", "orders", "--count", wanted, "--json"], Stdout::Collect);
        wait("the next consumer is there", || cluster.queue("orders").consumers == 2);
        let failed_at = now();
        drop(holder.kill());
        if failed == 3 {
            wait("the failure is counted", || cluster.queue("orders").delayed == 1);
            cluster.kill("server1");
            cluster.wait_engine_on("server2");
        }
        let (count, came_at) = delivered(&next);
        assert_eq!(count, failed, "it comes back with its count");
        waited.push(came_at.saturating_duration_since(failed_at));
        holder = next;
    }
    let enough = |(turn, waited): (u32, &Duration)| *waited + INACCURACY >= DELAY * 2_u32.pow(turn);
    assert!((0..).zip(&waited).all(enough), "it comes back too early: {waited:?}");
    // Far apart: the second delay is four times as long.
    assert!(waited[0] < waited[2], "it waits no longer after more failures: {waited:?}");
    assert_eq!(holder.wait(LIMIT).code, Some(0));
    let queue = cluster.queue("orders");
    assert_eq!((queue.depth, queue.delayed), (0, 0), "it is done with");
    cluster.restart("server1");
    cluster.wait_caught_up("server1");
    cluster.verify();
}
