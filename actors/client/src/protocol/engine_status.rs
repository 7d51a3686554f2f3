//! Destinations, consumers and prepared transactions, as the engine lists them.

use baton_domain::{ConsumerId, QueueName, Settings, TransactionName};
use serde::{Deserialize, Serialize};

/// Kinds of destinations.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Each message goes to one consumer.
    #[default]
    Queue,
    /// Each message goes to all subscriptions whose topics match its topic.
    TopicSpace,
    /// A subscription to a topic space; consumers attach to it like to a queue.
    Subscription {
        /// The topic space.
        space: QueueName,
        /// The topics: a pattern, see [`baton_domain::topic`].
        topic: String,
        /// A selector on these, see [`baton_domain::Selector`]; empty: all.
        selector: String,
    },
}

/// A queue in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueStatus {
    /// Its name.
    pub name: QueueName,
    /// Messages stored, those in flight included.
    pub depth: u64,
    /// Of these, messages that are in the engine's memory alone.
    pub nonpersistent: u64,
    /// Messages that were dropped for lack of room since this engine started: best-effort ones, and the oldest of an
    /// exception destination that is configured so.
    pub dropped: u64,
    /// Messages delivered and not settled.
    pub in_flight: u64,
    /// Messages that wait for their time; not counted in `depth`.
    pub delayed: u64,
    /// Dead letters that wait here because no exception destination takes them; counted in `depth`.
    pub kept: u64,
    /// Consumers attached.
    pub consumers: u64,
    /// Slow consumers among them; see [`ConsumerStatus::slow`].
    pub slow_consumers: u64,
    /// Its kind.
    pub kind: Kind,
    /// Its settings.
    pub settings: Settings,
    /// The number of changes of its settings.
    pub version: u64,
    /// True if it is deleted with its consumer.
    pub temporary: bool,
}

/// A consumer in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsumerStatus {
    /// The consumer.
    pub consumer: ConsumerId,
    /// Its queue, or subscription.
    pub queue: QueueName,
    /// The client process that it lives in.
    pub client: String,
    /// Prefetch: messages that it accepts before it settles some.
    pub credit: u32,
    /// Messages that it holds: delivered and not settled.
    pub held: u32,
    /// Messages that it acknowledged to this engine.
    pub acknowledged: u64,
    /// Time for which it has held messages without settling any, in milliseconds; 0 if it holds none. A new engine
    /// counts from the moment at which the consumer attached to it.
    pub unsettled_ms: u64,
    /// True if its link is gone: unless it attaches again soon, it is given up.
    pub lost: bool,
    /// True if others wait for it: it holds all its credit, it has settled nothing for longer than `slow_consumer_ms`,
    /// and messages wait in its queue.
    pub slow: bool,
}

/// A transaction that is prepared and not decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InDoubtStatus {
    /// The outside coordinator's name for it.
    pub name: TransactionName,
    /// Time of preparation, in Unix milliseconds by the engine's clock.
    pub at_ms: u64,
    /// Messages that it sends, per destination.
    pub sends: Vec<(QueueName, u64)>,
    /// Messages that it acknowledges, per queue.
    pub acknowledges: Vec<(QueueName, u64)>,
}
