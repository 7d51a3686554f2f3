//! Bytes that cross a link: the socket counts them, the heartbeat reads the counters.

use std::sync::atomic::AtomicU64;

/// Bytes that crossed a link since it was opened.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    pub(super) received: AtomicU64,
    pub(super) sent: AtomicU64,
}
