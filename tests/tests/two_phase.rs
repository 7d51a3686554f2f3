//! Transactions that an outside coordinator decides outlive the process that prepared them, and the engine's host.

use baton_tests::{Background, Cluster, LIMIT, check::assert_same};

fn in_doubt(cluster: &Cluster) -> Vec<String> {
    let list: serde_json::Value =
        serde_json::from_str(&cluster.ok(&["transaction", "list", "--json"]).text()).expect("JSON");
    let name = |one: &serde_json::Value| one["name"].as_str().expect("a name").to_owned();
    list.as_array().expect("a list").iter().map(name).collect()
}

#[test]
fn what_is_prepared_is_with_nobody_until_it_is_decided_whatever_is_killed() {
    let mut cluster = Cluster::start(3, 0);
    cluster.create_queue("example/orders");
    cluster.send_lines("example/orders", &["coal", "steel", "wood"]);
    for (name, order) in [("trade/1", "coal"), ("trade/2", "steel")] {
        let prepared = Background::example("two_phase", &[&cluster.file(), name]).wait(LIMIT);
        assert_eq!((prepared.code, prepared.text()), (Some(0), format!("{name} is prepared: {order}")));
    }
    cluster.kill("server1");
    cluster.wait_engine_on("server2");
    assert_eq!(in_doubt(&cluster), ["trade/1", "trade/2"]);
    assert_same(&["wood"], &cluster.receive_lines("example/orders", 1));
    let nothing = cluster.run(&["receive", "example/orders", "--count", "1", "--wait", "1"]);
    assert_eq!((nothing.code, nothing.lines.len()), (Some(3), 0), "what is in doubt is with nobody");
    assert_eq!((cluster.queue("example/orders").depth, cluster.queue("example/bills").depth), (2, 0));
    cluster.refused(&["queue", "purge", "example/orders"], &["trade/1", "baton transaction resolve"]);

    cluster.restart("server1");
    cluster.wait_caught_up("server1");
    cluster.ok(&["transaction", "resolve", "trade/1", "commit"]);
    cluster.kill("server2");
    cluster.wait_engine_away_from("server2");
    assert_eq!(in_doubt(&cluster), ["trade/2"]);
    cluster.ok(&["transaction", "resolve", "trade/2", "rollback"]);
    assert_same(&["bill for coal"], &cluster.drain("example/bills"));
    assert_same(&["steel"], &cluster.drain("example/orders"));
    cluster.refused(
        &["transaction", "resolve", "trade/1", "commit"],
        &["transaction trade/1 is not in doubt", "transaction list"],
    );
    cluster.restart("server2");
    cluster.wait_caught_up("server2");
    cluster.verify();
}
