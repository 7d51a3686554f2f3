//! What a message asks of the engine, beside its body: priority, expiry, delay, and whom an answer goes to.

use serde::{Deserialize, Serialize};

use super::Reliability;

/// The highest priority.
pub const PRIORITY_MAX: u8 = 9;
/// The priority of a message that names none, as JMS has it.
pub const PRIORITY_DEFAULT: u8 = 4;

/// What a message asks of the engine. Most messages ask for nothing: see [`super::Message::properties`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Properties {
    /// From 0 to 9; higher ones are delivered first, whatever came first. A higher number counts as 9.
    pub priority: u8,
    /// After so long in its queue it is no longer delivered, in milliseconds; 0: as its destination says.
    pub time_to_live_ms: u64,
    /// It becomes deliverable so long after it was taken, in milliseconds; 0: at once.
    pub delay_ms: u64,
    /// Ties an answer to its request; empty: none.
    pub correlation_id: String,
    /// The queue that an answer is to go to; empty: none.
    pub reply_to: String,
    /// What it is about, in a topic space; see [`super::topic`].
    pub topic: String,
    /// What may become of it; `None`: as its destination says.
    pub reliability: Option<Reliability>,
    /// Messages of a group go to one consumer at a time, in order; empty: it is in none.
    pub group: String,
    /// When it expires, in Unix milliseconds by the engine's clock; 0: as `time_to_live_ms` says. Received messages have it,
    /// so that one that is sent on keeps its deadline.
    pub deadline_ms: u64,
}

impl Default for Properties {
    fn default() -> Self {
        Self {
            priority: PRIORITY_DEFAULT,
            time_to_live_ms: 0,
            delay_ms: 0,
            correlation_id: String::new(),
            reply_to: String::new(),
            topic: String::new(),
            reliability: None,
            group: String::new(),
            deadline_ms: 0,
        }
    }
}

impl Properties {
    /// What they count against size limits, in bytes.
    pub(super) fn size(&self) -> usize {
        self.correlation_id.len() + self.reply_to.len() + self.topic.len() + self.group.len()
    }
}
