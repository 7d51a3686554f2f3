//! The inputs and effects of the producer's core.

use std::time::Duration;

use baton_domain::{Epoch, Message, Reliability};

use crate::outbox::Answer;
use crate::producer::{HandedBack, ProducerFailure, Refusal};
use crate::protocol::PlacementNews;

/// Events for the core. `T` is the ticket of a caller: the shell answers it when an effect returns it.
#[derive(Debug)]
pub(crate) enum Input<T> {
    /// The user sends a message.
    Send { message: Message, ticket: T },
    /// The user sent these messages since the last input; their request is made at once.
    SendAll(Vec<(Message, T)>),
    /// The user waits until all earlier messages are confirmed.
    Flush { ticket: T },
    /// The user sends no more.
    Close,
    /// The mailbox was taken in: the messages since [`Effect::PumpSoon`] make a request.
    Pump,
    /// The engine is reachable over that link.
    EngineAt { epoch: Epoch, link: u64 },
    /// No engine is reachable.
    EngineGone,
    /// The answer to [`Effect::Open`].
    Opened { attempt: u64, answer: Answer },
    /// The answer to [`Effect::Send`].
    Sent { attempt: u64, request: u64, answer: Answer },
    /// The answer to [`Effect::Post`].
    Posted { attempt: u64, answer: Answer },
    /// An answer to [`Effect::CloseProducer`], whatever it says.
    Closed,
    /// The delay of [`Effect::WakeAfter`] is over.
    Wake(Wake),
    /// The delay of [`Effect::CheckAgeAfter`] is over.
    CheckAge,
    /// The keep-alive interval is over.
    KeepAlive,
}

/// The part of the core that asked for a delay, and its attempt: a later attempt has no use for it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wake {
    /// The messages with numbers.
    Numbered { attempt: u64 },
    /// The messages without numbers.
    Posts { attempt: u64 },
}

/// Work for the shell.
#[derive(Debug)]
pub(crate) enum Effect<T> {
    /// Return [`Input::Pump`] after the messages that are in the mailbox now.
    PumpSoon,
    /// Register at the engine.
    Open { attempt: u64, known: bool },
    /// Draw another id: the engine forgot the producer while nothing was in doubt. [`Effect::Open`] follows.
    Renew,
    /// Have messages stored; `first` counts from the first message under this id.
    Send { attempt: u64, request: u64, first: u64, messages: Vec<Message> },
    /// Have messages without numbers taken, all of one level.
    Post { attempt: u64, level: Reliability, messages: Vec<Message> },
    /// Have the engine forget the producer.
    CloseProducer,
    /// A message is confirmed; it has a number if its level is assured.
    Confirm { number: Option<u64>, ticket: T },
    /// All messages before a flush are confirmed, or never will be.
    Flushed { ticket: T, outcome: Result<(), ProducerFailure> },
    /// A message was not accepted.
    Refuse { message: Message, ticket: T, why: Refusal },
    /// A message may have been stored or not, and its level allows no retry. The producer goes on.
    LinkLost { message: Message, ticket: T },
    /// The producer failed: these messages are not confirmed.
    Fail { why: ProducerFailure, unconfirmed: Vec<(HandedBack, T)> },
    /// Report that the engine accepts messages.
    Connected { epoch: Epoch },
    /// Report that the engine went away.
    Disconnected,
    /// Report that messages up to this number are confirmed.
    Confirmed { through: u64 },
    /// Report that these messages are resent.
    Resent { from: u64, through: u64 },
    /// Tell the session that this engine does not serve.
    Trouble { epoch: Epoch, news: Option<PlacementNews> },
    /// Tell the session that this engine serves.
    Works { epoch: Epoch },
    /// Return this wake-up after about that long.
    WakeAfter { delay: Duration, wake: Wake },
    /// Return [`Input::CheckAge`] after that long.
    CheckAgeAfter(Duration),
    /// The producer is done: stop the actor.
    Stop,
}
