//! Members come and go while messages flow.

use std::time::Duration;

use baton_tests::{Cluster, Workload, get};

const LIMIT: Duration = Duration::from_secs(5);

#[test]
fn a_new_server_joins_catches_up_and_can_host_the_engine() {
    let mut cluster = Cluster::start(3, 0);
    let mut workload = Workload::start(&cluster, "orders");
    let address = cluster.new_server("server4");
    let told = cluster.ok(&["member", "add", "server4", "--address", &address]).text();
    assert!(told.contains("4 + 0: survives any 1 failure at once") && told.contains("next: "), "{told}");
    cluster.restart("server4");
    let status = cluster.wait("server4 a caught-up voter", |status| {
        status.server("server4").is_some_and(|server| server.caught_up()) && status.quorum.up == 4
    });
    assert_eq!(status.server("server4").and_then(|server| server.preference), Some(4), "it joined last");
    cluster.ok(&["move", "server4"]);
    assert!(cluster.status().started_on("server4"));
    workload.flows();
    workload.finish(&cluster);
    cluster.verify();
}

#[test]
fn a_server_that_is_removed_hands_over_and_takes_no_part_any_more() {
    let mut cluster = Cluster::start(4, 0);
    let mut workload = Workload::start(&cluster, "orders");
    cluster.ok(&["member", "remove", "server1"]);
    let status = cluster.wait_engine_on("server2");
    assert!(status.server("server1").is_none(), "{status:#?}");
    assert_eq!(status.quorum.needed, 2, "three voters are left");
    workload.flows();

    // It is not missed: with server1 gone and one more dead, two of three go on.
    cluster.kill("server1");
    cluster.kill("server2");
    cluster.wait_engine_on("server3");
    workload.flows();
    workload.finish(&cluster);
}

#[test]
fn a_removed_server_comes_back_empty_and_joins_last() {
    let mut cluster = Cluster::start(3, 0);
    cluster.kill("server1");
    cluster.wait_engine_on("server2");
    cluster.ok(&["member", "remove", "server1", "--yes"]);
    cluster.wipe("server1");
    let address = cluster.address("server1");
    cluster.ok(&["member", "add", "server1", "--address", &address]);
    cluster.restart("server1");
    let status = cluster.wait("server1 caught up", |status| status.all_caught_up() && status.quorum.up == 3);
    let names: Vec<&str> = status.servers.iter().map(|server| server.name.as_str()).collect();
    assert_eq!(names, ["server2", "server3", "server1"], "members stand in the order in which they joined");
    assert!(status.started_on("server2"));
    cluster.verify();
}

#[test]
fn members_that_make_no_sense_are_refused() {
    let cluster = Cluster::start(3, 0);
    cluster.refused(&["member", "remove", "server9"], &["server9"]);
    cluster.refused(&["member", "add", "server1", "--address", "127.0.0.1:1"], &["server1"]);
    cluster.refused(&["member", "add", "server4", "--address", &cluster.address("server2")], &["server2", "its own"]);
    cluster.refused(&["member", "add", "server 4", "--address", "127.0.0.1:1"], &["server 4"]);
}

/// More members that never start than there are real ones: whatever a script added by mistake can be taken back.
#[test]
fn members_that_never_start_keep_nobody_from_being_removed() {
    let cluster = Cluster::start(3, 0);
    let names: Vec<String> = (1..=6).map(|number| format!("typo{number}")).collect();
    for (port, name) in (1..).zip(&names) {
        cluster.ok(&["member", "add", name, "--address", &format!("127.0.0.1:{port}")]);
    }
    for name in &names {
        cluster.ok(&["member", "remove", name]);
    }
    assert_eq!(cluster.status().servers.len(), 3);
    // And a real one, as before.
    cluster.ok(&["member", "remove", "server3", "--yes"]);
}

/// Two servers survive no failure: the operator has to confirm that this is intended.
#[test]
fn a_removal_after_which_no_failure_is_survived_needs_a_yes() {
    let cluster = Cluster::start(3, 0);
    let output = cluster.run(&["member", "remove", "server3"]);
    assert_eq!(output.code, Some(2), "{}", output.stderr);
    assert!(output.stderr.contains("survives no failure") && output.stderr.contains("--yes"), "{}", output.stderr);
    assert_eq!(cluster.status().servers.len(), 3, "nothing was changed");
    let told = cluster.ok(&["member", "remove", "server3", "--yes"]).text();
    assert!(told.contains("2 + 0: survives no failure") && told.contains("baton rebuild server3.toml"), "{told}");
}

/// Without a text editor and openssl: the files that `member add --write` wrote suffice.
#[test]
fn a_server_joins_with_the_files_that_were_written_for_it() {
    let mut cluster = Cluster::start_over_tls(3);
    let address = format!("127.0.0.1:{}", cluster.ports().link(0));
    cluster.ok(&["member", "add", "server4", "--address", &address, "--write"]);
    cluster.know("server4");
    cluster.restart("server4");
    cluster.wait("server4 has joined", |status| status.server("server4").is_some_and(|server| server.caught_up()));
}

/// While it runs, and when it is started again after a pause: it says what happened and ends.
#[test]
fn a_removed_server_says_so_and_ends() {
    let mut cluster = Cluster::start(5, 0);
    // Server4 is down in between; nobody dials it when it is back, because the server with the lesser name does that.
    cluster.kill("server4");
    for name in ["server5", "server4", "server1"] {
        let http = cluster.http(name);
        cluster.ok(&["member", "remove", name, "--yes"]);
        if name == "server4" {
            cluster.restart(name);
        }
        let said = std::cell::RefCell::new(String::new());
        let health = || get(&http, "/health", LIMIT).unwrap_or_default().1;
        cluster.wait("it says so", |_| {
            *said.borrow_mut() = health();
            said.borrow().contains("was removed from the cluster")
        });
        assert!(said.borrow().contains("baton rebuild"), "{}", said.borrow());
        assert_eq!(cluster.ends(name), Some(4), "its exit code");
        let log = cluster.log(name);
        assert!(log.contains("was removed from the cluster"), "{log}");
    }
}

/// Each server's own statement counts; no store has to be wiped.
#[test]
fn a_server_that_moves_is_found_at_its_new_address() {
    let mut cluster = Cluster::start(3, 0);
    for name in ["server3", "server1"] {
        cluster.terminate(name);
        // Its own files alone: the others do not know where it is.
        let (old, new) = (cluster.address(name), format!("127.0.0.1:{}", cluster.spare_port()));
        let (file, own) = (cluster.file(), format!("{name}-cluster.toml"));
        let members = std::fs::read_to_string(&file).expect("init wrote it").replace(&old, &new);
        std::fs::write(cluster.dir().join(&own), members).expect("it can be written");
        cluster.configure(name, |text| text.replace(&old, &new).replace("\"cluster.toml\"", &format!("\"{own}\"")));
        cluster.restart(name);
        cluster.wait("it is back", |status| status.all_caught_up() && status.quorum.up == 3);
    }
    cluster.verify();
}

#[test]
fn all_servers_move_at_once() {
    let mut cluster = Cluster::start(3, 0);
    let mut workload = Workload::start(&cluster, "orders");
    workload.flows();
    workload.finish(&cluster);
    cluster.terminate_all(&["server1", "server2", "server3"]);
    let mut members = std::fs::read_to_string(cluster.file()).expect("init wrote it");
    for name in ["server1", "server2", "server3"] {
        let (old, new) = (cluster.address(name), format!("127.0.0.1:{}", cluster.spare_port()));
        cluster.configure(name, |text| text.replace(&old, &new));
        members = members.replace(&old, &new);
    }
    std::fs::write(cluster.file(), members).expect("it can be written");
    cluster.start_all();
    cluster.wait("it serves", |status| status.started_on("server1") && status.all_caught_up());
    let mut workload = Workload::start(&cluster, "more");
    workload.flows();
    workload.finish(&cluster);
    cluster.verify();
}

#[test]
fn an_operator_says_where_a_server_is_that_is_down() {
    let mut cluster = Cluster::start(3, 0);
    cluster.kill("server3");
    let other = cluster.address("server2");
    cluster.refused(&["member", "set-address", "server3", &other], &["server2"]);
    cluster.refused(&["member", "set-address", "server9", "127.0.0.1:1"], &["server9"]);
    let new = format!("127.0.0.1:{}", cluster.spare_port());
    cluster.ok(&["member", "set-address", "server3", &new]);
    // It is elsewhere after all: its own word counts.
    cluster.restart("server3");
    cluster.wait("it is back", |status| status.all_caught_up() && status.quorum.up == 3);
}
