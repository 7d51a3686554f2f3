//! A message in the engine's memory that can be delivered.

use baton_client::protocol::Delivery;
use baton_domain::{Message, MessageId};

/// Approximate bytes of a ready message in memory, without its own.
const READY_OVERHEAD_BYTES: usize = 96;

/// A message in memory.
#[derive(Debug, Clone)]
pub(in crate::engine) struct Ready {
    pub(in crate::engine) message: Message,
    pub(in crate::engine) redeliveries: u32,
    /// See `Received::redelivered` in `baton-client`.
    pub(in crate::engine) redelivered: bool,
    /// Expiry time, in Unix milliseconds; 0: never.
    pub(in crate::engine) expires_ms: u64,
    /// True if it is in no store, and may be dropped for newer ones.
    pub(in crate::engine) may_be_dropped: bool,
}

impl Ready {
    pub(in crate::engine) fn bytes(&self) -> usize {
        self.message.size() + READY_OVERHEAD_BYTES
    }

    pub(in crate::engine) fn delivery(self, id: MessageId) -> Delivery {
        let Self { message, redeliveries, redelivered, expires_ms, .. } = self;
        Delivery { id, redeliveries, redelivered, message: message.delivered(expires_ms) }
    }
}
