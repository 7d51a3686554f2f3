//! Faults of members and of what operators do while messages flow: members that come and go, stores from an old copy,
//! other addresses, other policies; and messages as large as they may be over thin links.

use std::time::Duration;

use baton_tests::clock::Deadline;
use baton_tests::process::tail;

use super::heal::is_damage;
use super::{HealStep, Nemesis};
use crate::torture::dice::Dice;
use crate::torture::history::{FaultRecord, Producer};
use crate::torture::lab::SERVERS;
use crate::torture::operation::read;
use crate::torture::queues::LARGE;

/// Deadline of a membership change: a server that comes back must catch up first.
const CHANGE: Duration = Duration::from_secs(60);
/// Deadline of a client's end after SIGTERM: its messages have to be confirmed first.
const END: Duration = Duration::from_secs(90);
/// Time in which a server on an old copy may refuse to start.
const REFUSAL: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(50);
/// Lines of a log that are searched for the reason of an end.
const TAIL: usize = 400;
/// The thin link of large messages, in kilobits per second: from the minimum that a cluster of five is promised to work with.
const LINK_KBITS: std::ops::Range<u64> = 32_000..80_000;
/// Size of a large message, and the interval of sends, in milliseconds.
const LARGE_BYTES: &str = "900000";
const LARGE_EVERY_MS: &str = "250";
/// Number of clients that change the policy at the same time.
const POLICY_CLIENTS: u64 = 3;

impl Nemesis<'_> {
    /// A producer sends messages of nearly a mebibyte while links are thin.
    pub(super) fn large_messages(
        &mut self,
        victims: &[String],
        dice: &mut Dice,
        done: &mut FaultRecord,
    ) -> Result<Vec<HealStep>, String> {
        let kilobits = dice.within(LINK_KBITS);
        let name = format!("large-producer{}", self.clock.ms());
        done.notes.push(format!("{kilobits} kbit/s, {name}"));
        let producer = self.access.spawn_client(&["produce", LARGE, &name, LARGE_EVERY_MS, "2", LARGE_BYTES]);
        victims.iter().try_for_each(|victim| self.lab.network.thin(victim, Some(kilobits)))?;
        let mut heals: Vec<HealStep> = victims.iter().cloned().map(HealStep::Thick).collect();
        heals.push(HealStep::Large(name, producer));
        Ok(heals)
    }

    /// The producer of large messages ends, once all are confirmed.
    pub(super) fn large_sent(
        &mut self,
        name: String,
        producer: baton_tests::program::Background,
        notes: &mut Vec<String>,
    ) {
        producer.tell_to_end();
        let output = producer.wait_or_kill(END);
        let account = read(&name, &name, &output.lines);
        let (fed, queue) = (account.last_number, LARGE.to_owned());
        notes.push(format!("{fed} large messages"));
        let (code, said, confirmed) = (output.code, output.stderr, Some(fed));
        self.load.operations.extend(account.operations);
        self.load.ended.push(Producer { name, queue, fed, code, killed_ms: None, confirmed, said });
    }

    /// Several operators change the policy at the same time; half of the time the host is killed in the middle, and one
    /// of them always is.
    pub(super) fn policy_changes(&mut self, dice: &mut Dice, done: &mut FaultRecord) -> Result<Vec<HealStep>, String> {
        let list = dice.shuffled(&SERVERS).join(",");
        let set = ["--preferred", &list, "--fail-back", "false", "--preferred-only", "false", "--manual", "false"];
        self.access.ok(&[&["policy", "set", "--assistance", "none"], &set[..]].concat(), CHANGE)?;
        let register = format!("policy of {} ms", self.clock.ms());
        self.load.begins(&register, &["false", "false"]);
        let clients = (0..POLICY_CLIENTS)
            .map(|number| {
                let seed = (dice.next() % 1_000_000).to_string();
                (format!("operator{number}"), self.access.spawn_client(&["policy", &register, &seed]))
            })
            .collect();
        let mut heals = vec![HealStep::PolicyClients(clients), HealStep::Policy];
        if dice.once_in(2) {
            std::thread::sleep(Duration::from_millis(dice.within(300..1_500)));
            let host = self.access.status().ok().and_then(|status| status.host().map(str::to_owned));
            let victims: Vec<String> = host.into_iter().collect();
            done.notes.push(format!("kill of {victims:?} meanwhile"));
            self.lab.kill(&victims);
            heals.splice(0..0, victims.iter().cloned().map(HealStep::Start));
            done.victims = victims;
        }
        Ok(heals)
    }

    /// The first of them is killed, the others end.
    pub(super) fn policy_changed(&mut self, clients: Vec<(String, baton_tests::program::Background)>) {
        for (at, (name, client)) in clients.into_iter().enumerate() {
            let output = if at == 0 {
                client.kill()
            } else {
                client.tell_to_end();
                client.wait_or_kill(END)
            };
            self.load.operations.extend(read(&name, &name, &output.lines).operations);
        }
    }

    /// A member is removed while it serves, and comes back with an empty store.
    pub(super) fn member_change(&mut self, victims: &[String]) -> Result<Vec<HealStep>, String> {
        for name in victims {
            self.access.ok(&["member", "remove", name], CHANGE)?;
        }
        self.lab.kill(victims);
        victims.iter().try_for_each(|name| self.lab.wipe(name))?;
        self.damaged.retain(|name| !victims.contains(name));
        Ok(victims.iter().cloned().map(HealStep::AddMember).collect())
    }

    /// It is added, and started.
    pub(super) fn add_member(&mut self, name: &str) -> Result<(), String> {
        let mut outcome = Ok(());
        // Requests that are refused while the members change are retried.
        Deadline::within(super::HEALTHY_WITHIN).poll(Duration::from_secs(1), || {
            outcome = self.access.ok(&["member", "add", name], CHANGE).map(drop);
            outcome.is_ok()
        });
        outcome?;
        self.lab.start_member(name)
    }

    /// A member goes on for a while after its store was copied, and then has the copy.
    pub(super) fn old_copy(
        &mut self,
        victims: &[String],
        dice: &mut Dice,
        done: &mut FaultRecord,
    ) -> Result<Vec<HealStep>, String> {
        for name in victims {
            self.lab.terminate(name)?;
            let copy = self.lab.copy_store(name)?;
            self.lab.start_member(name)?;
            let ms = dice.within(1_500..5_000);
            std::thread::sleep(Duration::from_millis(ms));
            self.lab.kill(std::slice::from_ref(name));
            self.lab.restore_store(name, &copy)?;
            self.damaged.insert(name.clone());
            done.notes.push(format!("{name} has a store that is {ms} ms old"));
        }
        Ok(victims.iter().cloned().map(HealStep::StartOldCopy).collect())
    }

    /// A member with an old copy refuses, or does no harm; either way it is rebuilt.
    pub(super) fn start_old_copy(&mut self, name: &str, notes: &mut Vec<String>) -> Result<(), String> {
        self.lab.start_member(name)?;
        let mut how = None;
        Deadline::within(REFUSAL).poll(PAUSE, || {
            how = self.lab.death_of(name);
            how.is_some()
        });
        if let Some(how) = how {
            let log = tail(self.lab.log(name), TAIL);
            let said = log.lines().rfind(|line| !line.contains(" TRACE ")).unwrap_or("nothing").to_owned();
            notes.push(format!("{name} ended ({how}) and said: {said}"));
            if !is_damage(how) {
                self.deaths.push(format!("{name} on an old copy ended, and not for its store: {said}"));
            }
        } else {
            notes.push(format!("{name} started with the old copy"));
            self.lab.kill(&[name.to_owned()]);
        }
        self.damaged.remove(name);
        let mut outcome = Ok(());
        // While the others elect a leader it is refused, as it should be: an operator tries again.
        Deadline::within(super::HEALTHY_WITHIN).poll(Duration::from_secs(1), || {
            let output = self.lab.rebuild(name, CHANGE);
            outcome = match output.code {
                Some(0) => Ok(()),
                _ => Err(format!("baton rebuild of {name}: {}", output.stderr.trim())),
            };
            outcome.is_ok()
        });
        outcome?;
        self.lab.start_member(name)
    }

    /// A member is reached at another port from now on.
    pub(super) fn address_change(&mut self, victims: &[String], dice: &mut Dice) -> Result<Vec<HealStep>, String> {
        for name in victims {
            let port = 20_000 + dice.within(0..10_000);
            let address = self.lab.change_port(name, port)?;
            self.access.ok(&["member", "set-address", name, &address], CHANGE)?;
            self.lab.kill(std::slice::from_ref(name));
        }
        Ok(victims.iter().cloned().map(HealStep::Start).collect())
    }
}
