//! Starts processes of a test, tells them what to do, and waits for what they say.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use baton_domain::clock::BootTime;
use rustix::process::{Pid, Signal, kill_process};

use super::node::{MARK, Order, SETTINGS, Said, Settings};

/// Deadline of steps that are not measured.
const PATIENCE: Duration = Duration::from_secs(20);

/// A process of a test; killed with the test.
pub(crate) struct Node {
    pub(crate) settings: Settings,
    /// The address that it listens on.
    pub(crate) address: String,
    pub(crate) incarnation: u64,
    child: Child,
    input: ChildStdin,
    said: Receiver<(BootTime, Said)>,
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server that holds all secrets and listens on a free port.
pub(crate) fn server(name: &str) -> Settings {
    Settings {
        name: name.to_owned(),
        server: true,
        listen: Some("127.0.0.1:0".to_owned()),
        cluster: 1,
        cookie: 1,
        server_key: Some(2),
        generation: 0,
        replica: Some(1),
        tls: None,
        max_unauthenticated: 64,
        max_connections: 8,
        handshake_deadline_ms: 2_000,
    }
}

/// A client of the same cluster.
pub(crate) fn client(name: &str) -> Settings {
    Settings { server: false, listen: None, server_key: None, replica: None, ..server(name) }
}

impl Node {
    /// Starts a process and waits until its links are there.
    pub(crate) fn start(settings: &Settings) -> Self {
        let mut node = Self::spawn(settings);
        node.started();
        node
    }

    /// Starts the links of a process again that were stopped; on another port, if the settings leave it open.
    pub(crate) fn start_again(&mut self) {
        self.tell(&Order::Start);
        self.started();
    }

    fn started(&mut self) {
        let (_, (address, incarnation)) = self.until("that it started", |said| match said {
            Said::Started { address, incarnation } => Some((address.clone(), *incarnation)),
            Said::Failed(why) => panic!("{why}"),
            _ => None,
        });
        self.address = address.unwrap_or_default();
        self.incarnation = incarnation;
    }

    /// Starts a process that is to fail, and gives the line that it fails with.
    pub(crate) fn fail(settings: &Settings) -> String {
        match Self::spawn(settings).next(PATIENCE) {
            Some((_, Said::Failed(why))) => why,
            other => panic!("{} should have failed: {other:?}", settings.name),
        }
    }

    fn spawn(settings: &Settings) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "a_process_of_the_tests", "--nocapture", "--test-threads=1"])
            .env(SETTINGS, serde_json::to_string(settings).unwrap())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, said) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let Some((_, line)) = line.split_once(MARK) else { continue };
                if sender.send((BootTime::now(), serde_json::from_str(line).unwrap())).is_err() {
                    return;
                }
            }
        });
        let input = child.stdin.take().unwrap();
        Self { settings: settings.clone(), address: String::new(), incarnation: 0, child, input, said }
    }

    pub(crate) fn tell(&mut self, order: &Order) {
        writeln!(self.input, "{}", serde_json::to_string(order).unwrap()).unwrap();
        self.input.flush().unwrap();
    }

    pub(crate) fn ensure(&mut self, others: &[&Node]) {
        let targets = others.iter().map(|other| (Some(other.settings.name.clone()), other.address.clone()));
        self.tell(&Order::Ensure(targets.collect()));
    }

    pub(crate) fn dial(&mut self, address: &str) {
        self.tell(&Order::Ensure(vec![(None, address.to_owned())]));
    }

    fn next(&self, patience: Duration) -> Option<(BootTime, Said)> {
        self.said.recv_timeout(patience).ok()
    }

    /// Waits for what `wanted` picks, and when it was said. What is said before it is passed over.
    pub(crate) fn until<T>(&self, what: &str, wanted: impl Fn(&Said) -> Option<T>) -> (BootTime, T) {
        let deadline = BootTime::now() + PATIENCE;
        let mut passed = Vec::new();
        while let Some((when, said)) = self.next(deadline.since(BootTime::now())) {
            if let Some(found) = wanted(&said) {
                return (when, found);
            }
            passed.push(said);
        }
        panic!("{} never said {what}; it said {passed:?}", self.settings.name);
    }

    /// Waits for a link with that process, and gives its incarnation.
    pub(crate) fn up(&self, name: &str) -> u64 {
        let (_, incarnation) = self.until(&format!("up {name}"), |said| match said {
            Said::Up { name: up, incarnation, .. } if up == name => Some(*incarnation),
            _ => None,
        });
        incarnation
    }

    pub(crate) fn down(&self, name: &str) -> BootTime {
        let is_it = |said: &Said| matches!(said, Said::Down { name: down } if down == name).then_some(());
        self.until(&format!("down {name}"), is_it).0
    }

    /// Waits for a refusal.
    pub(crate) fn refused(&self) -> String {
        let pick = |said: &Said| match said {
            Said::Refused(text) => Some(text.clone()),
            Said::Up { name, .. } => panic!("{name} let {} in", self.settings.name),
            _ => None,
        };
        self.until("refused", pick).1
    }

    /// Waits for exactly that.
    pub(crate) fn says(&self, expected: &Said) -> BootTime {
        self.until(&format!("{expected:?}"), |said| (said == expected).then_some(())).0
    }

    pub(crate) fn call(&mut self, peer: &str, bytes: usize, count: usize) {
        self.tell(&Order::Call { peer: peer.to_owned(), bytes, count });
        self.says(&Said::Called { answers: count, failed: 0 });
    }

    /// Descriptors, tasks, endpoints known, and the most bytes that were ever unanswered.
    pub(crate) fn report(&mut self) -> [usize; 4] {
        self.tell(&Order::Report);
        let pick = |said: &Said| match said {
            Said::Report { descriptors, tasks, sessions, most_outstanding } => {
                Some([*descriptors, *tasks, *sessions, *most_outstanding])
            }
            _ => None,
        };
        self.until("report", pick).1
    }

    pub(crate) fn signal(&self, signal: Signal) -> BootTime {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        BootTime::now()
    }

    /// Processor time of the process so far, in clock ticks of 10 ms.
    pub(crate) fn cpu_ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }
}

/// Links the servers with each other, and waits until all are.
pub(crate) fn mesh(nodes: &mut [Node]) {
    let targets: Vec<_> = nodes.iter().map(|node| (Some(node.settings.name.clone()), node.address.clone())).collect();
    nodes.iter_mut().for_each(|node| node.tell(&Order::Ensure(targets.clone())));
    for node in nodes.iter() {
        let mut missing: Vec<_> = targets.iter().flat_map(|(name, _)| name).collect();
        missing.retain(|name| **name != node.settings.name);
        while !missing.is_empty() {
            let pick = |said: &Said| match said {
                Said::Up { name, .. } => Some(name.clone()),
                _ => None,
            };
            let (_, name) = node.until(&format!("up {missing:?}"), pick);
            missing.retain(|other| **other != name);
        }
    }
}
