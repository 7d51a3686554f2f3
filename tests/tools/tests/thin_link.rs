//! Large entries on slow links cost time and depose no leader.

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use baton_tests::{Deadline, Output, now, program, run};
use baton_tools::torture::why_not_here;

const SERVERS: [&str; 3] = ["server1", "server2", "server3"];
const SWITCH: &str = "switch";
/// The least bandwidth that docs/reliability.md names for three servers.
const RATE: &str = "16mbit";
const LIMIT: Duration = Duration::from_secs(240);

fn system(arguments: &[&str]) {
    let output = Command::new(arguments[0]).args(&arguments[1..]).output().expect("it can be started");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Three servers, each in a namespace of its own; everything is removed when it is dropped.
struct Lab {
    prefix: String,
    dir: tempfile::TempDir,
    made: Vec<String>,
    processes: Vec<Child>,
}

impl Lab {
    fn new() -> Self {
        let prefix = format!("baton-thin-{}", std::process::id());
        let dir = tempfile::tempdir().expect("a directory can be made");
        let mut lab = Self { prefix, dir, made: Vec::new(), processes: Vec::new() };
        let switch = lab.make(SWITCH);
        system(&["ip", "-n", &switch, "link", "add", "bridge", "type", "bridge"]);
        system(&["ip", "-n", &switch, "link", "set", "bridge", "up"]);
        for (number, server) in (1..).zip(SERVERS) {
            let own = lab.make(server);
            let peer = ["type", "veth", "peer", "name", "eth0", "netns", &own];
            system(&[&["ip", "-n", &switch, "link", "add", "name", server][..], &peer].concat());
            system(&["ip", "-n", &switch, "link", "set", "dev", server, "master", "bridge", "up"]);
            system(&["ip", "-n", &own, "address", "add", &format!("10.214.0.{number}/24"), "dev", "eth0"]);
            system(&["ip", "-n", &own, "link", "set", "eth0", "up"]);
            let limit = ["tbf", "rate", RATE, "burst", "16kb", "latency", "100ms"];
            system(&[&["tc", "-n", &own, "qdisc", "add", "dev", "eth0", "root"][..], &limit].concat());
        }
        let hosts = "10.214.0.1,10.214.0.2,10.214.0.3";
        let path = lab.cluster();
        let init = ["init", &path, "--servers", "3", "--witnesses", "0", "--hosts", hosts];
        let output = run(&init, "", LIMIT);
        assert_eq!(output.code, Some(0), "{}", output.stderr);
        for server in SERVERS {
            let log = std::fs::File::create(lab.dir.path().join(format!("{server}.log"))).expect("a log can be made");
            let file = format!("{path}/{server}.toml");
            let mut command = lab.inside(server, &["server", &file]);
            let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
            lab.processes.push(child.expect("it can be started"));
        }
        lab
    }

    fn cluster(&self) -> String {
        self.dir.path().join("cluster").to_str().expect("a path in UTF-8").to_owned()
    }

    fn namespace(&self, place: &str) -> String {
        format!("{}-{place}", self.prefix)
    }

    fn make(&mut self, place: &str) -> String {
        let namespace = self.namespace(place);
        system(&["ip", "netns", "add", &namespace]);
        self.made.push(namespace.clone());
        system(&["ip", "-n", &namespace, "link", "set", "lo", "up"]);
        namespace
    }

    /// A command of baton in a place.
    fn inside(&self, place: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(place)]).arg(program()).args(arguments);
        command
    }

    /// Runs a client command in server1's namespace.
    fn run(&self, arguments: &[&str], input: &[u8]) -> Output {
        let file = format!("{}/cluster.toml", self.cluster());
        let mut command = self.inside("server1", &[arguments, &["--cluster", &file]].concat());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it can be started");
        let mut stdin = child.stdin.take().expect("it is piped");
        let input = input.to_vec();
        let writes = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().expect("it ends");
        writes.join().expect("it ends");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Output {
            code: output.status.code(),
            lines: text(&output.stdout).lines().map(str::to_owned).collect(),
            stderr: text(&output.stderr),
        }
    }

    fn ok(&self, arguments: &[&str], input: &[u8]) -> Output {
        let began = now();
        let output = self.run(arguments, input);
        assert_eq!(output.code, Some(0), "{arguments:?} after {:?}: {}\n{}", now() - began, output.stderr, self.logs());
        output
    }

    /// The engine's state, and its epoch.
    fn engine(&self) -> Option<(String, String)> {
        let output = self.run(&["status", "--json"], b"");
        let status: serde_json::Value = serde_json::from_str(&output.text()).ok()?;
        let word = |key: &str| Some(status["engine"][key].as_str()?.to_owned());
        Some((word("state")?, word("epoch")?))
    }

    fn started(&self) -> String {
        let deadline = Deadline::within(Duration::from_secs(30));
        loop {
            match self.engine() {
                Some((state, epoch)) if state == "started" => return epoch,
                _ => assert!(!deadline.passed(), "the engine does not start: {}", self.logs()),
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn logs(&self) -> String {
        let log = |server: &&str| {
            let text = std::fs::read_to_string(self.dir.path().join(format!("{server}.log"))).unwrap_or_default();
            let tail: Vec<&str> = text.lines().rev().take(25).collect();
            format!("{server}:\n{}\n", tail.into_iter().rev().collect::<Vec<_>>().join("\n"))
        };
        SERVERS.iter().map(log).collect()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // Ended already or not: it is waited for.
            let _ = process.kill();
            let _ = process.wait();
        }
        for namespace in &self.made {
            let _ = Command::new("ip").args(["netns", "delete", namespace]).status();
        }
    }
}

fn lines(count: usize, bytes: usize) -> Vec<u8> {
    let lines = (0..count).map(|number| format!("{number:0>8}{}\n", "x".repeat(bytes - 9)));
    lines.collect::<String>().into_bytes()
}

#[test]
fn large_entries_on_a_thin_link_are_confirmed_under_one_leader() {
    if let Some(why) = why_not_here().or_else(|| (!Path::new("/proc/self/ns/net").exists()).then(String::new)) {
        // Not by a macro: the test harness would keep that to itself.
        let _ = writeln!(std::io::stderr(), "SKIPPED: links cannot be made thin here: {why}");
        return;
    }
    let lab = Lab::new();
    let epoch = lab.started();
    for queue in ["single", "from", "to"] {
        lab.ok(&["queue", "create", queue], b"");
    }
    let over = AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut seen = Vec::new();
            while !over.load(Ordering::Relaxed) {
                seen.extend(lab.engine());
                std::thread::sleep(Duration::from_millis(200));
            }
            seen
        });
        let work = || {
            let began = now();
            let sent = lab.ok(&["send", "single", "--timeout", "60"], &lines(5, 1_000_000));
            assert!(sent.last_word().contains("confirmed 5"), "{}", sent.stderr);
            let single = now() - began;
            lab.ok(&["send", "from", "--timeout", "60"], &lines(60, 250_000));
            let moved = lab.ok(&["transfer", "from", "to"], b"");
            println!("5 messages of 1 MB in {single:?}, all of it in {:?}: {}", now() - began, moved.text());
        };
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        over.store(true, Ordering::Relaxed);
        let seen = watch.join().expect("it ends");
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
        seen
    });
    assert!(seen.len() > 5, "{seen:?}");
    assert!(seen.iter().all(|(_, of)| *of == epoch), "the engine was activated again: {seen:?}\n{}", lab.logs());
    assert_eq!(lab.started(), epoch);
    let shown = lab.ok(&["queue", "list", "--json"], b"");
    let queues: serde_json::Value = serde_json::from_str(&shown.text()).expect("it is JSON");
    let queues = queues.as_array().cloned().unwrap_or_default();
    let depth =
        |name: &str| queues.iter().find(|queue| queue["name"] == name).and_then(|queue| queue["depth"].as_u64());
    assert_eq!((depth("single"), depth("from"), depth("to")), (Some(5), Some(0), Some(60)), "{}", shown.text());
}
