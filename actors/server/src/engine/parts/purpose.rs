//! The purpose of an operation that is proposed to the store: what is done with its result.

use std::fmt;

use baton_client::protocol::EngineRequest;
use baton_domain::{
    ChangeId, ConsumerId, InDoubt, MessageBatch, MessageId, OpResult, ProducerId, QueueId, QueueName, SessionId,
    SettingsPatch, Timer, TransactionName,
};
use baton_replica::QueueRecord;

use super::attach::Attach;
use super::transactions::TransactionHold;
use crate::engine::message::RequestId;

/// The result of an operation is dealt with.
pub(in crate::engine) type Resolved = Result<(), Unexpected>;

/// It cannot be the result of such an operation: a bug of the store or of the engine.
#[derive(Debug)]
pub(in crate::engine) struct Unexpected(Box<OpResult>);

impl From<OpResult> for Unexpected {
    fn from(result: OpResult) -> Self {
        Self(Box::new(result))
    }
}

impl fmt::Display for Unexpected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// Each is resolved next to where it is proposed; [`super::complete`] says where.
#[derive(Debug)]
pub(in crate::engine) enum Purpose {
    CreateQueue {
        request: RequestId,
        name: QueueName,
    },
    DeleteQueue {
        request: RequestId,
        name: QueueName,
    },
    /// The same, with conditions, and answered with counts.
    Delete {
        request: RequestId,
        name: QueueName,
    },
    OpenProducer {
        request: RequestId,
        producer: ProducerId,
        name: QueueName,
    },
    /// Asks for a registered producer's next number.
    TouchProducer {
        request: RequestId,
    },
    /// Counts a failed delivery for consumers that did not come back to this engine: their queue waits for it.
    CountLost {
        queue: QueueId,
    },
    CloseProducer {
        request: RequestId,
    },
    ForgetProducers,
    Send {
        request: RequestId,
        producer: ProducerId,
        through: u64,
        messages: MessageBatch,
        dispatch: bool,
    },
    /// Messages without a number.
    Post {
        /// `None` once it was answered `early`.
        request: Option<RequestId>,
        early: bool,
        name: QueueName,
        messages: MessageBatch,
        dispatch: bool,
    },
    SetAside,
    Dispatch {
        queue: QueueId,
        through: MessageId,
    },
    Settle {
        queue: QueueId,
        messages: Vec<MessageId>,
    },
    Requeue {
        queue: QueueId,
        messages: Vec<MessageId>,
    },
    /// All requests that are done with the entry's settlements. Has no operation of its own.
    Settled {
        requests: Vec<RequestId>,
    },
    Attach {
        request: RequestId,
        consumer: ConsumerId,
        name: QueueName,
    },
    Detach {
        request: Option<RequestId>,
    },
    Configure {
        request: RequestId,
        name: QueueName,
    },
    Create {
        request: RequestId,
        record: Box<QueueRecord>,
        /// The settings that were asked for.
        asked: Box<SettingsPatch>,
        /// The consumer that takes it up then.
        attach: Option<Box<Attach>>,
    },
    /// Its requests wait for [`Self::Settled`].
    Reject {
        queue: QueueId,
        messages: Vec<MessageId>,
        reason: String,
    },
    /// Messages go back to where they came from.
    Replay {
        request: RequestId,
        queue: QueueId,
        messages: Vec<MessageId>,
    },
    OpenSession {
        request: RequestId,
    },
    /// Asks the store for the last transaction of a session that this engine has forgotten; `words` refuse any later one.
    CheckTransaction {
        request: RequestId,
        session: SessionId,
        number: u64,
        words: String,
    },
    Transact {
        request: RequestId,
        session: SessionId,
        number: u64,
        holds: Vec<TransactionHold>,
    },
    Prepare {
        request: RequestId,
        transaction: Box<InDoubt>,
        holds: Vec<TransactionHold>,
    },
    Decide {
        /// `None` if its time is over.
        request: Option<RequestId>,
        name: TransactionName,
    },
    Fire {
        timers: Vec<Timer>,
    },
    /// The rest of a purge: the last message of each priority.
    Purge {
        request: RequestId,
        queue: QueueId,
        left: Vec<MessageId>,
        purged: u64,
    },
    /// Asks whether a change was made before; if not, it is made now.
    Recall {
        request: RequestId,
        change: ChangeId,
        asked: Box<EngineRequest>,
    },
}

impl Purpose {
    /// Its name in an error.
    pub(in crate::engine) fn name(&self) -> &'static str {
        match self {
            Self::CreateQueue { .. } => "create a queue",
            Self::DeleteQueue { .. } | Self::Delete { .. } => "delete a queue",
            Self::OpenProducer { .. } => "open a producer",
            Self::TouchProducer { .. } => "ask for a producer's number",
            Self::CountLost { .. } => "count lost deliveries",
            Self::CloseProducer { .. } => "close a producer",
            Self::ForgetProducers => "forget producers",
            Self::Send { .. } => "send",
            Self::Post { .. } => "post",
            Self::SetAside => "set aside",
            Self::Dispatch { .. } => "dispatch",
            Self::Settle { .. } | Self::Settled { .. } => "settle",
            Self::Requeue { .. } => "requeue",
            Self::Attach { .. } => "attach a consumer",
            Self::Detach { .. } => "detach a consumer",
            Self::Configure { .. } => "configure a queue",
            Self::Create { .. } => "create a destination",
            Self::Reject { .. } => "reject",
            Self::Replay { .. } => "replay",
            Self::OpenSession { .. } | Self::CheckTransaction { .. } => "open a session",
            Self::Transact { .. } => "transact",
            Self::Prepare { .. } => "prepare a transaction",
            Self::Decide { .. } => "decide a transaction",
            Self::Fire { .. } => "fire timers",
            Self::Purge { .. } => "purge",
            Self::Recall { .. } => "recall a change",
        }
    }

    /// The requests that wait for it.
    pub(in crate::engine) fn requests(self) -> Vec<RequestId> {
        match self {
            Self::Settled { requests } => requests,
            other => other.request().into_iter().collect(),
        }
    }

    /// Number of requests that wait for it.
    #[cfg(test)]
    pub(in crate::engine) fn requests_len(&self) -> usize {
        match self {
            Self::Settled { requests } => requests.len(),
            other => usize::from(other.request().is_some()),
        }
    }

    /// The request that waits for its operation.
    fn request(&self) -> Option<RequestId> {
        match self {
            Self::CreateQueue { request, .. }
            | Self::DeleteQueue { request, .. }
            | Self::Delete { request, .. }
            | Self::OpenProducer { request, .. }
            | Self::TouchProducer { request }
            | Self::CloseProducer { request }
            | Self::Send { request, .. }
            | Self::Attach { request, .. }
            | Self::Configure { request, .. }
            | Self::Create { request, .. }
            | Self::Replay { request, .. }
            | Self::OpenSession { request }
            | Self::CheckTransaction { request, .. }
            | Self::Transact { request, .. }
            | Self::Prepare { request, .. }
            | Self::Purge { request, .. }
            | Self::Recall { request, .. } => Some(*request),
            Self::Decide { request, .. } | Self::Post { request, .. } | Self::Detach { request } => *request,
            Self::ForgetProducers
            | Self::Dispatch { .. }
            | Self::Settle { .. }
            | Self::Settled { .. }
            | Self::Requeue { .. }
            | Self::Fire { .. }
            | Self::Reject { .. }
            | Self::CountLost { .. }
            | Self::SetAside => None,
        }
    }
}
