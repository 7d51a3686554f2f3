//! A store that is put back from an older copy does not serve again: its replica has promised more than it knows.

use std::path::Path;
use std::time::Duration;

use baton_tests::check::assert_same;
use baton_tests::{Cluster, get, numbered, run};

const LIMIT: Duration = Duration::from_secs(60);

/// Copies a store, as an operator would: all of its directory.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory can be made");
    for entry in std::fs::read_dir(from).expect("the store can be read") {
        let entry = entry.expect("it can be read");
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy(&source, &target);
        } else {
            std::fs::copy(&source, &target).expect("it can be copied");
        }
    }
}

/// Waits until every replica has all that was written, to the last entry.
fn wait_level(cluster: &Cluster) {
    let level = |server: &baton_tests::Server| server.up && server.lag == Some(0);
    cluster.wait("all level", |status| status.quorum.up == 3 && status.servers.iter().all(level));
}

fn put_back(from: &Path, to: &Path) {
    std::fs::remove_dir_all(to).expect("the store can be removed");
    copy(from, to);
}

/// The server is up, serves nothing, and says in all places what to do.
fn refuses_and_says_how(cluster: &Cluster, name: &str) {
    let what_to_do = format!("baton rebuild {}", cluster.config(name).display());
    let status = cluster.wait("the older copy is refused", |status| {
        let server = status.server(name).expect("it is a member");
        server.trouble.as_ref().is_some_and(|trouble| trouble.contains("older copy") && trouble.contains(&what_to_do))
    });
    assert_eq!(status.quorum.up, 2, "it counts for no quorum: {status:?}");
    let (code, health) = get(&cluster.http(name), "/health", LIMIT).expect("it answers");
    assert!(code == 200 && health.contains(&what_to_do), "{code}: {health}");
    let (code, ready) = get(&cluster.http(name), "/ready", LIMIT).expect("it answers");
    assert!(code == 503 && ready.contains("older copy"), "{code}: {ready}");
    assert!(cluster.log(name).contains(&what_to_do), "{}", cluster.log(name));
}

fn rebuild(cluster: &Cluster, name: &str) {
    let file = cluster.config(name);
    let output = run(&["rebuild", file.to_str().expect("a path in UTF-8"), "--wait", "50"], "", LIMIT);
    assert_eq!(output.code, Some(0), "{output:?}");
    cluster.wait("it serves again", |status| {
        status.quorum.up == 3 && status.server(name).is_some_and(|server| server.trouble.is_none())
    });
}

#[test]
fn a_store_that_was_put_back_from_an_older_copy_is_refused_until_it_is_rebuilt() {
    let mut cluster = Cluster::start(3, 0);
    let old = cluster.dir().join("server3.old");
    cluster.create_queue("orders");
    cluster.send_lines("orders", &numbered(0, 1_000));
    wait_level(&cluster);
    cluster.terminate("server3");
    copy(cluster.store("server3"), &old);
    cluster.restart("server3");
    cluster.send_lines("orders", &numbered(1_000, 2_000));
    wait_level(&cluster);
    cluster.kill("server3");
    put_back(&old, cluster.store("server3"));
    cluster.restart("server3");
    refuses_and_says_how(&cluster, "server3");

    // It is remembered, whichever server leads.
    cluster.ok(&["move", "server2"]);
    cluster.kill("server3");
    cluster.restart("server3");
    refuses_and_says_how(&cluster, "server3");
    rebuild(&cluster, "server3");
    // Its copy counts again.
    cluster.kill("server1");
    cluster.send_lines("orders", &numbered(2_000, 3_000));
    cluster.restart("server1");
    cluster.wait("all caught up", |status| status.all_caught_up() && status.quorum.up == 3);
    cluster.verify();
    assert_same(&numbered(0, 3_000), &cluster.drain("orders"));
}

#[test]
fn an_older_copy_is_noticed_by_a_leader_that_never_led_before() {
    let mut cluster = Cluster::start(3, 0);
    let old = cluster.dir().join("server3.old");
    cluster.create_queue("orders");
    wait_level(&cluster);
    cluster.terminate("server3");
    copy(cluster.store("server3"), &old);
    cluster.restart("server3");
    cluster.send_lines("orders", &numbered(0, 1_000));
    wait_level(&cluster);
    // Once a second the leader reports the acknowledged index, and the others write it down.
    std::thread::sleep(Duration::from_secs(4));
    cluster.kill_all(&["server1", "server2", "server3"]);
    put_back(&old, cluster.store("server3"));
    cluster.restart("server2");
    cluster.restart("server3");
    let log = |name: &str| cluster.log(name);
    baton_tests::wait("server3 refuses to serve", || log("server3").contains("older copy"));
    cluster.restart("server1");
    refuses_and_says_how(&cluster, "server3");
    rebuild(&cluster, "server3");
    cluster.verify();
    assert_same(&numbered(0, 1_000), &cluster.drain("orders"));
}
