//! Small cases in which users of other brokers lost messages, waited forever, or undid each other's work.

use std::time::Duration;

use baton_tests::{Cluster, LIMIT, Stdout, check::assert_same, wait};

/// Longer than a command takes that does not wait for anything.
const SOON: Duration = Duration::from_secs(20);

fn lines(prefix: &str, count: u32) -> Vec<String> {
    (0..count).map(|number| format!("{prefix}{number}")).collect()
}

fn text(lines: &[String]) -> String {
    lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
}

/// One message that kills its consumers takes no other one with it, however many the consumers hold in advance.
#[test]
fn of_a_thousand_messages_that_a_consumer_holds_when_it_is_killed_one_is_counted() {
    let cluster = Cluster::start(3, 0);
    cluster.ok(&["queue", "create", "orders", "--max-failed", "3"]);
    let all: Vec<String> = lines("a message of some length that fills the pipe soon enough ", 9_000);
    assert_eq!(cluster.run_with(&["send", "orders"], &text(&all)).code, Some(0));
    for _ in 0..4 {
        // It prints into a pipe that nobody reads, and holds a thousand messages.
        let consumer = cluster.spawn(&["receive", "orders", "--count", "20000"], Stdout::Hold);
        wait("it holds many", || cluster.queue("orders").in_flight >= 900);
        drop(consumer.kill());
        wait("it is given up", || cluster.queue("orders").consumers == 0 && cluster.queue("orders").in_flight == 0);
    }
    let aside = cluster.ok(&["exception", "list", "--json"]).lines.len();
    assert!(aside <= 2, "{aside} messages were set aside for one");
}

/// The engine's host and the consumer die together, each time: a process that hosts both.
#[test]
fn a_message_that_kills_the_engines_host_with_its_consumer_is_set_aside() {
    let mut cluster = Cluster::start(1, 0);
    cluster.ok(&["queue", "create", "orders", "--max-failed", "3"]);
    cluster.send_lines("orders", &["poison", "good"]);
    for _ in 0..3 {
        let consumer = cluster.spawn(&["receive", "orders", "--count", "5"], Stdout::Collect);
        wait("it has the message", || consumer.printed() > 0);
        cluster.kill("server1");
        drop(consumer.kill());
        cluster.restart("server1");
        cluster.wait_engine_on("server1");
        wait("the consumer is given up", || cluster.queue("orders").consumers == 0);
        // A consumer that is expected back is in no list: only the counts show it.
        std::thread::sleep(Duration::from_millis(1_500));
    }
    wait("it is set aside", || cluster.ok(&["exception", "list", "--json"]).lines.len() == 1);
    let found = cluster.ok(&["exception", "list", "--json"]).text();
    assert!(found.contains("poison") && found.contains("3 deliveries failed"), "{found}");
    assert_same(&["good"], &cluster.receive_lines("orders", 1));
}

#[test]
fn what_is_moved_keeps_its_deadline_and_waits_for_nothing_again() {
    let cluster = Cluster::start(1, 0);
    for queue in ["a", "b", "c", "d"] {
        cluster.create_queue(queue);
    }
    assert_eq!(cluster.run_with(&["send", "a", "--delay", "1"], "later\n").code, Some(0));
    wait("its time has come", || cluster.queue("a").depth == 1);
    cluster.ok(&["transfer", "a", "b"]);
    assert_eq!(cluster.queue("b").delayed, 0, "it waits a second time");
    assert_same(&["later"], &cluster.receive_lines("b", 1));

    assert_eq!(cluster.run_with(&["send", "c", "--time-to-live", "6"], "short\n").code, Some(0));
    std::thread::sleep(Duration::from_secs(3));
    cluster.ok(&["transfer", "c", "d"]);
    assert_eq!(cluster.queue("d").depth, 1);
    std::thread::sleep(Duration::from_millis(4_500));
    assert_eq!(cluster.queue("d").depth, 0, "it has six seconds again");
}

/// 50 MB in messages of 250 kB, one that is as large as a message may be, and the headers of an exception destination.
#[test]
fn large_messages_are_moved_all_of_them() {
    let cluster = Cluster::start(1, 0);
    for queue in ["big", "out", "limit"] {
        cluster.create_queue(queue);
    }
    let body = "a".repeat(250_000);
    assert_eq!(cluster.run_with(&["send", "big"], &text(&vec![body; 200])).code, Some(0));
    cluster.ok(&["transfer", "big", "out"]);
    assert_eq!((cluster.queue("big").depth, cluster.queue("out").depth), (0, 200));

    let largest = "x".repeat(1_048_500);
    assert_eq!(cluster.run_with(&["send", "limit"], &format!("{largest}\n")).code, Some(0));
    let reason = "r".repeat(20_000);
    cluster.ok(&["receive", "limit", "--count", "1", "--reject", &reason]);
    cluster.ok(&["transfer", "system.exception", "out"]);
    assert_eq!((cluster.queue("system.exception").depth, cluster.queue("out").depth), (0, 201));
}

#[test]
fn a_transfer_ends_with_what_was_there_and_says_what_it_left() {
    let cluster = Cluster::start(1, 0);
    for queue in ["a", "b", "back"] {
        cluster.create_queue(queue);
    }
    cluster.ok(&["topic", "create", "space"]);
    cluster.ok(&["queue", "set", "back", "--forward-to", "a"]);
    cluster.send_lines("a", &["1", "2", "3"]);
    for (to, why) in [("a", "same"), ("back", "back forwards to a")] {
        let output = cluster.run(&["transfer", "a", to]);
        assert!(output.code == Some(1) && output.stderr.contains(why), "{output:?}");
    }
    let output = cluster.run(&["transfer", "a", "space", "--json"]);
    assert_eq!(output.code, Some(5), "{output:?}");
    assert!(output.text().contains("\"left\":3") && output.stderr.contains("topic"), "{output:?}");
    let there = cluster.ok(&["receive", "a", "--count", "3", "--json"]);
    assert!(there.lines.iter().all(|line| !line.contains("redeliveries\":1")), "{:?}", there.lines);
}

#[test]
fn a_replay_ends_though_a_consumer_rejects_all_that_comes_back() {
    let cluster = Cluster::start(1, 0);
    cluster.ok(&["queue", "create", "dead"]);
    cluster.ok(&["queue", "create", "orders", "--max-failed", "1", "--exception", "dead"]);
    assert_eq!(cluster.run_with(&["send", "orders"], &text(&lines("", 500))).code, Some(0));
    let rejecting = cluster.spawn(&["receive", "orders", "--follow", "--reject", "bad"], Stdout::Collect);
    wait("all are rejected", || cluster.queue("dead").depth == 500);
    let output = cluster.run(&["exception", "replay", "dead"]);
    assert_eq!(output.text(), "500 messages moved back");
    assert_eq!(rejecting.terminate(SOON).code, Some(0));
}

#[test]
fn dead_letters_keep_to_the_bound_of_their_queue_and_expire_there() {
    let cluster = Cluster::start(1, 0);
    cluster.ok(&["queue", "create", "dead", "--max-messages", "10", "--time-to-live", "5"]);
    cluster.ok(&["queue", "create", "orders", "--exception", "dead"]);
    assert_eq!(cluster.run_with(&["send", "orders"], &text(&lines("", 100))).code, Some(0));
    let partly = cluster.run(&["receive", "orders", "--reject", "bad"]);
    assert!(partly.code == Some(5) && partly.stderr.contains("stayed in orders"), "{partly:?}");
    let (dead, orders) = (cluster.queue("dead").depth, cluster.queue("orders").depth);
    assert_eq!((dead, orders), (10, 90), "the others wait where they are");
    let shown = cluster.ok(&["queue", "show", "orders", "--json"]).text();
    assert!(shown.contains("\"kept\":"), "{shown}");
    // They expire there, and the waiting ones take the room, without any consumer.
    wait("the others follow", || cluster.queue("orders").depth <= 80);

    cluster.ok(&["queue", "create", "keeps", "--exception", "none"]);
    cluster.send_lines("keeps", &["x"]);
    assert_eq!(cluster.run(&["receive", "keeps", "--reject", "bad"]).code, Some(5));
    assert_eq!(cluster.queue("keeps").depth, 1);

    cluster.ok(&["queue", "create", "newest", "--max-messages", "2", "--dead-letter-overflow", "drop-oldest"]);
    cluster.ok(&["queue", "create", "many", "--exception", "newest"]);
    assert_eq!(cluster.run_with(&["send", "many"], &text(&lines("", 6))).code, Some(0));
    cluster.ok(&["receive", "many", "--reject", "bad"]);
    assert_same(&["4", "5"], &cluster.receive_lines("newest", 2));
    assert_eq!(cluster.queue("many").depth, 0);
}

/// Two senders under one name: each message that was confirmed to either of them is there.
#[test]
fn two_senders_of_one_name_lose_nothing_that_they_confirmed() {
    let cluster = Cluster::start(3, 0);
    cluster.create_queue("orders");
    let inputs = ["a", "b"].map(|name| text(&lines(name, 5_000)));
    let senders = inputs.clone().map(|input| {
        let mut sender = cluster.spawn(&["send", "orders", "--producer", "p"], Stdout::Collect);
        let mut stdin = sender.stdin();
        let writer = std::thread::spawn(move || std::io::Write::write_all(&mut stdin, input.as_bytes()).is_ok());
        (sender, writer)
    });
    let outputs = senders.map(|(sender, writer)| {
        let output = sender.wait(LIMIT);
        let _ = writer.join();
        output
    });
    let stored = cluster.ok(&["receive", "orders"]).lines;
    let succeeded: Vec<usize> = (0..2).filter(|at| outputs[*at].code == Some(0)).collect();
    assert!(!succeeded.is_empty(), "{outputs:?}");
    for at in succeeded {
        let lost = inputs[at].lines().filter(|line| !stored.iter().any(|known| known == line)).count();
        assert_eq!(lost, 0, "of those that sender {at} confirmed");
    }
    // The same input continues where it ended; another input is detected.
    let again = cluster.run_with(&["send", "orders", "--producer", "q"], &text(&lines("c", 10)));
    assert_eq!((again.code, again.last_word()), (Some(0), "confirmed 10"));
    let more = cluster.run_with(&["send", "orders", "--producer", "q"], &text(&lines("c", 12)));
    assert_eq!((more.code, more.last_word()), (Some(0), "confirmed 2"));
    // A refused line has no number, and does not block the next run.
    let refused = format!("a\n{}\nc\n", "x".repeat(1_200_000));
    for confirmed in ["confirmed 2", "confirmed 0"] {
        let output = cluster.run_with(&["send", "orders", "--producer", "r"], &refused);
        assert_eq!(output.last_word(), confirmed, "{}", output.stderr);
    }
    let other = cluster.run_with(&["send", "orders", "--producer", "q"], &text(&lines("d", 20)));
    assert!(other.code == Some(1) && other.stderr.contains("does not begin with them"), "{other:?}");
}

#[test]
fn a_bad_topic_and_a_message_that_is_too_large_fail_alone() {
    let cluster = Cluster::start(1, 0);
    cluster.create_queue("orders");
    let large = "x".repeat(2_000_000);
    let output = cluster.run_with(&["send", "orders"], &format!("1\n{large}\n2\n"));
    assert_eq!((output.code, output.last_word()), (Some(1), "confirmed 2"), "{}", output.stderr);
    assert!(output.stderr.contains("the limit is"), "{}", output.stderr);
    assert_same(&["1", "2"], &cluster.receive_lines("orders", 2));
    cluster.ok(&["topic", "create", "news"]);
    let output = cluster.run_with(&["send", "news", "--topic", "a/*"], "1\n");
    assert!(output.code == Some(1) && output.stderr.contains("topic"), "{output:?}");
}

#[test]
fn changes_of_settings_at_the_same_time_all_hold() {
    let cluster = Cluster::start(3, 0);
    for turn in 0..5 {
        let name = format!("q{turn}");
        cluster.create_queue(&name);
        let changes = [
            vec!["queue", "set", &name, "--max-messages", "100"],
            vec!["queue", "set", &name, "--time-to-live", "60"],
            vec!["queue", "pause", &name],
        ];
        let commands = changes.map(|change| cluster.spawn(&change, Stdout::Collect));
        assert!(commands.into_iter().all(|command| command.wait(LIMIT).code == Some(0)));
        let shown: serde_json::Value =
            serde_json::from_str(&cluster.ok(&["queue", "show", &name, "--json"]).text()).expect("JSON");
        let settings = &shown["settings"];
        assert_eq!((&settings["max_messages"], &settings["time_to_live_ms"]), (&100.into(), &60_000.into()));
        assert_eq!((&settings["send_paused"], &settings["receive_paused"]), (&true.into(), &true.into()));
        assert_eq!(shown["version"], 3);
    }
    cluster.ok(&["queue", "create", "q0", "--max-messages", "100"]);
    let differs = cluster.run(&["queue", "create", "q0", "--max-messages", "7"]);
    assert!(differs.code == Some(1) && differs.stderr.contains("max_messages"), "{differs:?}");
    let stale = cluster.run(&["queue", "set", "q0", "--max-messages", "9", "--if-version", "1"]);
    assert!(stale.code == Some(1) && stale.stderr.contains("version 3"), "{stale:?}");
}

#[test]
fn nobody_waits_in_silence_for_a_queue_that_delivers_nothing() {
    let cluster = Cluster::start(1, 0);
    cluster.create_queue("paused");
    cluster.create_queue("out");
    cluster.send_lines("paused", &["1"]);
    cluster.ok(&["queue", "pause", "paused", "--receive"]);
    for command in [&["receive", "paused"][..], &["receive", "paused", "--count", "1"], &["transfer", "paused", "out"]]
    {
        let output = cluster.spawn(command, Stdout::Collect).wait(SOON);
        assert!(output.code == Some(4) && output.stderr.contains("paused"), "{command:?}: {output:?}");
    }
    let following = cluster.spawn(&["receive", "paused", "--follow"], Stdout::Collect);
    wait("it says why nothing comes", || following.stderr().contains("paused"));
    cluster.ok(&["queue", "resume", "paused"]);
    wait("it goes on", || following.printed() == 1);
    assert_eq!(following.stderr().matches("is paused").count(), 1, "once");
    drop(following);

    cluster.ok(&["queue", "create", "one", "--exclusive", "true"]);
    cluster.send_lines("one", &["1", "2"]);
    let first = cluster.spawn(&["receive", "one", "--count", "5"], Stdout::Collect);
    wait("it is served", || first.printed() == 2);
    cluster.send_lines("one", &["3"]);
    let output = cluster.spawn(&["receive", "one"], Stdout::Collect).wait(SOON);
    assert!(output.code == Some(4) && output.stderr.contains("exclusive"), "{output:?}");
}
