//! The receiving side: frames in, consensus' answers out.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use baton_domain::ReplicaId;
use baton_domain::clock::BootTime;
use baton_domain::msgpack;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::acknowledged::{Acknowledged, Table};
use super::applied::AppliedRecord;
use super::codec::needs_room;
use super::flusher::lock;
use super::frame::{Chunk, Ends, Kind, Refusal, SnapshotDone, SnapshotOffer, accept, answer, refusal};
use super::incoming::Incoming;
use super::snapshot::to_raft;
use super::state_machine::Raft;
use super::testimony::{Inquest, Testimony};
use super::types::{AppendRequest, TransferRequest, VoteRequest};
use crate::disk::Room;
use crate::state::Snapshots;

/// Takes frames for one replica.
#[derive(Clone)]
pub(crate) struct Receiver {
    pub(crate) raft: Raft,
    pub(crate) own: ReplicaId,
    pub(crate) generation: u32,
    pub(crate) snapshots: Arc<Snapshots<AppliedRecord>>,
    /// Time until which this restarted replica gives no vote: it may have acknowledged a lease that still holds.
    pub(crate) votes_from: BootTime,
    /// Testimonies about a leader that died.
    pub(crate) inquest: Arc<watch::Sender<Inquest>>,
    /// Time for which this replica elects nobody after it heard a leader; part of each answer to an append.
    pub(crate) lease_ms: u64,
    /// The snapshot that is being received.
    pub(crate) incoming: Arc<Mutex<Option<Incoming>>>,
    pub(crate) room: Room,
    pub(crate) acknowledged: Acknowledged,
}

/// Polls a future once, so that its first send happens now, and returns it to be awaited.
///
/// A request to consensus enters its queue on the first poll, so calls are handled in the order of the calls.
pub(crate) fn start<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> BoxFuture<'static, T> {
    // Without the runtime's cooperative budget, which could put the first step off.
    let mut future: Pin<Box<_>> = Box::pin(tokio::task::unconstrained(future));
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => ready(value).boxed(),
        Poll::Pending => future,
    }
}

fn decoded<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    msgpack::read(body).map_err(|error| format!("a frame that cannot be read: {error}"))
}

type Answered = BoxFuture<'static, Vec<u8>>;

fn words<T: serde::Serialize>(result: Result<T, impl ToString>) -> Vec<u8> {
    match result {
        Ok(value) => answer(&value),
        Err(why) => refusal(&why.to_string()),
    }
}

impl Receiver {
    /// Takes a frame. Its request has its place in the queue when this returns.
    pub(crate) fn receive(&self, from: ReplicaId, frame: Bytes) -> Answered {
        let own = Ends { from, to: self.own, generation: self.generation };
        let handled = accept(&frame, own).and_then(|(kind, body)| self.handle(from, kind, body, &frame));
        handled.unwrap_or_else(|why| ready(refusal(&why)).boxed())
    }

    fn handle(&self, from: ReplicaId, kind: Kind, body: &[u8], frame: &Bytes) -> Result<Answered, String> {
        if let Some(why) = self.acknowledged.older() {
            return Err(format!("this store is an older copy: {why}"));
        }
        if !matches!(kind, Kind::Acknowledged | Kind::Testimony) && !self.acknowledged.is_told_by(from) {
            return Ok(ready(Refusal::Untold.frame()).boxed());
        }
        let raft = self.raft.clone();
        Ok(match kind {
            Kind::Append => {
                let append: AppendRequest = decoded(body)?;
                // Before consensus is asked, which ends when the log cannot be written. The others go on without this
                // replica, which hears heartbeats all the same.
                if let Some(shortage) = self.room.shortage().filter(|_| append.entries.iter().any(needs_room)) {
                    return Err(format!("this replica has no room: {shortage}"));
                }
                let lease_ms = self.lease_ms;
                start(async move { words(raft.append_entries(append).await.map(|response| (response, lease_ms))) })
            }
            Kind::Vote => {
                let vote = self.vote_request(from, body)?;
                start(async move { words(raft.vote(vote).await) })
            }
            Kind::PreVote => {
                let vote = self.vote_request(from, body)?;
                start(async move { words(raft.pre_vote(vote).await) })
            }
            Kind::Transfer => {
                let transfer: TransferRequest = decoded(body)?;
                start(async move { words(raft.handle_transfer_leader(transfer).await) })
            }
            Kind::SnapshotBegin => {
                let offer: SnapshotOffer = decoded(body)?;
                let this = self.clone();
                blocking(move || this.begin(offer))
            }
            Kind::SnapshotChunk => {
                Chunk::decode(body)?;
                let (this, body) = (self.clone(), frame.slice_ref(body));
                blocking(move || {
                    let chunk = Chunk::decode(&body)?;
                    lock(&this.incoming).as_mut().ok_or("no snapshot is being received")?.chunk(&chunk)
                })
            }
            Kind::SnapshotEnd => {
                let done: SnapshotDone = decoded(body)?;
                let this = self.clone();
                async move { this.end(done).await.unwrap_or_else(|refusal| refusal.frame()) }.boxed()
            }
            Kind::Testimony => {
                let testimony: Testimony = decoded(body)?;
                self.inquest.send_modify(|inquest| inquest.note(from, testimony));
                ready(answer(&())).boxed()
            }
            Kind::Acknowledged => {
                let table: Table = decoded(body)?;
                ready(answer(&self.acknowledged.told(from, table))).boxed()
            }
        })
    }

    /// Bytes of a snapshot that have arrived, and bytes in total, while one is being received.
    pub(crate) fn progress(&self) -> Option<(u64, u64)> {
        lock(&self.incoming).as_ref().map(Incoming::progress)
    }

    fn vote_request(&self, from: ReplicaId, body: &[u8]) -> Result<VoteRequest, String> {
        let vote: VoteRequest = decoded(body)?;
        // It may not have the table yet.
        if let Some(why) = self.acknowledged.lacks(from, vote.last_log_id) {
            return Err(format!("no vote for an older copy: {why}"));
        }
        // A transfer is wanted by the leader itself, who has given its lease up.
        if !vote.leadership_transfer && crate::clock::boot_time() < self.votes_from {
            return Err("this replica was just restarted and may not vote yet".to_owned());
        }
        Ok(vote)
    }

    fn begin(&self, offer: SnapshotOffer) -> Result<(), String> {
        let mut incoming = lock(&self.incoming);
        // The newest transfer counts: its sender gave the one before up, or is no longer the leader.
        if incoming.as_ref().is_some_and(|incoming| incoming.vote > offer.vote) {
            return Err("a snapshot of a newer leader is being received".to_owned());
        }
        *incoming = None;
        *incoming = Some(Incoming::begin(offer, self.snapshots.new_incoming(), self.snapshots.state().free_bytes())?);
        Ok(())
    }

    async fn end(&self, done: SnapshotDone) -> Result<Vec<u8>, Refusal> {
        let incoming = {
            let mut incoming = lock(&self.incoming);
            incoming
                .take_if(|incoming| incoming.transfer == done.transfer)
                .ok_or_else(|| "no such snapshot is being received".to_owned())?
        };
        let meta = incoming.meta.clone();
        let snapshots = self.snapshots.clone();
        // Opened before consensus is asked: a snapshot that cannot be opened is refused here, and sent again.
        let verified = tokio::task::spawn_blocking(move || {
            let snapshot = snapshots.received(incoming.complete()?);
            snapshot.map_err(|error| Refusal::DamagedSnapshot(error.to_string()))
        });
        let snapshot = Arc::new(verified.await.map_err(|error| error.to_string())??);
        if snapshot.record().meta() != meta {
            return Err("the snapshot is of another instant than was announced".to_owned().into());
        }
        let installed = self.raft.install_full_snapshot(done.vote, to_raft(snapshot)).await;
        // A former leader's snapshot is not installed.
        if installed.as_ref().is_ok_and(|response| response.vote == done.vote) {
            self.acknowledged.installed(meta.last_log_id);
        }
        Ok(words(installed))
    }
}

/// Runs what reads or writes files where it may block.
fn blocking(work: impl FnOnce() -> Result<(), String> + Send + 'static) -> Answered {
    let done = tokio::task::spawn_blocking(work);
    async move {
        match done.await {
            Ok(result) => words(result),
            Err(error) => refusal(&error.to_string()),
        }
    }
    .boxed()
}
