//! The inputs and effects of the consumer's core.

use std::time::Duration;

use baton_domain::{Epoch, MessageId};

use crate::consumer::{ConsumerFailure, Received};
use crate::outbox::Answer;
use crate::protocol::{Delivery, PlacementNews};

/// Events for the core. `T` is the ticket of a flush.
#[derive(Debug)]
pub(crate) enum Input<T> {
    /// The engine delivers.
    Deliver { epoch: Epoch, deliveries: Vec<Delivery> },
    /// The user acknowledges a message.
    Acknowledge { id: MessageId },
    /// The user requeues a message.
    Refuse { id: MessageId },
    /// A transaction settled messages.
    SettledElsewhere { messages: Vec<MessageId> },
    /// The user requeues a message as if it had not been delivered.
    Release { id: MessageId },
    /// The user rejects a message.
    Reject { id: MessageId, reason: String },
    /// The messages that the user settled since the last input, acknowledged (true) or requeued; the request is made at
    /// once.
    SettleAll(Vec<(MessageId, bool)>),
    /// The user waits until all earlier settlements are committed.
    Flush { ticket: T },
    /// The user wants no more messages for now (true), or again (false).
    Pause(bool),
    /// The user closes the consumer; it never received `untouched`.
    Close { untouched: Vec<MessageId> },
    /// The mailbox was taken in: the settlements since [`Effect::PumpSoon`] make a request.
    Pump,
    /// The engine is reachable over that link.
    EngineAt { epoch: Epoch, link: u64 },
    /// No engine is reachable.
    EngineGone,
    /// The answer to [`Effect::Attach`].
    Attached { attempt: u64, answer: Answer },
    /// The answer to [`Effect::Settle`].
    Settled { attempt: u64, request: u64, answer: Answer },
    /// The answer to [`Effect::Credit`].
    Credited { attempt: u64, answer: Answer },
    /// The answer to [`Effect::Detach`].
    Detached { attempt: u64, answer: Answer },
    /// The delay of [`Effect::WakeAfter`] is over.
    Wake { attempt: u64 },
    /// The keep-alive interval is over.
    KeepAlive,
}

/// Work for the shell.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Effect<T> {
    /// Give a message to the user.
    Give(Received),
    /// Return [`Input::Pump`] after the messages that are in the mailbox now.
    PumpSoon,
    /// Attach to the queue.
    Attach { attempt: u64, credit: u32, unsettled: Vec<MessageId>, groups: Vec<(MessageId, String)> },
    /// Settle messages.
    Settle {
        attempt: u64,
        request: u64,
        acknowledged: Vec<MessageId>,
        refused: Vec<MessageId>,
        rejected: Vec<(MessageId, String)>,
        released: Vec<MessageId>,
    },
    /// Change the credit.
    Credit { attempt: u64, credit: u32 },
    /// Detach from the queue.
    Detach { attempt: u64, untouched: Vec<MessageId> },
    /// All settlements before a flush are committed, or never will be.
    Flushed { ticket: T, outcome: Result<(), ConsumerFailure> },
    /// Report that the engine delivers.
    Connected { epoch: Epoch },
    /// Report that the engine went away.
    Disconnected,
    /// Report committed settlements.
    Settled { messages: Vec<MessageId> },
    /// The consumer ended.
    Fail { why: ConsumerFailure },
    /// Tell the session that this engine does not serve.
    Trouble { epoch: Epoch, news: Option<PlacementNews> },
    /// Tell the session that this engine serves.
    Works { epoch: Epoch },
    /// Return [`Input::Wake`] after about that long.
    WakeAfter { delay: Duration, attempt: u64 },
    /// The consumer is done: stop the actor.
    Stop,
}
