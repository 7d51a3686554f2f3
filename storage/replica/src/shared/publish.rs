//! Makes the status of a store from that of its member, tells the member of changes of the cluster, and begins the cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use baton_domain::{ClusterState, Command, ReplicaId};
use tokio::sync::watch;

use super::keeper::{Commands, propose, send};
use super::measured::Measured;
use super::member::{self, MemberStatus};
use super::names::Names;
use super::process;
use crate::failure::Failure;
use crate::header::StoreHeader;
use crate::status::{Follower, Keeping, LogHealth, StoreStatus};

/// Minimum interval between two changes of the status: each wakes all that watch it.
const PAUSE: Duration = Duration::from_millis(1);
/// Maximum age of the measurements.
const MEASURED: Duration = Duration::from_secs(1);
/// Interval at which a cluster that has not begun is looked at.
const BIRTH: Duration = Duration::from_millis(100);

/// Derives the status until the store is closed.
pub(super) struct Publishing {
    pub(super) own: ReplicaId,
    pub(super) incarnation: u64,
    /// The file that remembers this process.
    pub(super) process: PathBuf,
    pub(super) names: Names,
    pub(super) member: watch::Receiver<MemberStatus>,
    pub(super) applied: watch::Receiver<u64>,
    pub(super) failure: Failure,
    pub(super) measured: Measured,
    pub(super) status: watch::Sender<StoreStatus>,
}

impl Publishing {
    pub(super) async fn run(mut self) {
        let (mut timeline, mut trouble) = (None, None);
        loop {
            let member = self.member.borrow_and_update().clone();
            let applied = *self.applied.borrow_and_update();
            let found = member.identity.as_ref().map(|identity| identity.timeline);
            if found != timeline {
                timeline = found;
                self.remember(timeline);
            }
            if member.trouble != trouble {
                trouble.clone_from(&member.trouble);
                match &trouble {
                    Some(trouble) => tracing::warn!(trouble, "the log of this store has a problem"),
                    None => tracing::info!("the log of this store works again"),
                }
            }
            let status = self.derive(member, applied);
            self.status.send_if_modified(|known| {
                let changed = *known != status;
                *known = status;
                changed
            });
            tokio::time::sleep(PAUSE).await;
            tokio::select! {
                changed = self.member.changed() => if changed.is_err() { break },
                changed = self.applied.changed() => if changed.is_err() { break },
                // Measurements change without these.
                () = tokio::time::sleep(MEASURED) => {}
            }
        }
        self.status.send_modify(|status| {
            status.leads = false;
            status.failed = self.failure.get().map(str::to_owned);
        });
    }

    /// A process that is started later knows by it which row was this one's, and if the log was promoted meanwhile.
    fn remember(&self, timeline: Option<u32>) {
        let Some(timeline) = timeline else { return };
        if let Err(error) = process::write(&self.process, self.incarnation, timeline) {
            tracing::warn!(%error, "cannot remember this process: the next one waits for the lease's end");
        }
    }

    fn derive(&self, member: MemberStatus, applied: u64) -> StoreStatus {
        let leader = member.holder.as_ref().and_then(|holder| self.names.replica(holder));
        let others = member.others.into_iter().filter_map(|(server, other)| {
            let follower = Follower { matched: other.index, heard: Some(other.heard), may_lead: other.may_lead };
            Some((self.names.replica(&server)?, follower))
        });
        let (name, standby, timeline) = match member.identity {
            Some(identity) => (identity.name, identity.standby, identity.timeline),
            None => Default::default(),
        };
        let health = LogHealth {
            name,
            reached: member.reached,
            waits: Duration::ZERO,
            standby,
            timeline,
            regressed: member.regressed,
            trouble: member.trouble,
            commit: self.measured.commit(),
            log_bytes: self.measured.log_bytes().filter(|_| member.leads),
            snapshot: self.measured.snapshot().filter(|_| member.leads),
        };
        StoreStatus {
            leads: member.leads,
            // A holder that does not lead yet is not known to.
            leader: leader.filter(|leader| member.leads || *leader != self.own),
            term: member.term,
            last_index: member.index,
            applied,
            followers: others.collect::<BTreeMap<_, _>>(),
            keeping: Keeping::Log(health),
            failed: self.failure.get().map(str::to_owned),
        }
    }
}

/// Tells the member what follows from the cluster's record.
pub(super) async fn follow_cluster(
    names: Names,
    mut cluster: watch::Receiver<Arc<ClusterState>>,
    linked: watch::Receiver<BTreeSet<ReplicaId>>,
    commands: Commands,
) {
    loop {
        cluster.borrow_and_update();
        send(&commands, member::Command::Order(names.order()));
        send(&commands, member::Command::Linked(names.servers(&linked.borrow())));
        if cluster.changed().await.is_err() {
            return;
        }
    }
}

/// Writes the cluster's first command, once this server leads a log that is empty.
pub(super) async fn begin(
    header: Arc<StoreHeader>,
    cluster: watch::Receiver<Arc<ClusterState>>,
    status: watch::Receiver<StoreStatus>,
    commands: Commands,
) {
    let Some(genesis) = header.genesis.clone() else { return };
    let command = Command::Genesis {
        cluster: header.cluster,
        generation: header.generation,
        members: genesis.members,
        policy: genesis.policy,
    };
    while cluster.borrow().cluster.is_none() {
        if status.borrow().leads {
            // If it is not committed, another holder writes it; twice does no harm.
            let _ = propose(&commands, &command).await;
        }
        tokio::time::sleep(BIRTH).await;
    }
}
