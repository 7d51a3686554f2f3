//! Client commands on a cluster.

use std::time::Duration;

use serde::de::DeserializeOwned;

use super::{COMMAND_LIMIT, Cluster};
use crate::program::{Background, Output, Stdout, run};
use crate::status::Queue;

impl Cluster {
    /// Runs a client command with `--cluster`.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.run_with(arguments, "")
    }

    /// Runs a client command with `--cluster` and standard input.
    #[track_caller]
    pub fn run_with(&self, arguments: &[&str], input: &str) -> Output {
        run(&[arguments, &["--cluster", &self.file()]].concat(), input, COMMAND_LIMIT)
    }

    /// Runs a client command that must succeed.
    ///
    /// # Panics
    /// If its exit code is not 0.
    #[track_caller]
    pub fn ok(&self, arguments: &[&str]) -> Output {
        let output = self.run(arguments);
        assert_eq!(output.code, Some(0), "baton {}: {}", arguments.join(" "), output.stderr);
        output
    }

    /// Runs a client command that must be refused in one line that contains each of `words`, with nothing on stdout.
    ///
    /// # Panics
    /// If it is not, or in other words.
    #[track_caller]
    pub fn refused(&self, arguments: &[&str], words: &[&str]) {
        let output = self.run(arguments);
        assert_one_line(&output, words, &arguments.join(" "));
    }

    /// Starts a client command with `--cluster` next to the scenario.
    #[must_use]
    #[track_caller]
    pub fn spawn(&self, arguments: &[&str], stdout: Stdout) -> Background {
        Background::spawn(&[arguments, &["--cluster", &self.file()]].concat(), stdout)
    }

    /// Puts a load on the cluster: `baton bench` with these arguments. Returns its JSON as far as `T` has its fields.
    ///
    /// # Errors
    /// The first words of the program, if it fails or does not end in time.
    pub fn bench<T: DeserializeOwned>(&self, load: &str, limit: Duration) -> Result<T, String> {
        let arguments: Vec<&str> = ["bench", "--json"].into_iter().chain(load.split(' ')).collect();
        let output = self.spawn(&arguments, Stdout::Collect).wait_or_kill(limit);
        let why = match output.code {
            Some(0) => match serde_json::from_str(&output.text()) {
                Ok(found) => return Ok(found),
                Err(error) => error.to_string(),
            },
            _ => output.stderr.lines().find(|line| !line.is_empty()).unwrap_or("it was killed").to_owned(),
        };
        Err(format!("baton bench {load}: {why}"))
    }

    /// Creates a queue.
    #[track_caller]
    pub fn create_queue(&self, queue: &str) {
        self.ok(&["queue", "create", queue]);
    }

    /// All queues in numbers.
    ///
    /// # Panics
    /// If there is no answer.
    #[must_use]
    #[track_caller]
    pub fn queues(&self) -> Vec<Queue> {
        parse(&self.ok(&["queue", "list", "--json"]).text())
    }

    /// A queue in numbers.
    ///
    /// # Panics
    /// If there is no such queue or no answer.
    #[must_use]
    #[track_caller]
    pub fn queue(&self, queue: &str) -> Queue {
        self.queues()
            .into_iter()
            .find(|found| found.name == queue)
            .unwrap_or_else(|| panic!("there is no queue {queue}"))
    }

    /// Sends lines and waits for their confirms.
    ///
    /// # Panics
    /// If not all of them are confirmed.
    #[track_caller]
    pub fn send_lines<S: AsRef<str>>(&self, queue: &str, lines: &[S]) {
        let input: String = lines.iter().flat_map(|line| [line.as_ref(), "\n"]).collect();
        let output = self.run_with(&["send", queue, "--timeout", "30"], &input);
        assert_eq!(output.code, Some(0), "baton send: {}", output.stderr);
        assert_eq!(output.last_word(), format!("confirmed {}", lines.len()), "baton send says how much is confirmed");
    }

    /// Receives until the queue is empty.
    #[must_use]
    #[track_caller]
    pub fn drain(&self, queue: &str) -> Vec<String> {
        self.ok(&["receive", queue]).lines
    }

    /// Receives this many lines.
    ///
    /// # Panics
    /// If that many do not come.
    #[must_use]
    #[track_caller]
    pub fn receive_lines(&self, queue: &str, count: usize) -> Vec<String> {
        let output = self.ok(&["receive", queue, "--count", &count.to_string(), "--wait", "30"]);
        assert_eq!(output.lines.len(), count, "baton receive --count stops at its count");
        output.lines
    }
}

/// Fails unless a command was refused in one clear line that contains each of `words`.
#[track_caller]
fn assert_one_line(output: &Output, words: &[&str], what: &str) {
    let (code, said) = (output.code, output.stderr.trim());
    assert!(code.is_some_and(|code| code != 0), "`{what}` was to be refused and ended with {code:?}: {said}");
    assert_eq!(said.lines().count(), 1, "`{what}` was to be refused in one line and said:\n{said}");
    for word in words {
        assert!(said.contains(word), "`{what}` was refused without a word of {word:?}: {said}");
    }
}

#[track_caller]
pub(super) fn parse<T: DeserializeOwned>(json: &str) -> T {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{error} in {json}"))
}
