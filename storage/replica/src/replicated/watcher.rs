//! Watches consensus: derives the status, renews the lease, and ends the waiting of writers that get no answer.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use baton_domain::clock::{BootTime, ClockSample};
use baton_domain::{ClusterState, ReplicaId};
use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver;
use tokio::sync::watch;

use super::cause::of_fatal;
use super::guard::LeaseGuard;
use super::lease::{BootClock, Leading, lease_until};
use crate::failure::Failure;
use crate::replicated::{Acknowledged, Answered, DataMetrics, Raft, ServerMetrics, Timing};
use crate::status::{Follower, Keeping, StoreStatus};

/// Minimum interval between two checks: consensus reports many times per millisecond under load.
const PAUSE: Duration = Duration::from_millis(1);
/// The same once only the log has moved for [`SETTLED`]: every check wakes all subscribers of the status.
const SETTLED_PAUSE: Duration = Duration::from_millis(10);
/// Time after which a leader has its lease, and a hand-over is finished.
const SETTLED: Duration = Duration::from_secs(1);
/// Maximum interval between two checks; the core ticks more often.
const IDLE: Duration = Duration::from_millis(100);
/// Election timeouts without an answer of a majority after which writers learn that their outcome is unknown.
const GIVE_UP_ELECTIONS: u32 = 4;

/// The last report of consensus. The two parts may be of different moments, which can only end a lease early: it
/// needs a place that leads, and the acknowledgements of that very term.
struct Newest {
    data: DataMetrics,
    place: ServerMetrics,
}

impl Newest {
    fn term(&self) -> u64 {
        self.place.vote.leader_id.term
    }

    fn leads(&self) -> bool {
        self.place.state == ServerState::Leader
    }

    /// Time at which the last heartbeat was sent that a majority answered, as consensus says.
    fn quorum_acked(&self, own: ReplicaId, moment: Moment) -> Option<BootTime> {
        match &self.data.last_quorum_acked {
            _ if !self.leads() => None,
            // The only voter acknowledges itself all the time.
            _ if self.place.membership_config.membership().voter_ids().eq([own]) => Some(moment.sample.boot),
            Some(acked) => moment.boot_time(acked),
            None => None,
        }
    }
}

/// A moment, from which monotonic times are converted.
#[derive(Clone, Copy)]
struct Moment {
    sample: ClockSample,
    clock: BootClock,
}

impl Moment {
    /// The elapsed time is read after the sample, so a time comes out too early rather than too late.
    fn boot_time(&self, instant: &openraft::TokioInstant) -> Option<BootTime> {
        let elapsed = u64::try_from(openraft::Instant::elapsed(instant).as_nanos()).unwrap_or(u64::MAX);
        self.clock.boot_time(self.sample.monotonic_ns.checked_sub(elapsed)?)
    }
}

/// Watches until the store is closed.
pub(crate) struct Watcher {
    pub(crate) own: ReplicaId,
    pub(crate) dir: PathBuf,
    pub(crate) raft: Raft,
    pub(crate) timing: Timing,
    pub(crate) guard: Arc<LeaseGuard>,
    pub(crate) answered: Answered,
    pub(crate) acknowledged: Acknowledged,
    pub(crate) cluster: watch::Receiver<Arc<ClusterState>>,
    pub(crate) failure: Failure,
    pub(crate) status: Arc<watch::Sender<StoreStatus>>,
    /// Counts losses of leadership that lasted so long that writers should not wait.
    pub(crate) lost: watch::Sender<u64>,
}

impl Watcher {
    pub(crate) async fn run(self) {
        // These change only with their content; the metrics as a whole are sent at every tick.
        let (mut data, mut place) = (self.raft.data_metrics(), self.raft.server_metrics());
        let mut whole = self.raft.metrics();
        let mut clock = BootClock::default();
        let mut heeded = None;
        let mut moved = crate::clock::boot_time();
        loop {
            let sample = crate::clock::sample();
            clock.observe(sample);
            if let Err(fatal) = &whole.borrow_watched().running_state {
                self.died_of(fatal);
            }
            let newest = Newest { data: data.borrow_and_update().clone(), place: place.borrow_and_update().clone() };
            let moment = Moment { sample, clock };
            let failed = self.failure.get();
            let quorum_acked = newest.quorum_acked(self.own, moment).filter(|_| failed.is_none());
            let quorum_acked = quorum_acked.and_then(|acked| self.heard_by_majority(&newest, acked));
            let status = status(self.own, &newest, quorum_acked, moment, failed);
            self.renew(&newest, status.leads, quorum_acked, sample.boot, &mut heeded);
            self.note_acknowledged(&newest);
            self.status.send_if_modified(|known| {
                let changed = differs(known, &status);
                *known = status;
                changed
            });
            let looked = crate::clock::boot_time();
            let changed = async {
                tokio::select! {
                    biased;
                    changed = place.changed() => changed.map(|()| moved = crate::clock::boot_time()).is_ok(),
                    changed = data.changed() => changed.is_ok(),
                }
            };
            if let Ok(false) = tokio::time::timeout(IDLE, changed).await {
                break;
            }
            let pause = if looked.since(moved) > SETTLED { SETTLED_PAUSE } else { PAUSE };
            let early = (looked + pause).since(crate::clock::boot_time());
            if !early.is_zero() && tokio::time::timeout(early, place.changed()).await.is_ok() {
                moved = crate::clock::boot_time();
            }
        }
        // Closing the store ends this task first: consensus died. It reports the cause shortly before it ends.
        loop {
            if let Err(fatal) = &whole.borrow_and_update().running_state {
                self.died_of(fatal);
            }
            if self.failure.get().is_some() || whole.changed().await.is_err() {
                break;
            }
        }
        self.failure.set("raft stopped unexpectedly");
        self.guard.close();
        close(&self.status, self.failure.get().map(str::to_owned));
    }

    /// Notes the committed entries that each replica has on disk.
    fn note_acknowledged(&self, newest: &Newest) {
        let (Some(matched), Some(committed)) = (&newest.data.replication, newest.data.cluster_committed) else {
            return;
        };
        let membership = newest.place.membership_config.membership();
        let mut members: BTreeSet<ReplicaId> = membership.nodes().map(|(replica, _)| *replica).collect();
        members.extend(self.cluster.borrow().members.iter().map(|member| member.replica));
        let seen = matched.iter().filter_map(|(replica, matched)| Some((*replica, (*matched)?.min(committed))));
        self.acknowledged.note(seen, &members);
    }

    fn died_of(&self, fatal: &(dyn Error + 'static)) {
        self.failure.set(of_fatal(&self.dir, fatal));
    }

    /// The earlier of what consensus says and what was measured: the lease rests on what every follower of a majority
    /// has heard itself.
    fn heard_by_majority(&self, newest: &Newest, acked: BootTime) -> Option<BootTime> {
        let halves = newest.place.membership_config.membership().get_joint_config();
        halves.iter().try_fold(acked, |acked, voters| Some(acked.min(self.answered.by_majority(self.own, voters)?)))
    }

    fn renew(
        &self,
        newest: &Newest,
        leads: bool,
        quorum_acked: Option<BootTime>,
        now: BootTime,
        heeded: &mut Option<BootTime>,
    ) {
        let voters: Vec<ReplicaId> = newest.place.membership_config.membership().voter_ids().collect();
        // Its own: of this term and of this leader.
        let committed = newest.data.cluster_committed.as_ref().map(|committed| committed.committed_leader_id());
        let leading = Leading {
            leads,
            votes: voters.contains(&self.own),
            alone: voters == [self.own],
            own_entry_committed: committed
                .is_some_and(|leader| leader.term == newest.term() && leader.node_id == self.own),
            given_away: false,
            quorum_acked,
        };
        let halves = newest.place.membership_config.membership().get_joint_config();
        self.guard.renew(newest.term(), now, (self.own, halves), |given_away, apart| {
            let quorum_acked = leading.quorum_acked.filter(|acked| apart.is_none_or(|apart| *acked > apart));
            let leading = Leading { given_away, quorum_acked, ..leading };
            lease_until(leading, now, self.timing.election_max, self.timing.lease_margin)
        });
        // A leader that a majority answers will learn the outcome of its entries; a follower learns it
        // from the new leader, or is told here that nobody will say.
        let acked = quorum_acked.is_some_and(|acked| now.since(acked) <= self.timing.election_max);
        if leads && acked {
            *heeded = Some(now);
        } else if heeded.is_some_and(|at| now.since(at) > GIVE_UP_ELECTIONS * self.timing.election_max) {
            *heeded = None;
            self.lost.send_modify(|count| *count += 1);
        }
    }
}

/// The last status of a store that takes no part any more.
pub(crate) fn close(status: &watch::Sender<StoreStatus>, failed: Option<String>) {
    status.send_modify(|status| {
        status.leads = false;
        status.leader = None;
        status.followers.clear();
        if let Keeping::Replicas { quorum_acked, .. } = &mut status.keeping {
            *quorum_acked = None;
        }
        status.failed = failed.or(status.failed.take());
    });
}

/// Times that were merely renewed are not news, though they are shown; everything else is.
fn differs(known: &StoreStatus, fresh: &StoreStatus) -> bool {
    let timeless = |status: &StoreStatus| {
        let mut timeless = status.clone();
        if let Keeping::Replicas { quorum_acked, .. } = &mut timeless.keeping {
            *quorum_acked = quorum_acked.map(|_| BootTime(0));
        }
        for follower in timeless.followers.values_mut() {
            follower.heard = follower.heard.map(|_| BootTime(0));
        }
        timeless
    };
    timeless(known) != timeless(fresh)
}

fn status(
    own: ReplicaId,
    newest: &Newest,
    quorum_acked: Option<BootTime>,
    moment: Moment,
    failed: Option<&str>,
) -> StoreStatus {
    let Newest { data, place } = newest;
    let leads = newest.leads() && failed.is_none();
    let membership = place.membership_config.membership();
    let voters: BTreeSet<ReplicaId> = membership.voter_ids().collect();
    let mut followers = BTreeMap::new();
    if leads {
        let heard = data.heartbeat.as_ref();
        for (replica, matched) in data.replication.iter().flatten().filter(|(replica, _)| **replica != own) {
            let heard = heard.and_then(|heard| heard.get(replica)).and_then(|heard| heard.as_ref());
            let heard = heard.and_then(|heard| moment.boot_time(heard));
            let matched = matched.as_ref().map_or(0, |matched| matched.index);
            followers.insert(*replica, Follower { matched, heard, may_lead: voters.contains(replica) });
        }
    }
    StoreStatus {
        leads,
        leader: if failed.is_some() { None } else { place.current_leader },
        term: newest.term(),
        last_index: data.last_log.as_ref().map_or(0, |last| last.index),
        applied: data.last_applied.as_ref().map_or(0, |applied| applied.index),
        followers,
        keeping: Keeping::Replicas { voters, learners: membership.learner_ids().collect(), quorum_acked },
        failed: failed.map(str::to_owned),
    }
}
