//! Commands about the cluster itself: its beginning, members, policy and placement.

use std::io;
use std::sync::Arc;

use baton_domain::PLACEMENT_HISTORY;
use baton_domain::{
    ActivationReason, Applied, ClusterId, ClusterState, Epoch, Member, Placement, Policy, PolicyChange, ReplicaId,
    Role, ServerName, StopReason, Stopped,
};

use super::records::{CLUSTER_KEY, encode};
use super::{Family, Machine, Writer};

fn refused(why: impl ToString) -> Applied {
    Applied::Refused { why: why.to_string() }
}

impl Machine {
    /// Changes the cluster's record by `change`, unless that refuses.
    fn change_cluster(
        &mut self,
        writer: &mut Writer<'_>,
        change: impl FnOnce(&mut ClusterState) -> Result<Applied, Applied>,
    ) -> Applied {
        let mut cluster = ClusterState::clone(&self.cluster);
        match change(&mut cluster) {
            Ok(applied) => {
                if cluster != *self.cluster {
                    writer.put(Family::Meta, CLUSTER_KEY, &encode(&cluster));
                    self.cluster = Arc::new(cluster);
                }
                applied
            }
            Err(refusal) => refusal,
        }
    }

    pub(super) fn genesis(
        &mut self,
        id: ClusterId,
        generation: u32,
        members: &[Member],
        policy: &Policy,
        writer: &mut Writer<'_>,
    ) -> io::Result<Applied> {
        Ok(self.change_cluster(writer, |cluster| {
            if cluster.cluster.is_none() {
                cluster.cluster = Some(id);
                cluster.generation = generation;
                cluster.members = members.to_vec();
                cluster.policy = policy.clone();
                cluster.next_replica =
                    members.iter().map(|member| member.replica.0).max().unwrap_or(0).saturating_add(1);
            }
            Ok(Applied::Done)
        }))
    }

    pub(super) fn activate(
        &mut self,
        index: u64,
        host: &ServerName,
        reason: ActivationReason,
        at_ms: u64,
        writer: &mut Writer<'_>,
    ) -> io::Result<Applied> {
        Ok(self.change_cluster(writer, |cluster| {
            must_host(cluster, host)?;
            let epoch = Epoch { generation: cluster.generation, index };
            let placement = Placement { host: host.clone(), epoch, reason, at_ms };
            cluster.history.push(placement.clone());
            let surplus = cluster.history.len().saturating_sub(PLACEMENT_HISTORY);
            cluster.history.drain(..surplus);
            cluster.placement = Some(placement);
            cluster.stopped = None;
            if cluster.hold.as_ref() != Some(host) {
                cluster.hold = None;
            }
            Ok(Applied::Activated { epoch })
        }))
    }

    pub(super) fn stop(
        &mut self,
        epoch: Epoch,
        reason: &StopReason,
        at_ms: u64,
        writer: &mut Writer<'_>,
    ) -> io::Result<Applied> {
        Ok(self.change_cluster(writer, |cluster| {
            let running = cluster.placement.is_some() && cluster.stopped.is_none();
            if running && cluster.epoch() == epoch {
                cluster.stopped = Some(Stopped { epoch, reason: reason.clone(), at_ms });
            }
            Ok(Applied::Done)
        }))
    }

    pub(super) fn set_policy(&mut self, policy: &Policy, writer: &mut Writer<'_>) -> io::Result<Applied> {
        Ok(self.change_cluster(writer, |cluster| {
            policy.check(&cluster.hosts()).map_err(refused)?;
            cluster.policy = policy.clone();
            cluster.hold = None;
            Ok(Applied::Done)
        }))
    }

    pub(super) fn change_policy(&mut self, change: &PolicyChange, writer: &mut Writer<'_>) -> io::Result<Applied> {
        Ok(self.change_cluster(writer, |cluster| {
            let policy = change.clone().apply(&cluster.policy);
            policy.check(&cluster.hosts()).map_err(refused)?;
            cluster.policy = policy.clone();
            cluster.hold = None;
            Ok(Applied::Policy { policy })
        }))
    }

    pub(super) fn hold(&mut self, server: Option<&ServerName>, writer: &mut Writer<'_>) -> io::Result<Applied> {
        Ok(self.change_cluster(writer, |cluster| {
            if let Some(server) = server {
                must_host(cluster, server)?;
            }
            cluster.hold = server.cloned();
            Ok(Applied::Done)
        }))
    }

    pub(super) fn admit(
        &mut self,
        name: &ServerName,
        role: Role,
        address: &str,
        writer: &mut Writer<'_>,
    ) -> io::Result<Applied> {
        Ok(self.change_cluster(writer, |cluster| {
            let replica = ReplicaId(cluster.next_replica);
            match cluster.members.iter_mut().find(|member| member.name == *name) {
                Some(member) if member.role != role => {
                    return Err(refused(format!("{name} is known in another role: remove it first")));
                }
                Some(member) => {
                    member.replica = replica;
                    address.clone_into(&mut member.address);
                }
                None => cluster.members.push(Member { name: name.clone(), role, address: address.to_owned(), replica }),
            }
            cluster.next_replica = cluster.next_replica.saturating_add(1);
            Ok(Applied::Admitted { replica })
        }))
    }

    pub(super) fn set_address(
        &mut self,
        name: &ServerName,
        address: &str,
        writer: &mut Writer<'_>,
    ) -> io::Result<Applied> {
        Ok(self.change_cluster(writer, |cluster| {
            let Some(member) = cluster.members.iter_mut().find(|member| member.name == *name) else {
                return Err(refused(format!("there is no server {name}")));
            };
            address.clone_into(&mut member.address);
            Ok(Applied::Done)
        }))
    }

    pub(super) fn dismiss(&mut self, name: &ServerName, writer: &mut Writer<'_>) -> io::Result<Applied> {
        Ok(self.change_cluster(writer, |cluster| {
            if cluster.member(name).is_none() {
                return Err(refused(format!("there is no server {name}")));
            }
            cluster.members.retain(|member| member.name != *name);
            cluster.policy.preferred.retain(|preferred| preferred != name);
            if cluster.hold.as_ref() == Some(name) {
                cluster.hold = None;
            }
            // The only rule that a shorter list can break: preferred servers only, and none is left.
            cluster.policy.check(&cluster.hosts()).map_err(refused)?;
            Ok(Applied::Done)
        }))
    }
}

fn must_host(cluster: &ClusterState, host: &ServerName) -> Result<(), Applied> {
    match cluster.member(host).map(|member| member.role) {
        Some(Role::Server) => Ok(()),
        Some(Role::Witness) => Err(refused(format!("{host} is a witness: it never hosts the engine"))),
        None => Err(refused(format!("there is no server {host}"))),
    }
}
