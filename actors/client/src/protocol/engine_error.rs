//! Errors of engine requests. They cross the link as values, and their texts name the next step.

use baton_domain::{MessageId, QueueName};
use serde::{Deserialize, Serialize};

use super::PlacementNews;

/// Error of an engine request. Nothing was stored, unless the variant says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The engine is not started on this server: ask the server in `news`.
    #[error("the engine is not started on this server")]
    NotStarted {
        /// The engine's place, as this server knows it.
        news: PlacementNews,
    },
    /// Backpressure: a limit was reached; retry in a moment.
    #[error("the engine is busy: retry in a moment")]
    Busy,
    /// The store is full: new messages are refused, everything else works.
    #[error(
        "the store is full: a replica that a majority needs has {free_bytes} bytes free, without those its store needs itself, and {reserve_bytes} bytes are kept in reserve; consume messages, or give the servers more disk space"
    )]
    StoreFull {
        /// Free bytes at the fullest replica that a majority needs.
        free_bytes: u64,
        /// Bytes reserved for acknowledgements and deletes.
        reserve_bytes: u64,
    },
    /// The message exceeds the size limit.
    #[error("the message has {size} bytes; the limit is {limit}")]
    MessageTooLarge {
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// There is no such queue.
    #[error("there is no queue {0}: create it with `baton queue create {0}`")]
    NoSuchQueue(QueueName),
    /// The producer was forgotten (its queue was deleted, or it was idle too long) or never registered: the outcome of
    /// unconfirmed messages is unknown.
    #[error("the engine does not know this producer")]
    ProducerUnknown,
    /// Messages were skipped: resend from `expected`.
    #[error("messages were skipped: resend from number {expected}")]
    Gap {
        /// The missing number.
        expected: u64,
    },
    /// The consumer is not attached: attach it again.
    #[error("the engine does not know this consumer")]
    ConsumerUnknown,
    /// The engine was stopped during the request: the outcome is unknown.
    #[error("the engine stopped during the request: the outcome is unknown")]
    Unknown,
    /// This version cannot decode the request.
    #[error("invalid request: {0}")]
    BadRequest(String),
    /// The queue has reached its maximum number of messages: retry when some are consumed.
    #[error("queue {queue} is full with {limit} messages: consume some, or raise `--max-messages`")]
    QueueFull {
        /// The queue.
        queue: QueueName,
        /// Its limit.
        limit: u64,
    },
    /// The queue is paused for producers.
    #[error("queue {0} is paused for senders: run `baton queue resume {0}`")]
    SendPaused(QueueName),
    /// A destination of that name exists and is of another kind or has other settings.
    #[error(
        "destination {0} already exists and is of another kind or has other settings: `baton queue set {0}` changes settings"
    )]
    QueueExists(QueueName),
    /// The request is refused, with the reason.
    #[error("{0}")]
    Refused(String),
    /// Another process now owns the producer's name: the outcome of unconfirmed messages is unknown.
    #[error("another process took over this producer's name")]
    Fenced,
    /// A destination of that name exists and has other settings.
    #[error("queue {queue} already exists and differs in {}: `baton queue set {queue}` changes it", differences.join(", "))]
    QueueDiffers {
        /// The queue.
        queue: QueueName,
        /// The settings that differ, each with its present and its requested value.
        differences: Vec<String>,
    },
    /// The settings of the destination were changed meanwhile.
    #[error("the settings of {queue} are at version {version}: read them again before you change them")]
    OtherVersion {
        /// The destination.
        queue: QueueName,
        /// Number of changes so far.
        version: u64,
    },
    /// A message of a transaction is no longer in its queue: another consumer took it, or it expired.
    #[error("message {message} is no longer in its queue: another consumer took it, or it expired")]
    MessageGone {
        /// The message.
        message: MessageId,
    },
    /// The transaction exceeds the size limit.
    #[error("the transaction has {bytes} bytes; the limit is {limit}")]
    TransactionTooLarge {
        /// Its size in bytes.
        bytes: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// A message's topic is invalid.
    #[error("{0}")]
    BadTopic(String),
    /// The queue has messages, and was to be deleted only if empty.
    #[error("{queue} is not empty: it has {}", counted(*messages, "message"))]
    QueueNotEmpty {
        /// The queue.
        queue: QueueName,
        /// Their number.
        messages: u64,
    },
    /// The queue has consumers, and was to be deleted only if unused.
    #[error("{queue} is in use: it has {}", counted(*consumers, "consumer"))]
    QueueInUse {
        /// The queue.
        queue: QueueName,
        /// Their number.
        consumers: u64,
    },
}

/// "1 message", "2 messages".
fn counted(number: u64, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}
