//! The status of a cluster, and waits for a status.

use std::time::Duration;

use super::commands::parse;
use super::{COMMAND_LIMIT, Cluster, LIMIT, text};
use crate::clock::Deadline;
use crate::program::run;
use crate::status::Status;

/// Interval of status requests during a wait.
const PAUSE: Duration = Duration::from_millis(100);

/// Interval of checks of other waits.
const LOOK: Duration = Duration::from_millis(50);

/// Waits until `condition` holds.
///
/// # Panics
/// If it does not hold within [`LIMIT`].
#[track_caller]
pub fn wait(what: &str, condition: impl FnMut() -> bool) {
    assert!(Deadline::within(LIMIT).poll(LOOK, condition), "{what}: not within {LIMIT:?}");
}

impl Cluster {
    /// The current output of `baton status`; `Err` if no server answers.
    ///
    /// # Errors
    /// In the words of the command.
    #[track_caller]
    pub fn try_status(&self) -> Result<Status, String> {
        let output = self.run(&["status", "--json"]);
        match output.code {
            Some(0 | 2) => Ok(parse(&output.text())),
            _ => Err(output.stderr),
        }
    }

    /// The output of `baton status` from that member alone.
    ///
    /// # Panics
    /// If it does not answer.
    #[must_use]
    #[track_caller]
    pub fn status_of(&self, name: &str) -> Status {
        let (address, cookie) = (self.address(name), self.dir.join("cookie"));
        let output =
            run(&["status", "--json", "--servers", &address, "--cookie-file", text(&cookie)], "", COMMAND_LIMIT);
        assert!(matches!(output.code, Some(0 | 2)), "{name} does not answer: {}", output.stderr);
        parse(&output.text())
    }

    /// The current output of `baton status`.
    ///
    /// # Panics
    /// If no server answers.
    #[must_use]
    #[track_caller]
    pub fn status(&self) -> Status {
        self.try_status().unwrap_or_else(|error| panic!("no status: {error}"))
    }

    /// Waits until `condition` holds.
    ///
    /// # Panics
    /// If it does not hold within [`LIMIT`].
    #[track_caller]
    pub fn wait(&self, what: &str, condition: impl Fn(&Status) -> bool) -> Status {
        let mut last = Err("never asked".to_owned());
        let happened = Deadline::within(LIMIT).poll(PAUSE, || {
            last = self.try_status();
            last.as_ref().is_ok_and(&condition)
        });
        match last {
            Ok(status) if happened => status,
            last => panic!("{what}: not within {LIMIT:?}; the last status was {last:#?}"),
        }
    }

    /// Waits until the engine is started on that server.
    #[track_caller]
    pub fn wait_engine_on(&self, name: &str) -> Status {
        self.wait(&format!("the engine on {name}"), |status| status.started_on(name))
    }

    /// Waits until the engine is started on any server but that one.
    #[track_caller]
    pub fn wait_engine_away_from(&self, name: &str) -> Status {
        self.wait(&format!("the engine away from {name}"), |status| status.host().is_some_and(|host| host != name))
    }

    /// Waits until a member is up and has all that was written.
    #[track_caller]
    pub fn wait_caught_up(&self, name: &str) -> Status {
        self.wait(&format!("{name} caught up"), |status| status.server(name).is_some_and(|server| server.caught_up()))
    }

    /// Checks for `during` that `condition` keeps holding: for events that must *not* happen.
    ///
    /// # Panics
    /// At the first status in which it does not hold.
    #[track_caller]
    pub fn stays(&self, what: &str, during: Duration, condition: impl Fn(&Status) -> bool) {
        let end = Deadline::within(during);
        while !end.passed() {
            let status = self.status();
            assert!(condition(&status), "{what}: no longer; the status is {status:#?}");
            std::thread::sleep(PAUSE);
        }
    }

    /// Replicas that applied the same index hold the same bytes: checked by `baton verify`.
    #[track_caller]
    pub fn verify(&self) {
        self.ok(&["verify"]);
    }
}
