//! Requests of producers and consumers to the engine ([`crate::wire::Service::Engine`]), at the server that hosts it.

use baton_domain::{
    ChangeId, ConsumerId, Epoch, MessageBatch, MessageId, ProducerId, QueueName, Reliability, SessionId, SettingsPatch,
    TransactionName, TransactionSend, Written,
};
use serde::{Deserialize, Serialize};

use super::{ConsumerStatus, Delivery, EngineError, InDoubtStatus, Kind, QueueStatus};

/// Limits of the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// The largest message, headers and body, in bytes.
    pub message_bytes: u64,
    /// The most messages that one consumer may hold unsettled.
    pub consumer_credit: u32,
    /// A request need not grow beyond this before it leaves, in bytes.
    pub frame_min_bytes: u64,
    /// A request takes no second message beyond this, in bytes.
    pub frame_max_bytes: u64,
}

/// Ways to register a producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Opening {
    /// For the first time; a known producer gets its next number.
    First,
    /// Again, after a failover: the producer must be known.
    Again {
        /// Log index of the takeover of its name; 0 if it has none.
        registration: u64,
    },
    /// As the new owner of the producer's name. The owner before is refused.
    Claim {
        /// Only if this is what was written under the name; `None`: in any case.
        seen: Option<Written>,
    },
}

/// Requests of a client to the engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EngineRequest {
    /// Creates a queue; answered with [`EngineReply::Created`].
    CreateQueue {
        /// Its name.
        name: QueueName,
    },
    /// Deletes a queue and all its messages; answered with [`EngineReply::Done`].
    DeleteQueue {
        /// Its name.
        name: QueueName,
    },
    /// Lists the queues; answered with [`EngineReply::Queues`].
    ListQueues,
    /// Registers a producer for one queue, and again after a failover; answered with [`EngineReply::Producer`].
    OpenProducer {
        /// The producer.
        producer: ProducerId,
        /// Its queue.
        queue: QueueName,
        /// First registration, a later one, or a takeover.
        opening: Opening,
    },
    /// Stores messages; answered with [`EngineReply::Sent`] when a majority has them on disk.
    Send {
        /// The producer.
        producer: ProducerId,
        /// Log index of the takeover of its name; 0 if it has none.
        registration: u64,
        /// The number of the first message; a producer's first message is number 1.
        first: u64,
        /// The messages, numbered on from `first`.
        messages: MessageBatch,
    },
    /// Takes messages below the assured level, which have no numbers; answered with [`EngineReply::Posted`]: when a
    /// majority has them on disk, if they are assured; as soon as that is on its way, if they are otherwise persistent;
    /// else when they are in memory.
    Post {
        /// The destination.
        queue: QueueName,
        /// The level of all of these messages.
        reliability: Reliability,
        /// The messages, in order.
        messages: MessageBatch,
    },
    /// Forgets a producer that has ended; answered with [`EngineReply::Done`].
    CloseProducer {
        /// The producer.
        producer: ProducerId,
    },
    /// Attaches a consumer, for the first time or again after a failover; answered with [`EngineReply::Attached`].
    /// Deliveries go to the process that sent the request.
    Attach {
        /// The consumer.
        consumer: ConsumerId,
        /// Its queue.
        queue: QueueName,
        /// Prefetch: messages that it accepts before it settles some.
        credit: u32,
        /// Messages that it holds and has not settled: the engine does not deliver these again while it lives. First
        /// the messages that its user received, then those that wait for its user, each in the order of delivery.
        unsettled: Vec<MessageId>,
        /// The number of these that its user received.
        received: u32,
        /// Of these, the groups of those that are in one.
        groups: Vec<(MessageId, String)>,
        /// Selector of the messages that it receives, see [`baton_domain::Selector`]; empty: all.
        selector: String,
        /// Kind of the destination that is created if there is none; it is deleted with its consumer.
        temporary: Option<Box<Kind>>,
    },
    /// Changes a consumer's prefetch; 0 pauses it. Answered with [`EngineReply::Done`].
    Credit {
        /// The consumer.
        consumer: ConsumerId,
        /// The new credit.
        credit: u32,
        /// The last message that its user received, if known.
        received: Option<MessageId>,
    },
    /// Settles messages; answered with [`EngineReply::Done`] when a majority has it on disk.
    Settle {
        /// The consumer.
        consumer: ConsumerId,
        /// Acknowledged: they are taken off the queue. Also such as an earlier engine delivered.
        acknowledged: Vec<MessageId>,
        /// Refused: they go back to the queue, their redelivery count one higher.
        refused: Vec<MessageId>,
        /// Rejected: they go to the exception destination, for these reasons.
        rejected: Vec<(MessageId, String)>,
        /// Released: they go back to the queue as if they had not been delivered.
        released: Vec<MessageId>,
        /// The last message that its user received, if known.
        received: Option<MessageId>,
    },
    /// Detaches a consumer; the messages that it holds go back to the queue (redelivery count one higher) except
    /// `untouched`. Answered with [`EngineReply::Done`] when that is committed.
    Detach {
        /// The consumer.
        consumer: ConsumerId,
        /// Messages that were delivered to the consumer but never given to its user: no redelivery is counted for them.
        untouched: Vec<MessageId>,
    },
    /// Creates a destination, unless an equal one exists; answered with [`EngineReply::Created`].
    Create {
        /// Its name.
        name: QueueName,
        /// Its kind.
        kind: Kind,
        /// Its settings, where they differ from the defaults.
        settings: Box<SettingsPatch>,
    },
    /// Changes the settings of a destination; answered with [`EngineReply::Configured`].
    Configure {
        /// Its name.
        name: QueueName,
        /// Changes.
        patch: Box<SettingsPatch>,
        /// Only if its settings were changed this many times; see [`QueueStatus::version`].
        if_version: Option<u64>,
    },
    /// Reads messages without taking them; answered with [`EngineReply::Messages`].
    Browse {
        /// The queue.
        queue: QueueName,
        /// First message; `None`: the first one of the highest priority.
        from: Option<MessageId>,
        /// Maximum number of messages.
        limit: u32,
    },
    /// Moves messages that no consumer holds from an exception destination back to the queues that they came from;
    /// answered with [`EngineReply::Moved`].
    Replay {
        /// The exception destination.
        queue: QueueName,
        /// The messages.
        messages: Vec<MessageId>,
    },
    /// Registers a session of transactions, and again after a failover; answered with [`EngineReply::Producer`].
    OpenSession {
        /// The session.
        session: SessionId,
    },
    /// Performs all of a transaction or nothing; answered with [`EngineReply::Done`] when a majority has it on disk.
    Transact {
        /// The session.
        session: SessionId,
        /// The transaction's number; a session's first is number 1.
        number: u64,
        /// Messages to send.
        sends: Vec<TransactionSend>,
        /// Messages that consumers acknowledge; the consumers must be attached and hold them.
        acknowledged: Vec<(ConsumerId, Vec<MessageId>)>,
    },
    /// Checks that a transaction can be performed, and keeps it until it is decided; answered with
    /// [`EngineReply::Done`] when a majority has that on disk.
    Prepare {
        /// The outside coordinator's name for it.
        name: TransactionName,
        /// The session.
        session: SessionId,
        /// The transaction's number.
        number: u64,
        /// Messages to send.
        sends: Vec<TransactionSend>,
        /// Messages that consumers acknowledge; the consumers must be attached and hold them.
        acknowledged: Vec<(ConsumerId, Vec<MessageId>)>,
    },
    /// Decides a prepared transaction; answered with [`EngineReply::Resolved`].
    Resolve {
        /// Its name.
        name: TransactionName,
        /// True to apply it; false to discard it.
        commit: bool,
    },
    /// Lists the transactions that are prepared and not decided; answered with [`EngineReply::InDoubt`].
    ListInDoubt,
    /// Deletes messages of a queue, those that consumers hold included; answered with [`EngineReply::Moved`].
    Purge {
        /// The queue.
        queue: QueueName,
        /// Stored messages up to this one, its lane left aside, see `newest` of [`EngineReply::Messages`]: a retry does
        /// not delete messages that arrived after the first attempt. Of messages in memory alone: all.
        through: MessageId,
    },
    /// Lists the attached consumers; answered with [`EngineReply::Consumers`].
    ListConsumers {
        /// Only consumers of that queue.
        queue: Option<QueueName>,
    },
    /// Requests of several producers and consumers in one frame; answered with [`EngineReply::Several`], once each of
    /// them is answered. Never nested.
    Several(Vec<EngineRequest>),
    /// Deletes a queue and all its messages, if it is as the caller expects; answered with [`EngineReply::Deleted`], or
    /// [`EngineError::QueueNotEmpty`], or [`EngineError::QueueInUse`].
    Delete {
        /// Its name.
        name: QueueName,
        /// Only if it has no messages, delayed ones included.
        if_empty: bool,
        /// Only if it has no consumers.
        if_unused: bool,
    },
    /// Creates, deletes or configures a destination, unless a request of that id did it before; answered as `request`.
    Once {
        /// Drawn for each change.
        change: ChangeId,
        /// True if an earlier attempt may have succeeded: then its answer is looked up first.
        again: bool,
        /// One for which [`EngineRequest::is_change`] is true.
        request: Box<EngineRequest>,
    },
}

impl EngineRequest {
    /// Its name in a log.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::CreateQueue { .. } => "create queue",
            Self::DeleteQueue { .. } => "delete queue",
            Self::ListQueues => "list queues",
            Self::OpenProducer { .. } => "open producer",
            Self::Send { .. } => "send",
            Self::Post { .. } => "post",
            Self::CloseProducer { .. } => "close producer",
            Self::Attach { .. } => "attach",
            Self::Credit { .. } => "credit",
            Self::Settle { .. } => "settle",
            Self::Detach { .. } => "detach",
            Self::Create { .. } => "create",
            Self::Configure { .. } => "configure",
            Self::Browse { .. } => "browse",
            Self::Replay { .. } => "replay",
            Self::OpenSession { .. } => "open session",
            Self::Transact { .. } => "transact",
            Self::Prepare { .. } => "prepare",
            Self::Resolve { .. } => "resolve",
            Self::ListInDoubt => "list in doubt",
            Self::Purge { .. } => "purge",
            Self::ListConsumers { .. } => "list consumers",
            Self::Several(_) => "several",
            Self::Delete { .. } => "delete",
            Self::Once { .. } => "once",
        }
    }

    /// True if it creates, deletes or configures a destination: requests that another operator's later change could make
    /// harmful if they were applied twice.
    #[must_use]
    pub fn is_change(&self) -> bool {
        match self {
            Self::CreateQueue { .. }
            | Self::DeleteQueue { .. }
            | Self::Delete { .. }
            | Self::Create { .. }
            | Self::Configure { .. } => true,
            Self::ListQueues
            | Self::ListConsumers { .. }
            | Self::OpenProducer { .. }
            | Self::Send { .. }
            | Self::Post { .. }
            | Self::CloseProducer { .. }
            | Self::Attach { .. }
            | Self::Credit { .. }
            | Self::Settle { .. }
            | Self::Detach { .. }
            | Self::Browse { .. }
            | Self::Replay { .. }
            | Self::OpenSession { .. }
            | Self::Transact { .. }
            | Self::Prepare { .. }
            | Self::Resolve { .. }
            | Self::ListInDoubt
            | Self::Purge { .. }
            | Self::Several(_)
            | Self::Once { .. } => false,
        }
    }
}

/// Answers of the engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EngineReply {
    /// Done.
    Done,
    /// The destination exists.
    Created {
        /// False if it existed before.
        created: bool,
    },
    /// The queues, by name.
    Queues(Vec<QueueStatus>),
    /// The producer is registered.
    Producer {
        /// The engine's epoch.
        epoch: Epoch,
        /// The number that its next message must carry: all before are confirmed.
        next: u64,
        /// Limits of the engine.
        limits: Limits,
        /// Reliability level of messages without one of their own.
        reliability: Reliability,
        /// True if each message needs a topic: its destination publishes.
        publishes: bool,
        /// Log index of the last takeover of the producer's name; 0 if it has none.
        registration: u64,
        /// For a producer whose name was looked up or taken over: the digest of the messages written under it.
        digest: u64,
        /// True if [`Opening::Claim`] took the name over; false if more was written than was seen.
        claimed: bool,
    },
    /// All messages up to that number are confirmed.
    Sent {
        /// The number.
        through: u64,
    },
    /// The messages of a post were taken.
    Posted,
    /// The consumer is attached; deliveries follow.
    Attached {
        /// The engine's epoch.
        epoch: Epoch,
        /// Limits of the engine.
        limits: Limits,
    },
    /// Nothing was done, for this reason.
    Error(EngineError),
    /// The transaction is decided.
    Resolved {
        /// False if none of that name was in doubt.
        found: bool,
    },
    /// The transactions in doubt, by name.
    InDoubt(Vec<InDoubtStatus>),
    /// Messages were moved or deleted.
    Moved {
        /// The number of messages.
        messages: u64,
    },
    /// Messages of a queue, in the order of delivery.
    Messages {
        /// The messages.
        #[serde(with = "super::delivery::deliveries")]
        messages: Vec<Delivery>,
        /// Start of the next page; `None` after the last one.
        next: Option<MessageId>,
        /// Messages that are stored from now on have a greater id, its lane left aside.
        newest: MessageId,
    },
    /// The attached consumers, by queue and in the order in which they attached.
    Consumers(Vec<ConsumerStatus>),
    /// The answers to [`EngineRequest::Several`], in order.
    Several(Vec<EngineReply>),
    /// The destination has the requested settings.
    Configured {
        /// The number of changes of its settings.
        version: u64,
    },
    /// A queue is deleted.
    Deleted {
        /// The number of messages that went with it, delayed ones included.
        messages: u64,
        /// The number of consumers that were attached to it.
        consumers: u64,
    },
}

#[cfg(test)]
impl EngineReply {
    /// The answer to a producer without a name, whose next message is `next`.
    pub(crate) fn new_producer(epoch: Epoch, next: u64, limits: Limits) -> Self {
        let (reliability, publishes) = (Reliability::default(), false);
        Self::Producer { epoch, next, limits, reliability, publishes, registration: 0, digest: 0, claimed: false }
    }
}
