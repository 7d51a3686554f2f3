//! What the directory does with the help of others: the status of the cluster, and an operator's wishes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use baton_client::peers::Peer;
use baton_client::protocol::{DirectoryReply, DirectoryRequest, EngineState, ServerReport, Status};
use baton_domain::address::check_dialed;
use baton_domain::clock::{BootTime, unix_ms};
use baton_domain::{Applied, ChangeId, Command, Committed, Epoch, MEMBERS_MAX, Policy, ReplicaId, Role, ServerName};
use baton_replica::CommitError;
use futures::future::join_all;

use super::arguments::DirectoryArguments;
use super::checks::{check_free, may_leave, may_move_to};
use super::status::{StatusInput, compose_status};

/// How long another server may take to report for `baton status`.
const REPORT_TIMEOUT: Duration = Duration::from_millis(500);
/// How long to wait for this server to apply what others have.
const APPLY_TIMEOUT: Duration = Duration::from_millis(200);
/// Time limits: to wait for a storage leader here, before another server is asked; and for a commit.
const LEADER_TIMEOUT: Duration = Duration::from_secs(1);
const COMMIT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a move may take: the server may have to catch up first.
const MOVE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a removed server's vote may take to go.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(10);

async fn report_of(with: &DirectoryArguments, name: &ServerName) -> Option<ServerReport> {
    if *name == with.me {
        return Some(with.report());
    }
    match with.peers.server(name.as_str())?.ask_directory(&DirectoryRequest::Report, REPORT_TIMEOUT).await {
        Ok(DirectoryReply::Report(report)) if report.name == *name => Some(report),
        Ok(_) | Err(_) => None,
    }
}

/// Asks every server that is linked, and composes the status.
pub async fn gather_status(with: &DirectoryArguments) -> Status {
    let mut cluster = with.store.cluster().borrow().as_ref().clone();
    let asked = cluster.members.iter().map(|member| report_of(with, &member.name));
    let reports: BTreeMap<_, _> =
        join_all(asked).await.into_iter().flatten().map(|report| (report.name.clone(), report)).collect();
    // What this server has applied may be older than what the engine's host has.
    let newest = reports.values().filter_map(|report| report.epoch).max();
    if newest.is_some_and(|newest| newest > cluster.epoch()) {
        let mut changes = with.store.cluster();
        let applied = changes.wait_for(|now| Some(now.epoch()) >= newest);
        if let Ok(Ok(now)) = tokio::time::timeout(APPLY_TIMEOUT, applied).await {
            cluster = now.as_ref().clone();
        }
    }
    let leading = reports.values().find(|report| report.leads);
    let leader_why =
        leading.or(reports.values().find(|report| !report.why.is_empty())).map(|report| report.why.clone());
    // A server that was down for long knows less than those that answered; the leader's word is in the reports.
    let store = with.store.status().borrow().clone();
    compose_status(&StatusInput { cluster, store, reports, leader_why })
}

/// An operator's wish, or a server's wish to join, on its way to the storage leader.
pub(super) struct Admin {
    pub(super) with: Arc<DirectoryArguments>,
    pub(super) may_pass_on: bool,
    /// The server that asks, if it is one that proved itself.
    pub(super) from: Option<ServerName>,
}

/// The failure of an operator's request.
#[derive(Debug, thiserror::Error)]
enum Undone {
    /// In words for the operator.
    #[error("{0}")]
    Refused(String),
    /// Another server leads the store now, or soon will: it is asked instead.
    #[error("the storage leader changed during the request: check whether it was done, and retry")]
    LeaderMoved { maybe_done: bool },
}

impl From<String> for Undone {
    fn from(why: String) -> Self {
        Self::Refused(why)
    }
}

/// A change that a client may repeat, and the answer to an earlier attempt.
#[derive(Debug, Default)]
struct Change {
    /// Its id; `None`: it is not repeated.
    id: Option<ChangeId>,
    /// The answer to an earlier attempt.
    before: Option<Applied>,
}

impl Change {
    fn is_new(&self) -> bool {
        self.before.is_none()
    }
}

/// A command's answer, unless it was refused.
fn done(applied: Applied) -> Result<Applied, Undone> {
    match applied {
        Applied::Refused { why } => Err(Undone::Refused(why)),
        Applied::Repeated(answer) => done(*answer),
        applied => Ok(applied),
    }
}

enum Leader {
    Here,
    There(Peer),
    Unknown,
}

impl Admin {
    pub(super) async fn perform(&self, request: DirectoryRequest) -> DirectoryReply {
        let mut deadline = BootTime::now() + LEADER_TIMEOUT;
        let mut release = None;
        loop {
            match self.leader() {
                // The engine goes first; then whoever leads takes the server out.
                Leader::Here if request.removes(&self.with.me) => {
                    let held = self.with.store.cluster().borrow().hold.clone();
                    match self.move_away().await {
                        Ok(to) => {
                            release = Some(to).filter(|to| held.as_ref() != Some(to));
                            deadline = BootTime::now() + LEADER_TIMEOUT;
                        }
                        Err(Undone::LeaderMoved { .. }) if BootTime::now() <= deadline => {}
                        Err(why) => return DirectoryReply::Refused(why.to_string()),
                    }
                }
                Leader::Here => match self.perform_once(request.clone()).await {
                    Ok(reply) => return reply,
                    Err(Undone::LeaderMoved { maybe_done })
                        if (!maybe_done || request.is_repeatable()) && BootTime::now() <= deadline => {}
                    Err(why) => return DirectoryReply::Refused(why.to_string()),
                },
                Leader::There(peer) if self.may_pass_on => {
                    match peer.ask_directory(&request, MOVE_TIMEOUT + COMMIT_TIMEOUT).await {
                        Ok(DirectoryReply::Elsewhere(_)) => {}
                        Ok(reply) => {
                            if let Some(server) = release {
                                // Nobody asked for the engine to stay there. Without an answer it does, as after a move.
                                let _ = peer.ask_directory(&DirectoryRequest::Release { server }, COMMIT_TIMEOUT).await;
                            }
                            return reply;
                        }
                        // It died, or gave leadership up: whoever leads next does it.
                        Err(_) if request.is_repeatable() && BootTime::now() <= deadline => {}
                        Err(why) => {
                            return DirectoryReply::Refused(format!(
                                "the storage leader {} did not answer: {why}",
                                peer.info().name
                            ));
                        }
                    }
                }
                Leader::There(peer) => return DirectoryReply::Elsewhere(ServerName::new(&peer.info().name).ok()),
                Leader::Unknown => {}
            }
            if BootTime::now() > deadline {
                // This server may be cut off from the one that leads.
                return DirectoryReply::Elsewhere(None);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn leader(&self) -> Leader {
        let status = self.with.store.status();
        let status = status.borrow();
        match status.leader {
            _ if status.leads => Leader::Here,
            Some(leader) => self.with.peers.replica(leader).map_or(Leader::Unknown, Leader::There),
            None => Leader::Unknown,
        }
    }

    async fn perform_once(&self, request: DirectoryRequest) -> Result<DirectoryReply, Undone> {
        let DirectoryRequest::Once { change, request } = request else {
            return self.perform_here(request, Change::default()).await;
        };
        if !request.is_change() {
            return Err("not a change of the cluster: it needs no change id".to_owned().into());
        }
        // An earlier attempt may have done it: what it asked for is not checked again against what others changed since.
        let before = match self.committed(Command::Recall { change }).await?.applied {
            Applied::Repeated(answer) => Some(done(*answer)?),
            _ => None,
        };
        self.perform_here(*request, Change { id: Some(change), before }).await
    }

    async fn perform_here(&self, request: DirectoryRequest, change: Change) -> Result<DirectoryReply, Undone> {
        match request {
            DirectoryRequest::SetPolicy(policy) => self.set_policy(policy, change).await,
            DirectoryRequest::ChangePolicy(patch) => {
                // The store merges it: what this server knows may be older than what somebody changed a moment ago.
                match self.commit_once(change, Command::ChangePolicy { change: patch }).await? {
                    Applied::Policy { policy } => Ok(DirectoryReply::Policy(policy)),
                    applied => Err(format!("unexpected result of a policy change: {applied:?}").into()),
                }
            }
            DirectoryRequest::Once { .. } => Err("a change inside of a change".to_owned().into()),
            DirectoryRequest::Release { server } => {
                if self.with.store.cluster().borrow().hold == Some(server) {
                    self.commit(Command::Hold { server: None }).await?;
                }
                Ok(DirectoryReply::Done)
            }
            DirectoryRequest::Move { server } => self.move_engine(server, change).await,
            DirectoryRequest::AddMember { name, role, address } => self.add_member(name, role, address, change).await,
            DirectoryRequest::RemoveMember { name } => self.remove_member(name, change).await,
            DirectoryRequest::Join { name, role, address } => self.join(name, role, address).await,
            DirectoryRequest::SetAddress { name, address } => self.set_address(name, address, change).await,
            DirectoryRequest::Mark => {
                let (index, _) = self.commit(Command::Marker { nonce: unix_ms() }).await?;
                Ok(DirectoryReply::Marked { index })
            }
            DirectoryRequest::Where
            | DirectoryRequest::Report
            | DirectoryRequest::Status
            | DirectoryRequest::ReplicaOf { .. }
            | DirectoryRequest::StandingOf { .. }
            | DirectoryRequest::HashAt { .. } => {
                Err("not a request for the storage leader: every server answers it".to_owned().into())
            }
        }
    }

    /// Commits a command and returns its answer, unless it was refused.
    async fn commit(&self, command: Command) -> Result<(u64, Applied), Undone> {
        let Committed { index, applied } = self.committed(command).await?;
        Ok((index, done(applied)?))
    }

    async fn committed(&self, command: Command) -> Result<Committed, Undone> {
        let committed = tokio::time::timeout(COMMIT_TIMEOUT, self.with.store.commit(command)).await;
        let committed = committed.map_err(|_| match self.with.store.status().borrow().votes() {
            Some(_) => "no majority confirmed it in time: the outcome is unknown".to_owned(),
            None => "the database did not confirm it in time: the outcome is unknown".to_owned(),
        })?;
        committed.map_err(|error| match error {
            CommitError::NotLeader { .. } => Undone::LeaderMoved { maybe_done: false },
            CommitError::Unknown => Undone::LeaderMoved { maybe_done: true },
            error @ (CommitError::NoRoom(_) | CommitError::Failed(_)) => Undone::Refused(error.to_string()),
        })
    }

    /// Commits the command of a change, unless an earlier attempt did.
    async fn commit_once(&self, change: Change, command: Command) -> Result<Applied, Undone> {
        match change {
            Change { before: Some(answer), .. } => Ok(answer),
            Change { id: Some(change), .. } => {
                self.commit(Command::Once { change, command: Box::new(command) }).await.map(|(_, applied)| applied)
            }
            Change { id: None, .. } => self.commit(command).await.map(|(_, applied)| applied),
        }
    }

    async fn set_policy(&self, policy: Policy, change: Change) -> Result<DirectoryReply, Undone> {
        let hosts = self.with.store.cluster().borrow().hosts();
        if change.is_new() {
            policy.check(&hosts).map_err(|error| error.to_string())?;
        }
        self.commit_once(change, Command::SetPolicy { policy }).await?;
        Ok(DirectoryReply::Done)
    }

    async fn move_engine(&self, server: ServerName, change: Change) -> Result<DirectoryReply, Undone> {
        let cluster = self.with.store.cluster().borrow().clone();
        let is_new = change.is_new();
        if is_new {
            may_move_to(&cluster, &server)?;
        }
        let wish = Command::Hold { server: Some(server.clone()) };
        self.commit_once(change, wish.clone()).await?;
        let deadline = BootTime::now() + MOVE_TIMEOUT;
        while BootTime::now() < deadline {
            let now = self.with.store.cluster().borrow().clone();
            if started_on(&self.with, &server, now.epoch()).await {
                return Ok(DirectoryReply::Done);
            }
            if now.policy != cluster.policy {
                return Err(format!("the policy was changed before the engine started on {server}").into());
            }
            match &now.hold {
                Some(hold) if *hold == server => {}
                Some(other) => return Err(format!("this move was replaced by another move, to {other}").into()),
                None if !is_new => {
                    return Err(format!("{server} was asked for, and the engine was moved again since").into());
                }
                // A hand-over failed, and the engine was started elsewhere meanwhile. Whoever leads may know better.
                None => drop(self.commit(wish.clone()).await),
            }
            tokio::time::sleep(POLL).await;
        }
        // Not left to happen at some later time, when the operator no longer expects it. Whoever leads now may do it.
        let why = match report_of(&self.with, &server).await {
            None => format!("{server} cannot be reached"),
            Some(report) => report.trouble.unwrap_or_else(|| format!("{server} did not catch up")),
        };
        let still = self.with.store.cluster().borrow().hold == Some(server.clone());
        let before = cluster.hold.clone().filter(|before| *before != server);
        let cancelled = if still { self.commit(Command::Hold { server: before }).await.is_ok() } else { true };
        let after = if cancelled { "" } else { " (the move could not be cancelled and may still happen)" };
        Err(format!("the engine did not start on {server} within 30 s: {why}{after}").into())
    }

    /// Moves the engine, and the leadership with it, to the most preferred of the other servers that are up.
    async fn move_away(&self) -> Result<ServerName, Undone> {
        self.refuse_to_lose_the_quorum(&self.with.me)?;
        let cluster = self.with.store.cluster().borrow().clone();
        let hosts = cluster.hosts();
        let preferred = cluster.policy.preference(&hosts);
        let is_other = |name: &&ServerName| **name != self.with.me && self.with.peers.server(name.as_str()).is_some();
        let next = preferred.iter().chain(&hosts).find(is_other);
        let next =
            next.ok_or_else(|| format!("{} hosts the engine, and no other server is up to take over", self.with.me))?;
        self.move_engine(next.clone(), Change::default()).await.map(|_| next.clone())
    }

    async fn add_member(
        &self,
        name: ServerName,
        role: Role,
        address: String,
        change: Change,
    ) -> Result<DirectoryReply, Undone> {
        let cluster = self.with.store.cluster().borrow().clone();
        if change.is_new() {
            if role == Role::Witness && self.with.store.status().borrow().votes().is_none() {
                let why = "a cluster whose log is in a database has no witnesses: nothing is voted on";
                return Err(why.to_owned().into());
            }
            if cluster.member(&name).is_some() {
                return Err(format!("{name} is already a member").into());
            }
            if cluster.members.len() >= MEMBERS_MAX {
                return Err(format!("the cluster has {MEMBERS_MAX} members, the maximum: remove one first").into());
            }
            check_free(&cluster, &name, &address)?;
        }
        self.commit_once(change, Command::Admit { name, role, address }).await?;
        Ok(DirectoryReply::Done)
    }

    /// A server's own word on its address is taken even where another one still has that address in the store: several
    /// servers may trade addresses, and each says its own.
    async fn set_address(&self, name: ServerName, address: String, change: Change) -> Result<DirectoryReply, Undone> {
        let cluster = self.with.store.cluster().borrow().clone();
        if change.is_new() {
            if cluster.member(&name).is_none() {
                return Err(format!("{name} is not a member").into());
            }
            if self.from.as_ref() == Some(&name) {
                check_dialed(&address).map_err(|why| why.to_string())?;
            } else {
                check_free(&cluster, &name, &address)?;
            }
        }
        self.commit_once(change, Command::SetAddress { name, address }).await?;
        Ok(DirectoryReply::Done)
    }

    async fn remove_member(&self, name: ServerName, change: Change) -> Result<DirectoryReply, Undone> {
        if !change.is_new() {
            return Ok(DirectoryReply::Done);
        }
        let cluster = self.with.store.cluster().borrow().clone();
        let replica = cluster.member(&name).ok_or_else(|| format!("{name} is not a member"))?.replica;
        if name == self.with.me {
            return Err(format!(
                "{name} leads the store and hosts the engine: first move the engine to another server with `baton move`"
            )
            .into());
        }
        self.refuse_to_lose_the_quorum(&name)?;
        self.commit_once(change, Command::Dismiss { name }).await?;
        let mut status = self.with.store.status();
        let gone = status.wait_for(|status| {
            status.votes().is_none_or(|(voters, learners)| !voters.contains(&replica) && !learners.contains(&replica))
        });
        match tokio::time::timeout(REMOVE_TIMEOUT, gone).await {
            Ok(_) => Ok(DirectoryReply::Done),
            Err(_) => {
                Err("it is no longer a member, but its vote is not removed yet: see `baton status`".to_owned().into())
            }
        }
    }

    fn refuse_to_lose_the_quorum(&self, name: &ServerName) -> Result<(), String> {
        let cluster = self.with.store.cluster().borrow().clone();
        let status = self.with.store.status().borrow().clone();
        let Some((voters, _)) = status.votes() else { return Ok(()) };
        let own = self.with.store.header().replica;
        let up = |replica: ReplicaId| replica == own || self.with.peers.replica(replica).is_some();
        let leaving = cluster.member(name).map(|member| member.replica);
        may_leave(name, leaving, voters, up)
    }

    async fn join(&self, name: ServerName, role: Role, address: String) -> Result<DirectoryReply, Undone> {
        if self.from.is_none() {
            return Err("only a server with this cluster's server key may join".to_owned().into());
        }
        let cluster = self.with.store.cluster().borrow().clone();
        let member = cluster
            .member(&name)
            .ok_or_else(|| format!("{name} is not a member of this cluster: add it with `baton member add {name}`"))?;
        if member.role != role {
            return Err(format!(
                "{name} is a {:?} in this cluster, not a {role:?}: correct role in its file",
                member.role
            )
            .into());
        }
        check_free(&cluster, &name, &address)?;
        let id = cluster
            .cluster
            .ok_or_else(|| "the cluster has not started yet: start a majority of its servers".to_owned())?;
        match self.commit(Command::Admit { name, role, address }).await? {
            (_, Applied::Admitted { replica }) => {
                Ok(DirectoryReply::Admitted { replica, cluster: id, generation: cluster.generation })
            }
            (_, other) => Err(format!("unexpected result of the store: {other:?}").into()),
        }
    }
}

async fn started_on(with: &DirectoryArguments, server: &ServerName, newest: Epoch) -> bool {
    let cluster = with.store.cluster().borrow().clone();
    let placed =
        cluster.stopped.is_none() && cluster.placement.as_ref().is_some_and(|placement| placement.host == *server);
    placed
        && report_of(with, server)
            .await
            .is_some_and(|report| report.engine == EngineState::Started && report.epoch >= Some(newest))
}
