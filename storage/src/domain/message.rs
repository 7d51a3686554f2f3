//! Messages, as a producer sends them and as the store holds them.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// What a producer sends: headers and a body of bytes that the engine never looks into.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Names and values, in the producer's order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

impl Message {
    /// A message of a body alone.
    #[must_use]
    pub fn new(body: impl Into<Bytes>) -> Self {
        Self { headers: Vec::new(), body: body.into() }
    }

    /// What the message counts against size limits, in bytes: body, header names and values.
    #[must_use]
    pub fn size(&self) -> usize {
        self.body.len() + self.headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()
    }
}

/// A message as the store holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredMessage {
    /// What was sent.
    pub message: Message,
    /// When the engine took it, in Unix milliseconds by the engine's clock.
    pub at_ms: u64,
    /// How often it was handed back (refused, or its consumer went away) since it was stored.
    pub redeliveries: u32,
}
