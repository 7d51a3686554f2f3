//! The policy actor: gathers the core's observations, and performs its effects.

mod executor;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use baton_client::peers::{PeerKind, Peers};
use baton_client::protocol::{
    DirectoryReply, DirectoryRequest, EngineState, FailBackWait, PlacementNews, ServerReport, decode, encode,
};
use baton_client::wire::Service;
use baton_domain::clock::{BootTime, unix_ms};
use baton_domain::{ClusterState, ReplicaId, ServerName, StopReason, majority};
use baton_replica::Store;
use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, RpcReplyPort};
use ractor_cluster_derive::RactorMessage;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use super::effect::{Effect, Outcome};
use super::observation::{Link, Observation};
use super::state::PolicyState;
use super::view::PolicyTiming;
use crate::engine::{EngineMessage, EngineView};
use crate::slot::Slot;
use executor::Executor;

/// Interval of observations without an event, for changes that only time causes.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Minimum time between two observations, unless the engine is about to start here: a busy store changes its status with
/// every entry.
const LOOK_AT_MOST_EVERY: Duration = Duration::from_millis(4);
/// Interval at which the storage leader asks the other servers for their reports.
const REPORT_EVERY: Duration = Duration::from_millis(500);
/// Time limit of a report.
const REPORT_TIMEOUT: Duration = Duration::from_millis(400);

/// Messages of the policy actor.
#[derive(RactorMessage)]
pub enum PolicyMessage {
    /// Something may have changed: observe. The answer is true if the next change is urgent.
    Look(Option<RpcReplyPort<bool>>),
    /// An activation, a hand-over or a stop ended, with success or not.
    Acted(Outcome),
    /// A step of the membership ended.
    ChangedMembers,
    /// A server's report; `None` if it did not answer.
    Report(ServerName, Option<Box<ServerReport>>),
    /// It is time to ask for reports.
    AskReports,
    /// This server is shutting down: hand over first. Answered when that is done or impossible.
    Leave(RpcReplyPort<()>),
}

/// The policy's news for the rest of its server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyNews {
    /// The reason why the engine is not started, as text; empty if this server does not lead or there is none.
    pub why: String,
    /// The reason why this server cannot host the engine, as text.
    pub own_trouble: Option<String>,
    /// May host as a last resort.
    pub hosts_at_need: bool,
    /// True if this server is shutting down.
    pub leaving: bool,
    /// Servers to which the engine does not fail back yet, because they were lost repeatedly.
    pub waits: Vec<FailBackWait>,
    /// The newest report of each server; kept only on the storage leader.
    pub reports: BTreeMap<ServerName, ServerReport>,
}

/// Arguments of the policy actor.
pub struct PolicyArguments {
    /// This server.
    pub me: ServerName,
    /// The store.
    pub store: Store,
    /// The live links.
    pub peers: Peers,
    /// The engine instance.
    pub engine: Slot<EngineMessage>,
    /// The state of the engine instance.
    pub engine_view: watch::Receiver<EngineView>,
    /// Receives the news.
    pub news: watch::Sender<PolicyNews>,
    /// Times and bounds.
    pub timing: PolicyTiming,
}

/// The policy actor.
pub struct PolicyActor;

/// The policy actor's state.
pub struct PolicyShell {
    with: PolicyArguments,
    core: PolicyState,
    reports: BTreeMap<ServerName, ServerReport>,
    leave: Option<RpcReplyPort<()>>,
    tasks: Vec<JoinHandle<()>>,
    said: String,
    /// True if this server led at the last observation.
    led: bool,
    /// The last news, and the engine instance that got it.
    told: Option<(ActorId, PlacementNews)>,
}

impl Actor for PolicyActor {
    type Msg = PolicyMessage;
    type State = PolicyShell;
    type Arguments = PolicyArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<PolicyMessage>,
        with: PolicyArguments,
    ) -> Result<PolicyShell, ActorProcessingErr> {
        let core = PolicyState::new(with.me.clone(), with.timing, BootTime::now());
        let tasks = vec![
            tokio::spawn(look_on_change(
                myself.clone(),
                with.store.clone(),
                with.peers.clone(),
                with.engine_view.clone(),
            )),
            myself.send_interval(LOOK_EVERY, || PolicyMessage::Look(None)),
            myself.send_interval(REPORT_EVERY, || PolicyMessage::AskReports),
        ];
        Ok(PolicyShell {
            with,
            core,
            reports: BTreeMap::new(),
            leave: None,
            tasks,
            said: String::new(),
            led: false,
            told: None,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<PolicyMessage>,
        message: PolicyMessage,
        shell: &mut PolicyShell,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            PolicyMessage::Look(reply) => {
                let urgent = shell.look(&myself);
                match reply {
                    Some(reply) => drop(reply.send(urgent)),
                    // From the timer.
                    None => shell.tell_space(),
                }
            }
            PolicyMessage::Acted(outcome) => {
                if let Outcome::EngineFailed { why } = &outcome {
                    warn!(%why, "the engine cannot start here");
                }
                shell.core.acted(outcome, BootTime::now());
                shell.look(&myself);
            }
            PolicyMessage::ChangedMembers => {
                shell.core.changed_members();
                shell.look(&myself);
            }
            PolicyMessage::Report(name, Some(report)) => {
                // A new leader may wait for the first report of a server.
                if shell.reports.insert(name, *report).is_none() {
                    shell.look(&myself);
                }
            }
            PolicyMessage::Report(name, None) => {
                shell.reports.remove(&name);
            }
            PolicyMessage::AskReports => shell.ask_reports(&myself),
            PolicyMessage::Leave(reply) => {
                shell.core.leave();
                shell.leave = Some(reply);
                shell.look(&myself);
            }
        }
        Ok(())
    }

    async fn post_stop(&self, _: ActorRef<PolicyMessage>, shell: &mut PolicyShell) -> Result<(), ActorProcessingErr> {
        shell.tasks.iter().for_each(JoinHandle::abort);
        Ok(())
    }
}

impl PolicyShell {
    /// Observes, and performs the effects. Returns true if the engine is about to start here.
    fn look(&mut self, myself: &ActorRef<PolicyMessage>) -> bool {
        // The report of a server that is gone is outdated.
        let (leads, peers) = (self.with.store.status().borrow().leads, &self.with.peers);
        self.reports.retain(|name, _| leads && peers.server(name.as_str()).is_some());
        let observation = self.observe();
        let effects = self.core.step(&observation);
        let leads = observation.status.leads;
        let may_leave = self.core.may_leave();
        for effect in effects {
            self.perform(effect, myself);
        }
        if leads && !self.led {
            // A new leader does not know yet which servers cannot host the engine.
            self.ask_reports(myself);
        }
        self.led = leads;
        self.tell();
        self.tell_engine(&observation.cluster);
        if may_leave && let Some(reply) = self.leave.take() {
            let _ = reply.send(());
        }
        leads && observation.engine.0 != EngineState::Started
    }

    fn observe(&self) -> Observation {
        let engine = self.with.engine_view.borrow().clone();
        let servers = self.with.peers.all().into_iter().filter(|peer| peer.info().kind == PeerKind::Server);
        let links = servers.filter_map(|peer| {
            let name = ServerName::new(&peer.info().name).ok()?;
            Some((name, Link { incarnation: peer.info().incarnation, replica: peer.info().replica }))
        });
        let now = BootTime::now();
        Observation {
            now,
            unix_ms: unix_ms(),
            lease_holds: self.with.store.lease().holds(now),
            status: self.with.store.status().borrow().clone(),
            cluster: self.with.store.cluster().borrow().clone(),
            engine: (engine.state, engine.epoch),
            engine_why: engine.why,
            engine_missing: self.with.engine.get().is_none(),
            waits: self.with.store.waits(),
            shortage: self.with.store.shortage(),
            links: links.filter(|(name, _)| *name != self.with.me).collect(),
            reports: self.reports.clone(),
        }
    }

    fn tell(&mut self) {
        let why = self.core.why().to_owned();
        if why != self.said {
            if !why.is_empty() {
                info!(%why, "the engine is not started");
            }
            self.said.clone_from(&why);
        }
        let own_trouble = self.core.own_trouble().map(str::to_owned);
        let news = PolicyNews {
            why,
            own_trouble,
            hosts_at_need: self.core.hosts_at_need(),
            leaving: self.core.is_leaving(),
            waits: self.core.fail_back_waits().to_vec(),
            reports: self.reports.clone(),
        };
        self.with.news.send_if_modified(|old| {
            let changed = *old != news;
            *old = news;
            changed
        });
    }

    /// Tells the engine instance where the engine is, for its clients. A restarted instance is told again.
    fn tell_engine(&mut self, cluster: &ClusterState) {
        let Some(engine) = self.with.engine.get() else { return };
        let now = (engine.get_id(), PlacementNews::of(cluster));
        if self.told.as_ref() != Some(&now) && engine.cast(EngineMessage::News(now.1.clone())).is_ok() {
            self.told = Some(now);
        }
    }

    /// Tells the engine the free space for messages: this server writes each of them, and so does a majority of the voters
    /// where replicas vote.
    fn tell_space(&self) {
        let status = self.with.store.status().borrow().clone();
        if !status.leads {
            return;
        }
        let own = self.with.store.header().replica;
        let reported = self.reports.values().filter_map(|report| Some((report.replica?, report.free_bytes)));
        let known: BTreeMap<ReplicaId, u64> = reported.chain([(own, self.with.store.free_bytes())]).collect();
        let free_bytes = match (self.with.store.shortage(), status.votes()) {
            (Some(_), _) => Some(0),
            (None, Some((voters, _))) => room_of_majority(voters, &known),
            (None, None) => known.get(&own).copied(),
        };
        let Some(free_bytes) = free_bytes else { return };
        // Without an engine instance no message arrives.
        let _ = self.with.engine.cast(EngineMessage::Space { free_bytes });
    }

    fn ask_reports(&self, myself: &ActorRef<PolicyMessage>) {
        if !self.with.store.status().borrow().leads {
            return;
        }
        for peer in self.with.peers.all() {
            let Ok(name) = ServerName::new(&peer.info().name) else { continue };
            if peer.info().kind != PeerKind::Server || name == self.with.me {
                continue;
            }
            let myself = myself.clone();
            tokio::spawn(async move {
                let reply = peer.call(Service::Directory, encode(&DirectoryRequest::Report), REPORT_TIMEOUT).await;
                let report = match reply.ok().and_then(|bytes| decode(&bytes).ok()) {
                    Some(DirectoryReply::Report(report)) => Some(report).filter(|report| report.name == name),
                    Some(_) | None => None,
                };
                let _ = myself.cast(PolicyMessage::Report(name, report.map(Box::new)));
            });
        }
    }

    fn perform(&self, effect: Effect, myself: &ActorRef<PolicyMessage>) {
        let executor = Executor {
            me: self.with.me.clone(),
            store: self.with.store.clone(),
            engine: self.with.engine.clone(),
            peers: self.with.peers.clone(),
        };
        let epoch = self.with.engine_view.borrow().epoch;
        let myself = myself.clone();
        tokio::spawn(async move {
            let done = match effect {
                Effect::Activate { reason } => PolicyMessage::Acted(executor.activate(reason).await),
                Effect::HandOver { to, replica, reason } => {
                    PolicyMessage::Acted(executor.hand_over(to, replica, reason, epoch).await)
                }
                Effect::StopEngine { why } => {
                    executor.stop_engine(StopReason::Nowhere(why), epoch).await;
                    PolicyMessage::Acted(Outcome::Done)
                }
                Effect::Fence => return executor.stop_at_once("this server does not lead the store"),
                Effect::Membership(step) => {
                    executor.change_members(step).await;
                    PolicyMessage::ChangedMembers
                }
            };
            let _ = myself.cast(done);
        });
    }
}

/// The free space that every voter of some majority has; the majority with the most space counts. `None` while less than
/// a majority is `known`.
fn room_of_majority(voters: &BTreeSet<ReplicaId>, known: &BTreeMap<ReplicaId, u64>) -> Option<u64> {
    let mut free: Vec<u64> = voters.iter().filter_map(|voter| known.get(voter).copied()).collect();
    free.sort_unstable_by(|one, other| other.cmp(one));
    free.get(majority(voters.len()) - 1).copied()
}

/// Makes the policy observe after each change. Waits for each observation, so that changes never pile up.
async fn look_on_change(
    policy: ActorRef<PolicyMessage>,
    store: Store,
    peers: Peers,
    mut engine: watch::Receiver<EngineView>,
) {
    let (mut status, mut cluster, mut events) = (store.status(), store.cluster(), peers.subscribe());
    loop {
        let goes_on = tokio::select! {
            changed = status.changed() => changed.is_ok(),
            changed = cluster.changed() => changed.is_ok(),
            changed = engine.changed() => changed.is_ok(),
            event = events.recv() => !matches!(event, Err(tokio::sync::broadcast::error::RecvError::Closed)),
        };
        if !goes_on {
            return;
        }
        match ractor::call!(policy, |reply| PolicyMessage::Look(Some(reply))) {
            Ok(true) => {}
            Ok(false) => tokio::time::sleep(LOOK_AT_MOST_EVERY).await,
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A full disk at one of five does not stop the other four, and none does at two.
    #[test]
    fn the_room_is_that_of_the_majority_that_has_most() {
        for (free, expected) in [
            (&[(1, 50), (2, 40), (3, 30)][..], Some(40)),
            (&[(1, 50), (2, 40), (3, 0)], Some(40)),
            (&[(1, 50), (2, 40)], Some(40)),
            (&[(1, 50), (2, 0), (3, 0)], Some(0)),
            (&[(1, 50)], None),
            (&[(1, 9), (2, 9), (3, 9), (9, 0)], Some(9)),
        ] {
            let voters = [1, 2, 3].map(ReplicaId).into();
            let known = free.iter().map(|(replica, free)| (ReplicaId(*replica), *free)).collect();
            assert_eq!(room_of_majority(&voters, &known), expected, "{free:?}");
        }
        assert_eq!(room_of_majority(&[ReplicaId(1)].into(), &[(ReplicaId(1), 7)].into()), Some(7));
    }
}
