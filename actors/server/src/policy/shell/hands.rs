//! Performs what the policy decided: commits, starts and stops the engine instance, hands leadership over, changes who
//! votes. Each deed is a task of its own, with a bound on its time.

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

/// How long to wait after a commit that was refused, and how long for one that was not to show.
const RETRY_AFTER: Duration = Duration::from_millis(20);
const SEE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long an engine instance may take to start, and to drain.
const START_TIMEOUT: Duration = Duration::from_secs(30);
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a server that did not take over may take to say that it is shutting down.
const REPORT_TIMEOUT: Duration = Duration::from_secs(1);

/// What the effects are performed with.
pub(super) struct Hands {
    pub(super) me: ServerName,
    pub(super) store: Store,
    pub(super) engine: Slot<EngineMessage>,
    pub(super) peers: Peers,
}

impl Hands {
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
                // A leadership that comes or goes needs a moment.
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
            // It had to give way while it started: that is no failure of its own.
            Ok(Err(_)) if !self.is_current(epoch) => Outcome::Done,
            Ok(Err(why)) => Outcome::EngineFailed { why },
            Err(error) => {
                // Whatever it hangs in: it is not to come up later by itself.
                self.stop_at_once("it did not start in time");
                Outcome::EngineFailed { why: format!("its engine instance did not start: {error}") }
            }
        }
    }

    /// Whether this server leads and that activation is the newest and not stopped.
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

    /// Whether that server is gone, or says itself that it is shutting down.
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

    /// Waits until what was committed shows in the replicated facts, which the policy decides by.
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
                // Not again at once: what stands in the way needs a moment to go away.
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
    }
}

fn timeout_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
