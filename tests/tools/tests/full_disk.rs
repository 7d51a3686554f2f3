//! A disk that is full, and a process that may open no more files: new work is refused, and no server ends.

use std::io::Write;
use std::time::Duration;

use baton_tests::{Cluster, Workload, get, numbered, run, wait};
use baton_tools::torture::SmallDisk;

const SOON: Duration = Duration::from_secs(5);
/// Room for a store, its log and the reserve.
const DISK_MIB: u64 = 256;
/// So little that only requests that free space are accepted.
const RESERVE: &str = "\n[limits]\nreserve_bytes = 67108864\nstore_memory_bytes = 16777216\n";

/// True if mounts can be made here; says so if not.
fn may_mount() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        // Not by a macro: the test harness would keep that to itself.
        let _ = writeln!(std::io::stderr(), "SKIPPED: a small disk is root's to mount");
    }
    root
}

/// A cluster with the stores of some members on small disks.
fn cluster_on_small_disks(servers: usize, small: &[&str]) -> (Cluster, Vec<SmallDisk>) {
    let mut cluster = Cluster::init(servers, 0);
    for name in cluster.names() {
        cluster.configure(&name, |old| format!("{old}{RESERVE}"));
    }
    let mount = |name: &&str| SmallDisk::mount(cluster.store(name), DISK_MIB).unwrap_or_else(|why| panic!("{why}"));
    let disks = small.iter().map(mount).collect();
    cluster.start_all();
    cluster.wait("all are up", |status| status.started_on("server1") && status.all_caught_up());
    (cluster, disks)
}

#[test]
fn a_full_disk_at_one_of_three_stops_nobody() {
    if !may_mount() {
        return;
    }
    let (cluster, disks) = cluster_on_small_disks(3, &["server3"]);
    let mut workload = Workload::start(&cluster, "orders");
    cluster.create_queue("other");
    for leave_mib in [10, 0] {
        disks[0].fill(leave_mib).unwrap_or_else(|why| panic!("{why}"));
        cluster.wait("server3 says that its disk is full", |status| {
            status
                .server("server3")
                .and_then(|server| server.trouble.as_deref())
                .is_some_and(|why| why.contains("disk"))
        });
        workload.flows();
        cluster.send_lines("other", &numbered(0, 2_000));
        assert!(cluster.runs("server3"), "{leave_mib} MiB left");
    }
    disks[0].free().unwrap_or_else(|why| panic!("{why}"));
    cluster.wait("server3 is level again", |status| {
        status.all_caught_up() && status.server("server3").is_some_and(|server| server.trouble.is_none())
    });
    workload.flows();
    workload.finish(&cluster);
    cluster.verify();
    assert!(cluster.runs("server3"));
}

#[test]
fn an_engine_whose_disk_is_full_goes_where_there_is_room() {
    if !may_mount() {
        return;
    }
    let (mut cluster, disks) = cluster_on_small_disks(3, &["server1"]);
    let mut workload = Workload::start(&cluster, "orders");
    disks[0].fill(0).unwrap_or_else(|why| panic!("{why}"));
    cluster.wait_engine_on("server2");
    workload.flows();
    assert!(cluster.runs("server1"));
    // Started like that it waits, and requests to the cluster do not wait for it.
    cluster.kill("server1");
    cluster.restart("server1");
    let (http, asked) = (cluster.http("server1"), |http: &str| get(http, "/ready", SOON).unwrap_or_default().1);
    wait("it says what it waits for", || asked(&http).contains("is full: the server starts once"));
    let alone = ["--servers".to_owned(), cluster.address("server1")].join("=");
    let cookie = format!("--cookie-file={}", cluster.dir().join("cookie").display());
    let status = run(&["status", &alone, &cookie], "", SOON);
    assert!(status.text().contains("is full: the server starts once"), "{}{}", status.text(), status.stderr);
    for command in
        [&["status"][..], &["policy", "set", "--fail-back", "false"], &["policy", "show"], &["queue", "list"]]
    {
        cluster.ok(command);
    }
    workload.flows();
    disks[0].free().unwrap_or_else(|why| panic!("{why}"));
    cluster.wait("server1 is level again", |status| status.all_caught_up());
    workload.finish(&cluster);
    cluster.verify();
}

/// No replica has room: messages are refused, and requests that free space are performed.
#[test]
fn a_server_without_room_refuses_messages_and_takes_acknowledgements() {
    if !may_mount() {
        return;
    }
    let (mut cluster, disks) = cluster_on_small_disks(1, &["server1"]);
    cluster.create_queue("orders");
    cluster.send_lines("orders", &numbered(0, 100));
    disks[0].fill(12).unwrap_or_else(|why| panic!("{why}"));
    let refused = |cluster: &Cluster| {
        let output = cluster.run_with(&["send", "orders", "--timeout", "2"], "one\n");
        output.code != Some(0) && output.stderr.contains("the store is full")
    };
    wait("messages are refused", || refused(&cluster));
    assert_eq!(cluster.receive_lines("orders", 50).len(), 50, "and taken off");
    cluster.ok(&["queue", "pause", "orders"]);
    cluster.ok(&["queue", "resume", "orders"]);
    cluster.ok(&["queue", "purge", "orders"]);
    assert!(cluster.runs("server1"));
    // Nothing at all is left, and then the server is started: it waits, and says so.
    disks[0].fill(0).unwrap_or_else(|why| panic!("{why}"));
    cluster.kill("server1");
    cluster.restart("server1");
    let http = cluster.http("server1");
    let asks = |path: &str| get(&http, path, SOON).unwrap_or_default();
    wait("it says what it waits for", || asks("/ready").1.contains("is full: the server starts once"));
    assert_eq!(asks("/health").0, 200);
    disks[0].free().unwrap_or_else(|why| panic!("{why}"));
    cluster.wait_engine_on("server1");
    cluster.send_lines("orders", &numbered(0, 100));
    assert_eq!(cluster.drain("orders").len(), 100);
}

#[test]
fn clients_get_no_descriptor_that_the_store_needs() {
    let mut cluster = Cluster::init(1, 0);
    cluster.limit_files("server1", 100, 200);
    cluster.start_all();
    cluster.wait_engine_on("server1");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", cluster.pid("server1"))).expect("it runs");
    let files = limits.lines().find(|line| line.starts_with("Max open files")).expect("there is such a limit");
    assert!(files.split_whitespace().eq("Max open files 200 200 files".split(' ')), "raised at the start: {files}");
    cluster.create_queue("orders");
    // Far more clients than that limit has room for.
    let many: Vec<_> =
        (0..100).map(|_| cluster.spawn(&["receive", "orders", "--follow"], baton_tests::Stdout::Collect)).collect();
    wait("clients were refused", || cluster.log("server1").contains("clients"));
    assert!(cluster.log("server1").contains("raise the limit of open files"), "{}", cluster.log("server1"));
    assert!(cluster.runs("server1"));
    drop(many);
    wait("clients are taken again", || cluster.run(&["status"]).code == Some(0));
    cluster.send_lines("orders", &numbered(0, 1_000));
}
