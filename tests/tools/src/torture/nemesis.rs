//! Performs a schedule: begins each fault at its time and undoes it at its end.
//!
//! It waits only where the schedule says so: for the begin and the end of a fault, and between episodes until the
//! cluster is as healthy as the next one needs it. If it does not get there within a bound, the run has failed.

mod begin;
mod heal;
mod members;
mod power;

use std::collections::BTreeSet;
use std::time::Duration;

use baton_tests::clock::Deadline;
use baton_tests::program::Background;
use baton_tests::status::Status;

use super::access::Access;
use super::history::{FaultRecord, RunClock};
use super::lab::Lab;
use super::load::{Load, Successor};
use super::network::Rule;
use super::schedule::{Episode, Fault, Schedule};

/// Time in which the cluster must be healthy, once a fault is over.
pub(crate) const HEALTHY_WITHIN: Duration = Duration::from_secs(60);
/// Interval of the checks.
const PAUSE: Duration = Duration::from_millis(200);

/// The end of a fault, or of a part of it.
#[derive(Debug)]
enum HealStep {
    /// Start a member.
    Start(String),
    /// Let a frozen member go on.
    Thaw(String),
    /// Take a link up.
    Plug(String),
    /// Take rules out of the firewalls.
    Rules(Vec<Rule>),
    /// Make a link thick again.
    Thick(String),
    /// Free the small disk.
    Free,
    /// Make a disk fast again.
    Fast(String),
    /// Set the policy to its default.
    Policy,
    /// Wait for a command that ran during the fault.
    Command(Background),
    /// Start a member whose files were damaged and observe it.
    StartDamaged(String),
    /// Set a wall clock right.
    Clock(String),
    /// Start a client in the place of one that was killed.
    Succeed(Successor),
    /// End a producer of large messages.
    Large(String, Background),
    /// End the clients that change the policy.
    PolicyClients(Vec<(String, Background)>),
    /// Add a member that was removed, and start it.
    AddMember(String),
    /// Start a member on an old copy of its store, observe it, and rebuild it.
    StartOldCopy(String),
}

/// A fault that lasts.
struct RunningFault {
    done: FaultRecord,
    ends_ms: u64,
    heals: Vec<HealStep>,
}

/// The nemesis.
pub(crate) struct Nemesis<'a> {
    lab: &'a mut Lab,
    load: &'a mut Load,
    access: Access,
    clock: RunClock,
    /// Members whose files were damaged: these may refuse to go on, if they say how they are rebuilt.
    damaged: BTreeSet<String>,
    /// The faults so far.
    pub done: Vec<FaultRecord>,
    /// Time that the cluster took to be healthy after each episode, in milliseconds.
    pub(crate) recoveries: Vec<u64>,
    /// The reason, if the cluster was not healthy when it had to be.
    pub unhealthy: Vec<String>,
    /// Members that ended by themselves where they must not.
    pub deaths: Vec<String>,
}

impl<'a> Nemesis<'a> {
    /// A nemesis for a cluster and its clients.
    #[must_use]
    pub(crate) fn new(lab: &'a mut Lab, load: &'a mut Load, clock: RunClock) -> Self {
        let access = lab.access();
        let damaged = BTreeSet::new();
        let (done, recoveries, unhealthy, deaths) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { lab, load, access, clock, damaged, done, recoveries, unhealthy, deaths }
    }

    /// Performs the schedule, until the first time that the cluster is not healthy in time.
    pub(crate) fn perform(&mut self, schedule: &Schedule) {
        for (number, episode) in (1..).zip(&schedule.episodes) {
            let healthy = self.wait_healthy(episode.caught_up);
            if let Err(why) = healthy {
                self.unhealthy.push(format!("before episode {number}, at {} ms: {why}", self.clock.ms()));
                return;
            }
            std::thread::sleep(Duration::from_millis(episode.pause_ms));
            self.episode(episode);
        }
    }

    /// Waits until the engine is started and all members are up, and caught up and voting if that is wanted.
    ///
    /// # Errors
    /// The state of the cluster, if it does not become healthy in time.
    pub(crate) fn wait_healthy(&mut self, caught_up: bool) -> Result<(), String> {
        let (begin_ms, mut last) = (self.clock.ms(), Err("never asked".to_owned()));
        let healthy = Deadline::within(HEALTHY_WITHIN).poll(PAUSE, || {
            self.look_after_the_dead();
            last = self.access.status();
            last.as_ref().is_ok_and(|status| is_healthy(status, caught_up))
        });
        match last {
            _ if healthy => {
                self.recoveries.push(self.clock.ms() - begin_ms);
                // Free again, and over it.
                Ok(())
            }
            Ok(status) => Err(summary(&status)),
            Err(why) => Err(why),
        }
    }

    fn episode(&mut self, episode: &Episode) {
        let begin_ms = self.clock.ms();
        let mut waiting: Vec<&Fault> = episode.faults.iter().rev().collect();
        let mut running: Vec<RunningFault> = Vec::new();
        loop {
            let next_begin = waiting.last().map(|fault| begin_ms + fault.after_ms);
            let next_end = running.iter().map(|fault| fault.ends_ms).min();
            match (next_begin, next_end) {
                (None, None) => break,
                (Some(at_ms), end) if end.is_none_or(|end| at_ms <= end) => {
                    self.sleep_until(at_ms);
                    if let Some(fault) = waiting.pop() {
                        running.push(self.begin(fault));
                    }
                }
                (_, end) => {
                    let at_ms = end.unwrap_or(begin_ms);
                    self.sleep_until(at_ms);
                    if let Some(at) = running.iter().position(|fault| fault.ends_ms <= at_ms) {
                        let ended = running.swap_remove(at);
                        self.end(ended);
                    }
                }
            }
        }
    }

    fn sleep_until(&self, at_ms: u64) {
        std::thread::sleep(Duration::from_millis(at_ms.saturating_sub(self.clock.ms())));
    }

    fn begin(&mut self, fault: &Fault) -> RunningFault {
        let victims = self.victims(fault);
        let began_ms = self.clock.ms();
        let mut done = FaultRecord {
            fault: fault.clone(),
            victims,
            began_ms,
            ended_ms: began_ms,
            notes: Vec::new(),
            lost_bytes: 0,
        };
        let heals = self.make(fault, &mut done);
        eprintln!(
            "  {:6} ms: {} ({}) for {} ms",
            began_ms,
            fault.kind.name(),
            done.victims.join(", "),
            fault.length_ms
        );
        RunningFault { done, ends_ms: self.clock.ms() + fault.length_ms, heals }
    }

    fn end(&mut self, running: RunningFault) {
        let RunningFault { mut done, heals, .. } = running;
        for heal in heals {
            self.heal(heal, &mut done.notes);
        }
        done.ended_ms = self.clock.ms();
        for note in &done.notes {
            eprintln!("            {}: {note}", done.fault.kind.name());
        }
        self.done.push(done);
    }
}

/// True if the engine is started and all members are up; with `caught_up` also level and voting.
fn is_healthy(status: &Status, caught_up: bool) -> bool {
    let up = status.host().is_some() && status.servers.iter().all(|server| server.up);
    let all = u32::try_from(status.servers.len()).unwrap_or(u32::MAX);
    let voting = status.quorum.up == all && status.quorum.needed == all / 2 + 1;
    up && (!caught_up || (status.all_caught_up() && voting))
}

/// A status in one line.
#[must_use]
pub(crate) fn summary(status: &Status) -> String {
    let members: Vec<String> = status
        .servers
        .iter()
        .map(|it| format!("{} {} lag {:?}", it.name, if it.up { "up" } else { "down" }, it.lag))
        .collect();
    format!(
        "engine {} on {:?} ({}); {}; quorum {} up of {} needed",
        status.engine.state,
        status.engine.server,
        status.engine.reason,
        members.join(", "),
        status.quorum.up,
        status.quorum.needed
    )
}
