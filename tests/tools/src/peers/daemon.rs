//! A peer's server process: its log is a file of its own, and it ends when it is dropped, also by a panic.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use baton_tests::clock::Deadline;
use baton_tests::process::tail;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::stop::{WHY, stopped};

/// Interval of checks during a wait.
const PAUSE: Duration = Duration::from_millis(100);
const TAIL_LINES: usize = 8;

/// The process and its children: a process group.
#[derive(Debug)]
pub(super) struct Daemon {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts it; its output goes to `NAME.log` in `dir`.
    pub(super) fn start(mut command: Command, name: &str, dir: &Path) -> Result<Self, String> {
        use std::os::unix::process::CommandExt as _;
        let log = dir.join(format!("{name}.log"));
        let failed = |error: std::io::Error| format!("{name} cannot be started: {error}");
        let file = File::create(&log).map_err(failed)?;
        let errors = file.try_clone().map_err(failed)?;
        command.stdin(Stdio::null()).stdout(file).stderr(errors).process_group(0);
        let child = command.spawn().map_err(failed)?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// True if it still runs. It is not reaped here, so that its id stays its own until it is dropped.
    fn runs(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        matches!(waitid(WaitId::Pid(Pid::from_child(&self.child)), options), Ok(None))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}

/// Waits until `ready` while all of them run.
///
/// # Errors
/// If one ends, or it takes too long, with the end of a log; or if it is time to stop.
pub(super) fn wait(
    daemons: &[Daemon],
    what: &str,
    limit: Duration,
    mut ready: impl FnMut() -> bool,
) -> Result<(), String> {
    let mut ended = None;
    let happened = Deadline::within(limit).poll(PAUSE, || {
        ended = daemons.iter().find(|daemon| !daemon.runs());
        ended.is_some() || stopped() || ready()
    });
    if stopped() {
        return Err(WHY.to_owned());
    }
    let Some(guilty) = ended.or(daemons.first().filter(|_| !happened)) else { return Ok(()) };
    let why = if ended.is_some() { "it ended".to_owned() } else { format!("not within {limit:?}") };
    Err(format!("waited in vain for {what}: {}: {why}: {}", guilty.name, tail(&guilty.log, TAIL_LINES)))
}

/// Runs a command to its end; returns its output.
///
/// # Errors
/// If it fails, or takes longer than `limit`.
pub(super) fn output(command: Command, what: &str, limit: Duration) -> Result<String, String> {
    let program = command.get_program().to_owned();
    if !Path::new(&program).is_absolute() || !Path::new(&program).is_file() {
        return Err(format!("there is no {}", program.display()));
    }
    let output =
        baton_tests::program::Background::spawn_as(command, what.to_owned(), baton_tests::program::Stdout::Collect)
            .wait_or_kill(limit);
    match output.code {
        Some(0) => Ok(output.text()),
        _ => Err(format!("{what}: {}", output.last_word())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_daemon_that_ends_is_named_with_the_end_of_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let daemon = Daemon::start(shell("echo no such port; exit 3"), "nats1", dir.path()).unwrap();
        let why = wait(&[daemon], "the cluster", Duration::from_secs(60), || false).unwrap_err();
        assert!(why.contains("nats1: it ended: no such port"), "{why}");
    }

    #[test]
    fn a_dropped_daemon_takes_along_what_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let daemon = Daemon::start(shell("sleep 1000 & echo $!; wait"), "parent", dir.path()).unwrap();
        let log = || std::fs::read_to_string(dir.path().join("parent.log")).unwrap_or_default();
        wait(std::slice::from_ref(&daemon), "its child", Duration::from_secs(60), || log().ends_with('\n')).unwrap();
        let child: u32 = log().trim().parse().unwrap();
        let runs = || {
            // A zombie that is not reaped yet is gone as well.
            let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
        };
        assert!(runs());
        drop(daemon);
        assert!(Deadline::within(Duration::from_secs(60)).poll(PAUSE, || !runs()));
    }

    #[test]
    fn a_command_that_is_not_there_or_fails_says_so() {
        let limit = Duration::from_secs(60);
        assert_eq!(output(Command::new("/no/program"), "x", limit), Err("there is no /no/program".to_owned()));
        assert_eq!(output(shell("echo why >&2; exit 1"), "x", limit), Err("x: why".to_owned()));
        assert_eq!(output(shell("echo 1.0"), "x", limit), Ok("1.0".to_owned()));
    }
}
