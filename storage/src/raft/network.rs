//! The sending side: consensus' requests as frames over the store's [`Transport`].

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryFutureExt, stream};
use openraft::error::{
    ErrorSource as _, NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable,
};
use openraft::network::{RPCOption, RPCTypes};
use openraft::{RaftNetworkFactory, RaftNetworkV2};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Notify;

use super::Timing;
use super::acknowledged::Acknowledged;
use super::codec::entry_bytes;
use super::frame::{
    Chunk, DAMAGED_SNAPSHOT, Ends, Kind, Refusal, SnapshotDone, SnapshotOffer, begin, read_answer, request, seal,
};
use super::holds::SnapshotHolds;
use super::incoming::CHUNK_BYTES;
use super::pipeline::Pipeline;
use super::snapshot::{RaftSnapshot, SnapshotFiles};
use super::testimony::Testimony;
use super::types::{
    AppendRequest, AppendResponse, AppendResult, ErrorSource, LogId, RaftConfig, ReplicaNode, RpcError,
    SnapshotResponse, TransferRequest, TransferResponse, Vote, VoteRequest, VoteResponse,
};
use crate::clock::BootTime;
use crate::{ReplicaId, Transport, TransportError};

/// How many chunks of a snapshot are on the way at once.
const CHUNKS_IN_FLIGHT: usize = 4;
/// How often a chunk is sent again before the transfer is given up (and begun again by consensus).
const CHUNK_TRIES: usize = 3;

/// Makes connections to other replicas.
#[derive(Clone)]
pub(crate) struct Network {
    pub(crate) own: ReplicaId,
    pub(crate) generation: u32,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) timing: Timing,
    /// How many bytes of entries may be on their way to one replica.
    pub(crate) in_flight_bytes: usize,
    /// When the newest request was sent that a replica answered well.
    pub(crate) answered: Answered,
    /// What is to be kept of the log for replicas that are sent a snapshot.
    pub(crate) holds: SnapshotHolds,
    /// Asks for a look at what lies on disk here: a replica found damage in what it got.
    pub(crate) scrub: Arc<Notify>,
    /// What each replica acknowledged, as far as it is known here.
    pub(crate) acknowledged: Acknowledged,
}

/// When the newest request was sent to each replica that it answered as a follower of ours. Clones are the same.
///
/// Consensus lets the answer to one request speak for those sent after it, if they ask for no more; with several on
/// their way that would count a time at which the follower may have heard nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answered {
    times: Arc<Mutex<BTreeMap<ReplicaId, BootTime>>>,
    /// Leases that differ from ours, as last told: each is warned of once.
    odd: Arc<Mutex<BTreeMap<ReplicaId, Duration>>>,
}

impl Answered {
    fn note(&self, replica: ReplicaId, sent: BootTime) {
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = times.entry(replica).or_insert(sent);
        *newest = sent.max(*newest);
    }

    /// Whether that lease of a replica was not told before.
    fn is_news(&self, replica: ReplicaId, lease: Duration) -> bool {
        self.odd.lock().unwrap_or_else(PoisonError::into_inner).insert(replica, lease) != Some(lease)
    }

    /// The latest time such that a majority of `voters` has answered something sent then or later; `own` answers
    /// itself at any time.
    pub(crate) fn by_majority(&self, own: ReplicaId, voters: &BTreeSet<ReplicaId>) -> Option<BootTime> {
        let times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sent: Vec<BootTime> = voters
            .iter()
            .filter_map(|voter| if *voter == own { Some(BootTime(u64::MAX)) } else { times.get(voter).copied() })
            .collect();
        sent.sort_unstable();
        sent.len().checked_sub(voters.len() / 2 + 1).and_then(|at| sent.get(at)).copied()
    }
}

impl Network {
    /// Tells another survivor that the leader died. Nobody waits for the answer but for the timeout.
    pub(crate) fn testify(
        &self,
        to: ReplicaId,
        testimony: &Testimony,
        timeout: Duration,
    ) -> impl Future<Output = ()> + Send + use<> {
        let connection = Connection { network: self.clone(), target: to, timeout };
        let told = connection.send::<()>(Kind::Testimony, testimony, timeout);
        async move {
            if let Err(error) = told.await {
                tracing::debug!(%to, %error, "a survivor was not told");
            }
        }
    }
}

impl Network {
    /// Tells another replica what each replica acknowledged, and refuses it from then on if it lacks what it acknowledged
    /// itself.
    pub(crate) fn acknowledged(&self, to: ReplicaId) -> impl Future<Output = ()> + Send + use<> {
        let acknowledged = self.acknowledged.clone();
        let (table, _) = acknowledged.table();
        let connection = Connection { network: self.clone(), target: to, timeout: self.timing.append };
        let told = connection.send::<Option<LogId>>(Kind::Acknowledged, &table, self.timing.append);
        async move {
            match told.await {
                Ok(last) => {
                    if let Some(why) = acknowledged.judge(to, &table, last) {
                        tracing::warn!(
                            replica = %to, why,
                            "a replica lacks what it acknowledged: its store was put back from an older copy; nothing is \
                             sent to it any more; `baton rebuild`, with its server's file, gives it a new replica"
                        );
                    }
                }
                Err(error) => tracing::debug!(%to, %error, "a replica was not told what it acknowledged"),
            }
        }
    }
}

/// From when on an answer counts for a lease of `own_lease`, if whoever answered elects nobody for `its_lease`: where
/// that is shorter, so much earlier. Servers should be set up alike, but two leaders are not the price of a mistake.
fn counted_from(sent: BootTime, own_lease: Duration, its_lease: Duration) -> BootTime {
    let short = u64::try_from(own_lease.saturating_sub(its_lease).as_nanos()).unwrap_or(u64::MAX);
    BootTime(sent.0.saturating_sub(short))
}

impl RaftNetworkFactory<RaftConfig> for Network {
    type Network = Connection;

    async fn new_client(&mut self, target: ReplicaId, _node: &ReplicaNode) -> Connection {
        Connection { network: self.clone(), target, timeout: self.timing.append }
    }

    async fn new_heartbeat_client(&mut self, target: ReplicaId, _node: &ReplicaNode) -> Connection {
        Connection { network: self.clone(), target, timeout: self.timing.heartbeat }
    }
}

/// Sends to one replica.
#[derive(Clone)]
pub(crate) struct Connection {
    network: Network,
    target: ReplicaId,
    /// Of appends.
    timeout: Duration,
}

/// What an entry takes in a request besides what it weighs, at most.
const ENTRY_MORE_BYTES: usize = 32;
/// What a request takes without its entries, at most.
const APPEND_BYTES: usize = 128;

impl Connection {
    fn ends(&self) -> Ends {
        Ends { from: self.network.own, to: self.target, generation: self.network.generation }
    }

    /// Sends a frame when first polled and resolves to what was answered.
    fn call<T: DeserializeOwned + Send + 'static>(
        &self,
        kind: Kind,
        frame: Vec<u8>,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<T, RpcError>> {
        let (own, target) = (self.network.own, self.target);
        let network = self.network.clone();
        if network.acknowledged.refuses(target) {
            let why = "nothing is sent to or from a store that was put back from an older copy";
            return Box::pin(async move { Err(RPCError::Unreachable(Unreachable::from_string(why))) });
        }
        // Votes are asked for once: whoever has to be told something first is asked again.
        let again = matches!(kind, Kind::Vote | Kind::PreVote | Kind::Transfer).then(|| frame.clone());
        let answered = self.network.transport.call(target, frame, timeout);
        Box::pin(async move {
            let timed_out = || {
                let action = if kind == Kind::Append { RPCTypes::AppendEntries } else { RPCTypes::Vote };
                RPCError::Timeout(Timeout { action, id: own, target, timeout })
            };
            // The transport has the timeout too; a hung one must not hang replication.
            match tokio::time::timeout(timeout, answered).await {
                Ok(Ok(frame)) => match read_answer(&frame) {
                    Ok(value) => Ok(value),
                    Err(Refusal::Words(why)) => {
                        tracing::debug!(%target, ?kind, why, "a replica refused a frame");
                        Err(RPCError::Unreachable(Unreachable::from_string(why)))
                    }
                    Err(Refusal::Untold) => {
                        network.acknowledged(target).await;
                        let untold = || RPCError::Unreachable(Unreachable::from_string("it had to be told first"));
                        let frame = again.filter(|_| !network.acknowledged.refuses(target)).ok_or_else(untold)?;
                        let answered = network.transport.call(target, frame, timeout);
                        match tokio::time::timeout(timeout, answered).await {
                            Ok(Ok(frame)) => read_answer(&frame).map_err(|_| untold()),
                            Ok(Err(_)) | Err(_) => Err(timed_out()),
                        }
                    }
                },
                Ok(Err(error @ TransportError::Unreachable)) => Err(RPCError::Unreachable(Unreachable::new(&error))),
                Ok(Err(TransportError::Timeout(_))) | Err(_) => Err(timed_out()),
            }
        })
    }

    fn send<T: DeserializeOwned + Send + 'static>(
        &self,
        kind: Kind,
        value: &impl Serialize,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<T, RpcError>> {
        self.send_large(kind, value, 0, timeout)
    }

    /// Sends what takes some `bytes`: growing copies what is there.
    fn send_large<T: DeserializeOwned + Send + 'static>(
        &self,
        kind: Kind,
        value: &impl Serialize,
        bytes: usize,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<T, RpcError>> {
        let mut frame = begin(kind, self.ends(), bytes);
        match rmp_serde::encode::write(&mut frame, value) {
            Ok(()) => self.call(kind, seal(frame), timeout),
            Err(error) => Box::pin(async move { Err(RPCError::Network(NetworkError::new(&error))) }),
        }
    }

    pub(super) fn in_flight_bytes(&self) -> usize {
        self.network.in_flight_bytes
    }

    pub(super) fn append(&self, append: &AppendRequest) -> BoxFuture<'static, Result<AppendResponse, RpcError>> {
        let (answered, target, sent) = (self.network.answered.clone(), self.target, BootTime::now());
        let own_lease = self.network.timing.election_max;
        let bytes = append.entries.iter().map(|entry| entry_bytes(entry) + ENTRY_MORE_BYTES).sum::<usize>();
        let exchange = self.send_large(Kind::Append, append, bytes + APPEND_BYTES, self.timeout);
        Box::pin(async move {
            let (response, lease_ms): (AppendResponse, u64) = exchange.await?;
            let its_lease = Duration::from_millis(lease_ms);
            if its_lease != own_lease && answered.is_news(target, its_lease) {
                tracing::warn!(replica = %target, ?own_lease, ?its_lease, "election_max_ms must be the same on all servers");
            }
            let sent = counted_from(sent, own_lease, its_lease);
            match &response {
                // One that lacks what comes before has heard us all the same.
                AppendResponse::Success | AppendResponse::PartialSuccess(_) | AppendResponse::Conflict => {
                    answered.note(target, sent);
                }
                AppendResponse::HigherVote(_) => {}
            }
            Ok(response)
        })
    }

    async fn send_chunk(&self, transfer: u64, files: &SnapshotFiles, piece: Piece) -> Result<(), StreamError> {
        let path = files.path(&piece.name);
        let (file, offset) = (piece.file, piece.offset);
        let read = tokio::task::spawn_blocking(move || piece.read(&path)).await.map_err(io::Error::other);
        let bytes = read.and_then(|read| read).map_err(|error| {
            StreamingError::StorageError(openraft::StorageError::read_snapshot(None, ErrorSource::from_error(&error)))
        })?;
        let body = Chunk { transfer, file, offset, bytes: &bytes }.encode();
        let mut tries = 1;
        loop {
            let frame = request(Kind::SnapshotChunk, self.ends(), &body);
            match self.call::<()>(Kind::SnapshotChunk, frame, self.network.timing.chunk).await {
                Ok(()) => return Ok(()),
                Err(_) if tries < CHUNK_TRIES => tries += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn send_snapshot(&self, vote: Vote, snapshot: RaftSnapshot) -> Result<SnapshotResponse, StreamError> {
        let files = snapshot.snapshot.files().map_err(|error| {
            StreamingError::StorageError(openraft::StorageError::read_snapshot(None, ErrorSource::from_error(&error)))
        })?;
        // Any number that the last transfer did not have.
        let transfer = crate::clock::BootTime::now().0;
        let timing = &self.network.timing;
        if let Some(last) = &snapshot.meta.last_log_id {
            self.network.holds.hold(self.target, last.index);
        }
        let offer = SnapshotOffer { transfer, vote, meta: snapshot.meta.clone(), files: files.clone() };
        self.send::<()>(Kind::SnapshotBegin, &offer, timing.chunk).await?;
        let mut chunks = stream::iter(pieces(files))
            .map(|piece| self.send_chunk(transfer, &snapshot.snapshot, piece))
            .buffer_unordered(CHUNKS_IN_FLIGHT);
        while let Some(sent) = chunks.next().await {
            sent?;
        }
        let done = SnapshotDone { transfer, vote };
        let install = Timing::install(snapshot.snapshot.bytes());
        self.send(Kind::SnapshotEnd, &done, install).map_err(StreamingError::from).await
    }
}

type StreamError = StreamingError<RaftConfig>;

/// A part of a file that fits one frame.
struct Piece {
    file: u32,
    name: String,
    offset: u64,
    length: usize,
}

impl Piece {
    fn read(&self, path: &std::path::Path) -> io::Result<Vec<u8>> {
        use std::os::unix::fs::FileExt;
        let mut bytes = vec![0; self.length];
        std::fs::File::open(path)?.read_exact_at(&mut bytes, self.offset)?;
        Ok(bytes)
    }
}

fn pieces(files: Vec<(String, u64)>) -> impl Iterator<Item = Piece> {
    (0_u32..).zip(files).flat_map(|(file, (name, size))| {
        let offsets = (0..size).step_by(CHUNK_BYTES);
        offsets.map(move |offset| {
            let length = usize::try_from(size - offset).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
            Piece { file, name: name.clone(), offset, length }
        })
    })
}

impl RaftNetworkV2<RaftConfig> for Connection {
    type SnapshotData = Arc<SnapshotFiles>;

    async fn append_entries(&mut self, append: AppendRequest, _: RPCOption) -> Result<AppendResponse, RpcError> {
        self.append(&append).await
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<AppendResult, RpcError>>, RpcError>>
    where
        S: Stream<Item = AppendRequest> + Send + Unpin + 'static,
    {
        let pipeline: BoxStream<'s, _> = Box::pin(Pipeline::new(self.clone(), input));
        Box::pin(async move { Ok(pipeline) })
    }

    async fn vote(&mut self, vote: VoteRequest, option: RPCOption) -> Result<VoteResponse, RpcError> {
        self.send(Kind::Vote, &vote, option.hard_ttl()).await
    }

    async fn pre_vote(&mut self, vote: VoteRequest, option: RPCOption) -> Result<VoteResponse, RpcError> {
        self.send(Kind::PreVote, &vote, option.hard_ttl()).await
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
            sent = self.send_snapshot(vote, snapshot) => {
                if let Err(error) = &sent {
                    tracing::warn!(to = %self.target, %error, "a snapshot did not arrive; it is sent again");
                    if error.to_string().contains(DAMAGED_SNAPSHOT) {
                        self.network.scrub.notify_one();
                    }
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
        self.send(Kind::Transfer, &transfer, option.hard_ttl()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Invariant 2: a follower that elects earlier than this leader's lease ends counts for the less.
    #[test]
    fn who_elects_earlier_is_counted_as_if_it_had_answered_earlier() {
        let (ms, sent) = (Duration::from_millis, BootTime(1_000_000_000));
        assert_eq!(counted_from(sent, ms(340), ms(340)), sent);
        assert_eq!(counted_from(sent, ms(340), ms(500)), sent, "its patience is its own affair");
        let counted = counted_from(sent, ms(340), ms(200));
        assert_eq!(counted + ms(340), sent + ms(200), "the lease ends when that one may elect");
        assert_eq!(counted_from(BootTime(5), ms(340), ms(0)), BootTime(0));
    }

    /// Invariant 2: the lease rests on the slowest member of the fastest majority, and on nobody's word for another.
    #[test]
    fn a_majority_has_answered_what_its_slowest_member_has() {
        let answered = Answered::default();
        let by_majority = |count: u64| answered.by_majority(ReplicaId(1), &(1..=count).map(ReplicaId).collect());
        assert_eq!(by_majority(1), Some(BootTime(u64::MAX)), "the only voter answers itself");
        assert_eq!(by_majority(3), None, "nobody else has answered");
        answered.note(ReplicaId(2), BootTime(20));
        assert_eq!(by_majority(3), Some(BootTime(20)));
        assert_eq!(by_majority(5), None);
        answered.note(ReplicaId(3), BootTime(30));
        assert_eq!(by_majority(3), Some(BootTime(30)));
        assert_eq!(by_majority(5), Some(BootTime(20)));
        answered.note(ReplicaId(2), BootTime(10));
        assert_eq!(by_majority(5), Some(BootTime(20)), "a late answer to an early request takes nothing back");
        answered.note(ReplicaId(9), BootTime(99));
        assert_eq!(by_majority(4), Some(BootTime(20)), "who does not vote does not count");
    }
}
