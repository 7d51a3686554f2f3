//! The directory actor: answers at once what it knows, and starts a task for what needs others.

use std::sync::Arc;
use std::time::Duration;

use baton_client::peers::PeerKind;
use baton_client::protocol::{ClientRequest, DirectoryReply, DirectoryRequest, PlacementNews, decode, encode};
use baton_client::wire::{Inbound, Service};
use baton_domain::ServerName;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use ractor_cluster_derive::RactorMessage;
use tokio::task::JoinHandle;

use super::arguments::DirectoryArguments;
use super::tasks::{Admin, gather_status};

/// How long a client may take to take in news; it asks by itself when it missed some.
const NEWS_TIMEOUT: Duration = Duration::from_secs(2);

/// What the directory takes in.
#[derive(RactorMessage)]
pub enum DirectoryMessage {
    /// A request.
    Frame(Inbound),
}

/// The directory actor.
pub struct Directory;

/// The directory actor's state.
pub struct DirectoryState {
    with: Arc<DirectoryArguments>,
    tellers: JoinHandle<()>,
}

impl Actor for Directory {
    type Msg = DirectoryMessage;
    type State = DirectoryState;
    type Arguments = DirectoryArguments;

    async fn pre_start(
        &self,
        _: ActorRef<DirectoryMessage>,
        with: DirectoryArguments,
    ) -> Result<DirectoryState, ActorProcessingErr> {
        let with = Arc::new(with);
        Ok(DirectoryState { tellers: tokio::spawn(tell_clients(Arc::clone(&with))), with })
    }

    async fn handle(
        &self,
        _: ActorRef<DirectoryMessage>,
        message: DirectoryMessage,
        state: &mut DirectoryState,
    ) -> Result<(), ActorProcessingErr> {
        let DirectoryMessage::Frame(Inbound { from, token, payload, reply }) = message;
        let with = Arc::clone(&state.with);
        let request = match decode::<DirectoryRequest>(&payload) {
            Ok(request) => request,
            Err(error) => {
                reply.send(encode(&DirectoryReply::Refused(error.to_string())));
                return Ok(());
            }
        };
        match request {
            DirectoryRequest::Where => {
                reply.send(encode(&DirectoryReply::News(with.news())));
            }
            DirectoryRequest::Report => {
                reply.send(encode(&DirectoryReply::Report(with.report())));
            }
            DirectoryRequest::HashAt { index } => {
                tokio::task::spawn_blocking(move || {
                    let answer = match with.store.hash_at(index) {
                        Ok(hash) => DirectoryReply::Hash(hash),
                        Err(error) => DirectoryReply::Refused(error.to_string()),
                    };
                    reply.send(encode(&answer));
                });
            }
            DirectoryRequest::ReplicaOf { name } => {
                let replica = with.store.cluster().borrow().member(&name).map(|member| member.replica);
                reply.send(encode(&DirectoryReply::ReplicaOf(replica)));
            }
            DirectoryRequest::StandingOf { name, replica } => {
                let standing = with.store.cluster().borrow().standing(&name, replica);
                reply.send(encode(&DirectoryReply::Standing(standing)));
            }
            DirectoryRequest::Status => {
                tokio::spawn(async move {
                    reply.send(encode(&DirectoryReply::Status(gather_status(&with).await)));
                });
            }
            request @ (DirectoryRequest::SetPolicy(_)
            | DirectoryRequest::Move { .. }
            | DirectoryRequest::AddMember { .. }
            | DirectoryRequest::RemoveMember { .. }
            | DirectoryRequest::Join { .. }
            | DirectoryRequest::ChangePolicy(_)
            | DirectoryRequest::Release { .. }
            | DirectoryRequest::SetAddress { .. }
            | DirectoryRequest::Once { .. }
            | DirectoryRequest::Mark) => {
                let sender = with.peers.get(&from);
                // A server that passes a client's wish on has found that this one leads: not passed on once more.
                let from_server = sender
                    .as_ref()
                    .is_some_and(|peer| peer.info().kind == PeerKind::Server && from != with.me.as_str());
                let genuine = sender.is_some_and(|peer| peer.info().token == token && token != [0; 32]);
                let from = ServerName::new(&from).ok().filter(|_| genuine);
                let admin = Admin { with, may_pass_on: !from_server, from };
                tokio::spawn(async move {
                    reply.send(encode(&admin.perform(request).await));
                });
            }
        }
        Ok(())
    }

    async fn post_stop(
        &self,
        _: ActorRef<DirectoryMessage>,
        state: &mut DirectoryState,
    ) -> Result<(), ActorProcessingErr> {
        state.tellers.abort();
        Ok(())
    }
}

/// Tells the linked clients whenever the engine's place changes, so that they need not search after a failover.
async fn tell_clients(with: Arc<DirectoryArguments>) {
    let mut cluster = with.store.cluster();
    let mut told = PlacementNews::default();
    loop {
        let news = PlacementNews::of(&cluster.borrow_and_update());
        if news != told {
            let payload = encode(&ClientRequest::News(news.clone()));
            for peer in with.peers.all() {
                // The session of an embedding service lives in the server's own process.
                if peer.info().kind == PeerKind::Client || peer.info().name == with.me.as_str() {
                    let payload = payload.clone();
                    tokio::spawn(async move { peer.call(Service::Client, payload, NEWS_TIMEOUT).await });
                }
            }
            told = news;
        }
        if cluster.changed().await.is_err() {
            return;
        }
    }
}
