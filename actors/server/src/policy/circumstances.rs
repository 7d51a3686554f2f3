//! The end of the newest activation, as far as this process knows it. It decides only the reason of the next activation.
//! Every server keeps it, because the next leader gives the reason.

use baton_domain::{Epoch, Policy, ServerName};

use super::observation::Observation;

/// The memory between two observations.
#[derive(Debug, Default)]
pub(super) struct Circumstances {
    /// The newest activation that is younger than this process or than a process that was linked to it.
    outlived: Option<Epoch>,
    policy: Option<Policy>,
    /// The activation whose engine was not running when the policy was changed.
    changed_while_stopped: Option<Epoch>,
}

impl Circumstances {
    /// Takes in an observation. `started_ms` is the start of this process, in Unix milliseconds.
    pub(super) fn observe(&mut self, me: &ServerName, started_ms: u64, seen: &Observation) {
        let cluster = &seen.cluster;
        if let Some(placement) = &cluster.placement
            && (started_ms <= placement.at_ms || seen.links.values().any(|link| link.started_ms() <= placement.at_ms))
        {
            self.outlived = Some(placement.epoch);
        }
        let changed =
            self.policy.as_ref() != Some(&cluster.policy) && self.policy.replace(cluster.policy.clone()).is_some();
        if changed && !runs(me, seen) {
            self.changed_while_stopped = Some(cluster.epoch());
        }
    }

    /// True if all servers were restarted after the activation of that epoch, as far as this process knows.
    pub(super) fn is_cold_start(&self, epoch: Epoch) -> bool {
        self.outlived != Some(epoch)
    }

    /// True if the policy was changed after the engine of that epoch had stopped.
    pub(super) fn policy_changed_since(&self, epoch: Epoch) -> bool {
        self.changed_while_stopped == Some(epoch)
    }
}

/// True if the engine runs, as far as this server knows.
fn runs(me: &ServerName, seen: &Observation) -> bool {
    let Some(placement) = seen.cluster.placement.as_ref().filter(|_| seen.cluster.stopped.is_none()) else {
        return false;
    };
    if placement.host == *me {
        return seen.engine.1 == Some(placement.epoch);
    }
    seen.links.get(&placement.host).is_some_and(|link| link.started_ms() <= placement.at_ms)
}
