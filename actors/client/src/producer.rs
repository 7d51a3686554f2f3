//! Sends messages to one destination, in order, each stored once, whatever happens to the engine meanwhile.
//!
//! Owns the messages that are not confirmed yet. Promises (invariants 4 and 5 of the design) that a resend never makes
//! a second message, that messages are stored in the order in which they were sent, and that they are confirmed in
//! that order. Numbers run from 1 without holes, so a message that cannot be stored, or that is given up, ends the
//! whole producer: everything unconfirmed is handed back, with the word whether it may have been stored after all.
//!
//! That is so for messages of the level [`baton_domain::Reliability::AssuredPersistent`], which all have that do not say
//! otherwise themselves and whose destination does not. Those of lower levels have no numbers: they go beside the others,
//! in their own order, and one of the levels that are not sent again is handed back alone when its link is lost.

mod handle;
mod inbox;
mod posts;
mod shell;
mod state;

#[cfg(test)]
mod simulation;

use std::time::Duration;

use baton_domain::{Epoch, Message, ProducerId, QueueName};

use crate::protocol::EngineError;

pub use handle::{Confirmation, Producer};
pub use inbox::{Inbox, Permit};
pub use shell::{ProducerActor, ProducerArguments, ProducerMessage};

/// How a producer works.
#[derive(Debug, Clone)]
pub struct ProducerOptions {
    /// The most messages unconfirmed. When full, a send is refused, or waits ([`Producer::send`]).
    pub window_messages: usize,
    /// The most bytes unconfirmed; a single message may be larger.
    pub window_bytes: usize,
    /// The age at which an unconfirmed message is given up, which ends the producer; `None` is never.
    pub give_up: Option<Duration>,
    /// How long the engine has to answer a request before the producer looks for it anew and resends.
    pub call_timeout: Duration,
    /// How often an idle producer asks whether the engine still knows it. One that was forgotten while nothing was
    /// unconfirmed goes on under another id, unless it has a name.
    pub keep_alive: Duration,
    /// Of a producer with a name that comes back: how it goes on. It is not forgotten when it is closed.
    pub resumed: Option<Resumed>,
}

/// How a producer with a name goes on where it, or a process before, ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resumed {
    /// What the engine knows it by; see [`ProducerId::named`].
    pub producer: ProducerId,
    /// The number of its next message: all before are stored.
    pub next: u64,
    /// Which taking over of its name that is: once there is a newer one, the producer fails with
    /// [`ProducerFailure::Fenced`].
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

/// What a producer reports, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProducerEvent {
    /// The engine takes messages.
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
    /// Messages whose fate was unknown are sent again.
    Resent {
        /// The first number.
        from: u64,
        /// The last number.
        through: u64,
    },
    /// A message was not taken.
    Refused {
        /// The message.
        message: Message,
        /// Why.
        why: Refusal,
    },
    /// The producer ended; nothing more is sent.
    Failed {
        /// Why.
        why: ProducerFailure,
        /// What is unconfirmed, in order.
        unconfirmed: Vec<HandedBack>,
    },
}

/// Why a message was not taken. Nothing of it was stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// As many messages or bytes as the window allows are unconfirmed.
    #[error("the producer's window is full: wait for confirms")]
    WindowFull,
    /// The message is larger than the engine takes.
    #[error("the message has {size} bytes; the limit is {limit}")]
    MessageTooLarge {
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The message's topic is none: its destination publishes messages by their topics.
    #[error("{0}")]
    BadTopic(String),
    /// The producer was closed.
    #[error("the producer is closed")]
    Closed,
    /// The producer ended before.
    #[error(transparent)]
    Failed(ProducerFailure),
}

/// Why a producer ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProducerFailure {
    /// There is no such queue, or not any more.
    #[error("there is no queue {0}: create it with `baton queue create {0}`")]
    NoSuchQueue(QueueName),
    /// The engine forgot the producer (its queue was deleted, or it was away too long): what is unconfirmed may have
    /// been stored or not.
    #[error("outcome unknown: the engine forgot this producer, and unconfirmed messages may have been stored or not")]
    Forgotten,
    /// Another process registered under the producer's name: from then on nothing of this one is stored.
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
    /// The link broke while a message was on its way whose level is not sent again. The producer goes on.
    #[error("outcome unknown: the link broke, and messages of this reliability are not resent")]
    LinkLost,
    /// A message was not confirmed in time.
    #[error("outcome unknown: a message was not confirmed within {within:?}{}", reason(held_up.as_deref()))]
    GaveUp {
        /// The time that it had.
        within: Duration,
        /// Why the engine did not take it last, if it said so: a full queue or store, a pause, or that it was busy.
        held_up: Option<Box<EngineError>>,
    },
    /// The engine now takes only smaller messages than when this one was numbered.
    #[error("a message of {size} bytes was accepted under a larger limit; the limit is now {limit}")]
    MessageTooLarge {
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The engine refused, or engine and producer do not understand each other.
    #[error("the engine refused: {0}")]
    Protocol(String),
    /// The producer's actor is gone.
    #[error("the producer stopped")]
    Stopped,
}

/// What held a message up, to be put behind a sentence.
fn reason(held_up: Option<&EngineError>) -> String {
    held_up.map_or_else(String::new, |error| format!(": {error}"))
}

/// A message is confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Confirmed {
    /// Its number among the messages of its producer, from 1; `None` for reliability levels below assured, which have none.
    pub number: Option<u64>,
}

/// A message that a producer could not see confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandedBack {
    /// The message.
    pub message: Message,
    /// Whether it may have been stored; false: it certainly was not.
    pub in_doubt: bool,
}

/// Why a message is not confirmed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// It was not taken.
    #[error("not sent: {why}")]
    Refused {
        /// The message.
        message: Message,
        /// Why.
        why: Refusal,
    },
    /// The producer ended before it was confirmed.
    #[error("not confirmed: {why}")]
    Failed {
        /// The message, and whether it may have been stored.
        unconfirmed: HandedBack,
        /// Why.
        why: ProducerFailure,
    },
    /// The producer's actor was stopped from outside: the message may have been stored or not.
    #[error("the producer stopped before the message was confirmed")]
    Stopped,
}
