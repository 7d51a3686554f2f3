//! The clients' access to the cluster: commands of the program, run in the clients' namespace.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use baton_tests::clock::Deadline;
use baton_tests::program::{Background, Output, Stdout, beside, program};
use baton_tests::status::{Queue, Status};

/// Deadline of a command that does not wait for anything.
const SOON: Duration = Duration::from_secs(20);
/// Interval of status requests during a wait.
const PAUSE: Duration = Duration::from_millis(200);

/// The clients' side of the cluster.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    /// The clients' namespace.
    pub namespace: String,
    /// The cluster's file.
    pub file: PathBuf,
}

impl Access {
    /// Starts a client command.
    #[must_use]
    pub(crate) fn spawn(&self, arguments: &[&str]) -> Background {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace]).arg(program()).args(arguments).arg("--cluster");
        command.arg(&self.file).env("NO_COLOR", "1");
        Background::spawn_as(command, format!("baton {}", arguments.join(" ")), Stdout::Collect)
    }

    /// Starts a client that prints each operation.
    #[must_use]
    pub(crate) fn spawn_client(&self, arguments: &[&str]) -> Background {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace]).arg(beside("torture-client")).arg(&self.file).args(arguments);
        Background::spawn_as(command, format!("torture-client {}", arguments.join(" ")), Stdout::Collect)
    }

    /// Runs a client command, for at most `limit`.
    #[must_use]
    pub(crate) fn run(&self, arguments: &[&str], limit: Duration) -> Output {
        let mut command = self.spawn(arguments);
        drop(command.stdin());
        command.wait_or_kill(limit)
    }

    /// Runs a client command that must succeed.
    ///
    /// # Errors
    /// The command's error.
    pub(crate) fn ok(&self, arguments: &[&str], limit: Duration) -> Result<Output, String> {
        let output = self.run(arguments, limit);
        if output.code == Some(0) {
            return Ok(output);
        }
        Err(format!("`baton {}` ended with {:?}: {}", arguments.join(" "), output.code, output.stderr.trim()))
    }

    /// The output of `baton status`.
    ///
    /// # Errors
    /// The command's error, if no server answers.
    pub(crate) fn status(&self) -> Result<Status, String> {
        let output = self.run(&["status", "--json"], SOON);
        match output.code {
            Some(0 | 2) => serde_json::from_str(&output.text()).map_err(|error| format!("{error}: {}", output.text())),
            Some(_) | None => Err(output.stderr.trim().to_owned()),
        }
    }

    /// Asks until the status is as `fits` says, for at most `limit`.
    ///
    /// # Errors
    /// The last answer, if it never is.
    pub(crate) fn wait(&self, limit: Duration, fits: impl Fn(&Status) -> bool) -> Result<Status, String> {
        let mut last = Err("never asked".to_owned());
        let found = Deadline::within(limit).poll(PAUSE, || {
            last = self.status();
            last.as_ref().is_ok_and(&fits)
        });
        if found { last } else { Err(format!("{last:?}")) }
    }

    /// The queues in numbers.
    ///
    /// # Errors
    /// The command's error.
    pub(crate) fn queues(&self) -> Result<Vec<Queue>, String> {
        let output = self.ok(&["queue", "list", "--json"], SOON)?;
        serde_json::from_str(&output.text()).map_err(|error| format!("{error}: {}", output.text()))
    }
}
