//! Several appends to one replica on the way at once, in order, bounded by count and bytes.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use futures::{FutureExt, Stream, StreamExt};

use super::codec::entry_bytes;
use super::network::Connection;
use super::types::{AppendRequest, AppendResponse, AppendResult, LogId, RpcError};

/// How many requests may be on the way.
const IN_FLIGHT: usize = 16;

enum Answer {
    Awaited(BoxFuture<'static, Result<AppendResponse, RpcError>>),
    Here(Result<AppendResponse, RpcError>),
}

struct InFlight {
    answer: Answer,
    prev: Option<LogId>,
    last: Option<LogId>,
    bytes: usize,
}

/// Takes requests and yields their results, in the order of the requests. Ends with the first that is not a success.
pub(super) struct Pipeline<S> {
    connection: Connection,
    /// `None` once it has ended.
    input: Option<S>,
    in_flight: VecDeque<InFlight>,
    bytes: usize,
    ended: bool,
}

impl<S> Pipeline<S> {
    pub(super) fn new(connection: Connection, input: S) -> Self {
        Self { connection, input: Some(input), in_flight: VecDeque::new(), bytes: 0, ended: false }
    }

    fn push(&mut self, append: &AppendRequest) {
        let bytes = append.entries.iter().map(entry_bytes).sum();
        self.bytes += bytes;
        let prev = append.prev_log_id;
        let last = append.entries.last().map(|entry| entry.log_id).or(prev);
        let answer = Answer::Awaited(self.connection.append(append));
        self.in_flight.push_back(InFlight { answer, prev, last, bytes });
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
            // All of them, oldest first: being polled is what sends them, and what lets them go on.
            for in_flight in &mut this.in_flight {
                if let Answer::Awaited(future) = &mut in_flight.answer
                    && let Poll::Ready(result) = future.poll_unpin(context)
                {
                    in_flight.answer = Answer::Here(result);
                }
            }
            let room = this.in_flight.len() < IN_FLIGHT && this.bytes < this.connection.in_flight_bytes();
            let Some(input) = this.input.as_mut().filter(|_| room) else { break };
            match input.poll_next_unpin(context) {
                Poll::Ready(Some(append)) => this.push(&append),
                Poll::Ready(None) => this.input = None,
                Poll::Pending => break,
            }
        }
        match this.in_flight.pop_front() {
            None if this.input.is_none() => {
                this.ended = true;
                Poll::Ready(None)
            }
            None => Poll::Pending,
            Some(InFlight { answer: Answer::Here(result), prev, last, bytes }) => {
                this.bytes -= bytes;
                let result = result.map(|response| response.into_stream_result(prev, last));
                this.ended = !matches!(result, Ok(Ok(_)));
                Poll::Ready(Some(result))
            }
            Some(awaited) => {
                this.in_flight.push_front(awaited);
                Poll::Pending
            }
        }
    }
}
