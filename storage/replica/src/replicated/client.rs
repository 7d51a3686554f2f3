//! The client of consensus for one replica: its requests over a [`Connection`], several appends at once.

use std::future::{Future, poll_fn};
use std::sync::{Arc, Mutex, PoisonError};

use baton_domain::ReplicaId;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, stream};
use openraft::error::{ReplicationClosed, StreamingError};
use openraft::network::RPCOption;
use openraft::{RaftNetworkFactory, RaftNetworkV2};

use super::frame::Kind;
use super::heartbeats::Heartbeats;
use super::network::{Connection, Network, StreamError};
use super::pipeline::Pipeline;
use super::snapshot::{RaftSnapshot, SnapshotFiles};
use super::types::{
    AppendRequest, AppendResponse, AppendResult, RaftConfig, ReplicaNode, RpcError, SnapshotResponse, TransferRequest,
    TransferResponse, Vote, VoteRequest, VoteResponse,
};

impl RaftNetworkFactory<RaftConfig> for Network {
    type Network = Client;

    async fn new_client(&mut self, target: ReplicaId, _node: &ReplicaNode) -> Client {
        Client { connection: Connection::new(self.clone(), target, self.timing.append), heartbeats: None }
    }

    async fn new_heartbeat_client(&mut self, target: ReplicaId, _node: &ReplicaNode) -> Client {
        // An answer that comes later renews no lease.
        let connection = Connection::new(self.clone(), target, self.timing.election_max);
        Client { connection: connection.ahead(), heartbeats: Some(Mutex::default()) }
    }
}

/// The client of consensus for one replica.
pub(crate) struct Client {
    pub(super) connection: Connection,
    /// Set if it carries only heartbeats. The lock is never contended: consensus requires `Sync`, and futures are not.
    heartbeats: Option<Mutex<Heartbeats>>,
}

impl RaftNetworkV2<RaftConfig> for Client {
    type SnapshotData = Arc<SnapshotFiles>;

    async fn append_entries(&mut self, append: AppendRequest, _: RPCOption) -> Result<AppendResponse, RpcError> {
        self.connection.append(&append, 0).await
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<AppendResult, RpcError>>, RpcError>>
    where
        S: Stream<Item = AppendRequest> + Send + Unpin + 'static,
    {
        let Self { connection, heartbeats } = self;
        let connection: &'s Connection = connection;
        let heartbeats = heartbeats.as_mut().map(|waiting| waiting.get_mut().unwrap_or_else(PoisonError::into_inner));
        let answers: BoxStream<'s, _> = match heartbeats {
            None => Box::pin(Pipeline::new(connection.clone(), input)),
            Some(heartbeats) => Box::pin(stream::unfold(
                (input, heartbeats),
                move |(mut input, heartbeats): (S, &'s mut Heartbeats)| async move {
                    let heartbeat = input.next().await?;
                    heartbeats.push(heartbeat.prev_log_id, connection.append(&heartbeat, 0));
                    let answer = poll_fn(|context| heartbeats.poll(context)).await;
                    Some((answer, (input, heartbeats)))
                },
            )),
        };
        Box::pin(async move { Ok(answers) })
    }

    async fn vote(&mut self, vote: VoteRequest, option: RPCOption) -> Result<VoteResponse, RpcError> {
        self.connection.send(Kind::Vote, &vote, option.hard_ttl()).await
    }

    async fn pre_vote(&mut self, vote: VoteRequest, option: RPCOption) -> Result<VoteResponse, RpcError> {
        self.connection.send(Kind::PreVote, &vote, option.hard_ttl()).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: RaftSnapshot,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse, StreamError> {
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = self.connection.send_snapshot(vote, snapshot) => {
                if let Err(error) = &sent {
                    tracing::warn!(to = %self.connection.target, %error, "a snapshot did not arrive: sending it again");
                }
                sent
            }
        }
    }

    async fn transfer_leader(
        &mut self,
        transfer: TransferRequest,
        option: RPCOption,
    ) -> Result<TransferResponse, RpcError> {
        self.connection.send(Kind::Transfer, &transfer, option.hard_ttl()).await
    }
}
