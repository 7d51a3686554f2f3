//! Several appends to one replica in flight at once, in order, bounded by count and bytes.
//!
//! An append without entries, which consensus sends after each commit, carries only the committed position. It
//! waits a moment for the next entries, which carry it, too: to a single producer that sends one message after
//! another, it would cost as much as the entry itself.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, Stream, StreamExt};
use tokio::time::Sleep;

use super::codec::entry_bytes;
use super::network::Connection;
use super::types::{AppendRequest, AppendResponse, AppendResult, LogId, RpcError};

/// Maximum requests in flight.
const IN_FLIGHT: usize = 16;
/// Time for which an append without entries waits for entries.
const HOLD: Duration = Duration::from_millis(2);

enum Answer {
    Awaited(BoxFuture<'static, Result<AppendResponse, RpcError>>),
    Here(Result<AppendResponse, RpcError>),
}

struct InFlight {
    answer: Answer,
    prev: Option<LogId>,
    last: Option<LogId>,
    bytes: usize,
    /// What appends without entries built on that this one stands for. Their answers are in its own: where it succeeds,
    /// the log of the replica goes on from all that lies before it.
    stands_for: Vec<Option<LogId>>,
}

/// Appends without entries that wait, of which the last says all that the others do.
struct Held {
    newest: AppendRequest,
    before: Vec<Option<LogId>>,
    until: Pin<Box<Sleep>>,
}

/// Takes requests and yields their results, in the order of the requests. Ends with the first that is not a success.
pub(super) struct Pipeline<S> {
    connection: Connection,
    /// `None` once it has ended.
    input: Option<S>,
    in_flight: VecDeque<InFlight>,
    bytes: usize,
    held: Option<Held>,
    /// True once the replica took an append of this stream: until then each may be a probe for the end of its log.
    established: bool,
    /// Results that are known already, the next one first.
    results: VecDeque<Result<AppendResult, RpcError>>,
    ended: bool,
}

impl<S> Pipeline<S> {
    pub(super) fn new(connection: Connection, input: S) -> Self {
        Self {
            connection,
            input: Some(input),
            in_flight: VecDeque::new(),
            bytes: 0,
            held: None,
            established: false,
            results: VecDeque::new(),
            ended: false,
        }
    }

    fn take(&mut self, append: AppendRequest) {
        if !append.entries.is_empty() || !self.established {
            let stands_for = self.held.take().map_or_else(Vec::new, |held| held.all());
            return self.push(&append, stands_for);
        }
        match &mut self.held {
            Some(held) => held.before.push(std::mem::replace(&mut held.newest, append).prev_log_id),
            None => {
                let until = Box::pin(tokio::time::sleep(HOLD));
                self.held = Some(Held { newest: append, before: Vec::new(), until });
            }
        }
    }

    /// Sends what waits once nothing came that it could go with; false if nothing is sent.
    fn release(&mut self, context: &mut Context<'_>) -> bool {
        let last = self.input.is_none();
        let Some(Held { newest, before, .. }) =
            self.held.take_if(|held| last || held.until.as_mut().poll(context).is_ready())
        else {
            return false;
        };
        self.push(&newest, before);
        true
    }

    fn push(&mut self, append: &AppendRequest, stands_for: Vec<Option<LogId>>) {
        let bytes = append.entries.iter().map(entry_bytes).sum();
        self.bytes += bytes;
        let prev = append.prev_log_id;
        let last = append.entries.last().map(|entry| entry.log_id).or(prev);
        let answer = Answer::Awaited(self.connection.append(append, self.bytes));
        self.in_flight.push_back(InFlight { answer, prev, last, bytes, stands_for });
    }

    /// Takes the result of the oldest request, and of those that it stood for; false if it is not known yet.
    fn settle(&mut self) -> bool {
        let Some(InFlight { answer: Answer::Here(response), prev, last, bytes, stands_for }) =
            self.in_flight.pop_front_if(|oldest| matches!(oldest.answer, Answer::Here(_)))
        else {
            return false;
        };
        self.bytes -= bytes;
        let result = response.map(|response| response.into_stream_result(prev, last));
        if matches!(result, Ok(Ok(_))) {
            self.established = true;
            self.results.extend(stands_for.into_iter().map(|prev| Ok(Ok(prev))));
        }
        self.results.push_back(result);
        true
    }
}

impl Held {
    fn all(mut self) -> Vec<Option<LogId>> {
        self.before.push(self.newest.prev_log_id);
        self.before
    }
}

impl<S: Stream<Item = AppendRequest> + Unpin> Pipeline<S> {
    /// Sends all requests that may be sent now.
    fn fill(&mut self, context: &mut Context<'_>) {
        loop {
            // All of them, oldest first: being polled is what sends them, and what lets them go on.
            for in_flight in &mut self.in_flight {
                if let Answer::Awaited(future) = &mut in_flight.answer
                    && let Poll::Ready(result) = future.poll_unpin(context)
                {
                    in_flight.answer = Answer::Here(result);
                }
            }
            let room = self.in_flight.len() < IN_FLIGHT && self.bytes < self.connection.in_flight_bytes();
            let Some(input) = self.input.as_mut().filter(|_| room) else { return };
            match input.poll_next_unpin(context) {
                Poll::Ready(Some(append)) => self.take(append),
                Poll::Ready(None) => self.input = None,
                Poll::Pending if self.release(context) => {}
                Poll::Pending => return,
            }
            if self.input.is_none() {
                self.release(context);
            }
        }
    }
}

impl<S: Stream<Item = AppendRequest> + Unpin> Stream for Pipeline<S> {
    type Item = Result<AppendResult, RpcError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        loop {
            if let Some(result) = this.results.pop_front() {
                this.ended = !matches!(result, Ok(Ok(_)));
                return Poll::Ready(Some(result));
            }
            this.fill(context);
            if !this.settle() {
                this.ended = this.in_flight.is_empty() && this.input.is_none();
                return if this.ended { Poll::Ready(None) } else { Poll::Pending };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use futures::channel::mpsc;
    use openraft::RaftNetworkFactory;

    use super::super::acknowledged::Acknowledged;
    use super::super::flusher::lock;
    use super::super::frame::answer;
    use super::super::log_store::LogTail;
    use super::super::types::{Entry, EntryPayload, LeaderId, ReplicaNode, Vote};
    use super::super::{Answered, Network, SnapshotHolds, Timing};
    use super::*;
    use crate::{Transport, TransportError};
    use baton_domain::ReplicaId;

    /// Answers every append with success at once, and counts them.
    #[derive(Default)]
    struct Willing(Mutex<usize>);

    impl Transport for Willing {
        fn call(&self, _: ReplicaId, _: Vec<u8>, _: Duration) -> BoxFuture<'static, Result<Vec<u8>, TransportError>> {
            *lock(&self.0) += 1;
            async { Ok(answer(&(AppendResponse::Success, 340_u64))) }.boxed()
        }
    }

    fn log_id(index: u64) -> LogId {
        LogId::new(LeaderId { term: 1, node_id: ReplicaId(1) }, index)
    }

    fn append(prev: u64, entries: u64) -> AppendRequest {
        let entry = |index| Entry { log_id: log_id(index), payload: EntryPayload::Blank };
        AppendRequest {
            vote: Vote::new_committed(1, ReplicaId(1)),
            prev_log_id: Some(log_id(prev)),
            entries: (prev + 1..=prev + entries).map(entry).collect(),
            leader_commit: Some(log_id(prev)),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn news_of_a_commit_goes_with_the_next_entries_or_alone_after_a_moment() {
        let transport = Arc::new(Willing::default());
        let sent = || *lock(&transport.0);
        let ms = Duration::from_millis;
        let mut network = Network {
            own: ReplicaId(1),
            generation: 0,
            transport: transport.clone(),
            timing: Timing { election_max: ms(340), lease_margin: ms(30), append: ms(680), chunk: ms(1) },
            in_flight_bytes: 1 << 20,
            answered: Answered::default(),
            holds: SnapshotHolds::default(),
            scrub: Arc::default(),
            acknowledged: Acknowledged::new(ReplicaId(1), LogTail::at(None), None, Vec::new()),
        };
        let connection = network.new_client(ReplicaId(2), &ReplicaNode::default()).await;
        let (sender, input) = mpsc::unbounded();
        let mut pipeline = Pipeline::new(connection.connection, input);
        let send = |request| sender.unbounded_send(request).unwrap();
        let mut result = async || pipeline.next().await.map(|result| result.unwrap().unwrap());
        send(append(0, 0));
        assert_eq!((result().await, sent()), (Some(Some(log_id(0))), 1), "a question goes at once");
        send(append(0, 1));
        assert_eq!((result().await, sent()), (Some(Some(log_id(1))), 2));
        send(append(1, 0));
        send(append(1, 0));
        send(append(1, 2));
        assert_eq!((result().await, result().await), (Some(Some(log_id(1))), Some(Some(log_id(1)))));
        assert_eq!((result().await, sent()), (Some(Some(log_id(3))), 3), "one append stands for three");
        send(append(3, 0));
        let before = tokio::time::Instant::now();
        assert_eq!((result().await, sent()), (Some(Some(log_id(3))), 4));
        assert!(before.elapsed() >= HOLD && before.elapsed() < 2 * HOLD, "{:?}", before.elapsed());
        send(append(3, 0));
        drop(sender);
        assert_eq!((result().await, result().await, sent()), (Some(Some(log_id(3))), None, 5));
    }
}
