//! Handing leadership over, and what to do when nobody takes it.

use std::time::Duration;

use baton_domain::ReplicaId;
use baton_domain::clock::BootTime;
use openraft::async_runtime::watch::WatchReceiver;

use super::open::Inner;
use crate::status::StoreStatus;

/// A replica that lags by more is not caught up: it would have to fetch the rest while nobody leads.
const LAG_MAX: u64 = 1024;
/// Timeout of a hand-over.
const TOTAL: Duration = Duration::from_secs(1);

/// Checks that `to` may take over; the error is the reason why not.
fn check(status: &StoreStatus, own: ReplicaId, to: ReplicaId, now: BootTime, stale: Duration) -> Result<(), String> {
    if !status.leads {
        return Err("this replica is not the leader".to_owned());
    }
    if to == own {
        return Err("this replica is already the leader".to_owned());
    }
    if !status.voters.contains(&to) {
        return Err(format!("replica {to} does not vote"));
    }
    let progress = status.progress.get(&to).ok_or_else(|| format!("replica {to} is unknown"))?;
    if progress.heard.is_none_or(|heard| now.since(heard) > stale) {
        return Err(format!("replica {to} does not answer"));
    }
    let lag = status.last_index.saturating_sub(progress.matched);
    if lag > LAG_MAX {
        return Err(format!("replica {to} lags by {lag} entries"));
    }
    Ok(())
}

impl Inner {
    pub(crate) async fn hand_over(&self, to: ReplicaId) -> Result<(), String> {
        let status = self.status.borrow().clone();
        let own = self.header.replica;
        let stale = self.timing.election_max;
        check(&status, own, to, crate::clock::boot_time(), stale)?;
        // Before anybody is asked: from then on the others need not wait for our lease.
        self.guard.give_away(status.term.max(self.term_now()));
        self.raft.trigger().transfer_leader(to).await.map_err(|error| error.to_string())?;
        // Leadership that was lost and came back in between was given away too.
        self.guard.give_away(self.term_now());
        // The other side waits for the end of our log for up to an election timeout before it gives up.
        let patience = stale.min(TOTAL / 2);
        if let Some(leader) = self.other_leader(patience).await {
            return if leader == to { Ok(()) } else { Err(format!("replica {leader} leads now, not {to}")) };
        }
        // A leader that gave leadership away stays silent for good. Whoever else can should take it at once.
        let now = crate::clock::boot_time();
        let third = status.voters.iter().copied().filter(|voter| *voter != to);
        let third = third.filter(|voter| check(&status, own, *voter, now, 2 * TOTAL).is_ok());
        if let Some(third) = third.max_by_key(|voter| status.progress.get(voter).map(|progress| progress.matched)) {
            self.raft.trigger().transfer_leader(third).await.map_err(|error| error.to_string())?;
        }
        match self.other_leader(TOTAL.saturating_sub(patience)).await {
            Some(leader) if leader == to => Ok(()),
            Some(leader) => Err(format!("replica {to} did not take over; replica {leader} leads now")),
            None => Err(format!("replica {to} did not take over; an election decides who leads")),
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
