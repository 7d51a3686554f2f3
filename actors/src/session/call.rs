//! Calls to the engine that leave in the order in which they were made.

use std::time::Duration;

use futures::FutureExt;

use crate::peers::{CallError, Peer};
use crate::protocol::{EngineReply, EngineRequest, decode, encode};
use crate::wire::Service;

/// What came of a call: a reply, or none.
pub(crate) type Answer = Result<EngineReply, CallError>;

/// Sends the request and calls `done` with the answer, at once or from a task of its own.
///
/// A link takes frames in the order in which their futures are first polled, so the first poll happens here and not
/// in a task that might run later than the next one.
pub(crate) fn call_in_order(
    peer: &Peer,
    request: &EngineRequest,
    timeout: Duration,
    done: impl FnOnce(Answer) + Send + 'static,
) {
    let payload = encode(request);
    let peer = peer.clone();
    // Without `unconstrained`, a caller that used up its turn would be turned away before it queues for credit.
    let mut call = Box::pin(tokio::task::coop::unconstrained(async move {
        peer.call(Service::Engine, &payload, timeout).await.map(|bytes| read(&bytes))
    }));
    match (&mut call).now_or_never() {
        Some(answer) => done(answer),
        None => drop(tokio::spawn(async move { done(call.await) })),
    }
}

/// A reply that cannot be read comes from a program that this one does not understand.
fn read(bytes: &[u8]) -> EngineReply {
    decode(bytes)
        .unwrap_or_else(|error| EngineReply::Error(crate::protocol::EngineError::BadRequest(error.to_string())))
}
