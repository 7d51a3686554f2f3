//! Calls to the engine that wait for a frame on a link.
//!
//! A frame costs about 50 us of CPU time in both processes together, however small it is. So while [`FRAMES`] frames
//! with small requests are in flight on a link, further ones wait and share the next frame: the frames of many
//! producers with one message each grow. On a link with less traffic no call waits.

use std::collections::VecDeque;
use std::fmt::{Debug, Formatter};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::protocol::{EngineReply, EngineRequest};
use crate::wire::CallError;

/// Maximum shared frames in flight per link; further requests wait for a reply.
pub(crate) const FRAMES: usize = 8;
/// Maximum size of a shared frame; a larger single request travels alone.
pub(crate) const FRAME_BYTES: usize = 256 * 1024;
/// Maximum requests per frame.
const FRAME_REQUESTS: usize = 1_000;
/// Approximate overhead per message or settlement, in bytes.
const OVERHEAD_BYTES: usize = 32;

/// The outcome of a call.
pub(crate) type Answer = Result<EngineReply, CallError>;

/// Takes the outcome of a call.
pub(crate) type Done = Box<dyn FnOnce(Answer) + Send>;

/// A request that has not left yet.
pub(crate) struct Call {
    pub(crate) request: EngineRequest,
    /// Its approximate size; `None` if it leaves alone.
    pub(crate) shared: Option<usize>,
    pub(crate) timeout: Duration,
    pub(crate) since: Instant,
    pub(crate) done: Done,
}

/// Requests to the engine over one link.
#[derive(Default)]
pub(crate) struct Outbox(Mutex<Queue>);

/// The calls that wait for a frame, and the number of frames in flight.
#[derive(Default)]
pub(crate) struct Queue {
    pub(crate) calls: VecDeque<Call>,
    /// Shared frames without an answer.
    pub(crate) in_flight: usize,
    /// True while a task makes frames: one task at a time, so that frames leave in order.
    pub(crate) is_sending: bool,
}

impl Debug for Outbox {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbox").finish_non_exhaustive()
    }
}

impl Outbox {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Queue> {
        // No code that can panic runs under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// The requests of the next frame, if it may leave.
    pub(crate) fn next(&mut self) -> Option<Vec<Call>> {
        let first = self.calls.front()?;
        let Some(mut bytes) = first.shared else { return Some(vec![self.calls.pop_front()?]) };
        if self.in_flight >= FRAMES {
            return None;
        }
        self.in_flight += 1;
        let timeout = first.timeout;
        let fits = |call: &Call| {
            bytes += call.shared?;
            (bytes <= FRAME_BYTES && call.timeout == timeout).then_some(())
        };
        let more = self.calls.iter().skip(1).take(FRAME_REQUESTS - 1).map_while(fits).count();
        Some(self.calls.drain(..=more).collect())
    }
}

/// The approximate size of a request in a shared frame. `None` for a request that may wait at the engine: in a shared
/// frame it would delay the others.
pub(crate) fn shared_cost(request: &EngineRequest) -> Option<usize> {
    match request {
        EngineRequest::Send { messages, .. } | EngineRequest::Post { messages, .. } => {
            Some(messages.iter().map(|message| message.size() + OVERHEAD_BYTES).sum())
        }
        EngineRequest::Settle { acknowledged, refused, rejected, released, .. } => {
            let reasons = rejected.iter().map(|(_, why)| why.len() + OVERHEAD_BYTES).sum::<usize>();
            Some((acknowledged.len() + refused.len() + released.len()) * OVERHEAD_BYTES + reasons)
        }
        _ => None,
    }
}
