//! Heartbeats to one replica, several in flight at once.
//!
//! Consensus waits for one heartbeat no longer than until the next is due. On a slow link the answer takes longer, so
//! that no heartbeat would ever be answered. Here the answer to an earlier one counts as well: it says the same. For
//! the lease each answer counts from the sending of its own heartbeat ([`super::Answered`]).

use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;

use super::types::{AppendResponse, AppendResult, LogId, RpcError};

/// A heartbeat that has no answer yet.
struct Heartbeat {
    prev: Option<LogId>,
    answer: BoxFuture<'static, Result<AppendResponse, RpcError>>,
}

/// Heartbeats that have no answer yet, the oldest first. Each ends by its own timeout, so they are few.
#[derive(Default)]
pub(super) struct Heartbeats(Vec<Heartbeat>);

impl Heartbeats {
    /// One more was sent.
    pub(super) fn push(&mut self, prev: Option<LogId>, answer: BoxFuture<'static, Result<AppendResponse, RpcError>>) {
        self.0.push(Heartbeat { prev, answer });
    }

    /// Resolves to the answer to the newest that has one; to an error once none can have any.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<AppendResult, RpcError>> {
        let mut failed = None;
        for at in (0..self.0.len()).rev() {
            let Heartbeat { prev, answer } = &mut self.0[at];
            match answer.poll_unpin(context) {
                Poll::Pending => {}
                Poll::Ready(Ok(response)) => {
                    let result = response.into_stream_result(*prev, *prev);
                    // Earlier ones can say nothing new.
                    self.0.drain(..=at);
                    return Poll::Ready(Ok(result));
                }
                Poll::Ready(Err(error)) => {
                    self.0.remove(at);
                    failed.get_or_insert(error);
                }
            }
        }
        match failed {
            Some(error) if self.0.is_empty() => Poll::Ready(Err(error)),
            Some(_) | None => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::channel::oneshot;
    use openraft::error::{RPCError, Unreachable};

    use super::*;

    type Sender = oneshot::Sender<Result<AppendResponse, RpcError>>;

    fn push(heartbeats: &mut Heartbeats) -> Sender {
        let (sender, receiver) = oneshot::channel();
        heartbeats.push(None, async { receiver.await.unwrap() }.boxed());
        sender
    }

    fn lost() -> Result<AppendResponse, RpcError> {
        Err(RPCError::Unreachable(Unreachable::from_string("lost")))
    }

    #[tokio::test]
    async fn the_answer_to_an_earlier_heartbeat_counts() {
        let mut context = Context::from_waker(std::task::Waker::noop());
        let mut heartbeats = Heartbeats::default();
        let (first, second) = (push(&mut heartbeats), push(&mut heartbeats));
        assert!(heartbeats.poll(&mut context).is_pending());
        first.send(Ok(AppendResponse::Success)).unwrap();
        assert!(matches!(heartbeats.poll(&mut context), Poll::Ready(Ok(Ok(_)))));
        assert!(heartbeats.poll(&mut context).is_pending(), "each answer counts once");
        let third = push(&mut heartbeats);
        third.send(lost()).unwrap();
        assert!(heartbeats.poll(&mut context).is_pending(), "the second one may be answered");
        second.send(lost()).unwrap();
        assert!(matches!(heartbeats.poll(&mut context), Poll::Ready(Err(_))));
        assert!(heartbeats.0.is_empty());
    }
}
