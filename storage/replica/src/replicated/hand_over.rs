//! Handing leadership over, and what to do when nobody takes it.

use std::time::Duration;

use baton_domain::ReplicaId;
use baton_domain::clock::BootTime;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::error::Fatal;

use super::consensus::Consensus;
use super::types::RaftConfig;
use crate::error::HandOverError;
use crate::status::StoreStatus;

/// A replica that lags by more is not caught up: it would have to fetch the rest while nobody leads.
const LAG_MAX: u64 = 1024;
/// Timeout of a hand-over.
const TOTAL: Duration = Duration::from_secs(1);

/// Checks that `to` may take over.
fn check(
    status: &StoreStatus,
    own: ReplicaId,
    to: ReplicaId,
    now: BootTime,
    stale: Duration,
) -> Result<(), HandOverError> {
    if !status.leads {
        return Err(HandOverError::NotLeader);
    }
    if to == own {
        return Err(HandOverError::AlreadyLeader);
    }
    if !status.may_lead(to) {
        return Err(HandOverError::MayNotLead { replica: to });
    }
    let follower = status.followers.get(&to).ok_or(HandOverError::Unknown { replica: to })?;
    if follower.heard.is_none_or(|heard| now.since(heard) > stale) {
        return Err(HandOverError::Silent { replica: to });
    }
    let entries = status.last_index.saturating_sub(follower.matched);
    if entries > LAG_MAX {
        return Err(HandOverError::Behind { replica: to, entries });
    }
    Ok(())
}

fn led_by(replica: ReplicaId, leader: ReplicaId) -> Result<(), HandOverError> {
    if leader == replica { Ok(()) } else { Err(HandOverError::LedByAnother { replica, leader }) }
}

impl Consensus {
    pub(super) async fn transfer(&self, to: ReplicaId) -> Result<(), HandOverError> {
        let status = self.status.borrow().clone();
        let own = self.header.replica;
        let stale = self.timing.election_max;
        check(&status, own, to, crate::clock::boot_time(), stale)?;
        // Before anybody is asked: from then on the others need not wait for our lease.
        self.guard.give_away(status.term.max(self.term_now()));
        let failed = |error: Fatal<RaftConfig>| HandOverError::Failed(error.to_string());
        self.raft.trigger().transfer_leader(to).await.map_err(failed)?;
        // Leadership that was lost and came back in between was given away too.
        self.guard.give_away(self.term_now());
        // The other side waits for the end of our log for up to an election timeout before it gives up.
        let patience = stale.min(TOTAL / 2);
        if let Some(leader) = self.other_leader(patience).await {
            return led_by(to, leader);
        }
        // A leader that gave leadership away stays silent for good. Whoever else can should take it at once.
        let now = crate::clock::boot_time();
        let third = status.followers.iter().filter(|(replica, _)| **replica != to);
        let third = third.filter(|(replica, _)| check(&status, own, **replica, now, 2 * TOTAL).is_ok());
        if let Some((third, _)) = third.max_by_key(|(_, follower)| follower.matched) {
            self.raft.trigger().transfer_leader(*third).await.map_err(failed)?;
        }
        match self.other_leader(TOTAL.saturating_sub(patience)).await {
            Some(leader) => led_by(to, leader),
            None => Err(HandOverError::NotTaken { replica: to }),
        }
    }

    fn term_now(&self) -> u64 {
        self.raft.metrics().borrow_watched().current_term
    }

    /// Waits until somebody else leads, or this replica again under a new term.
    async fn other_leader(&self, patience: Duration) -> Option<ReplicaId> {
        let mut metrics = self.raft.metrics();
        let own = self.header.replica;
        let term = metrics.borrow_watched().current_term;
        let changed = async {
            loop {
                let (leader, now) = {
                    let metrics = metrics.borrow_watched();
                    (metrics.current_leader, metrics.current_term)
                };
                if let Some(leader) = leader.filter(|leader| *leader != own || now > term) {
                    return Some(leader);
                }
                if metrics.changed().await.is_err() {
                    return None;
                }
            }
        };
        tokio::time::timeout(patience, changed).await.ok().flatten()
    }
}
