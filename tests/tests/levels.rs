//! Messages of each reliability level across failovers and moves, and their distribution among consumers.

use std::io::Write;

use baton_tests::{Background, Cluster, LIMIT, Stdout, check::assert_same, wait};

const ALL: [&str; 5] = [
    "best-effort-nonpersistent",
    "express-nonpersistent",
    "reliable-nonpersistent",
    "reliable-persistent",
    "assured-persistent",
];

fn send(cluster: &Cluster, arguments: &[&str], lines: &[&str]) {
    let input: String = lines.iter().flat_map(|line| [*line, "\n"]).collect();
    let output = cluster.run_with(&[&["send"], arguments].concat(), &input);
    assert_eq!(output.code, Some(0), "baton send: {}", output.stderr);
}

fn send_one_of_each(cluster: &Cluster) {
    for level in ALL {
        send(cluster, &["orders", "--reliability", level], &[level]);
    }
}

fn browsed(cluster: &Cluster) -> Vec<String> {
    let lines = cluster.ok(&["browse", "orders", "--json"]).lines;
    let body = |line: &String| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["body"].clone();
    lines.iter().map(|line| body(line).as_str().expect("a text").to_owned()).collect()
}

fn shown(cluster: &Cluster) -> serde_json::Value {
    serde_json::from_str(&cluster.ok(&["queue", "show", "orders", "--json"]).text()).expect("JSON")
}

#[test]
fn what_is_in_memory_alone_goes_with_the_engine_and_what_is_persistent_stays() {
    let mut cluster = Cluster::start(3, 0);
    cluster.create_queue("orders");
    send_one_of_each(&cluster);
    let queue = shown(&cluster);
    assert_eq!((&queue["depth"], &queue["nonpersistent"]), (&5.into(), &3.into()));
    assert_same(&[ALL[3], ALL[4], ALL[0], ALL[1], ALL[2]], &browsed(&cluster));
    cluster.kill("server1");
    cluster.wait_engine_on("server2");
    assert_same(&ALL[3..], &browsed(&cluster));
    cluster.restart("server1");
    cluster.wait_caught_up("server1");

    // A planned move confirms the messages in flight first: no persistent one is lost, at any level.
    cluster.ok(&["queue", "purge", "orders"]);
    send_one_of_each(&cluster);
    cluster.ok(&["move", "server3"]);
    assert_same(&ALL[3..], &browsed(&cluster));
    assert_eq!(shown(&cluster)["nonpersistent"], 0);
    cluster.verify();
}

#[test]
fn a_destination_has_a_level_and_a_message_may_have_another() {
    let mut cluster = Cluster::start(3, 0);
    cluster.ok(&["queue", "create", "orders", "--reliability", "express-nonpersistent", "--max-messages", "5"]);
    send(&cluster, &["orders"], &["lost"]);
    send(&cluster, &["orders", "--reliability", "assured-persistent"], &["kept"]);
    assert_eq!(shown(&cluster)["nonpersistent"], 1);
    cluster.kill("server1");
    cluster.wait_engine_on("server2");
    assert_same(&["kept"], &browsed(&cluster));
    assert_eq!(shown(&cluster)["settings"]["reliability"], "express-nonpersistent");

    // A full queue drops the oldest messages that it may drop, and refuses the rest.
    send(&cluster, &["orders", "--reliability", "best-effort-nonpersistent"], &["a", "b", "c", "d", "e", "f"]);
    let queue = shown(&cluster);
    assert_eq!((&queue["depth"], &queue["dropped"]), (&5.into(), &2.into()));
    let full = cluster.run_with(&["send", "orders", "--timeout", "1"], "more\n");
    assert_ne!(full.code, Some(0), "what may not be dropped waits, and is given up in the end");
    let mut left = cluster.drain("orders");
    left.sort();
    assert_same(&["c", "d", "e", "f", "kept"], &left);
}

/// A sender whose level is resent loses no message after the failover, and continues across it.
#[test]
fn a_sender_of_reliable_messages_goes_on_through_a_fail_over() {
    let mut cluster = Cluster::start(3, 0);
    cluster.ok(&["queue", "create", "orders", "--reliability", "reliable-nonpersistent"]);
    let mut sender = cluster.spawn(&["send", "orders"], Stdout::Collect);
    let mut stdin = sender.stdin();
    let mut write = |from: u32, to: u32| {
        let lines: String = (from..to).map(|number| format!("{number}\n")).collect();
        stdin.write_all(lines.as_bytes()).expect("it reads");
    };
    write(0, 1_000);
    wait("the first ones are there", || cluster.queue("orders").depth == 1_000);
    cluster.kill("server1");
    write(1_000, 2_000);
    cluster.wait_engine_on("server2");
    drop(stdin);
    let output = sender.wait(LIMIT);
    assert_eq!((output.code, output.last_word()), (Some(0), "confirmed 2000"));
    let received = cluster.drain("orders");
    let expected: Vec<String> = (1_000..2_000).map(|number| number.to_string()).collect();
    assert_same(&expected, &received);
}

/// Holds its messages: it waits for more than there are before it acknowledges any.
fn hold(cluster: &Cluster, arguments: &[&str]) -> Background {
    cluster.spawn(&[&["receive", "orders"], arguments].concat(), Stdout::Collect)
}

#[test]
fn a_group_stays_with_its_consumer_across_a_fail_over_and_keeps_its_order() {
    let mut cluster = Cluster::start(3, 0);
    cluster.create_queue("orders");
    send(&cluster, &["orders", "--group", "x"], &["x2"]);
    let holder = hold(&cluster, &["--count", "9"]);
    wait("it has the group", || holder.lines() == ["x2"]);
    let other = hold(&cluster, &["--count", "9"]);
    wait("both are there", || cluster.queue("orders").consumers == 2);
    cluster.kill("server1");
    cluster.wait_engine_on("server2");
    wait("both are back", || cluster.queue("orders").consumers == 2);
    send(&cluster, &["orders", "--group", "x"], &["x3", "x4", "x5"]);
    wait("all of the group is with one", || holder.lines() == ["x2", "x3", "x4", "x5"]);
    assert!(other.lines().is_empty(), "{:?}", other.lines());
    drop(holder.kill());
    wait("the other one has the group", || other.lines() == ["x2", "x3", "x4", "x5"]);
    drop(other.kill());
}

#[test]
fn a_consumer_with_a_selector_gets_what_it_selects_from_every_engine() {
    let mut cluster = Cluster::start(3, 0);
    cluster.create_queue("orders");
    let kinds = |number: u32| if number.is_multiple_of(10) { "kind=few" } else { "kind=many" };
    for kind in ["kind=few", "kind=many"] {
        let lines: Vec<String> = (0..2_000).filter(|number| kinds(*number) == kind).map(|n| n.to_string()).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        send(&cluster, &["orders", "--header", kind], &lines[..lines.len() / 2]);
        send(&cluster, &["orders", "--header", kind], &lines[lines.len() / 2..]);
    }
    let few = cluster.spawn(&["receive", "orders", "--selector", "kind = 'few'", "--follow"], Stdout::Collect);
    wait("it has the few", || few.lines().len() == 200);
    cluster.kill("server1");
    cluster.wait_engine_on("server2");
    send(&cluster, &["orders", "--header", "kind=few"], &["again"]);
    wait("it has what came later", || few.lines().len() == 201);
    let expected: Vec<String> = (0..2_000).step_by(10).map(|n| n.to_string()).chain(["again".to_owned()]).collect();
    assert_same(&expected, &few.lines());
    drop(few.kill());
    wait("its consumer is gone", || cluster.queue("orders").consumers == 0);
    assert_eq!(cluster.drain("orders").len(), 1_800);
    cluster.refused(&["receive", "orders", "--selector", "kind ="], &["selector"]);
}
