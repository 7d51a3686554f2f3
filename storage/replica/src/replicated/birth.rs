//! The beginning of a cluster. Only stores that `init` formatted begin one; all others wait to join.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use baton_domain::{ClusterState, Command};
use tokio::sync::watch;

use super::commit::Proposer;
use crate::header::StoreHeader;
use crate::replicated::{Raft, ReplicaNode};
use crate::status::StoreStatus;

/// Begins the cluster, unless others have, and writes its first command once this replica leads.
pub(crate) struct Birth {
    pub(crate) header: StoreHeader,
    pub(crate) raft: Raft,
    pub(crate) proposer: Proposer,
    pub(crate) status: watch::Receiver<StoreStatus>,
    pub(crate) cluster: watch::Receiver<Arc<ClusterState>>,
    pub(crate) election_max: Duration,
}

impl Birth {
    pub(crate) async fn run(mut self) {
        let Some(genesis) = self.header.genesis.clone() else { return };
        if self.cluster.borrow().cluster.is_some() {
            return;
        }
        // In order of the members, so that at a common start the first one is elected first.
        let place = genesis.members.iter().position(|member| member.replica == self.header.replica).unwrap_or(0);
        tokio::time::sleep(self.election_max * u32::try_from(place).unwrap_or(0)).await;
        let members: BTreeMap<_, _> =
            genesis.members.iter().map(|member| (member.replica, ReplicaNode::from(member))).collect();
        match self.raft.is_initialized().await {
            Ok(false) => match Box::pin(self.raft.initialize(members)).await {
                Ok(()) => tracing::info!("a new cluster starts"),
                // Another member's log came first.
                Err(error) => tracing::debug!(%error, "the cluster has already started"),
            },
            Ok(true) => {}
            Err(_) => return,
        }
        let command = Command::Genesis {
            cluster: self.header.cluster,
            generation: self.header.generation,
            members: genesis.members,
            policy: genesis.policy,
        };
        while self.cluster.borrow_and_update().cluster.is_none() {
            let leads = self.status.borrow_and_update().leads;
            // Whoever leads writes it; twice does no harm.
            let wrote = leads && self.proposer.commit(&command).await.is_ok();
            if wrote {
                continue;
            }
            let pause = tokio::time::sleep(self.election_max / 4);
            tokio::select! {
                changed = self.status.changed() => if changed.is_err() { return },
                changed = self.cluster.changed() => if changed.is_err() { return },
                () = pause => {}
            }
        }
    }
}
