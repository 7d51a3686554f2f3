//! What this process knows of how the newest activation ended. It decides nothing but the reason that the next activation
//! gives. Every server keeps it, for whoever leads next gives the reason.

use baton_domain::{Epoch, Policy, ServerName};

use super::observation::Observation;

/// What is remembered between two looks.
#[derive(Debug, Default)]
pub(super) struct Circumstances {
    /// The newest activation that a process which this one knows of is older than: this one, or one that was linked.
    outlived: Option<Epoch>,
    policy: Option<Policy>,
    /// The activation whose engine was not running when the policy was changed.
    changed_while_stopped: Option<Epoch>,
}

impl Circumstances {
    /// Takes a look. `started_ms` is when this process was started, in Unix milliseconds.
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

    /// Whether everything was started again since the activation of that epoch, as far as this process knows.
    pub(super) fn is_cold_start(&self, epoch: Epoch) -> bool {
        self.outlived != Some(epoch)
    }

    /// Whether the policy was changed after the engine of that epoch had stopped.
    pub(super) fn policy_changed_since(&self, epoch: Epoch) -> bool {
        self.changed_while_stopped == Some(epoch)
    }
}

/// Whether the engine runs, as far as can be told from here.
fn runs(me: &ServerName, seen: &Observation) -> bool {
    let Some(placement) = seen.cluster.placement.as_ref().filter(|_| seen.cluster.stopped.is_none()) else {
        return false;
    };
    if placement.host == *me {
        return seen.engine.1 == Some(placement.epoch);
    }
    seen.links.get(&placement.host).is_some_and(|link| link.started_ms() <= placement.at_ms)
}
