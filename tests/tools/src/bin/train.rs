//! `train`: puts loads on a cluster of the program that `$BATON_BIN` names, which counts how often each of its parts
//! runs. `make dist` compiles the shipped program by these counts, and code that never ran here for size: so the loads
//! cover all frequent uses, not the measured ones alone. Servers end in order, because only then do they write their
//! counts.

use std::process::Command;
use std::time::Duration;

use baton_tests::{Background, Cluster, Stdout};

/// Deadline of a step. An instrumented program is half as fast.
const LIMIT: Duration = Duration::from_secs(120);
/// Messages of those steps that send a number of them.
const MESSAGES: usize = 30_000;
/// Loads of `baton bench`.
const LOADS: [&str; 9] = [
    "--producers 1 --window 1 --secs 4",
    "--producers 4 --rate 5000 --secs 4",
    "--producers 4 --rate 100000 --secs 4",
    "--producers 4 --secs 4",
    "--producers 4 --consumers 4 --secs 4",
    "--producers 0 --consumers 4 --backlog 300000",
    "--producers 1000 --window 1 --secs 3",
    "--producers 200 --consumers 200 --queues 200 --window 16 --secs 3",
    "--producers 4 --window 4 --size 1048576 --secs 2",
];
/// Those over TLS.
const LOADS_OVER_TLS: [&str; 3] =
    ["--producers 1 --window 1 --secs 3", "--producers 4 --rate 5000 --secs 3", "--producers 4 --consumers 4 --secs 3"];

fn main() {
    let mut cluster = Cluster::start(3, 1);
    LOADS.iter().for_each(|load| bench(&cluster, load));
    topics(&cluster);
    for example in ["levels", "groups", "exceptions"] {
        run_example(&cluster, example);
    }
    transactions(&cluster);
    eprintln!("train: the engine moves, and a server comes back");
    cluster.ok(&["move", "server2"]);
    cluster.terminate("server1");
    cluster.send_lines("again", &lines());
    cluster.restart("server1");
    cluster.wait_caught_up("server1");
    assert_eq!(cluster.drain("again").len(), MESSAGES);
    end(cluster);
    let cluster = Cluster::start_over_tls(3);
    LOADS_OVER_TLS.iter().for_each(|load| bench(&cluster, load));
    end(cluster);
}

fn lines() -> Vec<String> {
    (0..MESSAGES).map(|number| format!("message {number}")).collect()
}

fn bench(cluster: &Cluster, load: &str) {
    eprintln!("train: bench {load}");
    let _: serde::de::IgnoredAny = cluster.bench(load, LIMIT).unwrap_or_else(|why| panic!("{why}"));
}

/// Published, selected, shared by several subscriptions; and queues with priorities and times to live.
fn topics(cluster: &Cluster) {
    eprintln!("train: topics, selectors, priorities, times to live");
    cluster.ok(&["topic", "create", "news"]);
    for (name, topic, selector) in [("all", "#", ""), ("sport", "sport/*", ""), ("late", "#", "minute > 80")] {
        cluster.ok(&["subscription", "create", name, "--space", "news", "--topic", topic, "--selector", selector]);
    }
    let input = lines().join("\n");
    for more in [["--topic", "sport/football", "--header", "minute=88"], ["--topic", "weather", "--header", "minute=8"]]
    {
        let output = cluster.run_with(&[&["send", "news"][..], &more].concat(), &input);
        assert_eq!(output.code, Some(0), "baton send: {}", output.stderr);
    }
    let received = ["all", "sport", "late"].map(|name| cluster.drain(name).len());
    assert_eq!(received, [2 * MESSAGES, MESSAGES, MESSAGES]);
    cluster.create_queue("again");
    for priority in ["1", "4", "9"] {
        let send = ["send", "again", "--priority", priority, "--time-to-live", "60"];
        assert_eq!(cluster.run_with(&send, &input).code, Some(0));
    }
    assert_eq!(cluster.drain("again").len(), 3 * MESSAGES);
}

fn transactions(cluster: &Cluster) {
    cluster.create_queue("example/orders");
    cluster.send_lines("example/orders", &lines());
    run_example(cluster, "exactly_once");
    assert_eq!(cluster.drain("example/bills").len(), MESSAGES);
}

/// An example is next to this program. It does not count; the servers do.
fn run_example(cluster: &Cluster, name: &str) {
    eprintln!("train: {name}");
    let this = std::env::current_exe().expect("this program has a path");
    let mut command = Command::new(this.with_file_name(name));
    command.arg(cluster.file());
    let output = Background::spawn_as(command, name.to_owned(), Stdout::Collect).wait(LIMIT);
    assert_eq!(output.code, Some(0), "{name}: {}", output.stderr);
}

fn end(mut cluster: Cluster) {
    let names = cluster.names();
    cluster.terminate_all(&names.iter().map(String::as_str).collect::<Vec<_>>());
}
