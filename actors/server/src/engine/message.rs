//! What goes into the core and what comes out of it.

use std::collections::BTreeMap;

use baton_client::protocol::{ClientReply, ClientRequest, EngineReply, EngineRequest, EngineState, PlacementNews};
use baton_domain::clock::BootTime;
use baton_domain::{
    Command, Committed, ConsumerId, Epoch, InDoubt, MessageId, ProducerId, QueueId, StoredMessage, Timer,
    TransactionName,
};
use baton_replica::{CommitError, QueueRecord};

/// The time, as the shell read it for one input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// What the engine decides by.
    pub boot: BootTime,
    /// What proposals carry.
    pub unix_ms: u64,
    /// When the lease runs out, as it was at that time.
    pub lease_until: BootTime,
}

/// A request that waits for its answer; drawn by the shell, answered exactly once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// An entry on its way through the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId(pub u64);

/// A read of the store on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadId(pub u64);

/// A delivery that waits for its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// What the others read about an engine instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineView {
    /// Where it stands.
    pub state: EngineState,
    /// Its epoch; `None` on standby.
    pub epoch: Option<Epoch>,
    /// Why it is on standby or stopping, in words.
    pub why: String,
}

impl Default for EngineView {
    fn default() -> Self {
        Self { state: EngineState::Standby, epoch: None, why: "not activated".to_owned() }
    }
}

/// What an activation did since it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Messages stored and confirmed.
    pub confirmed: u64,
    /// Messages delivered, each as often as it was.
    pub delivered: u64,
    /// Messages acknowledged.
    pub acknowledged: u64,
}

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// The activation was applied here: start.
    Start {
        /// The activation.
        epoch: Epoch,
    },
    /// What [`Effect::Open`] read.
    Opened {
        /// The activation that it was read for.
        epoch: Epoch,
        /// All queues, and the consumers that are attached as recorded; or why they cannot be read.
        recorded: Result<Recorded, String>,
    },
    /// Stop.
    Stop {
        /// Planned: commits on their way are awaited and confirmed. Otherwise at once: nothing more is released.
        drain: bool,
        /// Why, in words.
        why: String,
    },
    /// This server does not lead the store any more, or its store failed: stop the activation at once.
    LeadershipLost {
        /// The activation during which that was seen.
        epoch: Epoch,
        /// Why, in words.
        why: String,
    },
    /// Where the engine is, for [`baton_client::protocol::EngineError::NotStarted`].
    News(PlacementNews),
    /// The free bytes of the fullest replica that a majority needs.
    Space {
        /// Bytes.
        free_bytes: u64,
    },
    /// A client asks.
    Request {
        /// Names the answer.
        request: RequestId,
        /// The client's process.
        from: String,
        /// Its link, if it is in the table of links.
        connection: Option<u64>,
        /// What it asks.
        body: EngineRequest,
    },
    /// What became of an entry; in the order of the entries.
    Committed {
        /// The entry.
        entry: EntryId,
        /// What became of it.
        result: Result<Committed, CommitError>,
    },
    /// What a read found.
    Page {
        /// The read.
        read: ReadId,
        /// Its queue.
        queue: QueueId,
        /// Messages in order; or why the store cannot be read.
        result: Result<Vec<(MessageId, StoredMessage)>, String>,
    },
    /// What [`Effect::FindIdleProducers`] found.
    IdleProducers {
        /// Those that sent nothing since `before_ms`.
        producers: Vec<ProducerId>,
        /// The bound it was asked with.
        before_ms: u64,
    },
    /// What [`Effect::ReadQueues`] read.
    Queues {
        /// Who asks.
        request: RequestId,
        /// All queues; or why the store cannot be read.
        queues: Result<Vec<QueueRecord>, String>,
    },
    /// What [`Effect::FindTimers`] found.
    Timers {
        /// Those that are due, in order; or why the store cannot be read.
        due: Result<Vec<Timer>, String>,
        /// When the next one after these is due, in Unix milliseconds.
        next_ms: Option<u64>,
    },
    /// What became of a delivery; `None`: no answer came, it may have arrived.
    Delivered {
        /// The delivery.
        call: CallId,
        /// The client's answer.
        answer: Option<ClientReply>,
    },
    /// A link came up.
    PeerUp {
        /// The process at its other end.
        name: String,
        /// The link.
        connection: u64,
    },
    /// A link is gone.
    PeerDown {
        /// The process at its other end.
        name: String,
        /// The link.
        connection: u64,
    },
    /// All links there are; after events were missed.
    Links(BTreeMap<String, u64>),
    /// A deadline passed (see [`super::State::deadline`]).
    Tick,
    /// All that arrived together is in: propose, read, deliver.
    Flush,
}

/// What the store knows at a start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recorded {
    /// All queues.
    pub queues: Vec<QueueRecord>,
    /// The consumers that are attached, in the order in which they did.
    pub consumers: Vec<(ConsumerId, QueueId)>,
    /// The transactions that are prepared and not decided.
    pub in_doubt: Vec<InDoubt>,
}

/// What the shell has to do, in order. None of these tells a client that something was stored or hands out a message:
/// that is a [`Release`].
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// Read queues and consumers, answer with [`Input::Opened`].
    Open {
        /// The activation.
        epoch: Epoch,
    },
    /// Propose, in the order of these effects; answer with [`Input::Committed`].
    Commit {
        /// Names the answer.
        entry: EntryId,
        /// What.
        command: Command,
    },
    /// Read messages, answer with [`Input::Page`].
    ReadPage {
        /// Names the answer.
        read: ReadId,
        /// Of which queue.
        queue: QueueId,
        /// From which on.
        from: MessageId,
        /// At most so many.
        max_messages: usize,
        /// At most so many bytes, but one message at least.
        max_bytes: usize,
    },
    /// Look for idle producers, answer with [`Input::IdleProducers`].
    FindIdleProducers {
        /// Those that sent nothing since, in Unix milliseconds.
        before_ms: u64,
        /// At most so many.
        limit: usize,
    },
    /// Read all queues, answer with [`Input::Queues`].
    ReadQueues {
        /// Who asks.
        request: RequestId,
    },
    /// Look for what is due, answer with [`Input::Timers`].
    FindTimers {
        /// From this one on, itself left out.
        after: Option<Timer>,
        /// Up to then, in Unix milliseconds.
        until_ms: u64,
        /// At most so many.
        limit: usize,
    },
    /// Answer a request that was refused, or whose outcome nobody knows.
    Refuse {
        /// The request.
        request: RequestId,
        /// The answer.
        reply: EngineReply,
    },
    /// Publish where the instance stands.
    View(EngineView),
    /// Log that a prepared transaction is rolled back, because nobody decided it in time.
    TransactionTimedOut {
        /// The outside coordinator's name for it.
        name: TransactionName,
        /// When it was prepared, in Unix milliseconds.
        at_ms: u64,
    },
}

/// What may leave this server only while the lease holds (see [`super::State::release`]).
#[derive(Debug, PartialEq, Eq)]
pub enum Release {
    /// Answer a request.
    Reply {
        /// The request.
        request: RequestId,
        /// The answer.
        reply: EngineReply,
    },
    /// Deliver to a client, answer with [`Input::Delivered`].
    Deliver {
        /// Names the answer.
        call: CallId,
        /// The client's process.
        client: String,
        /// The link that it must go over.
        connection: u64,
        /// What to send.
        request: ClientRequest,
    },
}
