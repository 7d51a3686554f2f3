//! Turns writes into entries: many a time in one entry, several entries on their way.
//!
//! An idle engine proposes at once. While as many entries are on their way as may be, writes collect, and the next
//! entry carries all of them, up to its bound. Three lanes: what moves consumers and queues goes first, then
//! settlements (which free space), then what producers do, each in its order. So the writes of one producer stay in
//! order, and deliveries do not wait behind a backlog of sends.

use std::collections::VecDeque;

use baton_client::protocol::EngineRequest;
use baton_domain::{
    ChangeId, ConsumerId, EngineOp, InDoubt, MessageBatch, MessageId, ProducerId, QueueId, QueueName, SessionId,
    SettingsPatch, Timer, TransactionName,
};
use baton_replica::QueueRecord;

use super::consume::Attach;
use super::message::{EntryId, RequestId};
use super::transact::Taken;

/// What an op of an entry was for, to be resolved with its result.
#[derive(Debug)]
pub(super) enum Then {
    CreateQueue {
        request: RequestId,
        name: QueueName,
    },
    DeleteQueue {
        request: RequestId,
        name: QueueName,
    },
    /// The same, which says what went with it.
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
    /// A failed delivery is counted for consumers that did not come back to this engine: their queue waits for it.
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
        /// Who waits for it; nobody any more, if it was answered `early`.
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
    /// All requests that are done with the entry's settlements.
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
        /// What of its settings was asked for.
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
    Move {
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
        taken: Vec<Taken>,
    },
    Prepare {
        request: RequestId,
        transaction: Box<InDoubt>,
        taken: Vec<Taken>,
    },
    Resolve {
        /// Who waits for it; nobody, if its time is over.
        request: Option<RequestId>,
        name: TransactionName,
    },
    Fire {
        timers: Vec<Timer>,
    },
    /// What of a purge is left to do: the last message of each priority.
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

impl Then {
    /// The requests that wait for this.
    pub(super) fn requests(self) -> Vec<RequestId> {
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
            | Self::Move { request, .. }
            | Self::OpenSession { request }
            | Self::CheckTransaction { request, .. }
            | Self::Transact { request, .. }
            | Self::Prepare { request, .. }
            | Self::Resolve { request: Some(request), .. }
            | Self::Purge { request, .. }
            | Self::Recall { request, .. }
            | Self::Post { request: Some(request), .. }
            | Self::Detach { request: Some(request) } => vec![request],
            Self::Settled { requests } => requests,
            Self::ForgetProducers
            | Self::Dispatch { .. }
            | Self::Settle { .. }
            | Self::Requeue { .. }
            | Self::Fire { .. }
            | Self::Reject { .. }
            | Self::CountLost { .. }
            | Self::SetAside
            | Self::Post { request: None, .. }
            | Self::Resolve { request: None, .. }
            | Self::Detach { request: None } => Vec::new(),
        }
    }
}

/// An op that waits to be proposed.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) op: EngineOp,
    pub(super) then: Then,
    pub(super) bytes: usize,
}

/// An entry on its way: what its ops were for. [`Then::Settled`] has no op of its own.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: EntryId,
    pub(super) then: Vec<Then>,
    pub(super) bytes: usize,
    /// When it was proposed, as it says itself, in Unix milliseconds.
    pub(super) at_ms: u64,
}

/// What an op takes in an entry besides what it carries, about.
pub(super) const OP_BYTES: usize = 64;
/// What a message takes in an entry besides its own bytes, about.
pub(super) const MESSAGE_BYTES: usize = 16;
/// What a message's id takes in an entry, about.
pub(super) const ID_BYTES: usize = 16;

/// How many messages one op hands back at most.
const REQUEUE_IDS: usize = 4_096;

/// The lanes, and what is on its way.
#[derive(Debug, Default)]
pub(super) struct Writer {
    pub(super) control: VecDeque<Write>,
    pub(super) produce: VecDeque<Write>,
    /// Bytes that wait in `produce`.
    pub(super) produce_bytes: usize,
    /// Ids that wait in the queues' settlements.
    pub(super) settle_ids: usize,
    /// Entries on their way, the oldest first.
    pub(super) in_flight: VecDeque<Entry>,
    pub(super) in_flight_bytes: usize,
}

impl Writer {
    /// Puts a write of consumers or queues in line.
    pub(super) fn control(&mut self, op: EngineOp, then: Then) {
        self.control.push_back(Write { op, then, bytes: OP_BYTES });
    }

    /// Makes the writes of a change, those in line since it had `before` of them, happen at most once.
    pub(super) fn once(&mut self, before: usize, change: ChangeId) {
        for write in self.control.iter_mut().skip(before) {
            let op = std::mem::replace(&mut write.op, EngineOp::Recall { change });
            write.op = EngineOp::Once { change, op: Box::new(op) };
        }
    }

    /// Puts in line that these messages of a consumer that went were delivered once more in vain. In parts: many such
    /// consumers must not make one entry larger than a link carries.
    pub(super) fn requeue(&mut self, queue: QueueId, messages: &[MessageId]) {
        for part in messages.chunks(REQUEUE_IDS) {
            let op = EngineOp::Requeue { queue, messages: part.to_vec() };
            let then = Then::Requeue { queue, messages: part.to_vec() };
            self.control.push_back(Write { op, then, bytes: OP_BYTES + part.len() * ID_BYTES });
        }
    }

    /// Puts a write of a producer in line.
    pub(super) fn produce(&mut self, op: EngineOp, then: Then, bytes: usize) {
        self.produce_bytes += bytes;
        self.produce.push_back(Write { op, then, bytes });
    }

    /// Takes the next write off a lane, if an entry of `taken` bytes has room for it under `limit`; an empty entry
    /// takes any.
    pub(super) fn take_control(&mut self, taken: usize, limit: usize) -> Option<Write> {
        let fits = |write: &Write| taken == 0 || taken + write.bytes <= limit;
        if self.control.front().is_some_and(fits) { self.control.pop_front() } else { None }
    }

    /// As [`Self::take_control`], off the producers' lane.
    pub(super) fn take_produce(&mut self, taken: usize, limit: usize) -> Option<Write> {
        let fits = |write: &Write| taken == 0 || taken + write.bytes <= limit;
        if !self.produce.front().is_some_and(fits) {
            return None;
        }
        let write = self.produce.pop_front()?;
        self.produce_bytes -= write.bytes;
        Some(write)
    }

    /// The entry whose outcome came; `None` if it is not ours.
    pub(super) fn landed(&mut self, entry: EntryId) -> Option<Entry> {
        assert!(
            self.in_flight.iter().all(|other| other.id != entry)
                || self.in_flight.front().is_some_and(|first| first.id == entry),
            "outcomes come in the order of the entries"
        );
        let entry = self.in_flight.pop_front_if(|first| first.id == entry)?;
        self.in_flight_bytes -= entry.bytes;
        Some(entry)
    }
}
