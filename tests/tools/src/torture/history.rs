//! The history of a run: all input of the checker. Times are milliseconds since the run began.

use std::time::Instant;

use baton_tests::clock::{boot_ns, now};
use baton_tests::status::Status;
use serde::{Deserialize, Serialize};

use super::kind::Kind;
use super::operation::Operation;
use super::queues::IRREGULAR;
use super::schedule::{Fault, Schedule};
use super::trace::Trace;

pub(super) use super::received::Received;

/// The clock of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RunClock {
    start: Instant,
    boot_ns: u64,
}

impl RunClock {
    /// Begins now.
    #[must_use]
    pub(crate) fn start() -> Self {
        Self { start: now(), boot_ns: boot_ns() }
    }

    /// Milliseconds until now.
    #[must_use]
    pub(crate) fn ms(self) -> u64 {
        self.at(now())
    }

    /// Milliseconds until then.
    #[must_use]
    pub(crate) fn at(self, then: Instant) -> u64 {
        u64::try_from(then.saturating_duration_since(self.start).as_millis()).unwrap_or(u64::MAX)
    }

    /// Milliseconds until that CLOCK_BOOTTIME.
    #[must_use]
    pub(crate) fn at_boot(self, at_ns: u64) -> u64 {
        at_ns.saturating_sub(self.boot_ns) / 1_000_000
    }

    /// CLOCK_BOOTTIME when it began.
    #[must_use]
    pub(crate) fn boot_ns(self) -> u64 {
        self.boot_ns
    }
}

/// All of a run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct History {
    /// CLOCK_BOOTTIME when the run began.
    pub start_boot_ns: u64,
    /// The plan.
    pub schedule: Option<Schedule>,
    /// The faults.
    pub faults: Vec<FaultRecord>,
    /// Time that the cluster took to be healthy after each episode.
    pub recoveries: Vec<u64>,
    /// The reason, if the cluster was not healthy when it had to be.
    pub unhealthy: Vec<String>,
    /// Members that ended by themselves where they must not.
    pub deaths: Vec<String>,
    /// Producers.
    pub producers: Vec<Producer>,
    /// Consumers.
    pub consumers: Vec<Consumer>,
    /// Clients that receive messages and are not their last consumers: they move them on, or read dead letters.
    #[serde(default)]
    pub others: Vec<Consumer>,
    /// Operations of clients, with their answers.
    #[serde(default)]
    pub operations: Vec<Operation>,
    /// Samples of `baton status`.
    pub status: Vec<Sample>,
    /// Traces of the servers.
    pub trace: Trace,
    /// The end of the run.
    pub ending: Ending,
}

/// A fault that was made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FaultRecord {
    /// The fault in the schedule.
    pub fault: Fault,
    /// The members that it hit.
    pub victims: Vec<String>,
    /// Begin.
    pub began_ms: u64,
    /// End.
    pub ended_ms: u64,
    /// Further remarks.
    pub notes: Vec<String>,
    /// Bytes of files that servers read again which a loss of power took.
    pub lost_bytes: u64,
}

#[cfg(test)]
impl FaultRecord {
    /// A fault of that kind at the beginning.
    pub(super) fn of(kind: Kind) -> Self {
        let fault = Fault { kind, victims: super::schedule::Victims::None, after_ms: 0, length_ms: 1, seed: 0 };
        Self { fault, victims: Vec::new(), began_ms: 0, ended_ms: 1, notes: Vec::new(), lost_bytes: 0 }
    }
}

/// A `baton send`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Producer {
    /// Its name, with which each of its lines begins.
    pub name: String,
    /// Its queue.
    pub queue: String,
    /// Lines that it was given: numbered from 0.
    pub fed: u64,
    /// Its exit code; `None` if it had to be killed.
    pub code: Option<i32>,
    /// Time at which the nemesis killed it: its confirms are then not known.
    pub killed_ms: Option<u64>,
    /// The number of confirmed messages that it printed; all of `fed` if its exit code is 0.
    pub confirmed: Option<u64>,
    /// Its standard error.
    pub said: String,
}

/// A `baton receive --follow`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Consumer {
    /// Its name.
    pub name: String,
    /// The queue that its messages were sent to.
    pub queue: String,
    /// Its queue.
    #[serde(default)]
    pub destination: String,
    /// The messages that it printed.
    pub received: Vec<Received>,
    /// Time of its start.
    pub from_ms: u64,
    /// Time at which the nemesis killed it. All others live until the end.
    pub killed_ms: Option<u64>,
    /// Its exit code after SIGTERM.
    pub code: Option<i32>,
    /// Its standard error.
    pub said: String,
}

/// A sample of `baton status`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Sample {
    /// Time of the request.
    pub asked_ms: u64,
    /// Time of the answer.
    pub at_ms: u64,
    /// The answer, or the command's error.
    pub answer: Result<Status, String>,
}

/// The end of a run, after the last fault.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Ending {
    /// End of the last fault.
    pub last_fault_ms: u64,
    /// Time until the engine was started and all members up and caught up; `None`: too long.
    pub healthy_after_ms: Option<u64>,
    /// True if all producers ended by themselves and all queues were drained in time.
    pub drained: bool,
    /// Messages still in the queues.
    pub left: u64,
    /// Messages in an exception destination with a bound when the faults were over.
    #[serde(default)]
    pub dead: Option<u64>,
    /// The list of the policy at the end; it fails back.
    pub list: Vec<String>,
    /// The host at that time.
    pub host: Option<String>,
    /// Time until it was on the first of the list, once the policy was set; `None`: too long.
    pub back_after_ms: Option<u64>,
    /// The exit code of `baton verify`.
    pub verify_code: Option<i32>,
    /// The output.
    pub verify_said: String,
}

/// The producer and the number that a line carries.
#[must_use]
pub(crate) fn parse_line(line: &str) -> Option<(&str, u64)> {
    let (producer, number) = line.split_once(' ')?;
    Some((producer, number.parse().ok()?))
}

/// The line of a producer's number.
#[must_use]
pub fn line(producer: &str, number: u64) -> String {
    format!("{producer} {number:08}")
}

impl History {
    /// True if a wall clock jumped: messages that were stored at that time carry its times.
    #[must_use]
    pub fn clock_jumped(&self) -> bool {
        self.faults.iter().any(|done| done.fault.kind == Kind::ClockJump)
    }

    /// Messages that producers know to be confirmed.
    #[must_use]
    pub fn confirmed(&self) -> u64 {
        self.producers.iter().filter_map(|producer| producer.confirmed).sum()
    }

    /// Milliseconds since the run began of a CLOCK_BOOTTIME.
    #[must_use]
    pub fn ms_of_boot(&self, boot_ns: u64) -> u64 {
        boot_ns.saturating_sub(self.start_boot_ns) / 1_000_000
    }

    /// The times in which consumers of a queue got nothing for longer than `longest_ms`: from and to.
    #[must_use]
    pub fn silences(&self, longest_ms: u64) -> Vec<(u64, u64)> {
        let queues = self.consumers.iter().map(|consumer| consumer.queue.as_str());
        let mut queues: Vec<&str> = queues.filter(|queue| !IRREGULAR.contains(queue)).collect();
        queues.sort_unstable();
        queues.dedup();
        let mut silences = Vec::new();
        for queue in queues {
            let of_queue = self.consumers.iter().filter(|consumer| consumer.queue == queue);
            let mut times: Vec<u64> = of_queue.flat_map(|it| it.received.iter().map(|it| it.at_ms)).collect();
            times.sort_unstable();
            let gaps = times.windows(2).map(|pair| (pair[0], pair[1]));
            silences.extend(gaps.filter(|(from, to)| to - from > longest_ms));
        }
        silences.sort_unstable();
        silences
    }
}
