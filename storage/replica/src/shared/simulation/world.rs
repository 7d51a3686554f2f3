//! A cluster and its life.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use baton_domain::ServerName;
use baton_domain::clock::BootTime;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::check;
use super::links::Links;
use super::schedule::{Fault, Schedule, Step, Who};
use super::server::{Applications, Confirmed, Engine, Freezable, Freezer, Life, apply};
use crate::Lease;
use crate::shared::log::{Claimant, LogEntry, Position};
use crate::shared::member::{Before, Clock, Member, MemberStatus, Parts};
use crate::shared::recent::Recent;
use crate::shared::simulated::{CLUSTER, SimulatedLog, Way};
use crate::shared::timing::SharedTiming;
use crate::simulation::dice::Dice;

/// Time within which a server leads when all is whole again: a lease and the margin, on a slow clock, staggered; after a
/// connection that was cut has ended.
const LEADS: Duration = Duration::from_secs(9);
/// Time within which all have all.
const LEVEL: Duration = Duration::from_secs(5);

/// What a run did, and what it broke.
#[derive(Debug, Clone, Default)]
pub(super) struct Report {
    pub(super) broken: Vec<String>,
    pub(super) confirmed: u64,
    pub(super) entries: u64,
    pub(super) terms: u64,
    pub(super) lives: u64,
    pub(super) lost: u64,
    pub(super) refused: u64,
    pub(super) simulated: Duration,
}

impl Report {
    pub(super) fn add(&mut self, other: &Self) {
        self.confirmed += other.confirmed;
        self.entries += other.entries;
        self.terms += other.terms;
        self.lives += other.lives;
        self.lost += other.lost;
        self.refused += other.refused;
        self.simulated += other.simulated;
    }
}

/// Runs a schedule to its end.
pub(super) fn run(schedule: &Schedule) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async { Box::pin(World::new(schedule).live(schedule)).await })
}

/// A server, up or down.
struct Server {
    name: ServerName,
    clock: Clock,
    /// What survived its last life.
    kept: Vec<LogEntry>,
    before: Option<Before>,
}

struct World {
    servers: Vec<Server>,
    up: Arc<Mutex<BTreeMap<ServerName, Life>>>,
    log: SimulatedLog,
    links: Links,
    dice: Dice,
    confirmed: Confirmed,
    broken: Arc<Mutex<Vec<String>>>,
    lives: u64,
    lost: u64,
    /// The log lost commits while other things were broken.
    may_refuse: bool,
    began: Instant,
}

impl World {
    fn new(schedule: &Schedule) -> Self {
        let mut dice = Dice::new(schedule.dice);
        let began = Instant::now();
        let server = |number: u64, dice: &mut Dice| {
            let (speed, offset) = (960 + dice.below(81), 1_000_000_000_000 * (number + 1));
            let clock = move || {
                let elapsed = u64::try_from(began.elapsed().as_nanos()).unwrap();
                BootTime(offset + elapsed / 1_000 * speed)
            };
            let name = ServerName::new(format!("server{number}")).unwrap();
            Server { name, clock: Arc::new(clock), kept: Vec::new(), before: None }
        };
        Self {
            servers: (0..schedule.servers).map(|number| server(number, &mut dice)).collect(),
            up: Arc::default(),
            log: SimulatedLog::new(dice.next()),
            links: Links::new(dice.next()),
            dice,
            confirmed: Arc::default(),
            broken: Arc::default(),
            lives: 0,
            lost: 0,
            may_refuse: false,
            began,
        }
    }

    fn violation(&self, what: String) {
        self.broken.lock().unwrap().push(format!("{:?}: {what}", self.began.elapsed()));
    }

    /// Starts all that are down.
    fn restart(&mut self) {
        for number in 0..self.servers.len() {
            let name = self.servers[number].name.clone();
            if !self.up.lock().unwrap().contains_key(&name) {
                self.lives += 1;
                let life = self.begin(number, 100 + self.lives);
                self.up.lock().unwrap().insert(name, life);
            }
        }
    }

    fn begin(&mut self, number: usize, incarnation: u64) -> Life {
        let order = self.servers.iter().map(|server| server.name.clone()).collect();
        let server = &mut self.servers[number];
        let before = server.before;
        let kept = std::mem::take(&mut server.kept);
        let base = kept.last().map_or(Position::default(), LogEntry::position);
        let term = kept.last().map_or(0, |entry| entry.term);
        let (work, works) = mpsc::unbounded_channel();
        let (applied, seen) = watch::channel(base.index);
        let (commands, queue) = mpsc::unbounded_channel();
        let (lease, freezer) = (Lease::default(), Freezer::default());
        let (status, watched) = watch::channel(MemberStatus::default());
        let claimant = Claimant { server: server.name.clone(), incarnation };
        let parts = Parts {
            own: claimant,
            address: String::new(),
            cluster: CLUSTER,
            before,
            logs: Arc::new(self.log.clone()),
            others: self.links.end(server.name.clone(), incarnation),
            timing: SharedTiming::default(),
            heals: true,
            clock: server.clock.clone(),
            recent: Recent::new(base, term, 1 << 20),
            work,
            applied: seen,
            unanswered: Arc::default(),
            session: watch::Sender::new(None),
        };
        let state: Applications = Arc::new(Mutex::new(kept));
        let member = Member::new(parts, queue, lease.clone(), status).run();
        let stopping = Arc::new(AtomicBool::new(false));
        let engine = Engine {
            incarnation,
            commands: commands.clone(),
            status: watched.clone(),
            lease: lease.clone(),
            clock: server.clock.clone(),
            confirmed: self.confirmed.clone(),
            stopping: stopping.clone(),
            dice: Dice::new(self.dice.next()),
        };
        let applying = apply(works, state.clone(), applied, Dice::new(self.dice.next()));
        let all = async { tokio::join!(member, applying, engine.run()) };
        let task = Freezable::new(all, freezer.clone());
        let task = tokio::spawn(async move {
            task.await;
        });
        let _ = commands.send(crate::shared::member::Command::Order(order));
        self.links.up(server.name.clone(), incarnation, commands.clone());
        Life { incarnation, commands, status: watched, lease, state, freezer, stopping, task }
    }

    fn kill(&mut self, name: &ServerName, host: bool) {
        let Some(life) = self.up.lock().unwrap().remove(name) else { return };
        life.task.abort();
        self.links.down(name, !host);
        if host {
            // Its kernel says nothing any more.
            self.log.cut(name, Way::To);
        }
        self.log.killed(life.incarnation);
        let mut kept = life.state.lock().unwrap().clone();
        let flushed = self.dice.below(30);
        kept.truncate(kept.len().saturating_sub(usize::try_from(flushed).unwrap()));
        let server = self.servers.iter_mut().find(|server| server.name == *name).unwrap();
        server.kept = kept;
        if let Some(identity) = &life.status.borrow().identity {
            server.before = Some(Before { incarnation: life.incarnation, timeline: identity.timeline });
        }
    }

    fn name(&self, who: Who) -> ServerName {
        let leads = || {
            let up = self.up.lock().unwrap();
            up.iter().find(|(_, life)| life.status.borrow().leads).map(|(name, _)| name.clone())
        };
        let number = match who {
            Who::Holder => match leads() {
                Some(name) => return name,
                None => 0,
            },
            Who::Number(number) => number,
        };
        self.servers[usize::try_from(number).unwrap() % self.servers.len()].name.clone()
    }

    fn mend(&mut self) {
        self.log.mend();
        self.log.start();
        self.log.set_delay(300);
        self.links.mend();
        for (name, life) in self.up.lock().unwrap().iter() {
            life.freezer.set(false);
            self.links.set_frozen(name, false);
        }
        self.restart();
    }

    /// A standby takes over that lost commits; what was confirmed of them may be lost, if other things are broken.
    fn lose(&mut self, commits: usize, heals: bool) {
        let before = self.log.entries().len();
        self.log.promote(commits, BTreeSet::new());
        let after = self.log.entries().len();
        self.lost += (before - after) as u64;
        if !heals {
            self.may_refuse = true;
            self.log.forget_given();
            self.confirmed.lock().unwrap().retain(|(index, ..)| *index <= after as u64);
        }
    }

    async fn fault(&mut self, fault: &Fault) {
        match fault {
            Fault::Calm => {}
            Fault::Mend => self.mend(),
            Fault::Kill { server, host } => self.kill(&self.name(*server), *host),
            Fault::KillAll => {
                for name in self.servers.iter().map(|server| server.name.clone()).collect::<Vec<_>>() {
                    self.kill(&name, false);
                }
            }
            Fault::Restart => self.restart(),
            Fault::Freeze(who, ms) => {
                let name = self.name(*who);
                let Some(freezer) = self.up.lock().unwrap().get(&name).map(|life| life.freezer.clone()) else { return };
                freezer.set(true);
                self.links.set_frozen(&name, true);
                let (links, ms) = (self.links.clone(), *ms);
                tokio::spawn(async move {
                    sleep(Duration::from_millis(ms)).await;
                    freezer.set(false);
                    links.set_frozen(&name, false);
                });
            }
            Fault::Unlink(from, to) => self.links.cut(&self.name(*from), &self.name(*to)),
            Fault::UnlinkAll => {
                for from in &self.servers {
                    self.servers.iter().for_each(|to| self.links.cut(&from.name, &to.name));
                }
            }
            Fault::CutLog(who, to, from) => {
                let name = self.name(*who);
                for (cut, way) in [(to, Way::To), (from, Way::From)] {
                    if *cut {
                        self.log.cut(&name, way);
                    }
                }
            }
            Fault::RestartLog(ms) => {
                self.log.stop();
                let (log, ms) = (self.log.clone(), *ms);
                tokio::spawn(async move {
                    sleep(Duration::from_millis(ms)).await;
                    log.start();
                });
            }
            Fault::FreezeLog(ms) => {
                self.log.freeze(true);
                let (log, ms) = (self.log.clone(), *ms);
                tokio::spawn(async move {
                    sleep(Duration::from_millis(ms)).await;
                    log.freeze(false);
                });
            }
            Fault::EndSessions(who) => self.log.end_sessions(&self.name(*who)),
            Fault::Stick(who) => {
                let name = self.name(*who);
                if let Some(life) = self.up.lock().unwrap().get(&name) {
                    self.log.stick(life.incarnation);
                }
            }
            Fault::Promote(astray) => {
                self.log.promote(0, astray.iter().map(|who| self.name(*who)).collect());
            }
            Fault::LoseAndHeal(commits) => {
                self.mend();
                // Until somebody leads, and all servers are linked.
                sleep(LEADS).await;
                self.lose(usize::try_from(*commits).unwrap(), true);
            }
            Fault::Lose(commits) => self.lose(usize::try_from(*commits).unwrap(), false),
            Fault::Slow(delay_us, warned) => {
                self.log.set_delay(*delay_us);
                self.log.set_warned(*warned);
            }
            Fault::Give(to) => {
                let (from, to) = (self.name(Who::Holder), self.name(*to));
                if let Some(life) = self.up.lock().unwrap().get(&from).filter(|_| from != to) {
                    let _ = life.commands.send(crate::shared::member::Command::Give(Some(to)));
                }
            }
        }
    }

    /// Looks at all leases at each millisecond, and at each server that begins to lead.
    fn watch(&self) -> JoinHandle<()> {
        let clocks: BTreeMap<ServerName, Clock> =
            self.servers.iter().map(|server| (server.name.clone(), server.clock.clone())).collect();
        let (up, broken, confirmed, began) = (self.up.clone(), self.broken.clone(), self.confirmed.clone(), self.began);
        tokio::spawn(async move {
            let mut led = 0;
            loop {
                {
                    let up = up.lock().unwrap();
                    let holds = |(name, life): &(&ServerName, &Life)| life.lease.holds(clocks[*name]());
                    let holders: Vec<String> = up.iter().filter(holds).map(|(name, _)| name.to_string()).collect();
                    let mut found: Vec<String> = check::leases(&holders).into_iter().collect();
                    for (name, life) in up.iter() {
                        let status = life.status.borrow();
                        if status.leads && status.term > led {
                            led = status.term;
                            let (state, confirmed) = (life.state.lock().unwrap(), confirmed.lock().unwrap());
                            found.extend(check::has_all(name.as_str(), status.term, &state, &confirmed));
                        }
                    }
                    if !found.is_empty() {
                        broken
                            .lock()
                            .unwrap()
                            .extend(found.into_iter().map(|found| format!("{:?}: {found}", began.elapsed())));
                        return;
                    }
                }
                sleep(Duration::from_millis(1)).await;
            }
        })
    }

    fn is_regressed(&self) -> bool {
        self.up.lock().unwrap().values().any(|life| life.status.borrow().regressed.is_some())
    }

    /// The servers as they see themselves, for the words of a failure.
    fn words(&self) -> String {
        let up = self.up.lock().unwrap();
        up.iter().map(|(name, life)| format!("\n  {name}: {:?}", *life.status.borrow())).collect()
    }

    async fn live(mut self, schedule: &Schedule) -> Report {
        self.restart();
        let (watch, links) = (self.watch(), tokio::spawn(self.links.clone().watch()));
        sleep(Duration::from_millis(1_500)).await;
        for Step { fault, then_ms } in &schedule.steps {
            self.fault(fault).await;
            sleep(Duration::from_millis(*then_ms)).await;
        }
        self.mend();
        let before = self.confirmed.lock().unwrap().len();
        let confirmed = self.confirmed.clone();
        let leads = async {
            while confirmed.lock().unwrap().len() < before + 10 {
                sleep(Duration::from_millis(10)).await;
            }
        };
        let leads = timeout(LEADS, leads).await.is_ok();
        watch.abort();
        // A log that lost what only servers without memory of it had: nobody leads until an operator decides.
        let refused = !leads && self.may_refuse && self.is_regressed();
        if !refused {
            if !leads {
                self.violation(format!("all is whole and nobody leads: {}", self.words()));
            }
            self.stop_engines().await;
            self.compare();
        }
        links.abort();
        let log = self.log.entries();
        Report {
            broken: self.broken.lock().unwrap().clone(),
            confirmed: self.confirmed.lock().unwrap().len() as u64,
            entries: log.len() as u64,
            terms: log.last().map_or(0, |entry| entry.term),
            lives: self.lives,
            lost: self.lost,
            refused: refused.into(),
            simulated: self.began.elapsed(),
        }
    }

    /// Waits until nothing more is written, and all have all.
    async fn stop_engines(&self) {
        self.up.lock().unwrap().values().for_each(|life| life.stopping.store(true, Ordering::Relaxed));
        let level = async {
            loop {
                sleep(Duration::from_millis(500)).await;
                let log = self.log.entries();
                let up = self.up.lock().unwrap();
                if up.values().all(|life| life.state.lock().unwrap().last() == log.last()) {
                    break;
                }
            }
        };
        if timeout(LEVEL, level).await.is_err() {
            self.violation(format!("all is whole and not all have all: {}", self.words()));
        }
    }

    fn compare(&self) {
        let log = self.log.entries();
        let mut found = check::contents(&log, &self.confirmed.lock().unwrap());
        found.extend(self.log.broken());
        for (name, life) in self.up.lock().unwrap().iter() {
            found.extend(check::same(name.as_str(), &life.state.lock().unwrap(), &log));
        }
        found.into_iter().for_each(|found| self.violation(found));
    }
}
