//! What goes into the consumer's core and what comes out of it.

use std::time::Duration;

use baton_domain::{Epoch, MessageId};

use crate::consumer::{ConsumerFailure, Received};
use crate::outbox::Answer;
use crate::protocol::{Delivery, PlacementNews};

/// What happens to a consumer. `T` is what a caller waits with.
#[derive(Debug)]
pub(crate) enum Input<T> {
    /// The engine delivers.
    Deliver { epoch: Epoch, deliveries: Vec<Delivery> },
    /// The user is done with a message.
    Acknowledge { id: MessageId },
    /// The user hands a message back.
    Refuse { id: MessageId },
    /// Messages were settled by a transaction.
    SettledElsewhere { messages: Vec<MessageId> },
    /// The user hands a message back as if it had not been delivered.
    Release { id: MessageId },
    /// The user cannot do anything with a message.
    Reject { id: MessageId, reason: String },
    /// What the user settled since the last look, acknowledged (true) or handed back; the request is made at once.
    SettleAll(Vec<(MessageId, bool)>),
    /// The user waits until what it settled before is committed.
    Flush { ticket: T },
    /// The user wants no more for now, or again.
    Pause(bool),
    /// The user goes away; `untouched` was never given to it.
    Close { untouched: Vec<MessageId> },
    /// What was settled meanwhile makes a request.
    Pump,
    /// The engine is there, over that link.
    EngineAt { epoch: Epoch, link: u64 },
    /// The engine is nowhere.
    EngineGone,
    /// An answer to [`Effect::Attach`].
    Attached { attempt: u64, answer: Answer },
    /// An answer to [`Effect::Settle`].
    Settled { attempt: u64, request: u64, answer: Answer },
    /// An answer to [`Effect::Credit`].
    Credited { attempt: u64, answer: Answer },
    /// An answer to [`Effect::Detach`].
    Detached { attempt: u64, answer: Answer },
    /// The delay of [`Effect::WakeAfter`] is over.
    Wake { attempt: u64 },
    /// Time passed.
    KeepAlive,
}

/// What the shell has to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Effect<T> {
    /// Give a message to the user.
    Give(Received),
    /// Come back with [`Input::Pump`] when what the mailbox holds was taken in.
    PumpSoon,
    /// Take up the queue.
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
    /// Go away.
    Detach { attempt: u64, untouched: Vec<MessageId> },
    /// Tell that what was settled before is committed.
    Flushed { ticket: T },
    /// Tell that the engine delivers.
    Connected { epoch: Epoch },
    /// Tell that the engine went away.
    Disconnected,
    /// Tell what is committed.
    Settled { messages: Vec<MessageId> },
    /// Tell that the consumer ended; `flushes` wait in vain.
    Fail { why: ConsumerFailure, flushes: Vec<T> },
    /// Report to the session.
    Trouble { epoch: Epoch, news: Option<PlacementNews> },
    /// Report to the session.
    Works { epoch: Epoch },
    /// Wake after about that long.
    WakeAfter { delay: Duration, attempt: u64 },
    /// All is done: stop.
    Stop,
}
