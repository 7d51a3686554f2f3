//! Sends messages to one destination, in order, each stored once, through failovers of the engine.
//!
//! Owns the unconfirmed messages. Promises (invariants 4 and 5 of the design) that a resend never makes a second
//! message, that messages are stored in the order in which they were sent, and that they are confirmed in that order.
//! Numbers run from 1 without holes, so a message that cannot be stored, or that is given up, ends the whole producer:
//! all unconfirmed messages are handed back, each with a flag that says whether it may have been stored.
//!
//! These promises hold for messages of the level [`baton_domain::Reliability::AssuredPersistent`], the default.
//! Messages of lower levels have no numbers: they are sent in their own order, and a message whose level allows no
//! retry is handed back alone when its link breaks.
//!
//! [`Producer`] is a handle for code that is no actor; actors spawn [`ProducerActor`] and cast [`ProducerMessage`]s.
//! The decisions are in `core`, the actor in `shell`.

mod core;
mod handle;
mod inbox;
mod shell;

#[cfg(test)]
mod simulation;

use std::time::Duration;

use baton_domain::{Epoch, Message, ProducerId, QueueName};

use crate::protocol::EngineError;

pub use handle::{Confirmation, Producer};
pub use inbox::{Inbox, Permit};
pub use shell::{ProducerActor, ProducerArguments, ProducerMessage};

/// Options of a producer.
///
/// ```
/// use std::time::Duration;
/// use baton_client::producer::ProducerOptions;
///
/// let options = ProducerOptions::default().window_messages(100).give_up(Duration::from_secs(30));
/// assert_eq!(options.window_messages, 100);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ProducerOptions {
    /// Window: maximum unconfirmed messages. When full, a send fails, or waits ([`Producer::send`]).
    pub window_messages: usize,
    /// Maximum unconfirmed bytes; a single message may be larger.
    pub window_bytes: usize,
    /// Time limit for a confirm; when it is exceeded, the producer fails; `None` = unlimited.
    pub give_up: Option<Duration>,
    /// Time limit of a request; then the producer locates the engine again and resends.
    pub call_timeout: Duration,
    /// Interval at which an idle producer checks that the engine still knows it. If it was forgotten without
    /// unconfirmed messages, it goes on under another id, unless it has a name.
    pub keep_alive: Duration,
    /// Resumption of a named producer. It is not forgotten when it is closed.
    pub resumed: Option<Resumed>,
}

/// Resumption of a named producer where it, or an earlier process, ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resumed {
    /// Its id at the engine; see [`ProducerId::named`].
    pub producer: ProducerId,
    /// Number of its next message: all earlier ones are stored.
    pub next: u64,
    /// Fencing token: once the name is taken over again, the producer fails with [`ProducerFailure::Fenced`].
    pub registration: u64,
}

impl Default for ProducerOptions {
    fn default() -> Self {
        Self {
            window_messages: 10_000,
            window_bytes: 8 * 1024 * 1024,
            give_up: None,
            call_timeout: Duration::from_secs(5),
            keep_alive: Duration::from_secs(60),
            resumed: None,
        }
    }
}

impl ProducerOptions {
    /// Sets the maximum number of unconfirmed messages.
    #[must_use]
    pub fn window_messages(self, window_messages: usize) -> Self {
        Self { window_messages, ..self }
    }

    /// Sets the maximum number of unconfirmed bytes.
    #[must_use]
    pub fn window_bytes(self, window_bytes: usize) -> Self {
        Self { window_bytes, ..self }
    }

    /// Sets the time limit for a confirm.
    #[must_use]
    pub fn give_up(self, give_up: Duration) -> Self {
        Self { give_up: Some(give_up), ..self }
    }

    /// Sets the time limit of a request to the engine.
    #[must_use]
    pub fn call_timeout(self, call_timeout: Duration) -> Self {
        Self { call_timeout, ..self }
    }

    /// Sets the interval at which an idle producer checks that the engine still knows it.
    #[must_use]
    pub fn keep_alive(self, keep_alive: Duration) -> Self {
        Self { keep_alive, ..self }
    }

    /// Resumes a named producer.
    #[must_use]
    pub fn resumed(self, resumed: Resumed) -> Self {
        Self { resumed: Some(resumed), ..self }
    }
}

/// Events of a producer, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProducerEvent {
    /// The engine accepts messages.
    Connected {
        /// The engine's host.
        server: String,
        /// The engine's epoch.
        epoch: Epoch,
    },
    /// The engine went away; messages are kept and resent.
    Disconnected,
    /// Messages up to that number are on disk at a majority.
    Confirmed {
        /// The number; a producer's first message is number 1.
        through: u64,
    },
    /// Messages with an unknown outcome are resent.
    Resent {
        /// The first number.
        from: u64,
        /// The last number.
        through: u64,
    },
    /// A message was not accepted.
    Refused {
        /// The message.
        message: Message,
        /// The reason.
        why: Refusal,
    },
    /// The link broke while this message was in flight, and its reliability level does not allow a retry: it may have
    /// been stored or not. The producer goes on.
    LinkLost {
        /// The message.
        message: Message,
    },
    /// The producer failed: nothing more is sent.
    Failed {
        /// The reason.
        why: ProducerFailure,
        /// The unconfirmed messages, in order; those of lower reliability levels last.
        unconfirmed: Vec<HandedBack>,
    },
}

/// Error of a message that was not accepted. It was not stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Backpressure: the window of unconfirmed messages or bytes is full.
    #[error("the producer's window is full: wait for confirms")]
    WindowFull,
    /// The message exceeds the size limit.
    #[error("the message has {size} bytes; the limit is {limit}")]
    MessageTooLarge {
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The message has no valid topic, but its destination is a topic space.
    #[error("{0}")]
    BadTopic(String),
    /// The producer was closed.
    #[error("the producer is closed")]
    Closed,
    /// The producer has failed.
    #[error(transparent)]
    Failed(ProducerFailure),
}

/// Error that ends a producer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProducerFailure {
    /// There is no such queue, or it was deleted.
    #[error("there is no queue {0}: create it with `baton queue create {0}`")]
    NoSuchQueue(QueueName),
    /// The engine forgot the producer (its queue was deleted, or it was away too long): the outcome of unconfirmed
    /// messages is unknown.
    #[error("outcome unknown: the engine forgot this producer, and unconfirmed messages may have been stored or not")]
    Forgotten,
    /// Another process took over the producer's name: from then on nothing of this one is stored.
    #[error(
        "fenced: another process took over this producer's name; unconfirmed messages were not stored, unless they were in flight"
    )]
    Fenced,
    /// The store lost messages that were confirmed: an operator recovered the cluster by force.
    #[error(
        "the store lost messages: it expects message {next} of this producer, though messages up to {confirmed} were confirmed"
    )]
    StoreLostMessages {
        /// The last number that was confirmed.
        confirmed: u64,
        /// The number that the store expects.
        next: u64,
    },
    /// A message was not confirmed in time.
    #[error("outcome unknown: a message was not confirmed within {within:?}{}", reason(held_up.as_deref()))]
    GaveUp {
        /// The time limit.
        within: Duration,
        /// The engine's last refusal, if any: a full queue or store, a pause, or busy.
        held_up: Option<Box<EngineError>>,
    },
    /// The size limit was lowered after this message was numbered.
    #[error("a message of {size} bytes was accepted under a larger limit; the limit is now {limit}")]
    MessageTooLarge {
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The engine refused a request, or engine and producer are of incompatible versions.
    #[error("the engine refused: {0}")]
    Protocol(String),
    /// The producer's actor ended.
    #[error("the producer stopped")]
    Stopped,
}

/// The last refusal of a message, to append to an error.
fn reason(held_up: Option<&EngineError>) -> String {
    held_up.map_or_else(String::new, |error| format!(": {error}"))
}

/// A message is confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Confirmed {
    /// Its number among the messages of its producer, from 1; `None` for reliability levels below assured, which have
    /// none.
    pub number: Option<u64>,
}

/// A message that was not confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandedBack {
    /// The message.
    pub message: Message,
    /// True if it may have been stored; false if it certainly was not.
    pub in_doubt: bool,
}

/// Error of a message that is not confirmed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// It was not accepted.
    #[error("not sent: {why}")]
    Refused {
        /// The message.
        message: Message,
        /// The reason.
        why: Refusal,
    },
    /// The link broke while the message was in flight, and its reliability level does not allow a retry: it may have
    /// been stored or not. The producer goes on.
    #[error("not confirmed: outcome unknown: the link broke, and messages of this reliability are not resent")]
    LinkLost {
        /// The message.
        message: Message,
    },
    /// The producer failed before it was confirmed.
    #[error("not confirmed: {why}")]
    Failed {
        /// The message, with its `in_doubt` flag.
        unconfirmed: HandedBack,
        /// The reason.
        why: ProducerFailure,
    },
    /// The producer's actor was stopped from outside: the outcome is unknown.
    #[error("the producer stopped before the message was confirmed")]
    Stopped,
}
