//! How a destination behaves: set when it is created, changed while it serves.

use serde::{Deserialize, Serialize};

use super::{QueueId, QueueName, Reliability};

/// The name of the queue that takes what others could not deliver, unless a destination names its own.
pub const SYSTEM_EXCEPTION_QUEUE: &str = "system.exception";

/// To so many destinations one forwards at most: each has a copy of every message.
pub const FORWARDS_MAX: usize = 16;

/// The headers that a message carries in an exception destination.
pub mod exception_header {
    /// Why it is there, in words.
    pub const REASON: &str = "baton-exception-reason";
    /// The destination that it was in.
    pub const FROM: &str = "baton-exception-from";
    /// When it was moved, in Unix milliseconds.
    pub const AT_MS: &str = "baton-exception-at-ms";
}

/// Where messages go that a destination cannot deliver.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExceptionDestination {
    /// To [`SYSTEM_EXCEPTION_QUEUE`], which is created when it is first needed.
    #[default]
    System,
    /// To that queue; while there is none of that name, to the system's.
    Queue(QueueName),
    /// Nowhere: they stay, and are delivered again until one takes them.
    None,
}

/// What becomes of a message whose time to live is over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expired {
    /// It is dropped.
    #[default]
    Drop,
    /// It goes to the exception destination; dropped if the destination has none.
    Exception,
}

/// What kind of destination it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DestinationKind {
    /// Each message goes to one consumer.
    #[default]
    Queue,
    /// Each message goes to all subscriptions that want its topic, and is stored once.
    TopicSpace,
    /// What of a topic space somebody wants, for its consumers like a queue.
    Subscription(Subscription),
}

/// What a subscription wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// The topic space.
    pub space: QueueId,
    /// The topics; see [`super::topic::check_pattern`].
    pub topic: String,
    /// Of these, the messages that a [`super::Selector`] selects; empty: all.
    pub selector: String,
}

/// How a destination behaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Where messages go that cannot be delivered.
    pub exception: ExceptionDestination,
    /// After so many failed deliveries a message goes there; 0: never. One counts when a consumer refuses the message, or
    /// goes away while it has it.
    pub max_failed_deliveries: u32,
    /// So long after a failed delivery a message is delivered again, in milliseconds; twice as long after each further
    /// one. 0: at once, in its old place.
    pub redelivery_delay_ms: u64,
    /// The delay does not grow beyond this, in milliseconds.
    pub redelivery_delay_max_ms: u64,
    /// The time to live of messages that name none, in milliseconds; 0: for ever, and for a subscription, its topic space's.
    pub time_to_live_ms: u64,
    /// What becomes of messages whose time to live is over.
    pub expired: Expired,
    /// With so many messages it is full: more are refused until some are taken off; 0: no such bound.
    pub max_messages: u64,
    /// One consumer at a time is served, the one that attached first; the others stand in for it in their order.
    pub exclusive: bool,
    /// What may become of messages that do not say it themselves.
    pub reliability: Reliability,
    /// Nothing is taken from producers.
    pub send_paused: bool,
    /// Nothing is delivered to consumers.
    pub receive_paused: bool,
    /// What is sent to it is stored in each of these instead, those that there are; it keeps a copy if it is one of them.
    /// If there is none of them, it is stored here. At most [`FORWARDS_MAX`]; subscriptions do not count, what they have
    /// comes from their topic spaces.
    pub forward_to: Vec<QueueName>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            exception: ExceptionDestination::System,
            max_failed_deliveries: 10,
            redelivery_delay_ms: 0,
            redelivery_delay_max_ms: 60_000,
            time_to_live_ms: 0,
            expired: Expired::Drop,
            max_messages: 0,
            exclusive: false,
            reliability: Reliability::AssuredPersistent,
            send_paused: false,
            receive_paused: false,
            forward_to: Vec::new(),
        }
    }
}

impl Settings {
    /// Those of [`SYSTEM_EXCEPTION_QUEUE`]: nothing leaves it by itself.
    #[must_use]
    pub fn of_system_exception_queue() -> Self {
        Self { exception: ExceptionDestination::None, max_failed_deliveries: 0, ..Self::default() }
    }

    /// How long a message waits after its `failed`-th failed delivery, in milliseconds.
    #[must_use]
    pub fn redelivery_delay_ms(&self, failed: u32) -> u64 {
        let doublings = failed.saturating_sub(1).min(63);
        self.redelivery_delay_ms
            .saturating_mul(1 << doublings)
            .min(self.redelivery_delay_max_ms.max(self.redelivery_delay_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_doubles_up_to_its_bound() {
        let settings = Settings { redelivery_delay_ms: 100, redelivery_delay_max_ms: 350, ..Settings::default() };
        let delays = [1, 2, 3, 4, 200].map(|failed| settings.redelivery_delay_ms(failed));
        assert_eq!(delays, [100, 200, 350, 350, 350]);
        assert_eq!(Settings::default().redelivery_delay_ms(9), 0);
        let long = Settings { redelivery_delay_ms: 100, redelivery_delay_max_ms: 0, ..Settings::default() };
        assert_eq!(long.redelivery_delay_ms(9), 100);
    }
}
