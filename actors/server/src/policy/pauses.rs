//! Servers to which the engine does not fail back for a while: they were lost repeatedly soon after they took it.

use std::collections::BTreeMap;

use baton_client::protocol::FailBackWait;
use baton_domain::clock::BootTime;
use baton_domain::{Epoch, Policy, ServerName};

use super::losses::Losses;
use super::observation::Observation;
use super::view::PolicyTiming;

/// The memory between two observations.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    /// The policy in the last observation.
    policy: Option<Policy>,
    /// The activation under which the policy was changed. Losses before it do not count: an operator who changes the policy
    /// wants it followed. A server that started later does not know of the change, and counts them.
    forgiven: Epoch,
    /// The losses of a server, and the end of its pause; kept while this server leads.
    until: BTreeMap<ServerName, (Losses, BootTime)>,
}

impl Pauses {
    /// Takes in an observation.
    pub(super) fn observe(&mut self, seen: &Observation, timing: &PolicyTiming) {
        let cluster = &seen.cluster;
        if self.policy.as_ref() != Some(&cluster.policy) && self.policy.replace(cluster.policy.clone()).is_some() {
            self.forgiven = cluster.epoch();
        }
        if !seen.status.leads {
            return;
        }
        for host in cluster.hosts() {
            let losses = Losses::of(&host, &cluster.history, self.forgiven, timing);
            if losses.pause(timing).is_zero() {
                self.until.remove(&host);
            } else if self.until.get(&host).is_none_or(|(known, _)| *known != losses) {
                self.until.insert(host, (losses, seen.now + losses.left(seen.unix_ms, timing)));
            }
        }
    }

    /// This server no longer leads.
    pub(super) fn clear(&mut self) {
        self.until.clear();
    }

    /// The end of the pause of failback to that server.
    pub(super) fn until(&self, server: &ServerName) -> Option<BootTime> {
        self.until.get(server).map(|(_, until)| *until)
    }

    /// The pause of a server, for status.
    pub(super) fn wait(&self, server: &ServerName, seen: &Observation) -> Option<FailBackWait> {
        let (losses, until) = self.until.get(server)?;
        let left_ms = u64::try_from(until.since(seen.now).as_millis()).unwrap_or(u64::MAX);
        Some(FailBackWait { server: server.clone(), losses: losses.count, until_ms: seen.unix_ms + left_ms })
    }
}
