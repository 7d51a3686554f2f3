//! The examples run, and print what their pages promise.

use std::time::Duration;

use baton_tests::{Background, Cluster, Deadline, LIMIT, PortBlock};

const PAUSE: Duration = Duration::from_millis(20);

/// Waits until an example has printed a line that contains `words` after its first `skip` lines.
#[track_caller]
fn says(example: &Background, words: &str, skip: usize) -> String {
    let mut found = None;
    let said = Deadline::within(LIMIT).poll(PAUSE, || {
        found = example.lines().into_iter().skip(skip).find(|line| line.contains(words));
        found.is_some()
    });
    assert!(said, "no word of {words:?} in {:?}, {}", example.lines(), example.stderr());
    found.unwrap_or_default()
}

#[test]
fn producer_and_consumer_actors_follow_the_engine() {
    let mut cluster = Cluster::start(3, 0);
    let file = cluster.file();
    let producer = Background::example("producer", &[&file]);
    let consumer = Background::example("consumer", &[&file]);
    let through = Background::example("fail_over", &[&file]);
    says(&producer, "confirmed through", 0);
    says(&consumer, "order 1", 0);
    says(&through, "1000 received, in order", 0);
    cluster.kill("server1");
    for example in [&producer, &consumer, &through] {
        says(example, "the engine is on server2", 0);
    }
    let printed = consumer.printed();
    says(&consumer, "order", printed);
    says(&through, "received, in order", through.printed());
    let orders: Vec<String> = consumer.lines().into_iter().filter(|line| line.starts_with("order")).collect();
    let expected: Vec<String> = (1..=orders.len()).map(|number| format!("order {number}")).collect();
    assert_eq!(orders, expected, "each once and in order");
    assert!(!through.lines().iter().any(|line| line.contains("came after")), "{:?}", through.lines());
}

#[test]
fn fail_back_shows_the_engine_return() {
    let mut cluster = Cluster::start(3, 0);
    let example = Background::example("fail_back", &[&cluster.file(), "server1,server2"]);
    says(&example, "the engine is on server1", 0);
    cluster.kill("server1");
    says(&example, "the engine is on server2", 0);
    let printed = example.printed();
    cluster.restart("server1");
    let back = says(&example, "the engine is on server1", printed);
    assert!(back.ends_with("fail-back"), "{back}");
}

#[test]
fn a_service_embeds_a_server() {
    let cluster = Cluster::init(3, 0);
    let config = |name: &str| cluster.config(name).display().to_string();
    let first = Background::example("embedded", &[&config("server1")]);
    let second = Background::example("embedded", &[&config("server2")]);
    let third = Background::example("embedded", &[&config("server3")]);
    says(&first, "server1 hosts the engine", 0);
    for (instance, name) in [(&first, "server1"), (&second, "server2"), (&third, "server3")] {
        says(instance, &format!("{name} handles visit"), 0);
    }
    assert!(first.kill().code.is_none(), "SIGKILL ends it");
    says(&second, "server2 hosts the engine", 0);
    let (printed, third_printed) = (second.printed(), third.printed());
    says(&second, "server2 handles visit", printed);
    says(&third, "server3 handles visit", third_printed);
    let ended = second.terminate(LIMIT);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    drop(third);
}

/// No command line: the service lays its cluster out, and finds it again.
#[test]
fn a_service_lays_out_its_own_cluster() {
    let (temp, ports) = (tempfile::tempdir().unwrap(), PortBlock::take());
    let (dir, port) = (temp.path().join("store").display().to_string(), ports.first().to_string());
    for _ in 0..2 {
        let example = Background::example("alone", &[&dir, &port]);
        let ended = example.wait(LIMIT);
        assert_eq!((ended.code, &ended.lines[..]), (Some(0), &["received a visit".to_owned()][..]), "{}", ended.stderr);
    }
}

#[test]
fn requests_are_answered_and_values_are_typed() {
    let cluster = Cluster::start(3, 0);
    let file = cluster.file();
    let asks = Background::example("request_reply", &[&file]);
    says(&asks, "5 squared is 25", 0);
    let typed = Background::example("typed", &[&file]);
    says(&typed, "order 2: a chair", 0);
    says(&typed, "set aside: the body is not a valid", 0);
    let left = Deadline::within(LIMIT).poll(PAUSE, || cluster.queues().is_empty());
    assert!(left, "all of it is gone with who made it: {:?}", cluster.queues());
}

/// Consume, transform, produce: each order makes one bill, though the engine's host and the program are killed.
#[test]
fn transactions_make_one_bill_of_each_order_whatever_is_killed() {
    let mut cluster = Cluster::start(3, 0);
    cluster.create_queue("example/orders");
    let orders: Vec<String> = (0..20_000).map(|number| format!("order {number:05}")).collect();
    cluster.send_lines("example/orders", &orders);
    let file = cluster.file();
    let first = Background::example("exactly_once", &[&file]);
    says(&first, "bills made", 5);
    cluster.kill("server1");
    cluster.wait_engine_on("server2");
    says(&first, "bills made", first.printed());
    drop(first.kill());
    let second = Background::example("exactly_once", &[&file]);
    says(&second, "bills made", 0);
    cluster.restart("server1");
    cluster.wait_caught_up("server1");
    cluster.ok(&["move", "server1"]);
    says(&second, "done after", 0);
    let mut bills = cluster.drain("example/bills");
    bills.sort();
    let expected: Vec<String> = orders.iter().map(|order| format!("bill for {order}")).collect();
    baton_tests::check::assert_same(&expected, &bills);
    assert_eq!(cluster.queue("example/orders").depth, 0);
    cluster.verify();
}

/// As for producers: a queue is full once its bound is reached, so one transaction's messages may exceed it.
#[test]
fn a_transaction_waits_until_a_full_queue_takes_its_messages() {
    let cluster = Cluster::start(3, 0);
    cluster.create_queue("example/orders");
    cluster.ok(&["queue", "create", "example/bills", "--max-messages", "100"]);
    let orders: Vec<String> = (0..500).map(|number| format!("order {number:03}")).collect();
    cluster.send_lines("example/orders", &orders);
    let makes = Background::example("exactly_once", &[&cluster.file()]);
    let depth = || cluster.queue("example/bills").depth;
    assert!(Deadline::within(LIMIT).poll(PAUSE, || depth() >= 100), "no bills: {}", makes.stderr());
    // Time in which it would make all of them.
    std::thread::sleep(Duration::from_secs(1));
    assert!(depth() < 120, "a full queue took {} messages", depth());
    let mut bills = Vec::new();
    let all = Deadline::within(LIMIT).poll(PAUSE, || {
        bills.extend(cluster.drain("example/bills"));
        bills.len() >= orders.len()
    });
    assert!(all, "{} of {}: {:?} {}", bills.len(), orders.len(), makes.lines(), makes.stderr());
    bills.sort();
    let expected: Vec<String> = orders.iter().map(|order| format!("bill for {order}")).collect();
    baton_tests::check::assert_same(&expected, &bills);
    let made = makes.wait(LIMIT);
    assert_eq!(made.code, Some(0), "{:?} {}", made.lines, made.stderr);
}

#[test]
fn the_examples_of_levels_and_groups_do_what_they_say() {
    let cluster = Cluster::start(3, 0);
    let groups = Background::example("groups", &[&cluster.file()]).wait(LIMIT);
    let ordered = groups.lines.iter().filter(|line| line.ends_with("40 entries, in order")).count();
    assert_eq!((groups.code, ordered), (Some(0), 5), "{:?} {}", groups.lines, groups.stderr);
    let levels = Background::example("levels", &[&cluster.file()]).wait(LIMIT);
    let listed =
        levels.lines.iter().filter(|line| line.ends_with("1001 messages, 600 of them in memory alone")).count();
    assert_eq!((levels.code, listed), (Some(0), 2), "{:?} {}", levels.lines, levels.stderr);
}

#[test]
fn the_examples_of_topics_and_exceptions_do_what_they_say() {
    let cluster = Cluster::start(3, 0);
    let topics = Background::example("topics", &[&cluster.file()]).wait(LIMIT);
    let spot = ["spot: 3 tons of metal/spot", "spot: 900 tons of grain/spot", "spot: 100 tons of metal/spot"];
    let large = ["large: 500 tons of metal/copper/future", "large: 100 tons of metal/spot"];
    let expected = [&spot[..], &large[..]].concat();
    assert_eq!((topics.code, topics.lines.iter().map(String::as_str).collect()), (Some(0), expected));
    let exceptions = Background::example("exceptions", &[&cluster.file()]).wait(LIMIT);
    let expected = [
        "done: put out the fire",
        "done: sweep",
        "done: lock up",
        "set aside: ??? (not a job)",
        "set aside: weld (2 deliveries failed)",
        "1 put back",
        "done: weld",
    ];
    assert_eq!((exceptions.code, exceptions.lines), (Some(0), expected.map(str::to_owned).to_vec()));
}

#[test]
fn workers_settle_every_message_and_finish_what_they_have_begun() {
    let cluster = Cluster::start(3, 0);
    let ended = Background::example("workers", &[&cluster.file()]).wait(LIMIT);
    assert_eq!(ended.code, Some(0), "{:?} {}", ended.lines, ended.stderr);
    let count = |start: &str| ended.lines.iter().filter(|line| line.starts_with(start)).count();
    assert_eq!((count("swept room"), count("dead letter: nobody can fly")), (20, 1), "{:?}", ended.lines);
    assert_eq!(count("dead letter: 2 deliveries failed"), 1, "two panics: {:?}", ended.lines);
    let last: Vec<&str> = ended.lines.iter().rev().take(3).rev().map(String::as_str).collect();
    assert_eq!(last, ["painted", "closed: Ok(())", "4 jobs at a time"], "a handler that runs is waited for");
    assert_eq!(cluster.queue("example/work").depth, 0);
}
