//! `baton receive`: its bounds, its exit codes, and the messages that a dead consumer held.

use std::time::Duration;

use baton_tests::{Cluster, Deadline, LIMIT, Queue, Stdout, check::assert_same, now, numbered};

#[track_caller]
fn wait_queue(cluster: &Cluster, what: &str, condition: impl Fn(&Queue) -> bool) {
    let happened = Deadline::within(LIMIT).poll(Duration::from_millis(50), || condition(&cluster.queue("orders")));
    assert!(happened, "{what}: not in time; the queue is {:?}", cluster.queue("orders"));
}

#[test]
fn a_consumer_never_takes_more_than_its_count() {
    let cluster = Cluster::start(1, 0);
    cluster.create_queue("orders");
    let lines = numbered(0, 100);
    cluster.send_lines("orders", &lines);
    assert_same(&lines[..10], &cluster.receive_lines("orders", 10));
    assert_eq!(cluster.queue("orders").depth, 90, "no more than ten were taken off");
    assert_eq!(cluster.queue("orders").in_flight, 0, "and none is held");
    assert_same(&lines[10..11], &cluster.receive_lines("orders", 1));
    assert_same(&lines[11..], &cluster.drain("orders"));
    assert_eq!(cluster.queue("orders").depth, 0);
}

#[test]
fn two_consumers_share_a_queue_and_each_keeps_to_its_count() {
    let cluster = Cluster::start(1, 0);
    cluster.create_queue("orders");
    let consumers = [30, 70].map(|count: usize| {
        cluster.spawn(&["receive", "orders", "--count", &count.to_string(), "--wait", "30"], Stdout::Collect)
    });
    wait_queue(&cluster, "both attach", |queue| queue.consumers == 2);
    let lines = numbered(0, 100);
    cluster.send_lines("orders", &lines);
    let received = consumers.map(|consumer| consumer.wait(LIMIT));
    assert_eq!(received.each_ref().map(|output| (output.code, output.lines.len())), [(Some(0), 30), (Some(0), 70)]);
    let mut all: Vec<String> = received.into_iter().flat_map(|output| output.lines).collect();
    all.sort();
    assert_same(&lines, &all);
}

#[test]
fn a_wait_that_is_in_vain_ends_with_code_3() {
    let cluster = Cluster::start(1, 0);
    cluster.create_queue("orders");
    let start = now();
    let output = cluster.run(&["receive", "orders", "--count", "1", "--wait", "2"]);
    assert_eq!((output.code, output.lines.len()), (Some(3), 0), "{}", output.stderr);
    assert!(start.elapsed() >= Duration::from_secs(2), "it waited for {:?} only", start.elapsed());

    cluster.send_lines("orders", &["one"]);
    let output = cluster.run(&["receive", "orders", "--count", "2", "--wait", "1"]);
    assert_eq!((output.code, output.lines.as_slice()), (Some(3), ["one".to_owned()].as_slice()), "{}", output.stderr);
    assert_eq!(cluster.drain("orders"), Vec::<String>::new(), "an empty queue is drained at once, with code 0");
}

#[test]
fn unacknowledged_messages_return_when_a_consumer_is_killed() {
    let cluster = Cluster::start(1, 0);
    cluster.create_queue("orders");
    let long = "x".repeat(400);
    let lines: Vec<String> = numbered(0, 2000).iter().map(|line| format!("{line} {long}")).collect();
    cluster.send_lines("orders", &lines);

    // Nobody reads its output, so it blocks with most of the messages unacknowledged.
    let consumer = cluster.spawn(&["receive", "orders", "--follow"], Stdout::Hold);
    wait_queue(&cluster, "the consumer holds messages", |queue| queue.in_flight > 0);
    let printed = consumer.kill().lines;
    wait_queue(&cluster, "all are back", |queue| queue.in_flight == 0 && queue.consumers == 0);

    let returned = cluster.drain("orders");
    let first_left = lines.len() - returned.len();
    assert_same(&lines[first_left..], &returned);
    // What was acknowledged had been printed before: printed and returned are everything. The kill may have cut the
    // last line that was printed.
    let whole = printed.len().saturating_sub(1);
    assert_same(&lines[..whole], &printed[..whole]);
    assert!(first_left <= whole + 1, "{first_left} were acknowledged and {whole} printed");
}

#[test]
fn a_consumer_gets_what_is_sent_while_it_waits() {
    let cluster = Cluster::start(1, 0);
    cluster.create_queue("orders");
    let consumer = cluster.spawn(&["receive", "orders", "--count", "3", "--wait", "30"], Stdout::Collect);
    cluster.send_lines("orders", &["a", "", "ünïcode"]);
    let output = consumer.wait(LIMIT);
    assert_eq!((output.code, output.lines), (Some(0), ["a", "", "ünïcode"].map(String::from).to_vec()));
}
