//! A quorum that is gone for good: one store is made the beginning of a new generation, never silently.

use std::time::Duration;

use baton_tests::{Cluster, check::assert_same, numbered, run};

const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn a_lost_quorum_is_recovered_only_by_the_command_that_says_what_it_costs() {
    let mut cluster = Cluster::start(3, 0);
    cluster.create_queue("orders");
    let lines = numbered(0, 500);
    cluster.send_lines("orders", &lines);
    let before = cluster.wait("all caught up", |status| status.all_caught_up()).epoch();
    cluster.kill_all(&["server1", "server2"]);
    cluster.wait("no quorum", |status| status.engine.state != "started" && status.quorum.up == 1);
    cluster.terminate("server3");

    let file = cluster.config("server3");
    let file = file.to_str().expect("a path in UTF-8");
    let output = run(&["recover", file], "", LIMIT);
    assert!(output.code.is_some_and(|code| code != 0), "nothing is done without the word: {output:?}");
    assert!(output.last_word().contains("--accept-data-loss"), "{}", output.stderr);
    assert!(output.text().contains("lost"), "it says what may be lost: {}", output.text());

    let output = run(&["recover", file, "--accept-data-loss"], "", LIMIT);
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    cluster.restart("server3");
    let after = cluster.wait_engine_on("server3").epoch();
    assert!(after.map(|(generation, _)| generation) > before.map(|(generation, _)| generation), "{before:?} {after:?}");
    assert_same(&lines, &cluster.drain("orders"));

    // A store of the old generation is refused, because it may hold entries that the new one never saw; wiped, it
    // joins.
    let old = cluster.config("server1");
    let output = run(&["server", old.to_str().expect("a path in UTF-8")], "", LIMIT);
    assert!(output.code.is_some_and(|code| code != 0), "{}", output.stderr);
    assert!(output.last_word().contains("generation"), "it says why: {}", output.stderr);
    for name in ["server1", "server2"] {
        cluster.wipe(name);
        cluster.restart(name);
        cluster.wait_caught_up(name);
    }
    cluster.verify();
}
