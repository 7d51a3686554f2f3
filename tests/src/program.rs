//! Runs commands of the `baton` program. Every wait has a limit, and running into it is a failure.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::clock::{Deadline, now};
use crate::process::signal;

/// Interval of checks during a wait.
const PAUSE: Duration = Duration::from_millis(5);

/// The program under test: `$BATON_BIN`, or the `baton` of the build that this test is part of.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn program() -> PathBuf {
    if let Some(path) = std::env::var_os("BATON_BIN") {
        return path.into();
    }
    beside("baton")
}

/// A program of the build that this one is part of.
///
/// # Panics
/// If it is not there.
#[must_use]
pub fn beside(name: &str) -> PathBuf {
    let this = std::env::current_exe().expect("this program has a path");
    // Tests lie in target/release/deps, programs in target/release.
    let beside = this.ancestors().skip(1).take(2).map(|dir| dir.join(name));
    let found = beside.into_iter().find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("there is no {name} beside {}: build it first (make programs)", this.display()))
}

/// Output and exit code of a command.
#[derive(Debug)]
pub struct Output {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// The lines of its standard output.
    pub lines: Vec<String>,
    /// Its standard error.
    pub stderr: String,
}

impl Output {
    /// Its standard output as one text.
    #[must_use]
    pub fn text(&self) -> String {
        self.lines.join("\n")
    }

    /// The last line of its standard error that is not empty.
    #[must_use]
    pub fn last_word(&self) -> &str {
        self.stderr.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default()
    }
}

/// Runs a command to its end.
///
/// # Panics
/// If it takes longer than `limit`.
#[track_caller]
pub fn run(arguments: &[&str], input: &str, limit: Duration) -> Output {
    let mut command = Background::spawn(arguments, Stdout::Collect);
    let mut stdin = command.stdin();
    let input = input.to_owned();
    // From a thread: a program that does not read must not block the limit. It may well exit before it read all.
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()).is_ok());
    let output = command.wait(limit);
    let _ = writer.join();
    output
}

/// Destination of a command's standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stdout {
    /// It is read line by line as it comes.
    Collect,
    /// It is left in the pipe, which holds 64 KiB, until [`Background::release`]: a program that prints more blocks.
    Hold,
}

/// A command that runs next to the scenario; killed when it is dropped.
#[derive(Debug)]
pub struct Background {
    what: String,
    child: Child,
    held: Option<ChildStdout>,
    lines: Arc<Mutex<Vec<(Instant, String)>>>,
    stderr: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

impl Background {
    /// Starts a command of the program.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    #[track_caller]
    pub fn spawn(arguments: &[&str], stdout: Stdout) -> Self {
        let mut command = Command::new(program());
        command.args(arguments);
        Self::spawn_as(command, format!("baton {}", arguments.join(" ")), stdout)
    }

    /// Starts an example, whose program is next to `baton`.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    #[track_caller]
    pub fn example(name: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(program().with_file_name(name));
        command.args(arguments);
        Self::spawn_as(command, format!("{name} {}", arguments.join(" ")), Stdout::Collect)
    }

    /// Starts a command that was prepared elsewhere; failures call it `what`.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    #[track_caller]
    pub fn spawn_as(mut command: Command, what: String, stdout: Stdout) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("`{what}` cannot be started: {error}"));
        let mut error_pipe = child.stderr.take().expect("it is piped");
        let stderr = Arc::new(Mutex::new(String::new()));
        let kept = Arc::clone(&stderr);
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = error_pipe.read(&mut bytes) {
                lock(&kept).push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        });
        let held = child.stdout.take();
        let mut this = Self { what, child, held, lines: Arc::default(), stderr, readers: vec![reader] };
        if stdout == Stdout::Collect {
            this.release();
        }
        this
    }

    /// Reads standard output from now on.
    pub fn release(&mut self) {
        let Some(pipe) = self.held.take() else { return };
        let kept = Arc::clone(&self.lines);
        self.readers.push(std::thread::spawn(move || {
            for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                lock(&kept).push((now(), String::from_utf8_lossy(&line).into_owned()));
            }
        }));
    }

    /// Its standard input, once; dropping it is the end of the input.
    ///
    /// # Panics
    /// The second time.
    #[must_use]
    pub fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("standard input is taken once")
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The number of lines that it has printed.
    #[must_use]
    pub fn printed(&self) -> usize {
        lock(&self.lines).len()
    }

    /// The lines that it has printed.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        lock(&self.lines).iter().map(|(_, line)| line.clone()).collect()
    }

    /// The time of each printed line.
    #[must_use]
    pub fn times(&self) -> Vec<Instant> {
        lock(&self.lines).iter().map(|(at, _)| *at).collect()
    }

    /// Its standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        lock(&self.stderr).clone()
    }

    /// True if it still runs.
    ///
    /// # Panics
    /// If the system does not answer.
    #[must_use]
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().expect("the child can be waited for").is_none()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it runs longer than `limit`.
    #[track_caller]
    pub fn wait(mut self, limit: Duration) -> Output {
        let deadline = Deadline::within(limit);
        let ended = deadline.poll(PAUSE, || !self.runs());
        if !ended {
            self.kill_and_reap();
            panic!("`{}` still ran after {limit:?}; it printed {} lines and said:\n{}", self.what, self.printed(), {
                self.stderr()
            });
        }
        self.leftovers()
    }

    /// Waits for its end, and kills it after `limit`: its exit code is then `None`.
    #[must_use]
    pub fn wait_or_kill(mut self, limit: Duration) -> Output {
        if !Deadline::within(limit).poll(PAUSE, || !self.runs()) {
            self.kill_and_reap();
            lock(&self.stderr).push_str(&format!("\n(killed: it still ran after {limit:?})\n"));
        }
        self.leftovers()
    }

    /// Freezes it (SIGSTOP).
    pub fn freeze(&self) {
        signal(&self.child, Signal::STOP);
    }

    /// Lets it go on (SIGCONT).
    pub fn thaw(&self) {
        signal(&self.child, Signal::CONT);
    }

    /// Sends it SIGTERM and does not wait.
    pub fn tell_to_end(&self) {
        signal(&self.child, Signal::TERM);
    }

    /// Ends it with SIGKILL.
    #[must_use]
    pub fn kill(mut self) -> Output {
        self.kill_and_reap();
        self.leftovers()
    }

    /// Ends it with SIGTERM.
    ///
    /// # Panics
    /// If it runs on for longer than `limit`.
    #[track_caller]
    pub fn terminate(self, limit: Duration) -> Output {
        signal(&self.child, Signal::TERM);
        self.wait(limit)
    }

    fn leftovers(&mut self) -> Output {
        self.release();
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        let code = self.child.wait().ok().and_then(|status| status.code());
        Output { code, lines: self.lines(), stderr: self.stderr() }
    }

    fn kill_and_reap(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.kill_and_reap();
    }
}

/// A reader thread that panicked leaves complete lines behind.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
