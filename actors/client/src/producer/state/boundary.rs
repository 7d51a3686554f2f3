//! What goes into the producer's core and what comes out of it.

use std::time::Duration;

use baton_domain::clock::BootTime;
use baton_domain::{Epoch, Message};

use crate::outbox::Answer;
use crate::producer::{HandedBack, ProducerFailure, Refusal};
use crate::protocol::PlacementNews;

/// What happens to a producer. `T` is what a caller waits with.
#[derive(Debug)]
pub(crate) enum Input<T> {
    /// The user sends a message.
    Send { message: Message, ticket: T, now: BootTime },
    /// The user has sent messages since the last look; their request is made at once.
    SendAll { sends: Vec<(Message, T)>, now: BootTime },
    /// The user waits until what was sent before is confirmed.
    Flush { ticket: T },
    /// The user sends no more.
    Close,
    /// What was sent meanwhile makes a request.
    Pump,
    /// The engine is there, over that link.
    EngineAt { epoch: Epoch, link: u64 },
    /// The engine is nowhere.
    EngineGone,
    /// An answer to [`Effect::Open`].
    Opened { attempt: u64, answer: Answer },
    /// An answer to [`Effect::Send`].
    Sent { attempt: u64, request: u64, answer: Answer },
    /// An answer to [`Effect::CloseProducer`].
    Closed,
    /// The delay of [`Effect::WakeAfter`] is over.
    Wake { attempt: u64 },
    /// The delay of [`Effect::CheckAgeAfter`] is over.
    CheckAge { now: BootTime },
    /// Nothing was sent for a while.
    KeepAlive,
    /// The producer ends for a reason that the core does not see.
    Fail { why: ProducerFailure },
}

/// What the shell has to do.
#[derive(Debug)]
pub(crate) enum Effect<T> {
    /// Come back with [`Input::Pump`] when the messages in the mailbox were taken in.
    PumpSoon,
    /// Register at the engine.
    Open { attempt: u64, known: bool },
    /// Draw another id: the engine forgot the producer while nothing was in doubt. [`Effect::Open`] follows.
    Renew,
    /// Store messages; `first` counts from the first message under this id.
    Send { attempt: u64, request: u64, first: u64, messages: Vec<Message> },
    /// Be forgotten by the engine.
    CloseProducer,
    /// Tell that the message of that number is confirmed.
    Confirm { number: u64, ticket: T },
    /// Tell that the messages before are confirmed.
    Flushed { ticket: T },
    /// Tell that a message was not taken.
    Refuse { message: Message, ticket: T, why: Refusal },
    /// Tell that the producer ended; `flushes` wait in vain.
    Fail { why: ProducerFailure, unconfirmed: Vec<(HandedBack, T)>, flushes: Vec<T> },
    /// Tell that the engine takes messages.
    Connected { epoch: Epoch },
    /// Tell that the engine went away.
    Disconnected,
    /// Tell what is confirmed.
    Confirmed { through: u64 },
    /// Tell what is sent again.
    Resent { from: u64, through: u64 },
    /// Report to the session.
    Trouble { epoch: Epoch, news: Option<PlacementNews> },
    /// Report to the session.
    Works { epoch: Epoch },
    /// Wake after about that long.
    WakeAfter { delay: Duration, attempt: u64 },
    /// Look for messages to give up after that long.
    CheckAgeAfter(Duration),
    /// All is done: stop.
    Stop,
}
