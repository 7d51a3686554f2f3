//! A damaged replica is rebuilt from the others by one command, while the cluster runs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use baton_tests::{Background, Cluster, Output, Stdout, Workload, run};

const LIMIT: Duration = Duration::from_secs(60);

fn file(cluster: &Cluster, name: &str) -> String {
    cluster.config(name).to_str().expect("a path in UTF-8").to_owned()
}

/// Flips a bit in each block of the log's files, which a server reads when it starts.
fn damage(cluster: &Cluster, name: &str) {
    let log = cluster.dir().join(name).join("log");
    let mut flipped = 0;
    for entry in std::fs::read_dir(&log).expect("the store has a log") {
        let path = entry.expect("it can be read").path();
        if !path.extension().is_some_and(|extension| extension == "log" || extension == "sst") {
            continue;
        }
        let mut bytes = std::fs::read(&path).expect("it can be read");
        bytes.iter_mut().skip(100).step_by(4096).for_each(|byte| {
            *byte ^= 8;
            flipped += 1;
        });
        std::fs::write(&path, bytes).expect("it can be written");
    }
    assert!(flipped > 0, "there is nothing to damage");
}

/// The server ends by itself, and its last line says what to do.
fn refuses_and_says_how(cluster: &Cluster, name: &str) {
    let output = run(&["server", &file(cluster, name)], "", LIMIT);
    assert_eq!(output.code, Some(5), "{}", output.stderr);
    let said = output.last_word();
    assert!(said.contains("is damaged"), "{said}");
    assert!(said.ends_with(&format!("run: baton rebuild {}", file(cluster, name))), "{said}");
}

fn set_aside(cluster: &Cluster, name: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(cluster.dir().join(name)).expect("the store has a directory");
    let paths = entries.map(|entry| entry.expect("it can be read").path());
    paths.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("set-aside-"))).collect()
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_str(&output.text()).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[test]
fn a_damaged_replica_is_rebuilt_by_one_command_unless_it_may_be_the_last() {
    let mut cluster = Cluster::start(3, 0);
    let mut workload = Workload::start(&cluster, "orders");
    let damaged = file(&cluster, "server3");
    cluster.wait_caught_up("server3");
    cluster.kill("server3");
    damage(&cluster, "server3");
    refuses_and_says_how(&cluster, "server3");
    workload.flows();

    // With server2 gone, too, nobody knows if server1 has everything.
    cluster.kill("server2");
    let output = run(&["rebuild", &damaged], "", LIMIT);
    assert_eq!(output.code, Some(2), "{output:?}");
    for word in ["nothing was changed", "quorum", "baton recover"] {
        assert!(output.last_word().contains(word), "{word}: {}", output.stderr);
    }
    assert!(set_aside(&cluster, "server3").is_empty());
    refuses_and_says_how(&cluster, "server3");
    cluster.restart("server2");
    workload.flows();

    let output = run(&["rebuild", &damaged, "--json"], "", LIMIT);
    assert_eq!(output.code, Some(0), "{output:?}");
    let done = json(&output);
    let aside = set_aside(&cluster, "server3");
    assert_eq!(done["set_aside"].as_str().map(Path::new), aside.first().map(PathBuf::as_path), "{done}");
    assert!(done["bytes"].as_u64() > Some(0) && done["committed_without_it"].as_u64() > Some(0), "{done}");
    assert!(aside[0].join("log").is_dir(), "the damaged store is kept");

    // Once more does no harm: there is nothing left to set aside.
    let output = run(&["rebuild", &damaged], "", LIMIT);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.text().contains("there is no store"), "{}", output.text());

    cluster.restart("server3");
    cluster.wait("all caught up", |status| status.all_caught_up() && status.quorum.up == 3);
    let output = run(&["rebuild", &damaged], "", LIMIT);
    assert!(output.code == Some(1) && output.last_word().contains("server3 runs"), "{output:?}");
    // Its copy counts: with it, server1 can be lost.
    cluster.kill("server1");
    workload.flows();
    cluster.restart("server1");
    workload.finish(&cluster);
    cluster.wait("all caught up", |status| status.all_caught_up() && status.quorum.up == 3);
    cluster.verify();
}

#[test]
fn a_rebuild_waits_until_the_server_is_level_and_then_discards_the_old_store() {
    let mut cluster = Cluster::start(3, 0);
    let mut workload = Workload::start(&cluster, "orders");
    cluster.wait_caught_up("server2");
    cluster.kill("server2");
    damage(&cluster, "server2");
    let server = file(&cluster, "server2");
    let output = run(&["rebuild", &server, "--wait", "1", "--discard"], "", LIMIT);
    assert_eq!(output.code, Some(3), "nobody started it: {output:?}");
    assert!(output.stderr.contains("server2 is not up yet") && output.last_word().contains("is kept"), "{output:?}");
    assert_eq!(set_aside(&cluster, "server2").len(), 1);

    cluster.restart("server2");
    cluster.wait_caught_up("server2");
    cluster.kill("server2");
    damage(&cluster, "server2");
    let rebuild = Background::spawn(&["rebuild", &server, "--wait", "60", "--discard"], Stdout::Collect);
    let told = |rebuild: &Background| rebuild.lines().iter().any(|line| line.starts_with("next"));
    cluster.wait("the store to be set aside", |_| told(&rebuild));
    cluster.restart("server2");
    let output = rebuild.wait(LIMIT);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.text().contains("caught up with the others; the old store is deleted"), "{}", output.text());
    assert_eq!(set_aside(&cluster, "server2").len(), 1, "the earlier one is not its business");
    workload.flows();
    workload.finish(&cluster);
    cluster.wait("all caught up", |status| status.all_caught_up() && status.quorum.up == 3);
    cluster.verify();
}

/// As in a container, which runs one command again and again.
#[test]
fn a_server_that_may_rebuild_itself_does_so_once() {
    let mut cluster = Cluster::start(3, 0);
    cluster.create_queue("orders");
    let server = file(&cluster, "server3");
    cluster.kill("server3");
    let start = || Background::spawn(&["server", &server, "--rebuild"], Stdout::Collect);
    let sound = start();
    cluster.wait("server3 back", |status| status.all_caught_up() && status.quorum.up == 3);
    assert!(set_aside(&cluster, "server3").is_empty(), "a sound store stays");
    assert_eq!(sound.kill().code, None, "it ran until it was killed");

    damage(&cluster, "server3");
    let rebuilt = start();
    cluster.wait("server3 rebuilt", |status| status.all_caught_up() && status.quorum.up == 3);
    cluster.verify();
    assert_eq!(set_aside(&cluster, "server3").len(), 1);
    assert_eq!(rebuilt.kill().code, None, "it ran until it was killed");

    damage(&cluster, "server3");
    let output = start().wait(LIMIT);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.last_word().contains("look at the disk"), "{}", output.stderr);
    assert_eq!(set_aside(&cluster, "server3").len(), 1);
}
