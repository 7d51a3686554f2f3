//! What can be written to the store. Enums grow by adding at the end; nothing is renamed or renumbered.

use serde::{Deserialize, Serialize};

use super::{
    ActivationReason, ChangeId, ClusterId, ConsumerId, DestinationKind, Epoch, Member, MessageBatch, MessageId, Policy,
    PolicyChange, ProducerId, QueueId, QueueName, Role, ServerName, SessionId, Settings, SettingsPatch, StopReason,
    Timer, TransactionName, Written,
};

/// One entry of the log. `at_ms` is Unix milliseconds by the proposer's clock: `apply` reads no clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// The first entry of a cluster: its id, its members in `init`'s order, its policy. Later ones change nothing.
    Genesis {
        /// The cluster's id.
        cluster: ClusterId,
        /// The generation it starts with.
        generation: u32,
        /// Its members, in the order of `init`.
        members: Vec<Member>,
        /// Its policy.
        policy: Policy,
    },
    /// Starts the engine on `host`. The entry's place in the log is the new epoch. Clears `hold` unless it names `host`.
    Activate {
        /// Where.
        host: ServerName,
        /// Why.
        reason: ActivationReason,
        /// When.
        at_ms: u64,
    },
    /// Stops the engine of `epoch` on purpose: writes that carry it are refused from here on.
    Stop {
        /// The activation to stop; an older one changes nothing.
        epoch: Epoch,
        /// Why.
        reason: StopReason,
        /// When.
        at_ms: u64,
    },
    /// Changes the policy, and clears an operator's hold. Checked by the proposer and again by `apply`.
    SetPolicy {
        /// The new policy.
        policy: Policy,
    },
    /// Records (or clears) an operator's move.
    Hold {
        /// Where the engine is to stay.
        server: Option<ServerName>,
    },
    /// Gives a server a new replica id; adds the server at the end of the members if it is new.
    Admit {
        /// Its name.
        name: ServerName,
        /// What it does.
        role: Role,
        /// Where it is dialed.
        address: String,
    },
    /// Takes a server off the members (and off the operator's preferred list).
    Dismiss {
        /// Its name.
        name: ServerName,
    },
    /// Records the running hash at this entry, for `baton verify`.
    Marker {
        /// Drawn by whoever asks.
        nonce: u64,
    },
    /// What an engine writes, in order; refused as a whole if `epoch` is not the running activation.
    Engine {
        /// The engine's activation.
        epoch: Epoch,
        /// When.
        at_ms: u64,
        /// What.
        ops: Vec<EngineOp>,
    },
    /// Says where a member is dialed.
    SetAddress {
        /// Its name.
        name: ServerName,
        /// Where.
        address: String,
    },
    /// Changes fields of the policy, and clears an operator's hold; answered with [`super::Applied::Policy`]. Of two changes
    /// at once both hold.
    ChangePolicy {
        /// What is changed.
        change: PolicyChange,
    },
    /// Applies a command unless one of that id was applied before; then answers [`super::Applied::Repeated`].
    Once {
        /// The id.
        change: ChangeId,
        /// The command; not one of an engine, and not this one.
        command: Box<Command>,
    },
    /// Asks for the answer to a change: [`super::Applied::Repeated`], or [`super::Applied::Done`] if it is not known.
    Recall {
        /// Its id.
        change: ChangeId,
    },
}

/// One write of an engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EngineOp {
    /// Creates a queue.
    CreateQueue {
        /// Its name.
        name: QueueName,
    },
    /// Deletes a queue with all that it holds, its producers and its consumers.
    DeleteQueue {
        /// Its name.
        name: QueueName,
    },
    /// Registers a producer for one queue; of a known producer answers its next number.
    OpenProducer {
        /// The producer.
        producer: ProducerId,
        /// Its queue.
        queue: QueueName,
    },
    /// Forgets producers: closed, or idle for long.
    ForgetProducers {
        /// Which.
        producers: Vec<ProducerId>,
    },
    /// Stores messages numbered `first` onwards. `last + 1` is accepted, lower is a duplicate, higher a gap.
    Send {
        /// The producer.
        producer: ProducerId,
        /// Which taking over of the producer's name it works under; 0: it has no name. Older ones are refused.
        registration: u64,
        /// The number of the first message; a producer's first message is number 1.
        first: u64,
        /// The messages, in order.
        messages: MessageBatch,
        /// Whether the engine may deliver them at once (see [`EngineOp::Dispatch`]).
        dispatch: bool,
    },
    /// Promises that nothing after `through` was delivered yet: committed before a message is first delivered, so
    /// that the next engine knows which messages may have been delivered before.
    Dispatch {
        /// The queue.
        queue: QueueId,
        /// The last message that may be delivered.
        through: MessageId,
    },
    /// Takes acknowledged messages off a queue. Those that are gone already change nothing.
    Settle {
        /// The queue.
        queue: QueueId,
        /// The messages.
        messages: Vec<MessageId>,
        /// Of each of these priorities, no message of the queue below this one is left: where a new engine starts to read.
        heads: Vec<MessageId>,
    },
    /// Counts a failed delivery for messages that were handed back. What failed too often goes to the exception
    /// destination, what has to wait before it is delivered again becomes a timer.
    Requeue {
        /// The queue.
        queue: QueueId,
        /// The messages.
        messages: Vec<MessageId>,
    },
    /// Records that a consumer took up a queue, so that the next engine waits for it.
    Attach {
        /// The queue.
        queue: QueueName,
        /// The consumer.
        consumer: ConsumerId,
    },
    /// Records that a consumer went away.
    Detach {
        /// The consumer.
        consumer: ConsumerId,
    },
    /// Changes how a queue behaves.
    Configure {
        /// Its name.
        name: QueueName,
        /// What is changed.
        patch: Box<SettingsPatch>,
        /// Only if its settings were changed so often.
        if_version: Option<u64>,
    },
    /// Creates a destination of that kind and records its owner as a consumer of it; answers as [`EngineOp::CreateQueue`] if there is one of that name.
    Create {
        /// Its name.
        name: QueueName,
        /// What it is.
        kind: DestinationKind,
        /// How it behaves.
        settings: Settings,
        /// It goes when this consumer goes.
        owner: Option<ConsumerId>,
    },
    /// Moves messages off a queue, each with its reason or without. Those that are gone already change nothing.
    Move {
        /// The queue.
        queue: QueueId,
        /// The messages.
        messages: Vec<MessageId>,
        /// Where to.
        to: MoveTo,
    },
    /// Does what is due: delayed messages enter their queues, messages whose time to live is over leave theirs.
    Fire {
        /// The timers; those that are gone already change nothing.
        timers: Vec<Timer>,
    },
    /// Registers a session of transactions; of a known one answers its next number.
    OpenSession {
        /// The session.
        session: SessionId,
    },
    /// Does all of a transaction, or nothing if one part of it cannot be done. Numbered as messages are: `last + 1` is
    /// done, lower was done before.
    Transact {
        /// The session.
        session: SessionId,
        /// The transaction's number; a session's first is number 1.
        number: u64,
        /// What is sent.
        sends: Vec<TransactionSend>,
        /// What is taken off queues.
        settles: Vec<(QueueId, Vec<MessageId>)>,
    },
    /// Deletes messages of a queue, the oldest of the given priority first, whoever holds them.
    Purge {
        /// The queue.
        queue: QueueId,
        /// Up to this one, of its priority.
        through: MessageId,
        /// At most so many.
        limit: u32,
    },
    /// Stores messages without numbers: what is proposed twice is stored twice.
    Post {
        /// The destination.
        queue: QueueId,
        /// The messages, in order.
        messages: MessageBatch,
        /// Whether the engine may deliver them at once (see [`EngineOp::Dispatch`]).
        dispatch: bool,
    },
    /// Stores messages that were in no store in the exception destination of the queue that they were in; nowhere if it
    /// has none.
    SetAside {
        /// The queue.
        queue: QueueId,
        /// Why, in words.
        reason: String,
        /// The messages, in order.
        messages: MessageBatch,
    },
    /// Makes sure that a transaction can be done, and keeps it until [`EngineOp::Resolve`]. Numbered as
    /// [`EngineOp::Transact`]. What it takes off queues stays there: engines give it to nobody.
    Prepare {
        /// The outside coordinator's name for it; no other one in doubt has it.
        name: TransactionName,
        /// The session.
        session: SessionId,
        /// The transaction's number.
        number: u64,
        /// What is sent.
        sends: Vec<TransactionSend>,
        /// What is taken off queues.
        settles: Vec<(QueueId, Vec<MessageId>)>,
    },
    /// Decides a prepared transaction.
    Resolve {
        /// Its name.
        name: TransactionName,
        /// Whether it is done; otherwise nothing of it is.
        commit: bool,
    },
    /// Takes over a producer's name, if what was written under it is still what the new owner saw; registers it if it is
    /// new. Whoever had the name before is refused from here on.
    ClaimProducer {
        /// The producer.
        producer: ProducerId,
        /// Its queue.
        queue: QueueName,
        /// What the new owner saw; `None`: whatever it is.
        seen: Option<Written>,
    },
    /// Consumers were given up that an earlier engine knew: of messages that they may have had, that many have one failed
    /// delivery more, the first ones in the order of delivery.
    CountLost {
        /// Their queue.
        queue: QueueId,
        /// Of each priority, the last message that may have been delivered.
        through: Vec<MessageId>,
        /// Messages of which it is known where they are.
        except: Vec<MessageId>,
        /// How many.
        consumers: u32,
    },
    /// As [`EngineOp::DeleteQueue`], if the queue is as the caller expects; counts what went with it.
    Delete {
        /// Its name.
        name: QueueName,
        /// Only if it has no messages, delayed ones included.
        if_empty: bool,
        /// Only if it has no consumers.
        if_unused: bool,
    },
    /// Applies a write unless one of that id was applied before; then answers [`super::OpResult::Repeated`].
    Once {
        /// The id.
        change: ChangeId,
        /// The write.
        op: Box<EngineOp>,
    },
    /// Asks for the answer to a change: [`super::OpResult::Repeated`], or [`super::OpResult::Done`] if it is not known.
    Recall {
        /// Its id.
        change: ChangeId,
    },
    /// Answers a known producer's next number, and notes that it was heard; registers none.
    TouchProducer {
        /// The producer.
        producer: ProducerId,
        /// As in [`EngineOp::Send`].
        registration: u64,
    },
}

impl Command {
    /// Whether it may take up space for good. A replica whose disk is nearly full refuses it, and lets through what frees
    /// space, places the engine, changes members or revokes.
    #[must_use]
    pub fn needs_room(&self) -> bool {
        match self {
            Self::Engine { ops, .. } => ops.iter().any(EngineOp::needs_room),
            Self::Once { command, .. } => command.needs_room(),
            Self::Recall { .. }
            | Self::Genesis { .. }
            | Self::Activate { .. }
            | Self::Stop { .. }
            | Self::SetPolicy { .. }
            | Self::ChangePolicy { .. }
            | Self::Hold { .. }
            | Self::Admit { .. }
            | Self::Dismiss { .. }
            | Self::Marker { .. }
            | Self::SetAddress { .. } => false,
        }
    }
}

impl EngineOp {
    /// See [`Command::needs_room`].
    #[must_use]
    pub fn needs_room(&self) -> bool {
        match self {
            Self::Send { .. } | Self::Post { .. } => true,
            Self::Transact { sends, .. } | Self::Prepare { sends, .. } => !sends.is_empty(),
            Self::Once { op, .. } => op.needs_room(),
            // Small, or there already: what is moved or set aside. A consumer must come to take messages off.
            Self::CreateQueue { .. }
            | Self::OpenProducer { .. }
            | Self::Create { .. }
            | Self::OpenSession { .. }
            | Self::DeleteQueue { .. }
            | Self::Delete { .. }
            | Self::ForgetProducers { .. }
            | Self::Dispatch { .. }
            | Self::Settle { .. }
            | Self::Requeue { .. }
            | Self::Attach { .. }
            | Self::Detach { .. }
            | Self::Configure { .. }
            | Self::Move { .. }
            | Self::Fire { .. }
            | Self::Purge { .. }
            | Self::SetAside { .. }
            | Self::ClaimProducer { .. }
            | Self::CountLost { .. }
            | Self::Recall { .. }
            | Self::TouchProducer { .. }
            | Self::Resolve { .. } => false,
        }
    }
}

/// What a transaction sends to one destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionSend {
    /// The destination.
    pub queue: QueueName,
    /// The messages, in order.
    pub messages: MessageBatch,
}

/// Where [`EngineOp::Move`] moves messages to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MoveTo {
    /// To the queue's exception destination, for that reason. If it has none, or none that has room, they stay, and a failed
    /// delivery is counted.
    Exception {
        /// Why, in words.
        reason: String,
    },
    /// Back to where each one was before it came to this exception destination. What came from nowhere, or from a
    /// queue that is gone, stays.
    Origin,
}
