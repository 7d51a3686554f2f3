//! PostgreSQL servers for tests: each in a temporary directory, with a socket and a port of its own, stopped and removed
//! at the end.
//!
//! Uses the programs of the newest PostgreSQL that is installed (`make setup`), or those in the directory
//! `BATON_POSTGRES_BIN`. As root, the servers run as the user `postgres`.

mod files;
mod pooler;

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

pub use pooler::Pooler;

/// A test that finds no PostgreSQL fails if one of these variables is set, and is skipped otherwise.
const REQUIRED: [&str; 2] = ["CI", "BATON_REQUIRE_POSTGRES"];

/// Lines of a server's log that a test which fails shows.
const TAIL_LINES: usize = 30;

/// Time for a server to start or to stop.
const DEADLINE: Duration = Duration::from_secs(60);

/// The end of a test that needs PostgreSQL where there is none.
///
/// # Panics
/// If the environment says that it must be there.
pub fn skipped(test: &str) {
    let required = REQUIRED.iter().find(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
    assert!(required.is_none(), "{test} needs PostgreSQL, and {required:?} is set: `make setup` installs it");
    // Not by `eprintln`, which a test captures.
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: PostgreSQL is not installed; `make setup` installs it");
}

/// How a server is told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Ends all sessions and writes a checkpoint.
    Fast,
    /// Ends at once; the next start recovers.
    Immediate,
}

/// A server.
#[derive(Debug)]
pub struct Postgres {
    programs: PathBuf,
    directory: TempDir,
    port: u16,
    /// Its port after it is started elsewhere.
    other_port: u16,
    settings: Vec<String>,
    process: Option<Child>,
}

impl Postgres {
    /// Starts a new, empty server; `None` where PostgreSQL is not installed.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    /// Starts a new, empty server with settings such as `fsync=off`.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start_with(settings: &[&str]) -> Option<Self> {
        let mut server = Self::new(files::programs()?, settings);
        let mut initdb = server.command("initdb");
        initdb.args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "-D"]);
        run(initdb.arg(server.data()));
        server.start_again();
        Some(server)
    }

    fn new(programs: PathBuf, settings: &[&str]) -> Self {
        let directory = files::directory();
        let settings = settings.iter().map(|&setting| setting.to_owned()).collect();
        Self { programs, directory, port: free_port(), other_port: free_port(), settings, process: None }
    }

    /// A standby that follows this server, as `name` in `synchronous_standby_names`. It is running and connected.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn standby(&self, name: &str) -> Self {
        let mut standby = Self::new(self.programs.clone(), &[]);
        standby.settings.clone_from(&self.settings);
        standby.settings.push(format!("cluster_name={name}"));
        let mut backup = self.command("pg_basebackup");
        backup.args(["--username=postgres", "--checkpoint=fast", "--no-sync", "--wal-method=stream"]);
        backup.args(["--write-recovery-conf", "--host"]).arg(self.socket()).arg(format!("--port={}", self.port));
        run(backup.arg("-D").arg(standby.data()));
        standby.start_again();
        let query = format!("SELECT count(*) FROM pg_stat_replication WHERE application_name = '{name}'");
        wait("the standby connects", || self.sql(&query) == "1");
        standby
    }

    /// Makes a standby the primary.
    ///
    /// # Panics
    /// If it does not become it.
    pub fn promote(&self) {
        assert_eq!(self.sql("SELECT pg_promote()"), "t");
    }

    /// Ends the stream from the primary: a standby that is promoted later lacks what is committed from now on.
    ///
    /// # Panics
    /// If the stream does not end.
    pub fn stop_following(&self) {
        self.sql("ALTER SYSTEM SET primary_conninfo = ''");
        self.sql("SELECT pg_reload_conf()");
        wait("the standby stops following", || self.sql("SELECT count(*) FROM pg_stat_wal_receiver") == "0");
    }

    /// Starts a server that was stopped or killed, on its data and at its port.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start_again(&mut self) {
        assert!(self.process.is_none(), "it is running");
        let log = fs::File::options().create(true).append(true).open(self.log()).expect("the log file");
        let mut command = self.ends_with_this(&self.programs.join("postgres"));
        command.arg("-D").arg(self.data()).arg("-k").arg(self.socket()).arg("-p").arg(self.port.to_string());
        for setting in
            ["listen_addresses=127.0.0.1", "shared_buffers=32MB", "max_connections=60", "log_min_messages=info"]
        {
            command.args(["-c", setting]);
        }
        for setting in &self.settings {
            command.args(["-c", setting]);
        }
        let error = log.try_clone().expect("the log file");
        self.process = Some(command.stdin(Stdio::null()).stdout(log).stderr(error).spawn().expect("postgres starts"));
        let status = self.data().join("postmaster.pid");
        let mut process = self.process.take().expect("it was started");
        wait("PostgreSQL starts", || {
            if let Ok(Some(status)) = process.try_wait() {
                panic!("PostgreSQL ended with {status}:\n{}", self.log_text());
            }
            let lines = fs::read_to_string(&status).unwrap_or_default();
            let mut lines = lines.lines();
            let mine = lines.next() == Some(&process.id().to_string());
            mine && lines.nth(6).is_some_and(|state| state.trim() == "ready")
        });
        self.process = Some(process);
    }

    /// Sets a setting from its next start on.
    pub fn set(&mut self, setting: &str) {
        self.settings.push(setting.to_owned());
    }

    /// Starts it at its other port.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start_elsewhere(&mut self) {
        std::mem::swap(&mut self.port, &mut self.other_port);
        self.start_again();
    }

    /// Stops it and waits for its end.
    ///
    /// # Panics
    /// If it does not end.
    pub fn stop(&mut self, how: Stop) {
        let Some(process) = self.process.take() else { return };
        let signal = match how {
            Stop::Fast => Signal::INT,
            Stop::Immediate => Signal::QUIT,
        };
        let _ = kill_process(Pid::from_child(&process), signal);
        reap(process);
    }

    /// Ends all its processes with SIGKILL.
    ///
    /// # Panics
    /// If they do not end.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        if let Some(process) = self.process.take() {
            reap(process);
        }
        // A server that was killed leaves it; the next one would wait until no process uses it.
        let _ = fs::remove_file(self.data().join("postmaster.pid"));
    }

    /// Stops all its processes with SIGSTOP, until [`thaw`](Self::thaw).
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Continues after [`freeze`](Self::freeze).
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let Some(process) = &self.process else { return };
        // The first process starts others: it is stopped first and continued last.
        let mut all = vec![process.id()];
        let _ = kill_process(Pid::from_child(process), if signal == Signal::KILL { Signal::STOP } else { signal });
        all.extend(files::children(process.id()));
        for id in all.into_iter().rev() {
            if let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, signal);
            }
        }
    }

    /// Runs statements as the superuser; the rows, columns separated by `|`.
    ///
    /// # Panics
    /// If one fails.
    pub fn sql(&self, statements: &str) -> String {
        let mut psql = self.command("psql");
        psql.args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", "postgres", "-h"]);
        psql.arg(self.socket()).args(["-p", &self.port.to_string(), "-f", "-"]);
        let mut child =
            psql.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("psql starts");
        let written = child.stdin.take().map(|mut input| input.write_all(statements.as_bytes()));
        let output = child.wait_with_output().expect("psql ends");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(matches!(written, Some(Ok(()))) && output.status.success(), "{statements}: {error}");
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// The URL of its socket, for the superuser.
    #[must_use]
    pub fn socket_url(&self) -> String {
        let socket = self.socket().display().to_string().replace('/', "%2F");
        format!("postgresql://postgres@{socket}:{}/postgres", self.port)
    }

    /// The URL of its port on the loopback, for the superuser.
    #[must_use]
    pub fn tcp_url(&self) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// A URL for the superuser that names this server's port on the loopback and another one.
    #[must_use]
    pub fn tcp_url_or(&self, other: u16) -> String {
        format!("postgresql://postgres@127.0.0.1:{},127.0.0.1:{other}/postgres", self.port)
    }

    /// The port of [`start_elsewhere`](Self::start_elsewhere).
    #[must_use]
    pub fn other_port(&self) -> u16 {
        self.other_port
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its data directory.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// The directory of its socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        self.directory.path()
    }

    /// What it has written to its log.
    #[must_use]
    pub fn log_text(&self) -> String {
        fs::read(self.log()).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default()
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    /// A program of PostgreSQL, as the user that the server runs as.
    fn command(&self, program: &str) -> Command {
        self.as_its_user(Command::new(self.programs.join(program)))
    }

    /// A program that ends with this process, however this one ends: a test that is killed leaves none behind.
    pub(crate) fn ends_with_this(&self, program: &Path) -> Command {
        let mut command = self.as_its_user(Command::new("setpriv"));
        command.args(["--pdeathsig", "QUIT"]).arg(program);
        command
    }

    fn as_its_user(&self, mut command: Command) -> Command {
        if let Some((user, group)) = files::other_user() {
            command.uid(user).gid(group);
        }
        command.current_dir(self.directory.path()).env_remove("PGOPTIONS");
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.thaw();
        self.stop(Stop::Immediate);
        if std::thread::panicking() {
            let text = self.log_text();
            let lines: Vec<&str> = text.lines().collect();
            let end = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
            eprintln!("--- the end of the log of PostgreSQL at port {} ---\n{end}", self.port);
        }
    }
}

/// A port that is free now, below those of outgoing connections. Two servers of a process never get the same one.
fn free_port() -> u16 {
    const FIRST: u32 = 11_000;
    const COUNT: u32 = 3_000;
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id().wrapping_mul(61);
    let next = || {
        let step = TAKEN.fetch_add(1, Ordering::Relaxed);
        u16::try_from(FIRST + start.wrapping_add(step) % COUNT).unwrap_or(0)
    };
    let mut ports = std::iter::repeat_with(next).take(COUNT as usize);
    ports.find(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok()).expect("a free port")
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().expect("the program starts");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
}

fn reap(mut process: Child) {
    wait("PostgreSQL ends", || process.try_wait().expect("it is a child").is_some());
}

fn wait(what: &str, mut done: impl FnMut() -> bool) {
    // The clock of the whole directory is in crates that this one does not know.
    #[expect(clippy::disallowed_methods, reason = "a deadline of a test")]
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
