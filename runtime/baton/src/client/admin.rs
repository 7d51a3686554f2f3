//! Status, policy, membership: requests to the directories of the servers.

use std::collections::BTreeSet;
use std::time::Duration;

use baton_client::peers::{CallError, Peer, PeerEvent, PeerKind};
use baton_client::protocol::{DirectoryReply, DirectoryRequest, ProtocolError, Status, decode, encode};
use baton_client::wire::Service;
use baton_domain::clock::BootTime;
use baton_domain::{ChangeId, Policy, PolicyChange, Role, ServerName};
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;

use super::connect::troubles;
use super::{Client, ClientError};

/// Time that other servers get for their status, once one has answered.
const OTHERS: Duration = Duration::from_millis(200);
/// Delay before the next server is asked.
const AGAIN: Duration = Duration::from_millis(50);

impl Client {
    /// The status of the cluster. All linked servers are asked concurrently, including those linked meanwhile, because a
    /// server that is cut off knows less and one that is busy may not answer; works without an engine and without a quorum.
    ///
    /// ```no_run
    /// # async fn example(client: baton::Client) -> Result<(), baton::ClientError> {
    /// let status = client.status().await?;
    /// println!("the engine is {}", status.engine.state);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ClientError::NoServer`] if none answered within the deadline.
    pub async fn status(&self) -> Result<Status, ClientError> {
        let within = self.inner.deadline;
        let none = |_| ClientError::NoServer { within, why: self.troubles() };
        tokio::time::timeout(within, self.best_status()).await.map_err(none)
    }

    async fn best_status(&self) -> Status {
        let within = self.inner.deadline;
        let (mut asking, mut asked) = (JoinSet::new(), BTreeSet::new());
        let mut best: Option<Status> = None;
        // Counted from the first answer: late servers are not waited for.
        let mut until = None;
        loop {
            for peer in self.servers() {
                let link = (peer.info().name.clone(), peer.info().connection);
                if asked.insert(link.clone()) {
                    asking.spawn(async move { (link, call(&peer, &DirectoryRequest::Status, within).await) });
                }
            }
            let all_answered = asking.is_empty();
            if let Some(best) = best.take_if(|_| all_answered || until.is_some_and(|until| BootTime::now() >= until)) {
                return best;
            }
            let next = async {
                match asking.join_next().await {
                    Some(Ok(answer)) => answer,
                    // A task that was aborted, or none: the next round is a moment away.
                    Some(Err(_)) | None => std::future::pending().await,
                }
            };
            match tokio::time::timeout(AGAIN, next).await {
                Ok((_, Ok(DirectoryReply::Status(status)))) => {
                    let up = |status: &Status| status.servers.iter().filter(|server| server.up).count();
                    let rank = |status: &Status| (status.quorum.up, up(status), status.engine.state != "unknown");
                    if best.as_ref().is_none_or(|best| rank(best) < rank(&status)) {
                        best = Some(status);
                    }
                    until.get_or_insert(BootTime::now() + OTHERS);
                }
                // Retried.
                Ok((link, _)) => drop(asked.remove(&link)),
                Err(_) => {}
            }
        }
    }

    /// Sends a request that only the leader can do; follows [`DirectoryReply::Elsewhere`].
    /// An attempt whose answer was lost is retried; a change of the cluster is made at most once for all that.
    ///
    /// ```no_run
    /// # async fn example(client: baton::Client) -> Result<(), baton::ClientError> {
    /// use baton::client::{DirectoryReply, DirectoryRequest};
    ///
    /// if let DirectoryReply::Marked { index } = client.admin(DirectoryRequest::Mark).await? {
    ///     println!("committed at {index}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ClientError::NoLeader`] or [`ClientError::NoServer`] if it was not done within the deadline; it may be done
    /// after all. [`DirectoryReply::Refused`] is an answer, not an error.
    pub async fn admin(&self, request: DirectoryRequest) -> Result<DirectoryReply, ClientError> {
        let within = self.inner.deadline;
        let request = if request.is_change() {
            DirectoryRequest::Once { change: ChangeId::random(), request: Box::new(request) }
        } else {
            request
        };
        let mut answered = false;
        let outcome = tokio::time::timeout(within, self.leader_answer(&request, &mut answered)).await;
        outcome.unwrap_or_else(|_| {
            Err(if answered {
                ClientError::NoLeader { within }
            } else {
                ClientError::NoServer { within, why: self.troubles() }
            })
        })
    }

    /// Moves the engine to that server; returns once the engine is started there.
    ///
    /// ```no_run
    /// # async fn example(client: baton::Client) -> Result<(), baton::ClientError> {
    /// client.move_engine(&baton::ServerName::new("server2")?).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ClientError::Declined`] with the reason; else as [`Client::admin`].
    pub async fn move_engine(&self, server: &ServerName) -> Result<(), ClientError> {
        self.asked(DirectoryRequest::Move { server: server.clone() }).await.map(drop)
    }

    /// Changes the policy: what the change does not name stays. Returns the whole policy.
    ///
    /// ```no_run
    /// # async fn example(client: baton::Client) -> Result<(), baton::ClientError> {
    /// use baton::client::PolicyChange;
    ///
    /// let policy = client.change_policy(PolicyChange { fail_back: Some(true), ..PolicyChange::default() }).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ClientError::Declined`] with the reason; else as [`Client::admin`].
    pub async fn change_policy(&self, change: PolicyChange) -> Result<Policy, ClientError> {
        match self.asked(DirectoryRequest::ChangePolicy(change)).await? {
            DirectoryReply::Policy(policy) => Ok(policy),
            other => Err(ClientError::Protocol(format!("{other:?}"))),
        }
    }

    /// Adds a member. Its server may be started then, with an empty store.
    ///
    /// ```no_run
    /// # async fn example(client: baton::Client) -> Result<(), baton::ClientError> {
    /// client.add_member(&baton::ServerName::new("server4")?, baton::Role::Server, "10.0.0.4:7100").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ClientError::Declined`] with the reason; else as [`Client::admin`].
    pub async fn add_member(&self, name: &ServerName, role: Role, address: &str) -> Result<(), ClientError> {
        let (name, address) = (name.clone(), address.to_owned());
        self.asked(DirectoryRequest::AddMember { name, role, address }).await.map(drop)
    }

    /// Removes a member. If the engine runs on it, the engine is moved first.
    ///
    /// ```no_run
    /// # async fn example(client: baton::Client) -> Result<(), baton::ClientError> {
    /// client.remove_member(&baton::ServerName::new("server4")?).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ClientError::Declined`] with the reason; else as [`Client::admin`].
    pub async fn remove_member(&self, name: &ServerName) -> Result<(), ClientError> {
        self.asked(DirectoryRequest::RemoveMember { name: name.clone() }).await.map(drop)
    }

    /// Changes the address at which the other servers dial a member.
    ///
    /// ```no_run
    /// # async fn example(client: baton::Client) -> Result<(), baton::ClientError> {
    /// client.set_member_address(&baton::ServerName::new("server2")?, "10.0.0.9:7100").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ClientError::Declined`] with the reason; else as [`Client::admin`].
    pub async fn set_member_address(&self, name: &ServerName, address: &str) -> Result<(), ClientError> {
        let (name, address) = (name.clone(), address.to_owned());
        self.asked(DirectoryRequest::SetAddress { name, address }).await.map(drop)
    }

    async fn asked(&self, request: DirectoryRequest) -> Result<DirectoryReply, ClientError> {
        match self.admin(request).await? {
            DirectoryReply::Refused(why) => Err(ClientError::Declined(why)),
            DirectoryReply::Elsewhere(_) => Err(ClientError::NoLeader { within: self.inner.deadline }),
            reply => Ok(reply),
        }
    }

    async fn leader_answer(
        &self,
        request: &DirectoryRequest,
        answered: &mut bool,
    ) -> Result<DirectoryReply, ClientError> {
        let mut leader: Option<ServerName> = None;
        for turn in 0_usize.. {
            let known = leader.take().and_then(|name| self.inner.peers.get(name.as_str()));
            let servers = self.servers();
            let peer = known.or_else(|| servers.get(turn % servers.len().max(1)).cloned());
            if let Some(peer) = peer {
                match call(&peer, request, self.inner.deadline).await {
                    Ok(DirectoryReply::Elsewhere(at)) => {
                        *answered = true;
                        let follow = at.as_ref().is_some_and(|at| {
                            at.as_str() != peer.info().name && self.inner.peers.get(at.as_str()).is_some()
                        });
                        leader = at;
                        if follow {
                            continue;
                        }
                    }
                    Ok(reply) => return Ok(reply),
                    Err(AskError::Call(_)) => {}
                    Err(AskError::Decode(error)) => return Err(error.into()),
                }
            }
            tokio::time::sleep(AGAIN).await;
        }
        Err(ClientError::Closed)
    }

    /// Sends a request to one server, leader or not, once it is linked.
    ///
    /// ```no_run
    /// # async fn example(client: baton::Client) -> Result<(), baton::ClientError> {
    /// use baton::client::DirectoryRequest;
    ///
    /// let report = client.ask(&baton::ServerName::new("server2")?, DirectoryRequest::Report).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ClientError::NoAnswer`] if it is not linked or does not answer within the deadline.
    pub async fn ask(&self, server: &ServerName, request: DirectoryRequest) -> Result<DirectoryReply, ClientError> {
        let within = self.inner.deadline;
        let work = async {
            let peer = self.linked(server).await?;
            call(&peer, &request, within).await.map_err(|error| match error {
                AskError::Call(why) => ClientError::NoAnswer { server: server.clone(), why },
                AskError::Decode(error) => error.into(),
            })
        };
        let none = Err(ClientError::NoAnswer { server: server.clone(), why: CallError::Timeout(within) });
        tokio::time::timeout(within, work).await.unwrap_or(none)
    }

    async fn linked(&self, server: &ServerName) -> Result<Peer, ClientError> {
        let mut events = self.inner.peers.subscribe();
        loop {
            if let Some(peer) = self.inner.peers.get(server.as_str()) {
                return Ok(peer);
            }
            match events.recv().await {
                Ok(PeerEvent::Up(_) | PeerEvent::Down(_) | PeerEvent::Dead(_)) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return Err(ClientError::Closed),
            }
        }
    }

    /// The state of the servers that are not linked, to append to an error.
    pub(super) fn troubles(&self) -> String {
        self.inner.links.as_ref().map_or_else(String::new, troubles)
    }

    fn servers(&self) -> Vec<Peer> {
        let mut peers = self.inner.peers.all();
        peers.retain(|peer| peer.info().kind == PeerKind::Server);
        peers
    }
}

enum AskError {
    Call(CallError),
    Decode(ProtocolError),
}

async fn call(peer: &Peer, request: &DirectoryRequest, within: Duration) -> Result<DirectoryReply, AskError> {
    let bytes = peer.call(Service::Directory, encode(request), within).await.map_err(AskError::Call)?;
    decode(&bytes).map_err(AskError::Decode)
}
