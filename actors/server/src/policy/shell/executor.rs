//! Performs the policy's decisions: activates and stops the engine, hands leadership over, changes the membership. Each
//! effect runs in a task of its own, with a time limit.

use std::sync::Arc;
use std::time::Duration;

use baton_client::peers::{CallError, Peers};
use baton_client::protocol::{DirectoryReply, DirectoryRequest, decode, encode};
use baton_client::wire::Service;
use baton_domain::clock::unix_ms;
use baton_domain::{ActivationReason, Applied, ClusterState, Command, Epoch, ReplicaId, ServerName, StopReason};
use baton_replica::Store;
use tracing::{info, warn};

use crate::engine::EngineMessage;
use crate::policy::effect::Outcome;
use crate::policy::membership::MembershipStep;
use crate::slot::Slot;

/// Delay after a refused commit.
const RETRY_AFTER: Duration = Duration::from_millis(20);
/// Time limit until a committed change shows in the replicated state.
const SEE_TIMEOUT: Duration = Duration::from_secs(1);
/// Time limit of an engine instance's start.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Time limit of its draining.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Time limit of the answer of a server that did not take over: it may be shutting down.
const REPORT_TIMEOUT: Duration = Duration::from_secs(1);

/// Performs the effects.
pub(super) struct Executor {
    pub(super) me: ServerName,
    pub(super) store: Store,
    pub(super) engine: Slot<EngineMessage>,
    pub(super) peers: Peers,
}

impl Executor {
    pub(super) async fn activate(&self, reason: ActivationReason) -> Outcome {
        let command = Command::Activate { host: self.me.clone(), reason, at_ms: unix_ms() };
        let epoch = match self.store.commit(command).await.map(|committed| committed.applied) {
            Ok(Applied::Activated { epoch }) => epoch,
            Ok(other) => {
                warn!(?other, "the activation was refused");
                return Outcome::Done;
            }
            Err(error) => {
                info!(%error, "the activation was not committed");
                // A change of leadership takes a moment.
                tokio::time::sleep(RETRY_AFTER).await;
                return Outcome::Done;
            }
        };
        self.see(|cluster| cluster.epoch() >= epoch).await;
        if !self.is_current(epoch) {
            return Outcome::Done;
        }
        info!(%epoch, reason = reason.as_str(), "activating the engine here");
        let Some(engine) = self.engine.get() else {
            return Outcome::EngineFailed { why: "its engine instance is being restarted".to_owned() };
        };
        match ractor::call_t!(engine, |reply| EngineMessage::Start { epoch, reply }, timeout_ms(START_TIMEOUT)) {
            Ok(Ok(())) => Outcome::Done,
            // A newer activation or a stop came while it started: not its failure.
            Ok(Err(_)) if !self.is_current(epoch) => Outcome::Done,
            Ok(Err(why)) => Outcome::EngineFailed { why },
            Err(error) => {
                // It must not start later, whatever it waits for now.
                self.stop_at_once("it did not start in time");
                Outcome::EngineFailed { why: format!("its engine instance did not start: {error}") }
            }
        }
    }

    /// True if this server leads, and that activation is the newest and not stopped.
    fn is_current(&self, epoch: Epoch) -> bool {
        let cluster = self.store.cluster().borrow().clone();
        self.store.status().borrow().leads && cluster.epoch() == epoch && cluster.stopped.is_none()
    }

    pub(super) async fn hand_over(
        &self,
        to: ServerName,
        replica: ReplicaId,
        reason: ActivationReason,
        epoch: Option<Epoch>,
    ) -> Outcome {
        info!(%to, reason = reason.as_str(), "handing over");
        self.stop_engine(StopReason::Placed(reason), epoch).await;
        match self.store.hand_over(replica).await {
            Ok(()) => Outcome::Done,
            Err(why) => {
                if reason == ActivationReason::HandOver && self.goes_down(&to).await {
                    info!(%to, %why, "no server takes over: the other one is shutting down, too");
                } else {
                    warn!(%to, %why, "the hand-over failed");
                }
                Outcome::HandOverFailed { to }
            }
        }
    }

    /// True if that server is gone or reports that it is shutting down.
    async fn goes_down(&self, server: &ServerName) -> bool {
        let Some(peer) = self.peers.server(server.as_str()) else { return true };
        match peer.call(Service::Directory, encode(&DirectoryRequest::Report), REPORT_TIMEOUT).await {
            Ok(reply) => matches!(decode(&reply), Ok(DirectoryReply::Report(report)) if report.leaving),
            Err(CallError::Disconnected) => true,
            Err(CallError::Timeout(_)) => false,
        }
    }

    /// Drains the engine, then records that it was stopped on purpose.
    pub(super) async fn stop_engine(&self, reason: StopReason, epoch: Option<Epoch>) {
        let Some(epoch) = epoch else { return };
        if let Some(engine) = self.engine.get()
            && let Err(error) = ractor::call_t!(
                engine,
                |reply| EngineMessage::Stop { drain: true, why: reason.to_string(), reply },
                timeout_ms(DRAIN_TIMEOUT)
            )
        {
            warn!(%error, "the engine did not drain in time");
        }
        let command = Command::Stop { epoch, reason, at_ms: unix_ms() };
        match self.store.commit(command).await {
            Ok(_) => self.see(|cluster| cluster.stopped.is_some() || cluster.epoch() > epoch).await,
            Err(error) => info!(%error, "the stop was not recorded"),
        }
    }

    /// Waits until a committed change shows in the replicated state, on which the policy decides.
    async fn see(&self, shows: impl FnMut(&Arc<ClusterState>) -> bool) {
        let mut cluster = self.store.cluster();
        if tokio::time::timeout(SEE_TIMEOUT, cluster.wait_for(shows)).await.is_err() {
            warn!("the committed change is not visible yet");
        }
    }

    pub(super) fn stop_at_once(&self, why: &str) {
        if let Some(engine) = self.engine.get() {
            let (sender, _ignored) = ractor::concurrency::oneshot();
            let _ = engine.cast(EngineMessage::Stop { drain: false, why: why.to_owned(), reply: sender.into() });
        }
    }

    pub(super) async fn change_members(&self, step: MembershipStep) {
        let (what, result) = match step {
            MembershipStep::AddLearner { member } => {
                (format!("{} catches up", member.name), self.store.add_learner(&member).await)
            }
            MembershipStep::Change { voters, learners, why } => {
                let ids = voters.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                (format!("replicas {ids} vote: {why}"), self.store.change_voters(voters, learners).await)
            }
        };
        match result {
            Ok(()) => info!("membership: {what}"),
            Err(why) => {
                warn!(%why, "membership step failed: {what}");
                // The obstacle needs a moment to go away.
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
    }
}

fn timeout_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
