//! A cluster of real server processes on this machine: its files and its processes. Its commands are in `commands`, its
//! waits in `waiting`, its start over a PostgreSQL in `database`.

mod commands;
mod database;
mod waiting;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use rustix::process::Signal;

use crate::clock::Deadline;
use crate::kept_dir::KeptDir;
use crate::ports::PortBlock;
use crate::process::{resident_mib, signal, tail};
use crate::program::{program, run};

pub use waiting::wait;

/// Deadline of every wait of a scenario. Far above the usual time: the machine may be busy.
pub const LIMIT: Duration = Duration::from_secs(60);
/// Deadline of one command; longer than the 30 s that `move` waits.
const COMMAND_LIMIT: Duration = Duration::from_secs(45);
/// Lines of each server's log that a failure shows.
const TAIL_LINES: usize = 40;

/// A server or a witness: its files, and its process while it runs.
#[derive(Debug)]
struct Node {
    config: PathBuf,
    store: PathBuf,
    log: PathBuf,
    child: Option<Child>,
    /// Soft and hard limit of open files; `None`: this process's limits.
    files: Option<(u64, u64)>,
}

/// A cluster. Dropped, it ends its processes and removes its files; if the test failed, it shows the logs and
/// leaves the files.
#[derive(Debug)]
pub struct Cluster {
    /// Kept or removed once `drop` is done.
    _temp: KeptDir,
    dir: PathBuf,
    nodes: BTreeMap<String, Node>,
    ports: PortBlock,
    /// Number of ports that were given to members that move.
    moved: AtomicU16,
}

impl Cluster {
    /// Runs `baton init`; starts nothing.
    ///
    /// # Panics
    /// If `init` fails.
    #[must_use]
    #[track_caller]
    pub fn init(servers: usize, witnesses: usize) -> Self {
        Self::init_with(servers, witnesses, &[])
    }

    #[track_caller]
    fn init_with(servers: usize, witnesses: usize, more: &[&str]) -> Self {
        let temp = KeptDir::new("baton-test-");
        let (dir, ports) = (temp.path().join("cluster"), PortBlock::take());
        let arguments = [
            "init",
            text(&dir),
            "--servers",
            &servers.to_string(),
            "--witnesses",
            &witnesses.to_string(),
            "--base-port",
            &ports.first().to_string(),
        ];
        let output = run(&[&arguments, more].concat(), "", COMMAND_LIMIT);
        assert_eq!(output.code, Some(0), "baton init: {}", output.stderr);
        let mut cluster = Self { _temp: temp, dir, nodes: BTreeMap::new(), ports, moved: AtomicU16::new(0) };
        let names = (1..=servers).map(|number| format!("server{number}"));
        for name in names.chain((1..=witnesses).map(|number| format!("witness{number}"))) {
            cluster.know(&name);
        }
        cluster
    }

    /// Runs `baton init`, starts every server and waits until all are up and the engine is started on server1.
    ///
    /// # Panics
    /// If that does not happen in time.
    #[must_use]
    #[track_caller]
    pub fn start(servers: usize, witnesses: usize) -> Self {
        Self::start_with(servers, witnesses, "")
    }

    /// The same, with more at the end of each server's configuration.
    ///
    /// # Panics
    /// As [`Self::start`].
    #[track_caller]
    #[must_use]
    pub fn start_with(servers: usize, witnesses: usize, more: &str) -> Self {
        let cluster = Self::init(servers, witnesses);
        if !more.is_empty() {
            for name in cluster.names() {
                cluster.configure(&name, |old| format!("{old}{more}"));
            }
        }
        cluster.started()
    }

    /// As [`Self::start`], with mutual TLS on all links and no witnesses.
    ///
    /// # Panics
    /// As [`Self::start`].
    #[track_caller]
    #[must_use]
    pub fn start_over_tls(servers: usize) -> Self {
        Self::init_with(servers, 0, &["--tls"]).started()
    }

    #[track_caller]
    fn started(mut self) -> Self {
        self.start_all();
        self.wait("the engine on server1 and all members up", |status| {
            status.started_on("server1") && status.all_caught_up()
        });
        self
    }

    /// Takes a member into the harness whose files lie in the directory: `NAME.toml`, and the store in `NAME`.
    pub fn know(&mut self, name: &str) {
        let node = Node {
            config: self.dir.join(format!("{name}.toml")),
            store: self.dir.join(name),
            log: self.dir.join(format!("{name}.log")),
            child: None,
            files: None,
        };
        self.nodes.insert(name.to_owned(), node);
    }

    /// The names of all members.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.nodes.keys().cloned().collect()
    }

    /// The directory that `init` wrote.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The ports that belong to this cluster.
    #[must_use]
    pub fn ports(&self) -> &PortBlock {
        &self.ports
    }

    /// A port for a member that moves; another one each time.
    #[must_use]
    pub fn spare_port(&self) -> u16 {
        self.ports.link(1 + self.moved.fetch_add(1, Ordering::Relaxed))
    }

    /// The file that clients take.
    #[must_use]
    pub fn file(&self) -> String {
        text(&self.dir.join("cluster.toml")).to_owned()
    }

    /// A member's configuration file.
    #[must_use]
    pub fn config(&self, name: &str) -> PathBuf {
        self.node(name).config.clone()
    }

    /// Rewrites a member's configuration, changed by `change`.
    ///
    /// # Panics
    /// If `change` changes nothing.
    #[track_caller]
    pub fn configure(&self, name: &str, change: impl FnOnce(&str) -> String) {
        let file = self.config(name);
        let old = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let new = change(&old);
        assert_ne!(old, new, "the configuration of {name} was to be changed");
        std::fs::write(&file, new).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }

    /// Writes the configuration of a server that `init` does not know, with ports of its own, and returns its address.
    ///
    /// # Panics
    /// If the configuration of server1 cannot be read.
    #[track_caller]
    pub fn new_server(&mut self, name: &str) -> String {
        let address = format!("127.0.0.1:{}", self.ports.link(0));
        let http = format!("127.0.0.1:{}", self.ports.http(0));
        let old = std::fs::read_to_string(self.config("server1")).expect("server1 has a configuration");
        let lines = old.lines().map(|line| match line.split(" = ").next().unwrap_or_default() {
            key @ ("name" | "dir") => format!("{key} = \"{name}\"\n"),
            key @ ("listen" | "advertise") => format!("{key} = \"{address}\"\n"),
            key @ "http" => format!("{key} = \"{http}\"\n"),
            _ => format!("{line}\n"),
        });
        let text: String = lines.collect();
        self.know(name);
        std::fs::write(self.config(name), text).expect("the cluster's directory can be written");
        address
    }

    /// The member's log so far.
    #[must_use]
    pub fn log(&self, name: &str) -> String {
        std::fs::read_to_string(&self.node(name).log).unwrap_or_default()
    }

    /// Directory of the member's store.
    #[must_use]
    pub fn store(&self, name: &str) -> &Path {
        &self.node(name).store
    }

    /// Address on which the member listens for links.
    #[must_use]
    pub fn address(&self, name: &str) -> String {
        self.setting(name, "listen")
    }

    /// Address on which the member answers HTTP.
    #[must_use]
    pub fn http(&self, name: &str) -> String {
        self.setting(name, "http")
    }

    fn setting(&self, name: &str, key: &str) -> String {
        let text = std::fs::read_to_string(self.config(name)).expect("the member has a configuration");
        let value =
            text.lines().find_map(|line| line.strip_prefix(&format!("{key} = "))).map(|value| value.trim_matches('"'));
        value.unwrap_or_else(|| panic!("the configuration of {name} has no {key}")).to_owned()
    }

    /// The process id of a member that runs.
    ///
    /// # Panics
    /// If it does not run.
    #[must_use]
    pub fn pid(&self, name: &str) -> u32 {
        self.node(name).child.as_ref().map(Child::id).unwrap_or_else(|| panic!("{name} does not run"))
    }

    /// True if a member that was started still runs.
    pub fn runs(&self, name: &str) -> bool {
        // One that ended and was not waited for is a zombie, which `kill -0` finds.
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid(name))).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
    }

    /// The memory in use of the member that has most, in MiB.
    ///
    /// # Panics
    /// If one of them does not run.
    #[must_use]
    pub fn most_resident_mib(&self) -> f64 {
        self.nodes.keys().filter_map(|name| resident_mib(self.pid(name))).fold(0.0, f64::max)
    }

    fn node(&self, name: &str) -> &Node {
        self.nodes.get(name).unwrap_or_else(|| panic!("there is no {name}"))
    }

    fn node_mut(&mut self, name: &str) -> &mut Node {
        self.nodes.get_mut(name).unwrap_or_else(|| panic!("there is no {name}"))
    }

    // --- processes ---

    /// Starts every member that does not run.
    pub fn start_all(&mut self) {
        for name in self.names() {
            if self.node(&name).child.is_none() {
                self.restart(&name);
            }
        }
    }

    /// Starts a member that does not run.
    ///
    /// # Panics
    /// If it runs, or cannot be started.
    #[track_caller]
    pub fn restart(&mut self, name: &str) {
        let node = self.node_mut(name);
        assert!(node.child.is_none(), "{name} runs already");
        let log = std::fs::File::options().create(true).append(true).open(&node.log).expect("the log can be written");
        let errors = log.try_clone().expect("the log can be written");
        let mut command = match node.files {
            None => Command::new(program()),
            Some((soft, hard)) => {
                let mut limited = Command::new("prlimit");
                limited.arg(format!("--nofile={soft}:{hard}")).arg(program());
                limited
            }
        };
        let child = command
            .args(["server", text(&node.config)])
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} cannot be started: {error}"));
        node.child = Some(child);
    }

    /// From its next start on the member may open `soft` files, and raise that to `hard`.
    pub fn limit_files(&mut self, name: &str, soft: u64, hard: u64) {
        self.node_mut(name).files = Some((soft, hard));
    }

    /// Ends a member with SIGKILL.
    pub fn kill(&mut self, name: &str) {
        self.kill_all(&[name]);
    }

    /// Ends members with SIGKILL, all at the same moment.
    ///
    /// # Panics
    /// If one of them does not run.
    #[track_caller]
    pub fn kill_all(&mut self, names: &[&str]) {
        for name in names {
            signal(self.node(name).child.as_ref().unwrap_or_else(|| panic!("{name} does not run")), Signal::KILL);
        }
        for name in names {
            if let Some(mut child) = self.node_mut(name).child.take() {
                child.wait().expect("a child can be waited for");
            }
        }
    }

    /// Ends a member with SIGTERM and waits until it is gone; its exit code must be 0.
    #[track_caller]
    pub fn terminate(&mut self, name: &str) {
        self.terminate_all(&[name]);
    }

    /// Ends members with SIGTERM, all at the same moment, and waits until they are gone; their exit codes must be 0.
    ///
    /// # Panics
    /// If one of them does not run, does not end in time, or ends otherwise.
    #[track_caller]
    pub fn terminate_all(&mut self, names: &[&str]) {
        for name in names {
            signal(self.node(name).child.as_ref().unwrap_or_else(|| panic!("{name} does not run")), Signal::TERM);
        }
        let deadline = Deadline::within(LIMIT);
        for name in names {
            let child = self.node_mut(name).child.as_mut().unwrap_or_else(|| panic!("{name} does not run"));
            let mut code = None;
            deadline.poll(Duration::from_millis(5), || {
                code = child.try_wait().expect("a child can be waited for");
                code.is_some()
            });
            let status = code.unwrap_or_else(|| panic!("{name} still runs {LIMIT:?} after SIGTERM"));
            assert!(status.success(), "{name} ended with {status} after SIGTERM");
            self.node_mut(name).child = None;
        }
    }

    /// Waits until a member ends by itself; answers its exit code.
    ///
    /// # Panics
    /// If it does not run, or does not end in time.
    #[track_caller]
    pub fn ends(&mut self, name: &str) -> Option<i32> {
        let child = self.node_mut(name).child.as_mut().unwrap_or_else(|| panic!("{name} does not run"));
        let mut ended = None;
        Deadline::within(LIMIT).poll(Duration::from_millis(20), || {
            ended = child.try_wait().expect("a child can be waited for");
            ended.is_some()
        });
        let status = ended.unwrap_or_else(|| panic!("{name} still runs after {LIMIT:?}"));
        self.node_mut(name).child = None;
        status.code()
    }

    /// Freezes a member's process (SIGSTOP).
    #[track_caller]
    pub fn freeze(&self, name: &str) {
        signal(self.node(name).child.as_ref().unwrap_or_else(|| panic!("{name} does not run")), Signal::STOP);
    }

    /// Lets a frozen member go on (SIGCONT).
    #[track_caller]
    pub fn thaw(&self, name: &str) {
        signal(self.node(name).child.as_ref().unwrap_or_else(|| panic!("{name} does not run")), Signal::CONT);
    }

    /// Removes the store of a member that does not run.
    ///
    /// # Panics
    /// If it runs, or has no store.
    #[track_caller]
    pub fn wipe(&mut self, name: &str) {
        let node = self.node(name);
        assert!(node.child.is_none(), "{name} runs: its store is in use");
        std::fs::remove_dir_all(&node.store).unwrap_or_else(|error| panic!("{}: {error}", node.store.display()));
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.nodes.values_mut().filter_map(|node| node.child.as_mut()) {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            for (name, node) in &self.nodes {
                eprintln!("--- the end of {name}'s log ---\n{}", tail(&node.log, TAIL_LINES));
            }
        }
    }
}

/// Paths of ours are text: the temporary directory's name is.
fn text(path: &Path) -> &str {
    path.to_str().expect("the temporary directory's path is UTF-8")
}
