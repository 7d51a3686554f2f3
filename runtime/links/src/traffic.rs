//! How much crosses a link: the socket counts it, and the heartbeat reads it.

use std::sync::atomic::AtomicU64;

/// How many bytes ever crossed a link.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    pub(super) received: AtomicU64,
    pub(super) sent: AtomicU64,
}
