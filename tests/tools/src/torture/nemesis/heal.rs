//! The end of faults, and the treatment of members that ended by themselves.

use std::process::ExitStatus;
use std::time::Duration;

use baton_tests::clock::Deadline;
use baton_tests::process::tail;

use super::{HealStep, Nemesis};

/// Deadline of a command that runs during a fault.
const COMMAND: Duration = Duration::from_secs(40);
/// Time in which a damaged member may refuse to start before it counts as serving.
const REFUSAL: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(50);
const POLICY: Duration = Duration::from_secs(20);
/// Exit code of a server whose store is damaged.
const EXIT_DAMAGED: i32 = 5;
/// Lines of a log that are searched for the reason of an end.
const TAIL: usize = 2_000;

impl Nemesis<'_> {
    pub(super) fn heal(&mut self, heal: HealStep, notes: &mut Vec<String>) {
        let outcome = match heal {
            HealStep::Start(name) => self.lab.start_member(&name),
            HealStep::Thaw(name) => {
                self.lab.freeze(&name, false);
                Ok(())
            }
            HealStep::Plug(name) => self.lab.network.plug(&name, true),
            HealStep::Rules(rules) => self.lab.network.remove_rules(&rules),
            HealStep::Thick(name) => self.lab.network.thin(&name, None),
            HealStep::Free => self.lab.small_disk().map_or(Ok(()), |disk| disk.free()),
            HealStep::Fast(name) => self.lab.slow_sync(&name, None),
            HealStep::Policy => self.default_policy(),
            HealStep::Command(command) => {
                let output = command.wait_or_kill(COMMAND);
                notes.push(format!("the command ended with {:?}: {}", output.code, output.stderr.trim()));
                Ok(())
            }
            HealStep::Clock(name) => self.set_clock_right(&name, notes),
            HealStep::Succeed(successor) => {
                self.load.succeed(successor);
                Ok(())
            }
            HealStep::StartDamaged(name) => self.start_damaged(&name, notes),
            HealStep::Large(name, producer) => {
                self.large_sent(name, producer, notes);
                Ok(())
            }
            HealStep::PolicyClients(clients) => {
                self.policy_changed(clients);
                Ok(())
            }
            HealStep::AddMember(name) => self.add_member(&name),
            HealStep::StartOldCopy(name) => self.start_old_copy(&name, notes),
        };
        if let Err(why) = outcome {
            notes.push(format!("not undone: {why}"));
            self.unhealthy.push(format!("a fault was not undone: {why}"));
        }
    }

    fn set_clock_right(&self, name: &str, notes: &mut Vec<String>) -> Result<(), String> {
        let clock = self.lab.wall_clock(name)?;
        // `None`: the shim does not control the clock, or the member was never up during the fault.
        notes.push(format!("{name} asked for the wrong time {} times", clock.answers()?));
        clock.set(0)
    }

    /// The policy of a new cluster. Retried until it succeeds: a failover may be in progress.
    fn default_policy(&self) -> Result<(), String> {
        let set = ["policy", "set", "--assistance", "high-availability"];
        let mut outcome = Ok(());
        Deadline::within(super::HEALTHY_WITHIN).poll(PAUSE, || {
            outcome = self.access.ok(&set, POLICY).map(|_| ());
            outcome.is_ok()
        });
        outcome
    }

    /// A damaged member either refuses to start, with the command that rebuilds it, or serves; other checks judge its
    /// data.
    fn start_damaged(&mut self, name: &str, notes: &mut Vec<String>) -> Result<(), String> {
        self.lab.start_member(name)?;
        let mut how = None;
        Deadline::within(REFUSAL).poll(PAUSE, || {
            how = self.lab.death_of(name);
            how.is_some()
        });
        if let Some(how) = how {
            notes.push(self.judge_death(name, how));
            return self.rebuild(name);
        }
        notes.push(format!("{name} started with the damage"));
        Ok(())
    }

    /// Removes a store and starts its member, which gets it back from the others.
    fn rebuild(&mut self, name: &str) -> Result<(), String> {
        self.damaged.remove(name);
        self.lab.wipe(name)?;
        self.lab.start_member(name)
    }

    /// Members that ended by themselves: those that had a reason are started again, for all others the run has failed.
    pub(super) fn look_after_the_dead(&mut self) {
        for (name, how) in self.lab.deaths() {
            let said = self.judge_death(&name, how);
            eprintln!("  {:6} ms: {said}", self.clock.ms());
            let again = if self.damaged.contains(&name) { self.rebuild(&name) } else { self.lab.start_member(&name) };
            if let Err(why) = again {
                self.unhealthy.push(why);
            }
        }
    }

    /// Remarks on a death; it is recorded as a failure unless it was due to a fault and says what to do.
    fn judge_death(&mut self, name: &str, how: ExitStatus) -> String {
        let log = tail(self.lab.log(name), TAIL);
        let last = log.lines().rfind(|line| !line.contains(" TRACE ")).unwrap_or("nothing").to_owned();
        let said = format!("{name} ended by itself ({how}) and said: {last}");
        let excused = self.damaged.contains(name) && is_damage(how);
        if !excused {
            self.deaths.push(format!("at {} ms {said}", self.clock.ms()));
        }
        said
    }
}

/// True if a server ended because its store is damaged: its log says so, with the command that rebuilds it.
pub(super) fn is_damage(how: ExitStatus) -> bool {
    how.code() == Some(EXIT_DAMAGED)
}
