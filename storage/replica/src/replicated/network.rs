//! The sending side: consensus' requests as frames over the store's [`Transport`].

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use baton_domain::ReplicaId;
use futures::future::BoxFuture;
use futures::{StreamExt, TryFutureExt, stream};
use openraft::error::{ErrorSource, NetworkError, RPCError, StreamingError, Timeout, Unreachable};
use openraft::network::RPCTypes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Notify;

use super::Timing;
use super::acknowledged::Acknowledged;
use super::answered::{Answered, counted_from};
use super::cause::Cause;
use super::codec::entry_bytes;
use super::frame::{Chunk, Ends, Kind, Refusal, SnapshotDone, SnapshotOffer, begin, read_answer, request, seal};
use super::holds::SnapshotHolds;
use super::incoming::CHUNK_BYTES;
use super::snapshot::{RaftSnapshot, SnapshotFiles};
use super::testimony::Testimony;
use super::types::{AppendRequest, AppendResponse, LogId, RaftConfig, RpcError, SnapshotResponse, Vote};
use crate::{Transport, TransportError};

/// Chunks of a snapshot in flight at once.
const CHUNKS_IN_FLIGHT: usize = 4;
/// Retries of a chunk before the transfer fails (and consensus begins it again).
const CHUNK_TRIES: usize = 3;

/// Makes connections to other replicas.
#[derive(Clone)]
pub(crate) struct Network {
    pub(crate) own: ReplicaId,
    pub(crate) generation: u32,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) timing: Timing,
    /// Maximum bytes of entries in flight to one replica.
    pub(crate) in_flight_bytes: usize,
    /// Times of the newest requests that replicas answered well.
    pub(crate) answered: Answered,
    /// Log entries that are kept for replicas that receive a snapshot.
    pub(crate) holds: SnapshotHolds,
    /// Requests a scan of the state on disk: a replica found damage in data from here.
    pub(crate) scrub: Arc<Notify>,
    /// The last entry that each replica acknowledged, as far as known here.
    pub(crate) acknowledged: Acknowledged,
}

impl Network {
    /// Tells another survivor that the leader died. Nobody waits for the answer but for the timeout.
    pub(crate) fn testify(
        &self,
        to: ReplicaId,
        testimony: &Testimony,
        timeout: Duration,
    ) -> impl Future<Output = ()> + Send + use<> {
        let connection = Connection::new(self.clone(), to, timeout);
        let told = connection.send::<()>(Kind::Testimony, testimony, timeout);
        async move {
            if let Err(error) = told.await {
                tracing::debug!(%to, %error, "cannot notify a survivor");
            }
        }
    }
}

impl Network {
    /// Tells another replica what each replica acknowledged, and refuses it from then on if it lacks what it
    /// acknowledged itself.
    pub(crate) fn acknowledged(&self, to: ReplicaId) -> impl Future<Output = ()> + Send + use<> {
        let acknowledged = self.acknowledged.clone();
        let (table, _) = acknowledged.table();
        let connection = Connection::new(self.clone(), to, self.timing.append);
        let told = connection.send::<Option<LogId>>(Kind::Acknowledged, &table, self.timing.append);
        async move {
            match told.await {
                Ok(last) => {
                    if let Some(why) = acknowledged.judge(to, &table, last) {
                        tracing::warn!(
                            replica = %to, why,
                            "a replica lacks entries that it acknowledged: its store is an older copy; nothing is \
                             sent to it any more; run `baton rebuild` with its server's file to restore it"
                        );
                    }
                }
                Err(error) => tracing::debug!(%to, %error, "cannot tell a replica its acknowledged position"),
            }
        }
    }
}

/// Sends to one replica.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(super) network: Network,
    pub(super) target: ReplicaId,
    /// Of appends.
    timeout: Duration,
    /// True if appends overtake others.
    ahead: bool,
}

/// Maximum overhead of an entry in a request, in bytes.
const ENTRY_MORE_BYTES: usize = 32;
/// Maximum bytes of a request without its entries.
const APPEND_BYTES: usize = 128;

impl Connection {
    pub(super) fn new(network: Network, target: ReplicaId, timeout: Duration) -> Self {
        Self { network, target, timeout, ahead: false }
    }

    /// The same connection, on which appends overtake others.
    pub(super) fn ahead(self) -> Self {
        Self { ahead: true, ..self }
    }

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
            let why = "nothing is sent to or from a store that is an older copy";
            return Box::pin(async move { Err(RPCError::Unreachable(Unreachable::from_string(why))) });
        }
        // A vote is requested once; again only if the replica needs the acknowledged table first.
        let again = matches!(kind, Kind::Vote | Kind::PreVote | Kind::Transfer).then(|| frame.clone());
        // Leadership is handed over after the earlier entries.
        let goes_ahead = match kind {
            Kind::Vote | Kind::PreVote | Kind::Testimony | Kind::Acknowledged => true,
            Kind::Append => self.ahead,
            Kind::Transfer | Kind::SnapshotBegin | Kind::SnapshotChunk | Kind::SnapshotEnd => false,
        };
        let answered = if goes_ahead {
            network.transport.call_ahead(target, frame, timeout)
        } else {
            network.transport.call(target, frame, timeout)
        };
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
                    Err(Refusal::DamagedSnapshot(why)) => {
                        network.scrub.notify_one();
                        Err(RPCError::Unreachable(Unreachable::from_string(format!("the snapshot is damaged: {why}"))))
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

    pub(super) fn send<T: DeserializeOwned + Send + 'static>(
        &self,
        kind: Kind,
        value: &impl Serialize,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<T, RpcError>> {
        self.send_large(kind, value, 0, timeout)
    }

    /// Sends a value of about `bytes` bytes: growing copies.
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

    /// Sends an append; `in_flight` bytes are in flight with it.
    pub(super) fn append(
        &self,
        append: &AppendRequest,
        in_flight: usize,
    ) -> BoxFuture<'static, Result<AppendResponse, RpcError>> {
        let (answered, target, sent) = (self.network.answered.clone(), self.target, crate::clock::boot_time());
        let own_lease = self.network.timing.election_max;
        let bytes = append.entries.iter().map(|entry| entry_bytes(entry) + ENTRY_MORE_BYTES).sum::<usize>();
        let timeout = Timing::carrying(self.timeout, in_flight.max(bytes));
        let exchange = self.send_large(Kind::Append, append, bytes + APPEND_BYTES, timeout);
        Box::pin(async move {
            let (response, lease_ms): (AppendResponse, u64) = exchange.await?;
            let its_lease = Duration::from_millis(lease_ms);
            if its_lease != own_lease && answered.is_news(target, its_lease) {
                tracing::warn!(replica = %target, ?own_lease, ?its_lease, "election_max_ms must be the same on all servers");
            }
            let sent = counted_from(sent, own_lease, its_lease);
            match &response {
                // A replica that lacks earlier entries has heard us all the same.
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
            StreamingError::StorageError(openraft::StorageError::read_snapshot(None, Cause::from_error(&error)))
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

    pub(super) async fn send_snapshot(
        &self,
        vote: Vote,
        snapshot: RaftSnapshot,
    ) -> Result<SnapshotResponse, StreamError> {
        let files = snapshot.snapshot.files().map_err(|error| {
            StreamingError::StorageError(openraft::StorageError::read_snapshot(None, Cause::from_error(&error)))
        })?;
        // Any number other than that of the last transfer.
        let transfer = crate::clock::boot_time().0;
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

pub(super) type StreamError = StreamingError<RaftConfig>;

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
