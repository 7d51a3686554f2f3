//! Starts processes of a test, sends them commands, and waits for their reports.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use baton_domain::clock::BootTime;
use rustix::process::{Pid, Signal, kill_process};

use super::node::{MARK, NodeCommand, NodeReport, SETTINGS, Settings};

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
    reports: Receiver<(BootTime, NodeReport)>,
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
        self.tell(&NodeCommand::Start);
        self.started();
    }

    fn started(&mut self) {
        let (_, (address, incarnation)) = self.until("that it started", |report| match report {
            NodeReport::Started { address, incarnation } => Some((address.clone(), *incarnation)),
            NodeReport::Failed(why) => panic!("{why}"),
            _ => None,
        });
        self.address = address.unwrap_or_default();
        self.incarnation = incarnation;
    }

    /// Starts a process that is to fail, and gives the line that it fails with.
    pub(crate) fn fail(settings: &Settings) -> String {
        match Self::spawn(settings).next(PATIENCE) {
            Some((_, NodeReport::Failed(why))) => why,
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
        let (sender, reports) = channel();
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
        Self { settings: settings.clone(), address: String::new(), incarnation: 0, child, input, reports }
    }

    pub(crate) fn tell(&mut self, order: &NodeCommand) {
        writeln!(self.input, "{}", serde_json::to_string(order).unwrap()).unwrap();
        self.input.flush().unwrap();
    }

    pub(crate) fn ensure(&mut self, others: &[&Node]) {
        let targets = others.iter().map(|other| (Some(other.settings.name.clone()), other.address.clone()));
        self.tell(&NodeCommand::Ensure(targets.collect()));
    }

    pub(crate) fn dial(&mut self, address: &str) {
        self.tell(&NodeCommand::Ensure(vec![(None, address.to_owned())]));
    }

    fn next(&self, patience: Duration) -> Option<(BootTime, NodeReport)> {
        self.reports.recv_timeout(patience).ok()
    }

    /// Waits for a report that `wanted` picks, and returns its time. Reports before it are passed over.
    pub(crate) fn until<T>(&self, what: &str, wanted: impl Fn(&NodeReport) -> Option<T>) -> (BootTime, T) {
        let deadline = BootTime::now() + PATIENCE;
        let mut passed = Vec::new();
        while let Some((when, report)) = self.next(deadline.since(BootTime::now())) {
            if let Some(found) = wanted(&report) {
                return (when, found);
            }
            passed.push(report);
        }
        panic!("{} never reported {what}; it reported {passed:?}", self.settings.name);
    }

    /// Waits for a link with that process, and gives its incarnation.
    pub(crate) fn up(&self, name: &str) -> u64 {
        let (_, incarnation) = self.until(&format!("up {name}"), |report| match report {
            NodeReport::Up { name: up, incarnation, .. } if up == name => Some(*incarnation),
            _ => None,
        });
        incarnation
    }

    pub(crate) fn down(&self, name: &str) -> BootTime {
        let is_it =
            |report: &NodeReport| matches!(report, NodeReport::Down { name: down } if down == name).then_some(());
        self.until(&format!("down {name}"), is_it).0
    }

    /// Waits for a refusal.
    pub(crate) fn refused(&self) -> String {
        let pick = |report: &NodeReport| match report {
            NodeReport::Refused(text) => Some(text.clone()),
            NodeReport::Up { name, .. } => panic!("{name} let {} in", self.settings.name),
            _ => None,
        };
        self.until("refused", pick).1
    }

    /// Waits for exactly that.
    pub(crate) fn says(&self, expected: &NodeReport) -> BootTime {
        self.until(&format!("{expected:?}"), |report| (report == expected).then_some(())).0
    }

    pub(crate) fn call(&mut self, peer: &str, bytes: usize, count: usize) {
        self.tell(&NodeCommand::Call { peer: peer.to_owned(), bytes, count });
        self.says(&NodeReport::Called { answers: count, failed: 0 });
    }

    /// Descriptors, tasks, endpoints known, and the most bytes that were ever unanswered.
    pub(crate) fn report(&mut self) -> [usize; 4] {
        self.tell(&NodeCommand::Report);
        let pick = |report: &NodeReport| match report {
            NodeReport::Report { descriptors, tasks, sessions, most_outstanding } => {
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
    nodes.iter_mut().for_each(|node| node.tell(&NodeCommand::Ensure(targets.clone())));
    for node in nodes.iter() {
        let mut missing: Vec<_> = targets.iter().flat_map(|(name, _)| name).collect();
        missing.retain(|name| **name != node.settings.name);
        while !missing.is_empty() {
            let pick = |report: &NodeReport| match report {
                NodeReport::Up { name, .. } => Some(name.clone()),
                _ => None,
            };
            let (_, name) = node.until(&format!("up {missing:?}"), pick);
            missing.retain(|other| **other != name);
        }
    }
}
