//! The begin of each kind of fault.

use std::path::Path;
use std::time::Duration;

use baton_tests::clock::Deadline;

use super::{HealStep, Nemesis};
use crate::torture::dice::Dice;
use crate::torture::history::FaultRecord;
use crate::torture::kind::Kind;
use crate::torture::lab::{SERVERS, members};
use crate::torture::load::Successor;
use crate::torture::network::{CLIENTS, Rule};
use crate::torture::schedule::{Fault, Victims};
use crate::torture::store::flip_bits;

/// Deadline of a move in the middle of faults: longer than the 30 s that `move` itself waits.
const MOVE: Duration = Duration::from_secs(40);
/// Wait for the begin of a snapshot; it may be over before it is seen.
const SNAPSHOT: Duration = Duration::from_secs(5);
/// By how much a wall clock jumps: a minute to six hours, either way.
const CLOCK_JUMP_MS: std::ops::Range<u64> = 60_000..6 * 3_600_000;
/// Deadline of a change of policy.
const POLICY: Duration = Duration::from_secs(20);

impl Nemesis<'_> {
    /// The members that a fault hits, now.
    pub(super) fn victims(&self, fault: &Fault) -> Vec<String> {
        let host = || {
            let status = self.access.status().ok();
            // Without an engine there is no host: then the first of the list is as good as any.
            status.and_then(|status| status.host().map(str::to_owned)).unwrap_or_else(|| SERVERS[0].to_owned())
        };
        match &fault.victims {
            Victims::Host => vec![host()],
            Victims::HostAnd(other) => {
                let mut victims = vec![host(), other.clone()];
                victims.dedup();
                victims
            }
            Victims::Members(names) => names.clone(),
            Victims::All => members(),
            Victims::Client | Victims::None => Vec::new(),
        }
    }

    /// Begins a fault; returns the steps that end it, in order.
    pub(super) fn make(&mut self, fault: &Fault, done: &mut FaultRecord) -> Vec<HealStep> {
        let mut dice = Dice::new(fault.seed);
        let victims = done.victims.clone();
        let heals = match fault.kind {
            Kind::KillMembers | Kind::KillHost | Kind::RestartAll => Ok(self.kill(&victims)),
            Kind::KillAtMove => Ok(self.kill_at_move(&victims, &mut dice, done)),
            Kind::KillAtStart => self.kill_at_start(&victims, &mut dice),
            Kind::FreezeHost | Kind::FreezeMembers => {
                victims.iter().for_each(|name| self.lab.freeze(name, true));
                Ok(victims.into_iter().map(HealStep::Thaw).collect())
            }
            Kind::Isolate => victims
                .iter()
                .try_for_each(|name| self.lab.network.plug(name, false))
                .map(|()| victims.into_iter().map(HealStep::Plug).collect()),
            Kind::Partition => self.firewall(partition(&victims)),
            Kind::OneWay => self.firewall(one_way(&victims, &mut dice, done)),
            Kind::PartialCut => self.firewall(partial_cut(&victims, &mut dice, done)),
            Kind::Resets => self.firewall(resets(&victims)),
            Kind::ThinLink => {
                let kilobits = dice.within(128..4_000);
                done.notes.push(format!("{kilobits} kbit/s"));
                let thin = victims.iter().try_for_each(|name| self.lab.network.thin(name, Some(kilobits)));
                thin.map(|()| victims.into_iter().map(HealStep::Thick).collect())
            }
            Kind::Terminate => self.terminate(&victims),
            Kind::Moves => {
                self.moves(&mut dice, done);
                Ok(Vec::new())
            }
            Kind::FailBack => self.fail_back(&mut dice),
            Kind::Wipe => {
                self.lab.kill(&victims);
                let wiped = victims.iter().try_for_each(|name| self.lab.wipe(name));
                victims.iter().for_each(|name| {
                    self.damaged.remove(name);
                });
                wiped.map(|()| victims.into_iter().map(HealStep::Start).collect())
            }
            Kind::KillAtSnapshot => self.kill_at_snapshot(&victims, &mut dice, done),
            Kind::BitFlip => self.bit_flip(&victims, &mut dice, done),
            Kind::DiskFull => self.disk_full(&victims, &mut dice, done),
            Kind::SlowDisk => {
                let ms = dice.within(5..400);
                done.notes.push(format!("{ms} ms a sync"));
                let slow = victims.iter().try_for_each(|name| self.lab.slow_sync(name, Some(ms)));
                slow.map(|()| victims.into_iter().map(HealStep::Fast).collect())
            }
            Kind::PowerLoss | Kind::PowerLossAll => Ok(self.power_loss(&victims, &mut dice, done)),
            Kind::ClockJump => self.clock_jump(&victims, &mut dice, done),
            Kind::LossyLink => self.firewall(lossy_link(&victims, &mut dice, done)),
            Kind::KillAtPurge => self.kill_at_purge(&victims, &mut dice, done),
            Kind::LargeMessages => self.large_messages(&victims, &mut dice, done),
            Kind::PolicyChanges => self.policy_changes(&mut dice, done),
            Kind::MemberChange => self.member_change(&victims),
            Kind::OldCopy => self.old_copy(&victims, &mut dice, done),
            Kind::AddressChange => self.address_change(&victims, &mut dice),
            Kind::KillConsumer => Ok(killed(self.load.kill_consumer(&mut dice), done)),
            Kind::KillProducer => Ok(killed(self.load.kill_producer(&mut dice), done)),
        };
        heals.unwrap_or_else(|why: String| {
            done.notes.push(format!("not made: {why}"));
            Vec::new()
        })
    }

    fn kill(&mut self, victims: &[String]) -> Vec<HealStep> {
        self.lab.kill(victims);
        victims.iter().cloned().map(HealStep::Start).collect()
    }

    fn kill_at_move(&mut self, victims: &[String], dice: &mut Dice, done: &mut FaultRecord) -> Vec<HealStep> {
        let host = victims.first().map_or("", String::as_str);
        let others: Vec<&str> = SERVERS.into_iter().filter(|name| *name != host).collect();
        let target = *dice.pick(&others);
        let command = self.access.spawn(&["move", target]);
        // The command itself takes some milliseconds to start and to connect; the hand-over then takes a few.
        let delay_ms = dice.within(10..80);
        std::thread::sleep(Duration::from_millis(delay_ms));
        let victim = if dice.once_in(3) { target } else { host }.to_owned();
        done.notes.push(format!("move to {target}, {delay_ms} ms later kill of {victim}"));
        done.victims = vec![victim];
        let mut heals = self.kill(&done.victims.clone());
        heals.push(HealStep::Command(command));
        heals
    }

    fn kill_at_start(&mut self, victims: &[String], dice: &mut Dice) -> Result<Vec<HealStep>, String> {
        for _ in 0..dice.within(1..4) {
            self.lab.kill(victims);
            std::thread::sleep(Duration::from_millis(dice.within(0..400)));
            victims.iter().try_for_each(|name| self.lab.start_member(name))?;
            std::thread::sleep(Duration::from_millis(dice.within(0..800)));
        }
        Ok(self.kill(victims))
    }

    fn terminate(&mut self, victims: &[String]) -> Result<Vec<HealStep>, String> {
        let ended = victims.iter().try_for_each(|name| self.lab.terminate(name));
        // Started again however it ended; a bad end is a death that must not be.
        if let Err(why) = ended {
            self.deaths.push(why);
        }
        Ok(victims.iter().cloned().map(HealStep::Start).collect())
    }

    fn moves(&mut self, dice: &mut Dice, done: &mut FaultRecord) {
        for _ in 0..dice.within(2..5) {
            let target = *dice.pick(&SERVERS);
            match self.access.ok(&["move", target], MOVE) {
                Ok(_) => done.notes.push(format!("moved to {target}")),
                Err(why) => done.notes.push(why),
            }
            std::thread::sleep(Duration::from_millis(dice.within(0..600)));
        }
    }

    fn fail_back(&mut self, dice: &mut Dice) -> Result<Vec<HealStep>, String> {
        let list = dice.shuffled(&SERVERS).join(",");
        let set = ["policy", "set", "--assistance", "none", "--preferred", &list, "--fail-back", "true"];
        self.access.ok(&set, POLICY).map(|_| vec![HealStep::Policy])
    }

    fn kill_at_snapshot(
        &mut self,
        victims: &[String],
        dice: &mut Dice,
        done: &mut FaultRecord,
    ) -> Result<Vec<HealStep>, String> {
        let victim = victims.first().map_or("", String::as_str);
        self.lab.kill(victims);
        self.lab.wipe(victim)?;
        self.damaged.remove(victim);
        self.lab.start_member(victim)?;
        let arriving = || has_directory(self.lab.store(victim), "incoming-");
        let seen = Deadline::within(SNAPSHOT).poll(Duration::from_millis(1), arriving);
        std::thread::sleep(Duration::from_millis(dice.within(0..40)));
        let sender = others(victims).into_iter().find(|name| has_directory(self.lab.store(name), "snapshot-"));
        if let Some(sender) = sender.filter(|_| dice.once_in(3)) {
            done.victims = vec![sender];
        }
        done.notes.push(format!(
            "a snapshot {} arriving when {:?} was killed",
            if seen { "was" } else { "was not" },
            done.victims
        ));
        Ok(self.kill(&done.victims.clone()))
    }

    fn bit_flip(
        &mut self,
        victims: &[String],
        dice: &mut Dice,
        done: &mut FaultRecord,
    ) -> Result<Vec<HealStep>, String> {
        self.lab.kill(victims);
        for name in victims {
            let bits = dice.within(1..9);
            done.notes.push(format!("{name}: {}", flip_bits(self.lab.store(name), bits, dice)?));
            self.damaged.insert(name.clone());
        }
        Ok(victims.iter().cloned().map(HealStep::StartDamaged).collect())
    }

    fn disk_full(
        &mut self,
        victims: &[String],
        dice: &mut Dice,
        done: &mut FaultRecord,
    ) -> Result<Vec<HealStep>, String> {
        // Half of the time the engine is there: then it has to refuse or to go.
        let can_host = victims.iter().all(|name| SERVERS.contains(&name.as_str()));
        if dice.once_in(2) && can_host {
            let moved = victims.iter().try_for_each(|name| self.access.ok(&["move", name], MOVE).map(|_| ()));
            done.notes.push(moved.map_or_else(|why| why, |()| "the engine was moved there first".to_owned()));
        }
        let leave_mib = if dice.once_in(2) { 0 } else { dice.within(1..60) };
        done.notes.push(format!("{leave_mib} MiB left"));
        let disk = self.lab.small_disk().ok_or("there is no small disk")?;
        disk.fill(leave_mib).map(|()| vec![HealStep::Free])
    }

    /// Once or several times; half of the time the member is killed and starts with the wrong clock.
    fn clock_jump(
        &mut self,
        victims: &[String],
        dice: &mut Dice,
        done: &mut FaultRecord,
    ) -> Result<Vec<HealStep>, String> {
        for _ in 0..dice.within(1..4) {
            let ms = i64::try_from(dice.within(CLOCK_JUMP_MS)).unwrap_or(i64::MAX);
            let offset_ms = if dice.once_in(2) { ms } else { -ms };
            victims.iter().try_for_each(|name| self.lab.wall_clock(name)?.set(offset_ms))?;
            done.notes.push(format!("the wall clock is {} s off", offset_ms / 1000));
            std::thread::sleep(Duration::from_millis(dice.within(0..800)));
        }
        if dice.once_in(2) {
            self.lab.kill(victims);
            std::thread::sleep(Duration::from_millis(dice.within(0..800)));
            victims.iter().try_for_each(|name| self.lab.start_member(name))?;
            done.notes.push("killed, and started with the wrong clock".to_owned());
        }
        Ok(victims.iter().cloned().map(HealStep::Clock).collect())
    }

    fn firewall(&mut self, rules: Vec<Rule>) -> Result<Vec<HealStep>, String> {
        self.lab.network.add_rules(&rules).map(|()| vec![HealStep::Rules(rules)])
    }
}

/// A client was killed.
fn killed(killed: Option<(String, Successor)>, done: &mut FaultRecord) -> Vec<HealStep> {
    let note = |(name, successor): (String, Successor)| {
        done.notes.push(format!("{name} was killed, for {} to come", successor.name));
        HealStep::Succeed(successor)
    };
    killed.map(note).into_iter().collect()
}

/// True if a store has a directory with that prefix.
fn has_directory(store: &Path, prefix: &str) -> bool {
    let entries = std::fs::read_dir(store).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
}

fn others(victims: &[String]) -> Vec<String> {
    members().into_iter().filter(|name| !victims.contains(name)).collect()
}

/// Nothing passes between the victims and all others; among themselves and with clients they talk.
fn partition(victims: &[String]) -> Vec<Rule> {
    let others = others(victims);
    let cut = |name: &String| {
        let both = others.iter().map(|other| [Rule::lost(name, other), Rule::lost(other, name)]);
        both.flatten().collect::<Vec<_>>()
    };
    victims.iter().flat_map(cut).collect()
}

/// Rules that drop the packets from the victims, or those to them; at or from all others, or one of them.
fn one_way(victims: &[String], dice: &mut Dice, done: &mut FaultRecord) -> Vec<Rule> {
    let mut others = others(victims);
    if dice.once_in(2) {
        others = vec![dice.pick(&others).clone()];
    }
    let mute = dice.once_in(2);
    let what = if mute { "what it sends is lost" } else { "what is sent to it is lost" };
    done.notes.push(format!("{what}, with {}", others.join(", ")));
    let rule = |victim: &String, other: &String| {
        if mute { Rule::lost(victim, other) } else { Rule::lost(other, victim) }
    };
    victims.iter().flat_map(|victim| others.iter().map(move |other| rule(victim, other))).collect()
}

/// One other server, or now and then witness, and the victims do not see each other.
fn partial_cut(victims: &[String], dice: &mut Dice, done: &mut FaultRecord) -> Vec<Rule> {
    let other = dice.pick(&others(victims)).clone();
    done.notes.push(format!("not seen by {other}"));
    let both = |victim: &String| [Rule::lost(victim, &other), Rule::lost(&other, victim)];
    victims.iter().flat_map(both).collect()
}

/// A share of the packets between the victims and all others is lost, both ways; half of the time clients are among them.
fn lossy_link(victims: &[String], dice: &mut Dice, done: &mut FaultRecord) -> Vec<Rule> {
    let percent = dice.within(1..31);
    let mut others = others(victims);
    if dice.once_in(2) {
        others.push(CLIENTS.to_owned());
    }
    done.notes.push(format!("{percent} % of the packets are lost, with {}", others.join(", ")));
    let both = |victim: &String| {
        let rules =
            others.iter().map(|other| [Rule::lossy(victim, other, percent), Rule::lossy(other, victim, percent)]);
        rules.flatten().collect::<Vec<_>>()
    };
    victims.iter().flat_map(both).collect()
}

/// The firewall of the victims answers all others with resets.
fn resets(victims: &[String]) -> Vec<Rule> {
    let others = others(victims);
    victims.iter().flat_map(|victim| others.iter().map(move |other| Rule::reset(other, victim))).collect()
}
