//! The policy actor's core: what it remembers between two looks at the cluster, and the effects it asks for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use baton_storage::clock::BootTime;
use baton_storage::{ActivationReason, ClusterState, Epoch, Progress, ReplicaId, Role, ServerName, StoreStatus};

use super::decide;
use super::membership::{MemberView, MembershipStep, next_step};
use super::view::{Decision, EngineHere, PolicyTiming, ServerView, View};
use crate::protocol::{EngineState, ServerReport};

/// A live link to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Drawn at each start of the process.
    pub incarnation: u64,
    /// The replica that it holds.
    pub replica: Option<ReplicaId>,
}

/// What the shell saw, all at one moment.
#[derive(Debug, Clone)]
pub struct Observation {
    /// When.
    pub now: BootTime,
    /// The store's status.
    pub status: StoreStatus,
    /// Whether the lease under which this server leads holds: before, nothing can be committed.
    pub lease_holds: bool,
    /// The replicated facts.
    pub cluster: Arc<ClusterState>,
    /// The engine instance here, and its epoch unless it is standby.
    pub engine: (EngineState, Option<Epoch>),
    /// Live links to servers, by name.
    pub links: BTreeMap<ServerName, Link>,
    /// The newest report of each server that answered lately.
    pub reports: BTreeMap<ServerName, ServerReport>,
}

/// What the policy asks its shell to do. One of the first three is under way at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Commit an activation for this server and start the instance.
    Activate {
        /// Why.
        reason: ActivationReason,
    },
    /// Stop the engine here if it runs, and hand leadership over.
    HandOver {
        /// Where to.
        to: ServerName,
        /// Its replica.
        replica: ReplicaId,
        /// Why.
        reason: ActivationReason,
    },
    /// Stop the engine here, on purpose.
    StopEngine {
        /// Why, in words.
        why: String,
    },
    /// Stop the engine here at once: this server does not lead.
    Fence,
    /// Change who votes.
    Membership(MembershipStep),
}

/// What came of an effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was done, or is no longer asked for.
    Done,
    /// The hand-over failed: try another way for a while.
    HandOverFailed {
        /// To whom.
        to: ServerName,
    },
    /// The engine instance could not start here.
    EngineFailed {
        /// Why, in words.
        why: String,
    },
}

/// What the policy remembers.
#[derive(Debug)]
pub struct PolicyState {
    me: ServerName,
    timing: PolicyTiming,
    started_at: BootTime,
    seen: BTreeMap<ServerName, Seen>,
    dead_since: BTreeMap<ServerName, BootTime>,
    damped_until: BTreeMap<ServerName, BootTime>,
    /// The term that this server leads in, and since when.
    leads: Option<(u64, BootTime)>,
    /// The list in force when it was last looked at while leading.
    list: Option<Vec<ServerName>>,
    place_anew: bool,
    ran_here: bool,
    own_trouble: Option<(String, BootTime)>,
    /// A server that handed over to shut down: down for the policy until it is started again.
    left: Option<(ServerName, u64)>,
    leaving: bool,
    acting: bool,
    changing: bool,
    why: String,
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
            leads: None,
            list: None,
            place_anew: false,
            ran_here: false,
            own_trouble: None,
            left: None,
            leaving: false,
            acting: false,
            changing: false,
            why: String::new(),
        }
    }

    /// Why the engine is not started, in words; empty if there is nothing to say.
    #[must_use]
    pub fn why(&self) -> &str {
        &self.why
    }

    /// Why this server cannot host the engine, in words.
    #[must_use]
    pub fn own_trouble(&self) -> Option<&str> {
        self.own_trouble.as_ref().map(|(why, _)| why.as_str())
    }

    /// This server is shutting down.
    pub fn leave(&mut self) {
        self.leaving = true;
    }

    /// Whether the engine or the leadership is on its way.
    #[must_use]
    pub fn acting(&self) -> bool {
        self.acting
    }

    /// Takes in what came of [`Effect::Activate`], [`Effect::HandOver`] or [`Effect::StopEngine`].
    pub fn acted(&mut self, outcome: Outcome, now: BootTime) {
        self.acting = false;
        match outcome {
            Outcome::Done => {}
            Outcome::HandOverFailed { to } => {
                self.damped_until.insert(to, now + self.timing.hand_over_damping);
            }
            Outcome::EngineFailed { why } => self.own_trouble = Some((why, now + self.timing.engine_failure_cooldown)),
        }
    }

    /// A step of the membership ended, well or not.
    pub fn changed_members(&mut self) {
        self.changing = false;
    }

    /// Looks at the cluster and says what to do.
    pub fn step(&mut self, seen: &Observation) -> Vec<Effect> {
        self.remember(seen);
        if !seen.status.leads || seen.status.failed.is_some() {
            self.leads = None;
            self.list = None;
            self.place_anew = false;
            self.why.clear();
            let runs = seen.engine.0 != EngineState::Standby;
            return if runs { vec![Effect::Fence] } else { Vec::new() };
        }
        if !seen.lease_holds {
            "a majority of the voters does not answer the storage leader".clone_into(&mut self.why);
            return Vec::new();
        }
        if seen.cluster.cluster.is_none() {
            "the cluster's first entry is not committed yet".clone_into(&mut self.why);
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
            if self.leads.is_none_or(|(term, _)| term != observation.status.term) {
                self.leads = Some((observation.status.term, now));
                // What others reached was reported to the leader before: death counts anew.
                self.dead_since.values_mut().for_each(|since| *since = now);
            }
            let hosts = observation.cluster.hosts();
            let list = observation.cluster.policy.preference(&hosts).to_vec();
            if self.list.as_ref().is_some_and(|before| *before != list) {
                self.place_anew = true;
            }
            self.list = Some(list);
        }
        if self.own_trouble.as_ref().is_some_and(|(_, until)| now >= *until) {
            self.own_trouble = None;
        }
        self.ran_here |= observation.engine.0 != EngineState::Standby;
        if let (Some(stopped), Some(placement)) = (&observation.cluster.stopped, &observation.cluster.placement)
            && stop_reason(&stopped.reason) == Some(ActivationReason::HandOver)
            && let Some(seen) = self.seen.get(&placement.host)
        {
            self.left = Some((placement.host.clone(), seen.incarnation));
        }
    }

    fn place(&mut self, observation: &Observation) -> Option<Effect> {
        let view = self.view(observation);
        let decision = decide(&view);
        self.why.clear();
        match decision {
            Decision::Stay => {
                // While a hand-over that failed is damped, the better place is only put off.
                self.place_anew &= self.damped_until.values().any(|until| observation.now < *until);
                None
            }
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
            leads_since: self.leads.map_or(observation.now, |(_, since)| since),
            started_at: self.started_at,
            servers: cluster
                .members
                .iter()
                .map(|member| self.server_view(observation, &member.name, member.role, member.replica))
                .collect(),
            policy: cluster.policy.clone(),
            hold: cluster.hold.clone(),
            last_host: placement.map(|placement| placement.host.clone()),
            ran_here: self.ran_here,
            stopped_for: cluster.stopped.as_ref().and_then(|stopped| stop_reason(&stopped.reason)),
            engine,
            place_anew: self.place_anew,
            leaving: self.leaving,
            timing: self.timing,
        }
    }

    fn server_view(&self, observation: &Observation, name: &ServerName, role: Role, replica: ReplicaId) -> ServerView {
        let status = &observation.status;
        let votes = status.voters.contains(&replica);
        if *name == self.me {
            return ServerView {
                name: name.clone(),
                role,
                up_since: Some(self.started_at),
                seen: true,
                votes,
                lag: Some(0),
                cannot_host: self.own_trouble.as_ref().map(|(why, _)| why.clone()),
                damped_until: None,
            };
        }
        let seen = self.seen.get(name);
        let left = self.left.as_ref().is_some_and(|(left, incarnation)| {
            left == name && seen.is_some_and(|seen| seen.incarnation == *incarnation)
        });
        let progress = status.progress.get(&replica);
        ServerView {
            name: name.clone(),
            role,
            up_since: seen.and_then(|seen| seen.up_since).filter(|_| !left),
            seen: seen.is_some(),
            votes,
            lag: progress
                .filter(|progress| self.heard_lately(progress, observation.now))
                .map(|progress| status.last_index.saturating_sub(progress.matched)),
            cannot_host: observation.reports.get(name).and_then(|report| report.trouble.clone()),
            damped_until: self.damped_until.get(name).copied(),
        }
    }

    fn heard_lately(&self, progress: &Progress, now: BootTime) -> bool {
        progress.heard.is_some_and(|heard| now.since(heard) <= self.timing.heard_within)
    }

    fn membership(&self, observation: &Observation) -> Option<MembershipStep> {
        let status = &observation.status;
        let member_view = |member: &baton_storage::Member| {
            let here = (member.name == self.me).then_some(member.replica);
            let holds = here.or_else(|| observation.links.get(&member.name).and_then(|link| link.replica));
            let behind =
                status.progress.get(&member.replica).map(|progress| status.last_index.saturating_sub(progress.matched));
            MemberView {
                member: member.clone(),
                holds,
                dead_since: self.dead_since.get(&member.name).copied(),
                caught_up: behind.is_some_and(|lag| lag <= self.timing.caught_up_entries),
            }
        };
        let members: Vec<_> = observation.cluster.members.iter().map(member_view).collect();
        let (voters, learners): (&BTreeSet<_>, &BTreeSet<_>) = (&status.voters, &status.learners);
        next_step(&self.me, &members, voters, learners, self.timing.dead_voter_after, observation.now)
    }
}

fn reached_by_any(observation: &Observation, name: &ServerName) -> bool {
    observation.reports.values().any(|report| report.reaches.contains(name))
}

/// The word under which a planned stop records where the engine is going: the same as in JSON.
#[must_use]
pub fn reason_word(reason: ActivationReason) -> &'static str {
    match reason {
        ActivationReason::Start => "start",
        ActivationReason::FailOver => "fail-over",
        ActivationReason::FailBack => "fail-back",
        ActivationReason::Move => "move",
        ActivationReason::PolicyChange => "policy-change",
        ActivationReason::HandOver => "hand-over",
        ActivationReason::EngineFailed => "engine-failed",
    }
}

fn stop_reason(word: &str) -> Option<ActivationReason> {
    [ActivationReason::FailBack, ActivationReason::Move, ActivationReason::PolicyChange, ActivationReason::HandOver]
        .into_iter()
        .find(|reason| reason_word(*reason) == word)
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
