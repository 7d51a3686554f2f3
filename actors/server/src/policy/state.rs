//! The policy actor's core: its memory between two observations of the cluster, and the effects that follow from them.

use std::collections::BTreeMap;
use std::time::Duration;

use baton_client::protocol::{EngineState, FailBackWait};
use baton_domain::clock::BootTime;
use baton_domain::seeded::{self, Bug};
use baton_domain::{ActivationReason, Assistance, ClusterState, ReplicaId, Role, ServerName, StopReason};
use baton_replica::Keeping;

use super::circumstances::Circumstances;
use super::decide;
use super::effect::{Effect, Outcome};
use super::health::EngineHealth;
use super::membership::{MemberView, MembershipStep, next_step};
use super::observation::{Link, Observation, started_ms};
use super::pauses::Pauses;
use super::view::{Decision, EngineHere, PolicyTiming, ServerView, View};

/// Older failed hand-overs to a server are forgotten.
const SETBACK_MEMORY: Duration = Duration::from_secs(600);

/// The policy's memory.
#[derive(Debug)]
pub struct PolicyState {
    me: ServerName,
    timing: PolicyTiming,
    started_at: BootTime,
    seen: BTreeMap<ServerName, Seen>,
    dead_since: BTreeMap<ServerName, BootTime>,
    damped_until: BTreeMap<ServerName, BootTime>,
    /// The time since which a server is caught up, while this one leads.
    caught_up_since: BTreeMap<ServerName, BootTime>,
    /// Set while this server leads.
    leads: Option<Leads>,
    /// The operator's settings and the list in force, in the last observation as leader.
    list: Option<(Assistance, Vec<ServerName>, Vec<ServerName>)>,
    place_anew: bool,
    ran_here: bool,
    circumstances: Circumstances,
    health: EngineHealth,
    /// Consecutive failed hand-overs to a server, and the end of its distrust.
    setbacks: BTreeMap<ServerName, (u32, BootTime)>,
    /// Servers that were lost repeatedly soon after they took the engine.
    pauses: Pauses,
    /// Servers to which the engine would fail back without that pause.
    waits: Vec<FailBackWait>,
    /// A server that handed over in order to shut down: it counts as down until it starts again.
    left: Option<(ServerName, u64)>,
    leaving: bool,
    /// This server shuts down, and its successor needs a moment.
    awaits_successor: bool,
    acting: bool,
    changing: bool,
    why: String,
}

/// A leadership of this server: its term, its start, and the end of the log at its start.
#[derive(Debug, Clone, Copy)]
struct Leads {
    term: u64,
    since: BootTime,
    through: u64,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    incarnation: u64,
    up_since: Option<BootTime>,
}

impl PolicyState {
    /// A policy that has seen nothing yet.
    #[must_use]
    pub fn new(me: ServerName, timing: PolicyTiming, now: BootTime) -> Self {
        Self {
            me,
            timing,
            started_at: now,
            seen: BTreeMap::new(),
            dead_since: BTreeMap::new(),
            damped_until: BTreeMap::new(),
            caught_up_since: BTreeMap::new(),
            leads: None,
            list: None,
            place_anew: false,
            ran_here: false,
            circumstances: Circumstances::default(),
            health: EngineHealth::default(),
            setbacks: BTreeMap::new(),
            pauses: Pauses::default(),
            waits: Vec::new(),
            left: None,
            leaving: false,
            awaits_successor: false,
            acting: false,
            changing: false,
            why: String::new(),
        }
    }

    /// The reason why the engine is not started, as text; empty if there is none.
    #[must_use]
    pub fn why(&self) -> &str {
        &self.why
    }

    /// The reason why this server cannot host the engine, as text.
    #[must_use]
    pub fn own_trouble(&self) -> Option<&str> {
        self.health.trouble()
    }

    /// May host as a last resort, in spite of [`Self::own_trouble`].
    #[must_use]
    pub fn hosts_at_need(&self) -> bool {
        self.health.at_need()
    }

    /// Servers to which the engine does not fail back yet, because they were lost repeatedly.
    #[must_use]
    pub fn fail_back_waits(&self) -> &[FailBackWait] {
        &self.waits
    }

    /// This server is shutting down.
    pub fn leave(&mut self) {
        self.leaving = true;
    }

    /// True if this server is shutting down.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// True if a server that shuts down may stop: no effect is in progress, and no server is about to take over.
    #[must_use]
    pub fn may_leave(&self) -> bool {
        !self.acting && !self.awaits_successor
    }

    /// Takes in the outcome of [`Effect::Activate`], [`Effect::HandOver`] or [`Effect::StopEngine`].
    pub fn acted(&mut self, outcome: Outcome, now: BootTime) {
        self.acting = false;
        match outcome {
            Outcome::Done => {}
            Outcome::HandOverFailed { to } => {
                self.damped_until.insert(to.clone(), now + self.timing.hand_over_damping);
                let before = self.setbacks.get(&to).filter(|(_, until)| now.since(*until) < SETBACK_MEMORY);
                let count = before.map_or(0, |(count, _)| *count) + 1;
                let doubled = 5 * self.timing.hand_over_damping * 2_u32.pow((count - 1).min(6));
                self.setbacks.insert(to, (count, now + doubled));
            }
            Outcome::EngineFailed { why } => self.health.failed(why, now, &self.timing),
        }
    }

    /// A step of the membership ended, with success or not.
    pub fn changed_members(&mut self) {
        self.changing = false;
    }

    /// Takes in an observation of the cluster. Returns the effects to perform.
    pub fn step(&mut self, seen: &Observation) -> Vec<Effect> {
        self.remember(seen);
        if !seen.status.leads || seen.status.failed.is_some() {
            self.leads = None;
            self.list = None;
            self.place_anew = false;
            self.awaits_successor = false;
            self.caught_up_since.clear();
            self.pauses.clear();
            self.waits.clear();
            self.why.clear();
            let runs = seen.engine.0 != EngineState::Standby && !seeded::is(Bug::FencingOff);
            return if runs { vec![Effect::Fence] } else { Vec::new() };
        }
        if !seen.lease_holds {
            match seen.status.keeping {
                Keeping::Replicas { .. } => "a majority of the voters does not answer the storage leader",
                Keeping::Log(_) => "the database does not answer the storage leader",
            }
            .clone_into(&mut self.why);
            return Vec::new();
        }
        if seen.cluster.cluster.is_none() {
            "the cluster's first entry is not committed yet".clone_into(&mut self.why);
            return Vec::new();
        }
        if !self.is_level(seen) {
            "the entries of the previous storage leader are not applied here yet".clone_into(&mut self.why);
            return Vec::new();
        }
        let mut effects = Vec::new();
        if !self.acting {
            effects.extend(self.place(seen));
            self.acting = !effects.is_empty();
        }
        if !self.changing
            && let Some(step) = self.membership(seen)
        {
            self.changing = true;
            effects.push(Effect::Membership(step));
        }
        effects
    }

    /// True if all entries are applied that the log had when this server became leader: they may change policy, hold and
    /// placement.
    fn is_level(&self, observation: &Observation) -> bool {
        self.leads.is_some_and(|leads| observation.status.applied >= leads.through)
    }

    fn remember(&mut self, observation: &Observation) {
        let now = observation.now;
        for member in &observation.cluster.members {
            let link = observation.links.get(&member.name).copied();
            match (link, self.seen.get_mut(&member.name)) {
                (Some(link), Some(seen)) if seen.incarnation == link.incarnation => {
                    seen.up_since.get_or_insert(now);
                }
                (Some(Link { incarnation, .. }), _) => {
                    self.seen.insert(member.name.clone(), Seen { incarnation, up_since: Some(now) });
                }
                (None, Some(seen)) => seen.up_since = None,
                (None, None) => {}
            }
            let alive = member.name == self.me || link.is_some() || reached_by_any(observation, &member.name);
            if alive {
                self.dead_since.remove(&member.name);
            } else {
                self.dead_since.entry(member.name.clone()).or_insert(now);
            }
        }
        if observation.status.leads {
            if self.leads.is_none_or(|leads| leads.term != observation.status.term) {
                self.leads =
                    Some(Leads { term: observation.status.term, since: now, through: observation.status.last_index });
                // Reports of reached servers went to the previous leader: the time of death starts again.
                self.dead_since.values_mut().for_each(|since| *since = now);
            }
            if self.is_level(observation) {
                self.place_anew |= self.list_changed(&observation.cluster);
            }
            self.note_caught_up(observation);
        }
        self.pauses.observe(observation, &self.timing);
        let age_ms = u64::try_from(now.since(self.started_at).as_millis()).unwrap_or(u64::MAX);
        self.circumstances.observe(&self.me, observation.unix_ms.saturating_sub(age_ms), observation);
        let serves = observation.status.leads && !self.acting && observation.cluster.stopped.is_none();
        self.health.observe(observation, serves, &self.timing);
        self.ran_here |= observation.engine.0 != EngineState::Standby;
        if let (Some(stopped), Some(placement)) = (&observation.cluster.stopped, &observation.cluster.placement)
            && stopped.reason == StopReason::Placed(ActivationReason::HandOver)
            && let Some(seen) = self.seen.get(&placement.host)
            // Not a process that started later.
            && started_ms(seen.incarnation) <= stopped.at_ms
        {
            self.left = Some((placement.host.clone(), seen.incarnation));
        }
    }

    /// True if the operator changed the list since the last observation. Servers that join or leave change it too, but
    /// that is no request to move the engine.
    fn list_changed(&mut self, cluster: &ClusterState) -> bool {
        let hosts = cluster.hosts();
        let policy = &cluster.policy;
        let now = (policy.assistance, policy.preferred.clone(), policy.preference(&hosts).to_vec());
        let Some((assistance, mut preferred, mut list)) = self.list.replace(now) else { return false };
        preferred.retain(|name| hosts.contains(name));
        list.retain(|name| hosts.contains(name));
        (assistance != policy.assistance || preferred != policy.preferred) && list != policy.preference(&hosts)
    }

    fn note_caught_up(&mut self, observation: &Observation) {
        for member in &observation.cluster.members {
            let may_lead = observation.status.may_lead(member.replica);
            if self.timing.is_caught_up(may_lead, self.lag(observation, member.replica)) {
                self.caught_up_since.entry(member.name.clone()).or_insert(observation.now);
            } else {
                self.caught_up_since.remove(&member.name);
            }
        }
    }

    /// The lag of a replica in entries, if it answered recently.
    fn lag(&self, observation: &Observation, replica: ReplicaId) -> Option<u64> {
        let follower = observation.status.followers.get(&replica)?;
        let heard_lately = follower.heard.is_some_and(|heard| observation.now.since(heard) <= self.timing.heard_within);
        heard_lately.then(|| observation.status.last_index.saturating_sub(follower.matched))
    }

    fn place(&mut self, observation: &Observation) -> Option<Effect> {
        let view = self.view(observation);
        let decision = decide(&view);
        self.waits = view.paused().filter_map(|server| self.pauses.wait(&server.name, observation)).collect();
        self.why.clear();
        self.awaits_successor = decision == Decision::AwaitSuccessor;
        match decision {
            Decision::Stay => {
                // The move is postponed while a better server catches up or just failed to take over.
                self.place_anew &= view.better_is_up();
                None
            }
            Decision::AwaitSuccessor => None,
            Decision::ActivateHere { reason } => Some(Effect::Activate { reason }),
            Decision::HandOver { to, reason } => {
                let replica = observation.cluster.member(&to)?.replica;
                Some(Effect::HandOver { to, replica, reason })
            }
            Decision::Stop { why } => {
                self.why.clone_from(&why);
                Some(Effect::StopEngine { why })
            }
            Decision::KeepStopped { why } | Decision::Wait { why } => {
                self.why = why;
                None
            }
        }
    }

    fn view(&self, observation: &Observation) -> View {
        let cluster = &observation.cluster;
        let placement = cluster.placement.as_ref();
        let current = placement.is_some_and(|placement| {
            placement.host == self.me && cluster.stopped.is_none() && observation.engine.1 == Some(placement.epoch)
        });
        let engine = match observation.engine.0 {
            EngineState::Starting | EngineState::Started if current => EngineHere::RunsHere,
            EngineState::Stopping => EngineHere::Stopping,
            EngineState::Standby | EngineState::Starting | EngineState::Started => EngineHere::Idle,
        };
        View {
            now: observation.now,
            me: self.me.clone(),
            leads_since: self.leads.map_or(observation.now, |leads| leads.since),
            started_at: self.started_at,
            servers: cluster
                .members
                .iter()
                .map(|member| self.server_view(observation, &member.name, member.role, member.replica))
                .collect(),
            policy: cluster.policy.clone(),
            hold: cluster.hold.clone(),
            last_host: placement.map(|placement| placement.host.clone()),
            last_reason: placement.map(|placement| placement.reason),
            cold_start: self.circumstances.is_cold_start(cluster.epoch()),
            policy_changed: self.circumstances.policy_changed_since(cluster.epoch()),
            ran_here: self.ran_here,
            stopped_for: cluster.stopped.as_ref().map(|stopped| match stopped.reason {
                StopReason::Placed(reason) => reason,
                StopReason::Nowhere(_) => ActivationReason::PolicyChange,
            }),
            engine,
            place_anew: self.place_anew,
            leaving: self.leaving,
            disk_fails: observation.disk_hangs(&self.timing) || observation.shortage.is_some(),
            timing: self.timing,
        }
    }

    fn server_view(&self, observation: &Observation, name: &ServerName, role: Role, replica: ReplicaId) -> ServerView {
        let status = &observation.status;
        let may_lead = status.may_lead(replica);
        if *name == self.me {
            return ServerView {
                name: name.clone(),
                role,
                up_since: Some(self.started_at),
                seen: true,
                may_lead,
                lag: Some(0),
                caught_up_since: Some(self.started_at),
                cannot_host: self.own_trouble().map(str::to_owned),
                at_need: self.hosts_at_need(),
                reported: true,
                distrusted_until: None,
                paused_until: None,
                damped_until: None,
            };
        }
        let seen = self.seen.get(name);
        let left = self.left.as_ref().is_some_and(|(left, incarnation)| {
            left == name && seen.is_some_and(|seen| seen.incarnation == *incarnation)
        });
        let leaving = observation.reports.get(name).is_some_and(|report| report.leaving);
        ServerView {
            name: name.clone(),
            role,
            up_since: seen.and_then(|seen| seen.up_since).filter(|_| !left && !leaving),
            seen: seen.is_some(),
            may_lead,
            lag: self.lag(observation, replica),
            caught_up_since: self.caught_up_since.get(name).copied(),
            cannot_host: observation.reports.get(name).and_then(|report| report.trouble.clone()),
            at_need: observation.reports.get(name).is_some_and(|report| report.at_need),
            reported: observation.reports.contains_key(name),
            distrusted_until: self.setbacks.get(name).map(|(_, until)| *until),
            paused_until: self.pauses.until(name),
            damped_until: self.damped_until.get(name).copied(),
        }
    }

    fn membership(&self, observation: &Observation) -> Option<MembershipStep> {
        let status = &observation.status;
        let (voters, learners) = status.votes()?;
        let member_view = |member: &baton_domain::Member| {
            let here = (member.name == self.me).then_some(member.replica);
            let holds = here.or_else(|| observation.links.get(&member.name).and_then(|link| link.replica));
            let behind =
                status.followers.get(&member.replica).map(|other| status.last_index.saturating_sub(other.matched));
            MemberView {
                member: member.clone(),
                holds,
                dead_since: self.dead_since.get(&member.name).copied(),
                caught_up: behind.is_some_and(|lag| lag <= self.timing.caught_up_entries),
            }
        };
        let members: Vec<_> = observation.cluster.members.iter().map(member_view).collect();
        next_step(&self.me, &members, voters, learners, self.timing.dead_voter_after, observation.now)
    }
}

fn reached_by_any(observation: &Observation, name: &ServerName) -> bool {
    observation.reports.values().any(|report| report.reaches.contains(name))
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
