//! One server: the real policy core and the real engine core, and a shell told in few words. What takes the real shell
//! time (a commit, a drain, a start) takes time here too, and the server's process may sleep or die in the middle of it.

use std::collections::BTreeMap;
use std::time::Duration;

use baton_client::protocol::{EngineRequest, EngineState, ServerReport};
use baton_domain::{ActivationReason, Command, Epoch, ReplicaId, ServerName, StopReason};

use super::name;
use super::store::{Fate, Store, boot};
use crate::engine::{self, EngineConfig, Input, Now, Recorded, Release, RequestId};
use crate::policy::{Effect, Link, MembershipStep, Observation, Outcome, PolicyState, PolicyTiming};

/// As in the shells.
const LOOK_EVERY_MS: u64 = 100;
const REPORT_EVERY_MS: u64 = 500;
const SEE_MS: u64 = 1_000;
const START_MS: u64 = 30_000;
const DRAIN_MS: u64 = 5_000;
/// A link over which nothing comes back for so long is closed.
const LINK_MS: u64 = 1_000;

/// What a deed of the policy waits for.
#[derive(Debug)]
enum Stage {
    /// The engine drains.
    Draining { until: u64 },
    /// A stop is being committed.
    Stopping { proposal: u64 },
    /// It is committed, and has to show here.
    Stopped { epoch: Epoch, until: u64 },
    /// An activation is being committed.
    Activating { proposal: u64 },
    /// It is committed, and has to show here.
    Activated { epoch: Epoch, until: u64 },
    /// The engine starts.
    Starting { epoch: Epoch, until: u64 },
    /// Somebody is to take the leadership.
    Transferring { until: u64 },
    /// It came to nothing, and needs a moment.
    Resting { until: u64 },
}

/// A deed of the policy.
#[derive(Debug)]
struct Deed {
    stage: Stage,
    /// The engine that is stopped first, under that word.
    stops: Option<(Epoch, StopReason)>,
    /// Where leadership goes then.
    to: Option<(ServerName, ReplicaId)>,
}

#[derive(Debug)]
pub(super) struct Server {
    number: usize,
    pub(super) policy: PolicyState,
    pub(super) engine: engine::State,
    pub(super) incarnation: u64,
    deed: Option<Deed>,
    /// Until when a step of the membership takes.
    membership: Option<(MembershipStep, u64)>,
    opening: Option<(Epoch, u64)>,
    /// In which the engine began to start.
    term: u64,
    reports: BTreeMap<ServerName, ServerReport>,
    /// When each other server was last heard over its link, and which life of it.
    links: BTreeMap<usize, (u64, u64)>,
    next_report: u64,
    next_look: u64,
    /// The engine instance cannot start before.
    pub(super) broken_until: u64,
    pub(super) leaving: bool,
    requests: u64,
}

/// Something that left an engine.
#[derive(Debug, Clone, Copy)]
pub(super) struct Left {
    pub(super) server: usize,
    pub(super) epoch: Epoch,
}

impl Server {
    pub(super) fn new(number: usize, now: u64) -> Self {
        Self {
            number,
            policy: PolicyState::new(name(number), PolicyTiming::default(), boot(now)),
            engine: engine::State::new(EngineConfig::default()),
            incarnation: (now << 20) + number as u64,
            deed: None,
            membership: None,
            opening: None,
            term: 0,
            reports: BTreeMap::new(),
            links: BTreeMap::new(),
            next_report: 0,
            next_look: 0,
            broken_until: 0,
            leaving: false,
            requests: 0,
        }
    }

    pub(super) fn report(&self, store: &Store) -> ServerReport {
        let status = store.status(self.number);
        let view = self.engine.view();
        let cluster = &store.replicas[self.number].cluster;
        ServerReport {
            name: name(self.number),
            role: cluster.members[self.number].role,
            replica: Some(cluster.members[self.number].replica),
            engine: view.state,
            epoch: view.epoch,
            leads: status.leads,
            applied: status.applied,
            reaches: self.links.keys().map(|other| name(*other)).collect(),
            free_bytes: u64::MAX,
            trouble: self.policy.own_trouble().map(str::to_owned),
            at_need: self.policy.hosts_at_need(),
            why: String::new(),
            filling: None,
            election_max_ms: 340,
            leaving: false,
            waits: Vec::new(),
            database: None,
        }
    }

    /// One moment of a process that runs. `others` are those that answer it: their lives and their reports.
    pub(super) fn tick(&mut self, store: &mut Store, others: &BTreeMap<usize, (u64, ServerReport)>) -> Vec<Left> {
        let now = store.now;
        self.hear(now, others);
        let mut left = self.run_engine(store);
        self.perform(store);
        if now >= self.next_look {
            self.next_look = now + LOOK_EVERY_MS / 2 + store.dice.below(LOOK_EVERY_MS / 2);
            self.look(store);
            left.extend(self.release(store));
        }
        left
    }

    fn hear(&mut self, now: u64, others: &BTreeMap<usize, (u64, ServerReport)>) {
        for (other, (incarnation, _)) in others {
            if self.links.get(other).map(|(life, _)| life) != Some(incarnation) {
                self.next_look = now;
            }
            self.links.insert(*other, (*incarnation, now));
        }
        let before = self.links.len();
        self.links.retain(|_, (_, heard)| now - *heard < LINK_MS);
        if self.links.len() != before {
            self.next_look = now;
        }
        if now >= self.next_report {
            self.next_report = now + REPORT_EVERY_MS;
            self.reports = others.iter().map(|(other, (_, report))| (name(*other), report.clone())).collect();
        }
        let links = &self.links;
        self.reports.retain(|server, _| links.keys().any(|other| name(*other) == *server));
    }

    fn step(&mut self, store: &Store, input: Input) {
        let now = Now { boot: boot(store.now), unix_ms: store.now, lease_until: boot(self.lease_until(store)) };
        let mut effects = Vec::new();
        self.engine.step(input, now, &mut effects);
        for effect in effects {
            match effect {
                // Reading a store takes a while.
                engine::Effect::Open { epoch } => {
                    self.opening = Some((epoch, store.now + 30));
                    self.term = store.replicas[self.number].term;
                }
                engine::Effect::View(_) => self.next_look = store.now,
                engine::Effect::Commit { .. }
                | engine::Effect::ReadPage { .. }
                | engine::Effect::FindIdleProducers { .. }
                | engine::Effect::TransactionTimedOut { .. }
                | engine::Effect::FindTimers { .. }
                | engine::Effect::ReadQueues { .. }
                | engine::Effect::Refuse { .. } => {}
            }
        }
    }

    fn run_engine(&mut self, store: &Store) -> Vec<Left> {
        let now = store.now;
        if let Some((epoch, at)) = self.opening
            && now >= at
        {
            self.opening = None;
            let broken = now < self.broken_until;
            let recorded = if broken { Err("broken".to_owned()) } else { Ok(Recorded::default()) };
            self.step(store, Input::Opened { epoch, recorded });
        }
        let Some(epoch) = self.engine.view().epoch else { return Vec::new() };
        let replica = &store.replicas[self.number];
        if !replica.leads || replica.term != self.term {
            self.step(store, Input::LeadershipLost { epoch, why: "it does not lead".to_owned() });
        }
        // Somebody always wants an answer: what leaves the gate shows that it is open.
        self.requests += 1;
        let request = RequestId(self.requests);
        let (from, body) = ("client".to_owned(), EngineRequest::ListQueues);
        self.step(store, Input::Request { request, from, connection: Some(1), body });
        self.step(store, Input::Tick);
        let left = self.release(store);
        self.step(store, Input::Flush);
        left
    }

    /// The engine's: of its own term.
    fn lease_until(&self, store: &Store) -> u64 {
        let replica = &store.replicas[self.number];
        if replica.term == self.term { replica.lease_until } else { 0 }
    }

    fn release(&mut self, store: &Store) -> Vec<Left> {
        let until = boot(self.lease_until(store));
        let mut left = Vec::new();
        while let Some(release) = self.engine.release(boot(store.now), until) {
            let Some(epoch) = self.engine.view().epoch else { panic!("{release:?} left an engine on standby") };
            assert!(matches!(release, Release::Reply { .. }), "nobody consumes here");
            left.push(Left { server: self.number, epoch });
        }
        left
    }

    fn look(&mut self, store: &mut Store) {
        let now = store.now;
        let cluster = store.replicas[self.number].cluster.clone();
        let link = |(other, (incarnation, _)): (&usize, &(u64, u64))| {
            let replica = Some(cluster.members[*other].replica);
            (name(*other), Link { incarnation: *incarnation, replica })
        };
        let view = self.engine.view();
        let observation = Observation {
            now: boot(now),
            unix_ms: now,
            status: store.status(self.number),
            waits: Duration::ZERO,
            shortage: None,
            lease_holds: now < store.replicas[self.number].lease_until,
            engine: (view.state, view.epoch),
            engine_why: view.why.clone(),
            engine_missing: false,
            links: self.links.iter().map(link).collect(),
            reports: if store.replicas[self.number].leads { self.reports.clone() } else { BTreeMap::new() },
            cluster,
        };
        for effect in self.policy.step(&observation) {
            match effect {
                Effect::Activate { reason } => {
                    let proposal = store.propose(self.number, self.activation(reason, now));
                    self.begin(Stage::Activating { proposal }, None, None);
                }
                Effect::HandOver { to, replica, reason } => {
                    self.stop_first(store, StopReason::Placed(reason), Some((to, replica)));
                }
                Effect::StopEngine { why } => self.stop_first(store, StopReason::Nowhere(why), None),
                Effect::Fence => self.step(store, Input::Stop { drain: false, why: "it does not lead".to_owned() }),
                Effect::Membership(step) => self.membership = Some((step, now + 20)),
            }
        }
    }

    fn activation(&self, reason: ActivationReason, now: u64) -> Command {
        Command::Activate { host: name(self.number), reason, at_ms: now }
    }

    fn begin(&mut self, stage: Stage, stops: Option<(Epoch, StopReason)>, to: Option<(ServerName, ReplicaId)>) {
        assert!(self.deed.is_none(), "one deed is under way at a time: {:?}", self.deed);
        self.deed = Some(Deed { stage, stops, to });
    }

    fn stop_first(&mut self, store: &Store, reason: StopReason, to: Option<(ServerName, ReplicaId)>) {
        let epoch = self.engine.view().epoch;
        if epoch.is_some() {
            self.step(store, Input::Stop { drain: true, why: reason.to_string() });
        }
        let stops = epoch.map(|epoch| (epoch, reason));
        self.begin(Stage::Draining { until: store.now + DRAIN_MS }, stops, to);
    }

    /// Whether this server leads and that activation is the newest and not stopped.
    fn is_current(&self, store: &Store, epoch: Epoch) -> bool {
        let replica = &store.replicas[self.number];
        replica.leads && replica.cluster.epoch() == epoch && replica.cluster.stopped.is_none()
    }

    /// Takes a deed on as far as it goes now.
    fn perform(&mut self, store: &mut Store) {
        let now = store.now;
        if let Some((step, at)) = &self.membership
            && now >= *at
        {
            store.change_members(self.number, step);
            self.membership = None;
            self.policy.changed_members();
        }
        let Some(mut deed) = self.deed.take() else { return };
        let cluster = store.replicas[self.number].cluster.clone();
        let standby = self.engine.view().state == EngineState::Standby;
        let outcome = match deed.stage {
            Stage::Draining { until } if !standby && now < until => None,
            Stage::Draining { .. } => match &deed.stops {
                Some((epoch, reason)) => {
                    let stop = Command::Stop { epoch: *epoch, reason: reason.clone(), at_ms: now };
                    deed.stage = Stage::Stopping { proposal: store.propose(self.number, stop) };
                    None
                }
                None => self.transfer(store, &mut deed),
            },
            Stage::Stopping { proposal } => match (store.fate(proposal), &deed.stops) {
                (Fate::Committed(_), Some((epoch, _))) => {
                    deed.stage = Stage::Stopped { epoch: *epoch, until: now + SEE_MS };
                    None
                }
                (Fate::Pending, _) => None,
                (Fate::Committed(_) | Fate::Lost, _) => self.transfer(store, &mut deed),
            },
            Stage::Stopped { epoch, until } => {
                let shows = cluster.stopped.is_some() || cluster.epoch() > epoch;
                if shows || now >= until { self.transfer(store, &mut deed) } else { None }
            }
            Stage::Activating { proposal } => {
                match store.fate(proposal) {
                    Fate::Committed(index) => {
                        let epoch = Epoch { generation: 0, index };
                        deed.stage = Stage::Activated { epoch, until: now + SEE_MS };
                    }
                    Fate::Lost => deed.stage = Stage::Resting { until: now + 20 },
                    Fate::Pending => {}
                }
                None
            }
            Stage::Activated { epoch, until } if cluster.epoch() < epoch && now < until => None,
            Stage::Activated { epoch, .. } if self.is_current(store, epoch) => {
                self.step(store, Input::Start { epoch });
                deed.stage = Stage::Starting { epoch, until: now + START_MS };
                None
            }
            Stage::Activated { .. } => Some(Outcome::Done),
            Stage::Starting { epoch, until } => match (self.engine.view().state, self.engine.view().epoch) {
                (EngineState::Started | EngineState::Stopping, Some(started)) if started == epoch => {
                    Some(Outcome::Done)
                }
                (EngineState::Starting, _) if now < until => None,
                _ if !self.is_current(store, epoch) => Some(Outcome::Done),
                _ => Some(Outcome::EngineFailed { why: self.engine.view().why.clone() }),
            },
            Stage::Transferring { until } => {
                let leader = store.status(self.number).leader;
                let (to, replica) = deed.to.clone().expect("somebody is to take it");
                match leader {
                    Some(leader) if leader == replica => Some(Outcome::Done),
                    _ if now >= until => Some(Outcome::HandOverFailed { to }),
                    _ => None,
                }
            }
            Stage::Resting { until } => (now >= until).then_some(Outcome::Done),
        };
        match outcome {
            Some(outcome) => {
                self.policy.acted(outcome, boot(now));
                self.next_look = now;
            }
            None => self.deed = Some(deed),
        }
    }

    /// The engine is stopped: leadership goes where it is to go, if anywhere.
    fn transfer(&mut self, store: &mut Store, deed: &mut Deed) -> Option<Outcome> {
        let Some((to, replica)) = deed.to.clone() else { return Some(Outcome::Done) };
        match store.hand_over(self.number, replica) {
            Ok(until) => {
                deed.stage = Stage::Transferring { until };
                None
            }
            Err(()) => Some(Outcome::HandOverFailed { to }),
        }
    }
}
