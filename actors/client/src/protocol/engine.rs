//! Producers and consumers to the engine ([`crate::wire::Service::Engine`]), at the server that hosts it.

use baton_domain::{
    ChangeId, ConsumerId, Epoch, MessageBatch, MessageId, ProducerId, QueueName, Reliability, SessionId, Settings,
    SettingsPatch, TransactionName, TransactionSend, Written,
};
use serde::{Deserialize, Serialize};

use super::{Delivery, PlacementNews};

/// What the engine takes.
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

/// What kind of destination it is, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Each message goes to one consumer.
    #[default]
    Queue,
    /// Each message goes to all subscriptions that want its topic.
    TopicSpace,
    /// What of a topic space somebody wants; consumers take it up like a queue.
    Subscription {
        /// The topic space.
        space: QueueName,
        /// The topics: a pattern, see [`baton_domain::topic`].
        topic: String,
        /// Of these, what a [`baton_domain::Selector`] selects; empty: all.
        selector: String,
    },
}

/// As what a producer registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Opening {
    /// At first; of a known producer answers its next number.
    First,
    /// Again: then it must be known.
    Again {
        /// Which taking over of its name it works under; 0: it has none.
        registration: u64,
    },
    /// As the one that has the producer's name from now on. Whoever had it before is refused.
    Claim {
        /// Only if this is what was written under the name; `None`: whatever it is.
        seen: Option<Written>,
    },
}

/// What a client asks of the engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EngineRequest {
    /// Creates a queue; answered with [`EngineReply::Created`].
    CreateQueue {
        /// Its name.
        name: QueueName,
    },
    /// Deletes a queue and all that it holds; answered with [`EngineReply::Done`].
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
        /// As what.
        opening: Opening,
    },
    /// Stores messages; answered with [`EngineReply::Sent`] when a majority has them on disk.
    Send {
        /// The producer.
        producer: ProducerId,
        /// Which taking over of its name it works under; 0: it has none.
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
    /// Forgets a producer that is done; answered with [`EngineReply::Done`].
    CloseProducer {
        /// The producer.
        producer: ProducerId,
    },
    /// Takes up a queue, at first or again after a failover; answered with [`EngineReply::Attached`]. Deliveries go to
    /// the process that sent the request.
    Attach {
        /// The consumer.
        consumer: ConsumerId,
        /// Its queue.
        queue: QueueName,
        /// How many messages it takes before it settles some.
        credit: u32,
        /// What it holds and has not settled: the engine does not deliver these again while it lives. First what its user
        /// received, then what waits for its user, each in the order of delivery.
        unsettled: Vec<MessageId>,
        /// How many of these its user received.
        received: u32,
        /// Of these, the groups of those that are in one.
        groups: Vec<(MessageId, String)>,
        /// Which messages it wants: what a [`baton_domain::Selector`] selects; empty: all.
        selector: String,
        /// If there is no such queue, it is created as one of these, and goes when the consumer goes.
        temporary: Option<Box<Kind>>,
    },
    /// Changes how many messages a consumer takes; 0 pauses it. Answered with [`EngineReply::Done`].
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
    /// Goes away; what it holds goes back to the queue (its redelivery count higher) except `untouched`. Answered with
    /// [`EngineReply::Done`] when that is committed.
    Detach {
        /// The consumer.
        consumer: ConsumerId,
        /// Messages that were delivered to the consumer but never given to its user: no redelivery is counted for them.
        untouched: Vec<MessageId>,
    },
    /// Creates a destination, if there is none that is the same; answered with [`EngineReply::Created`].
    Create {
        /// Its name.
        name: QueueName,
        /// What it is.
        kind: Kind,
        /// How it behaves, where that differs from the defaults.
        settings: Box<SettingsPatch>,
    },
    /// Changes how a destination behaves; answered with [`EngineReply::Configured`].
    Configure {
        /// Its name.
        name: QueueName,
        /// What is changed.
        patch: Box<SettingsPatch>,
        /// Only if its settings were changed so often; see [`QueueStatus::version`].
        if_version: Option<u64>,
    },
    /// Looks at messages without taking them; answered with [`EngineReply::Messages`].
    Browse {
        /// The queue.
        queue: QueueName,
        /// From which on; `None`: from the first one of the highest priority.
        from: Option<MessageId>,
        /// At most so many.
        limit: u32,
    },
    /// Moves messages that nobody holds from an exception destination back to where they came from; answered with
    /// [`EngineReply::Moved`].
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
    /// Does all of a transaction or nothing; answered with [`EngineReply::Done`] when a majority has it on disk.
    Transact {
        /// The session.
        session: SessionId,
        /// The transaction's number; a session's first is number 1.
        number: u64,
        /// What is sent.
        sends: Vec<TransactionSend>,
        /// What consumers acknowledge; they must be attached and hold it.
        acknowledged: Vec<(ConsumerId, Vec<MessageId>)>,
    },
    /// Makes sure that a transaction can be done, and keeps it until it is decided; answered with [`EngineReply::Done`]
    /// when a majority has that on disk.
    Prepare {
        /// The outside coordinator's name for it.
        name: TransactionName,
        /// The session.
        session: SessionId,
        /// The transaction's number.
        number: u64,
        /// What is sent.
        sends: Vec<TransactionSend>,
        /// What consumers acknowledge; they must be attached and hold it.
        acknowledged: Vec<(ConsumerId, Vec<MessageId>)>,
    },
    /// Decides a prepared transaction; answered with [`EngineReply::Resolved`].
    Resolve {
        /// Its name.
        name: TransactionName,
        /// Whether it is done; otherwise nothing of it is.
        commit: bool,
    },
    /// Lists the transactions that are prepared and not decided; answered with [`EngineReply::InDoubt`].
    ListInDoubt,
    /// Deletes messages of a queue, whoever holds them; answered with [`EngineReply::Moved`].
    Purge {
        /// The queue.
        queue: QueueName,
        /// Stored messages up to this one, its lane left aside, see `newest` of [`EngineReply::Messages`]: a second attempt
        /// does not delete what came after the first. Messages in memory alone: all.
        through: MessageId,
    },
    /// Lists the attached consumers; answered with [`EngineReply::Consumers`].
    ListConsumers {
        /// Of that queue only.
        queue: Option<QueueName>,
    },
    /// Requests of several producers and consumers in one frame; answered with [`EngineReply::Several`], once each of them
    /// is. Itself not among them.
    Several(Vec<EngineRequest>),
    /// Deletes a queue and all that it holds, if it is as the caller expects; answered with [`EngineReply::Deleted`], or
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

/// What the engine answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EngineReply {
    /// Done.
    Done,
    /// The queue is there.
    Created {
        /// False if it was there before.
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
        /// What the engine takes.
        limits: Limits,
        /// The level of messages that do not say it themselves.
        reliability: Reliability,
        /// Whether each message needs a topic: its destination publishes.
        publishes: bool,
        /// Where in the log the producer's name was taken over last; 0: it has none.
        registration: u64,
        /// Of a producer with a name that was looked up or taken over: the digest of what was written under it.
        digest: u64,
        /// Whether [`Opening::Claim`] took the name over; false: more was written than was seen.
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
        /// What the engine takes.
        limits: Limits,
    },
    /// Nothing was done, and why.
    Error(EngineError),
    /// The transaction is decided.
    Resolved {
        /// False if none of that name was in doubt.
        found: bool,
    },
    /// The transactions in doubt, by name.
    InDoubt(Vec<InDoubtStatus>),
    /// So many messages are no longer where they were.
    Moved {
        /// How many.
        messages: u64,
    },
    /// What is in a queue, in the order of delivery.
    Messages {
        /// The messages.
        #[serde(with = "super::delivery::deliveries")]
        messages: Vec<Delivery>,
        /// From where to go on; `None` after the last one.
        next: Option<MessageId>,
        /// What is stored from now on has a greater id, its lane left aside.
        newest: MessageId,
    },
    /// The attached consumers, by queue and in the order in which they attached.
    Consumers(Vec<ConsumerStatus>),
    /// The answers to [`EngineRequest::Several`], in order.
    Several(Vec<EngineReply>),
    /// The destination behaves as was asked.
    Configured {
        /// How often its settings were changed.
        version: u64,
    },
    /// A queue is deleted.
    Deleted {
        /// How many messages went with it, delayed ones included.
        messages: u64,
        /// How many consumers were attached to it.
        consumers: u64,
    },
}

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

/// A queue in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueStatus {
    /// Its name.
    pub name: QueueName,
    /// Messages stored, those in flight included.
    pub depth: u64,
    /// Of these, messages that are in the engine's memory alone.
    pub nonpersistent: u64,
    /// Messages that were dropped for want of room since this engine started: best-effort ones, and the oldest of an exception
    /// destination that is set so.
    pub dropped: u64,
    /// Messages delivered and not settled.
    pub in_flight: u64,
    /// Messages that wait for their time; not counted in `depth`.
    pub delayed: u64,
    /// Dead letters that wait here because no exception destination takes them; counted in `depth`.
    pub kept: u64,
    /// Consumers attached.
    pub consumers: u64,
    /// Those of them that are slow; see [`ConsumerStatus::slow`].
    pub slow_consumers: u64,
    /// What it is.
    pub kind: Kind,
    /// How it behaves.
    pub settings: Settings,
    /// How often its settings were changed.
    pub version: u64,
    /// Whether it goes when its consumer goes.
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
    /// How many messages it takes before it settles some.
    pub credit: u32,
    /// How many it holds: delivered and not settled.
    pub held: u32,
    /// How many it acknowledged to this engine.
    pub acknowledged: u64,
    /// For how long it has held messages without settling any, in milliseconds; 0 if it holds none. A new engine counts
    /// from when the consumer attached to it.
    pub unsettled_ms: u64,
    /// Whether its link is gone: unless it attaches again soon, it is given up.
    pub lost: bool,
    /// Whether others wait for it: it holds all its credit and has settled nothing for longer than `slow_consumer_ms`, and
    /// messages wait in its queue.
    pub slow: bool,
}

/// A transaction that is prepared and not decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InDoubtStatus {
    /// The outside coordinator's name for it.
    pub name: TransactionName,
    /// When it was prepared, in Unix milliseconds by the engine's clock.
    pub at_ms: u64,
    /// How many messages it sends where.
    pub sends: Vec<(QueueName, u64)>,
    /// How many messages it takes off which queues.
    pub acknowledges: Vec<(QueueName, u64)>,
}

#[cfg(test)]
impl EngineReply {
    /// A queue's answer to a producer without a name, whose next message is `next`.
    pub(crate) fn new_producer(epoch: Epoch, next: u64, limits: Limits) -> Self {
        let (reliability, publishes) = (Reliability::default(), false);
        Self::Producer { epoch, next, limits, reliability, publishes, registration: 0, digest: 0, claimed: false }
    }
}
