//! The servers of a cluster by the replicas that they hold, and their rank among the possible holders of the lease.

use std::collections::BTreeSet;
use std::sync::Arc;

use baton_domain::{ClusterState, Member, ReplicaId, Role, ServerName};
use tokio::sync::watch;

use crate::header::StoreHeader;

/// Knows the members: as they were applied, or as the cluster was created before anything was.
#[derive(Clone)]
pub(crate) struct Names {
    header: Arc<StoreHeader>,
    cluster: watch::Receiver<Arc<ClusterState>>,
}

impl Names {
    pub(crate) fn new(header: Arc<StoreHeader>, cluster: watch::Receiver<Arc<ClusterState>>) -> Self {
        Self { header, cluster }
    }

    fn find<T>(&self, of: impl Fn(&Member) -> Option<T>) -> Option<T> {
        let cluster = self.cluster.borrow();
        let first = self.header.genesis.iter().filter(|_| cluster.cluster.is_none());
        let first = first.flat_map(|genesis| genesis.members.iter());
        cluster.members.iter().chain(first).find_map(of)
    }

    /// The server that holds a replica.
    pub(crate) fn server(&self, replica: ReplicaId) -> Option<ServerName> {
        self.find(|member| (member.replica == replica).then(|| member.name.clone()))
    }

    /// The replica that a server holds.
    pub(crate) fn replica(&self, server: &ServerName) -> Option<ReplicaId> {
        self.find(|member| (member.name == *server).then_some(member.replica))
    }

    /// The address of this server.
    pub(crate) fn own_address(&self) -> String {
        let own = self.header.replica;
        self.find(|member| (member.replica == own).then(|| member.address.clone())).unwrap_or_default()
    }

    /// The servers of these replicas.
    pub(crate) fn servers(&self, replicas: &BTreeSet<ReplicaId>) -> BTreeSet<ServerName> {
        replicas.iter().filter_map(|replica| self.server(*replica)).collect()
    }

    /// The servers that may hold the lease, best first: the one that an operator chose, those that the policy prefers, and
    /// all others.
    pub(crate) fn order(&self) -> Vec<ServerName> {
        let cluster = self.cluster.borrow();
        let mut hosts = cluster.hosts();
        let mut order: Vec<ServerName> = cluster.hold.iter().cloned().collect();
        if cluster.cluster.is_none() {
            let genesis = self.header.genesis.iter().flat_map(|genesis| genesis.members.iter());
            hosts = genesis.filter(|member| member.role == Role::Server).map(|member| member.name.clone()).collect();
        }
        order.extend(cluster.policy.preference(&hosts).iter().cloned());
        order.extend(hosts.iter().cloned());
        let mut seen = BTreeSet::new();
        order.retain(|server| hosts.contains(server) && seen.insert(server.clone()));
        order
    }
}
