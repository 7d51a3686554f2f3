//! Which servers the engine does not fail back to for a while: those that were lost repeatedly soon after they took it.

use std::collections::BTreeMap;

use baton_client::protocol::FailBackWait;
use baton_domain::clock::BootTime;
use baton_domain::{Epoch, Policy, ServerName};

use super::losses::Losses;
use super::observation::Observation;
use super::view::PolicyTiming;

/// What is remembered between two looks.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    /// The policy when it was last looked at.
    policy: Option<Policy>,
    /// The activation under which the policy was changed. Losses before it do not count: whoever changes the policy wants
    /// it followed. A server that was started since then does not know, and counts them.
    forgiven: Epoch,
    /// Losses, and the end of the pause; kept while this server leads.
    until: BTreeMap<ServerName, (Losses, BootTime)>,
}

impl Pauses {
    /// Takes a look.
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

    /// This server leads no more.
    pub(super) fn clear(&mut self) {
        self.until.clear();
    }

    /// Until when the engine does not fail back to that server.
    pub(super) fn until(&self, server: &ServerName) -> Option<BootTime> {
        self.until.get(server).map(|(_, until)| *until)
    }

    /// The same for people.
    pub(super) fn wait(&self, server: &ServerName, seen: &Observation) -> Option<FailBackWait> {
        let (losses, until) = self.until.get(server)?;
        let left_ms = u64::try_from(until.since(seen.now).as_millis()).unwrap_or(u64::MAX);
        Some(FailBackWait { server: server.clone(), losses: losses.count, until_ms: seen.unix_ms + left_ms })
    }
}
