//! An exclusive queue: one consumer is served, the others take over in the order in which they attached.

use baton_tests::{Background, Cluster, LIMIT, Stdout, numbered, wait};

/// Time that an engine waits for consumers that the one before knew: longer than any machine takes, because one of them
/// is stopped in between.
const PATIENT: &str = "\n[timing]\nreattach_grace_ms = 60000\n";
const BATCH: usize = 10;

/// Messages that are sent now all go to `served`.
#[track_caller]
fn serves(cluster: &Cluster, batch: usize, served: &Background) {
    let lines = numbered(batch * BATCH, (batch + 1) * BATCH);
    cluster.send_lines("orders", &lines);
    gets(served, &lines);
}

#[track_caller]
fn gets(served: &Background, lines: &[String]) {
    wait("the one that is served gets all", || served.lines().ends_with(lines));
}

#[test]
fn an_exclusive_queue_serves_the_first_consumer_alone_from_every_engine_and_then_its_stand_ins_in_order() {
    let mut cluster = Cluster::start_with(3, 0, PATIENT);
    cluster.ok(&["queue", "create", "orders", "--exclusive", "true"]);
    let mut consumers = Vec::new();
    for number in 1..=3 {
        consumers.push(cluster.spawn(&["receive", "orders", "--follow"], Stdout::Collect));
        wait("it is attached", || cluster.queue("orders").consumers == number);
    }
    let [first, second, third] = consumers.try_into().expect("three");
    serves(&cluster, 0, &first);

    // The stand-ins are back first, and get nothing all the same.
    first.freeze();
    cluster.kill("server1");
    cluster.wait_engine_on("server2");
    wait("the stand-ins are back", || cluster.queue("orders").consumers == 2);
    let lines = numbered(BATCH, 2 * BATCH);
    cluster.send_lines("orders", &lines);
    assert_eq!(cluster.queue("orders").in_flight, 0, "the stand-ins are served");
    first.thaw();
    gets(&first, &lines);
    wait("all three are back", || cluster.queue("orders").consumers == 3);
    serves(&cluster, 2, &first);
    assert_eq!((second.printed(), third.printed()), (0, 0), "the stand-ins are served");

    first.terminate(LIMIT);
    wait("the first one is gone", || cluster.queue("orders").consumers == 2);
    serves(&cluster, 3, &second);
    assert_eq!((second.printed(), third.printed()), (BATCH, 0), "the second one is served alone");
    second.terminate(LIMIT);
    wait("the second one is gone", || cluster.queue("orders").consumers == 1);
    serves(&cluster, 4, &third);
    assert_eq!(third.printed(), BATCH);
    wait("all is done with", || cluster.queue("orders").depth == 0);
    cluster.restart("server1");
    cluster.wait_caught_up("server1");
    cluster.verify();
}
