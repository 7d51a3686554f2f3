//! What `apply` answers.

use serde::{Deserialize, Serialize};

use super::{Epoch, MessageId, Policy, QueueId, QueueName, ReplicaId, Settings};

/// A command that was committed and applied here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// Its place in the log.
    pub index: u64,
    /// What became of it.
    pub applied: Applied,
}

/// What became of a command. Committed is not accepted: an entry can be refused for its epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Applied {
    /// Done; nothing to say.
    Done,
    /// The engine was activated.
    Activated {
        /// Its epoch.
        epoch: Epoch,
    },
    /// The write carried an epoch that is not the running activation; nothing of it was done.
    Fenced {
        /// The newest epoch.
        current: Epoch,
    },
    /// The engine's writes were done, each with its own answer, in order.
    Engine {
        /// One answer an op.
        results: Vec<OpResult>,
    },
    /// The replica was given an id.
    Admitted {
        /// The id.
        replica: ReplicaId,
    },
    /// The running hash was recorded.
    Marked {
        /// The hash of all writes that `apply` produced up to this entry.
        hash: u128,
    },
    /// The policy is changed.
    Policy {
        /// What it is now.
        policy: Policy,
    },
    /// The command contradicts the state (an unknown server, a policy that fails its check); nothing was done.
    Refused {
        /// Why, in words.
        why: String,
    },
    /// The change was applied before, with that answer; nothing was done now.
    Repeated(Box<Applied>),
}

/// The answer to one [`super::EngineOp`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum OpResult {
    /// Done; nothing to say.
    Done,
    /// The queue was created, or was there (`created` false).
    Queue {
        /// Its number.
        queue: QueueId,
        /// Whether it is new.
        created: bool,
    },
    /// The producer is registered and may send `next`.
    Producer {
        /// Its queue.
        queue: QueueId,
        /// The number that its next message must carry.
        next: u64,
        /// Where in the log its name was taken over last; 0: it has none.
        registration: u64,
        /// What was written under its name: see [`super::Written::digest`].
        digest: u64,
        /// Whether a [`super::EngineOp::ClaimProducer`] took the name over; false: more was written than was seen.
        claimed: bool,
    },
    /// Messages were stored. The first `duplicates` of the op had been stored before; the `accepted` others got the
    /// ids that [`MessageId::after`] counts from `first`, each with its message's priority. Delayed ones have no id in
    /// the queue yet.
    Sent {
        /// Their queue.
        queue: QueueId,
        /// How many had been stored before.
        duplicates: u32,
        /// How many are new.
        accepted: u32,
        /// The id of the first new one, were it of the default priority; meaningless if none is.
        first: MessageId,
        /// When the first timer of these is due, in Unix milliseconds; 0: they have none.
        due_ms: u64,
    },
    /// The numbers skip one: the producer must resend from `expected`.
    Gap {
        /// The number that is missing.
        expected: u64,
    },
    /// The producer was forgotten or never registered.
    ProducerUnknown,
    /// There is no queue of that name or number.
    NoSuchQueue,
    /// Messages were settled; the others of the op were gone already.
    Settled {
        /// How many were there.
        settled: u32,
    },
    /// Messages changed their places.
    Changed(Changes),
    /// Messages were published: stored once, for all subscriptions that want them. Or they were forwarded to several
    /// queues: stored in each. As [`OpResult::Sent`], but that ids count for each subscription and queue.
    Published {
        /// How many had been published before.
        duplicates: u32,
        /// How many are new.
        accepted: u32,
        /// The id of the first new one, were it of the default priority; meaningless if none is.
        first: MessageId,
        /// When the first timer of these is due, in Unix milliseconds; 0: they have none.
        due_ms: u64,
        /// Which subscription or queue got which of the new ones, counted from 0.
        matched: Vec<(QueueId, Vec<u32>)>,
    },
    /// The consumer went away, and these destinations of its own with it.
    Detached {
        /// What is gone.
        deleted: Vec<QueueId>,
    },
    /// The op contradicts the state; nothing was done.
    Refused {
        /// Why, in words.
        why: String,
    },
    /// No transaction of that name is in doubt.
    NoSuchTransaction,
    /// The queue behaves so now.
    Configured {
        /// Its number.
        queue: QueueId,
        /// All its settings.
        settings: Box<Settings>,
        /// How often they were changed.
        version: u64,
    },
    /// The settings were changed more or less often than was asked for; nothing was done.
    OtherVersion {
        /// How often they were changed.
        version: u64,
    },
    /// A message that a transaction takes off its queue is not there any more; nothing of it was done.
    Gone {
        /// The message.
        message: MessageId,
    },
    /// Another process took over the producer's name; nothing was stored.
    Fenced,
    /// A queue was deleted with all that it held.
    Deleted {
        /// How many messages went with it, delayed ones included.
        messages: u64,
        /// How many consumers were attached to it.
        consumers: u64,
    },
    /// The queue has messages; it was to be deleted only without any.
    NotEmpty {
        /// How many, delayed ones included.
        messages: u64,
    },
    /// The queue has consumers; it was to be deleted only without any.
    InUse {
        /// How many.
        consumers: u64,
    },
    /// The change was applied before, with that answer; nothing was done now.
    Repeated(Box<OpResult>),
}

/// What an op did to queues.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// Messages that left a queue.
    pub removed: Vec<(QueueId, MessageId)>,
    /// What came into queues.
    pub arrived: Vec<Arrival>,
    /// When the first new timer is due, in Unix milliseconds; 0: there is none.
    pub due_ms: u64,
    /// How many delayed messages more (or less) wait for their time to enter a queue.
    pub delayed: Vec<(QueueId, i64)>,
    /// Whether there is more to do of the same.
    pub more: bool,
    /// Messages that no exception destination took: they stay where they are, and wait a while.
    pub kept: Vec<Kept>,
    /// How many messages were dropped from exception destinations to make room.
    pub dropped: Vec<(QueueId, u64)>,
    /// Messages that stay where they are with one failed delivery more, and how many they have now.
    pub counted: Vec<(QueueId, MessageId, u32)>,
}

/// A message that was to go to an exception destination, and stayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Its queue.
    pub queue: QueueId,
    /// The message.
    pub message: MessageId,
    /// How many failed deliveries it has.
    pub failed: u32,
}

/// Messages of one priority that came into a queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrival {
    /// The queue.
    pub queue: QueueId,
    /// Its name: it may be new.
    pub name: QueueName,
    /// How many.
    pub messages: u32,
    /// The last one.
    pub last: MessageId,
}
