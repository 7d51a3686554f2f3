//! Topic spaces across failovers: selection, backlogs of subscriptions, and an empty store at the end.

use baton_tests::{Cluster, LIMIT, Stdout, check::assert_same, wait};

fn publish(cluster: &Cluster, arguments: &[&str], lines: &[&str]) {
    let input: String = lines.iter().flat_map(|line| [*line, "\n"]).collect();
    let output = cluster.run_with(&[&["send", "news"], arguments].concat(), &input);
    assert_eq!(output.code, Some(0), "baton send: {}", output.stderr);
}

/// The number of messages that the topic space stores.
fn stored(cluster: &Cluster) -> u64 {
    let text = cluster.ok(&["topic", "list", "--json"]).text();
    let spaces: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    spaces[0]["stored"].as_u64().expect("a number")
}

#[test]
fn durable_subscriptions_keep_what_they_want_across_fail_overs_and_the_last_one_frees_it() {
    let mut cluster = Cluster::start(3, 0);
    cluster.ok(&["topic", "create", "news"]);
    cluster.ok(&["subscription", "create", "all", "--space", "news"]);
    cluster.ok(&["subscription", "create", "sport", "--space", "news", "--topic", "sport/*"]);
    let selector = "kind = 'goal' AND minute > 80";
    cluster.ok(&["subscription", "create", "late", "--space", "news", "--topic", "#", "--selector", selector]);
    publish(&cluster, &["--topic", "sport/football", "--header", "kind=goal", "--header", "minute=88"], &["late goal"]);
    publish(&cluster, &["--topic", "sport/football", "--header", "kind=goal", "--header", "minute=8"], &["early goal"]);
    publish(&cluster, &["--topic", "weather"], &["rain"]);
    assert_eq!(stored(&cluster), 3, "each is stored once");
    cluster.kill("server1");
    cluster.wait_engine_on("server2");
    publish(&cluster, &["--topic", "sport/golf"], &["hole in one"]);
    assert_same(&["late goal", "early goal", "rain", "hole in one"], &cluster.drain("all"));
    assert_same(&["late goal", "early goal", "hole in one"], &cluster.drain("sport"));
    assert_eq!(stored(&cluster), 1, "the others are done with theirs");
    cluster.restart("server1");
    cluster.wait_caught_up("server1");
    cluster.ok(&["move", "server1"]);
    assert_same(&["late goal"], &cluster.drain("late"));
    assert_eq!(stored(&cluster), 0);
    cluster.refused(&["topic", "delete", "news"], &["subscriptions"]);
    for name in ["all", "sport", "late"] {
        cluster.ok(&["subscription", "delete", name]);
    }
    cluster.ok(&["topic", "delete", "news"]);
    cluster.verify();
}

#[test]
fn subscribers_that_are_not_durable_live_through_a_fail_over_and_leave_nothing() {
    let mut cluster = Cluster::start(3, 0);
    cluster.ok(&["topic", "create", "news"]);
    let subscriber =
        cluster.spawn(&["receive", "news", "--topic", "sport/#", "--count", "3", "--wait", "30"], Stdout::Collect);
    wait("it is there", || cluster.queues().iter().any(|queue| queue.consumers == 1));
    publish(&cluster, &["--topic", "sport"], &["one"]);
    publish(&cluster, &["--topic", "weather"], &["rain"]);
    cluster.kill("server1");
    cluster.wait_engine_on("server2");
    publish(&cluster, &["--topic", "sport/golf"], &["two", "three"]);
    let received = subscriber.wait(LIMIT);
    assert_eq!(
        (received.code, received.lines),
        (Some(0), vec!["one".to_owned(), "two".to_owned(), "three".to_owned()])
    );
    wait("its subscription goes", || cluster.queues().len() == 1);
    assert_eq!(stored(&cluster), 0);
    let wrong = cluster.run_with(&["send", "news"], "no topic\n");
    assert!(wrong.code != Some(0) && wrong.stderr.contains("1 to 32 levels"), "{}", wrong.stderr);
    cluster.refused(&["subscription", "create", "x", "--space", "nowhere"], &["baton topic create nowhere"]);
}
