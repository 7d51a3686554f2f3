//! A queue that forwards to another one, across a failover.

use baton_tests::{Cluster, Feed, LIMIT, Stdout, check::assert_same, numbered, wait};

#[test]
fn what_is_sent_to_a_queue_that_forwards_is_in_the_other_once_though_the_engines_host_dies() {
    let mut cluster = Cluster::start(3, 0);
    cluster.create_queue("new");
    cluster.ok(&["queue", "create", "old", "--forward-to", "new"]);
    let mut sender = cluster.spawn(&["send", "old", "--timeout", "120"], Stdout::Collect);
    let feed = Feed::start(sender.stdin());
    wait("messages are forwarded", || cluster.queue("new").depth > 0);
    cluster.kill("server1");
    cluster.wait_engine_on("server2");
    let fed = feed.fed() as u64;
    wait("messages that are sent now are forwarded", || cluster.queue("new").depth > fed);
    assert_eq!(cluster.queue("old").depth, 0, "nothing stays on the way");
    // A sender that was not there before finds it so, too.
    feed.stop();
    let output = sender.wait(LIMIT);
    let sent = numbered(0, feed.fed());
    assert_eq!((output.code, output.last_word()), (Some(0), format!("confirmed {}", sent.len()).as_str()));
    cluster.send_lines("old", &["last"]);
    assert_eq!(cluster.drain("old"), Vec::<String>::new());
    assert_same(&[sent, vec!["last".to_owned()]].concat(), &cluster.drain("new"));

    cluster.ok(&["queue", "set", "old", "--forward-to", "none"]);
    cluster.send_lines("old", &["for the old one"]);
    assert_eq!((cluster.queue("old").depth, cluster.queue("new").depth), (1, 0), "it forwards no more");
    cluster.restart("server1");
    cluster.wait_caught_up("server1");
    cluster.verify();
}
