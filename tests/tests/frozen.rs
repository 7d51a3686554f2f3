//! A host that is stopped for longer than its lease and then goes on must not think that it still hosts the engine.

use std::time::Duration;

use baton_tests::{Cluster, LIMIT, Workload, get};

#[test]
fn a_host_that_slept_through_its_lease_never_serves_again_by_itself() {
    let cluster = Cluster::start(3, 0);
    let mut workload = Workload::start(&cluster, "orders");
    let http = cluster.http("server1");
    cluster.freeze("server1");
    let frozen = cluster.wait_engine_on("server2");
    assert_eq!(frozen.instances_started(), ["server2"]);
    workload.flows();

    // A request that arrives while it sleeps is answered the moment it wakes up: before anybody can have told it what
    // happened.
    let asker = std::thread::spawn(move || get(&http, "/ready", LIMIT));
    std::thread::sleep(Duration::from_millis(200));
    assert!(!asker.is_finished(), "server1 sleeps");
    cluster.thaw("server1");
    let (code, _) = asker.join().expect("the asker does not panic").expect("server1 answers when it wakes up");
    assert_eq!(code, 503, "its lease ran out long ago");

    cluster.stays("one engine, on server2", Duration::from_secs(3), |status| {
        status.started_on("server2") && status.instances_started() == ["server2"] && status.epoch() == frozen.epoch()
    });
    cluster.wait_caught_up("server1");
    // The checker sees the effects of a second engine: messages twice or out of order.
    workload.flows();
    workload.finish(&cluster);
    cluster.verify();
}

#[test]
fn a_host_that_sleeps_again_and_again_costs_no_message() {
    let cluster = Cluster::start(3, 0);
    let mut workload = Workload::start(&cluster, "orders");
    for _ in 0..3 {
        let host = cluster.wait("the engine anywhere", |status| status.host().is_some());
        let host = host.host().unwrap_or_default().to_owned();
        cluster.freeze(&host);
        cluster.wait_engine_away_from(&host);
        workload.flows();
        cluster.thaw(&host);
        cluster.wait_caught_up(&host);
    }
    workload.finish(&cluster);
    cluster.verify();
}
