//! The words of the store: plain values, no disk, no network. [`clock`] and [`random`] alone ask the system.

pub mod address;
pub mod clock;
mod cluster;
mod command;
mod destinations;
mod ids;
mod in_doubt;
mod message;
pub mod message_batch;
pub mod msgpack;
mod outcome;
mod policy;
mod properties;
pub mod random;
mod reliability;
#[doc(hidden)]
pub mod seeded;
pub mod selector;
mod settings;
mod timer;
pub mod topic;
mod written;

pub use cluster::{
    ActivationReason, ClusterState, MEMBERS_MAX, Member, PLACEMENT_HISTORY, Placement, Role, Standing, StopReason,
    Stopped, majority,
};
pub use command::{Command, EngineOp, MoveTo, TransactionSend};
pub use destinations::{Destinations, Subscriptions};
pub use ids::{
    ChangeId, ClusterId, ConsumerId, Epoch, Lane, MessageId, NameError, ProducerId, QueueId, QueueName, ReplicaId,
    ServerName, SessionId, TransactionName,
};
pub use in_doubt::{InDoubt, Prepared};
pub use message::{Message, StoredMessage};
pub use message_batch::MessageBatch;
pub use outcome::{Applied, Arrival, Changes, Committed, Kept, OpResult};
pub use policy::{Assistance, Policy, PolicyChange, PolicyError};
pub use properties::{PRIORITY_DEFAULT, PRIORITY_MAX, Properties};
pub use reliability::{Reliability, ReliabilityError};
pub use selector::{Fields, Selector, SelectorError, Value};
pub use settings::{
    DeadLetterOverflow, DestinationKind, ExceptionDestination, Expired, FORWARDS_MAX, SYSTEM_EXCEPTION_QUEUE, Settings,
    SettingsPatch, Subscription, exception_header,
};
pub use timer::{Timer, TimerKind};
pub use written::Written;
