//! The words of the store: plain values, no disk, no network, no clock.

mod cluster;
mod command;
mod ids;
mod message;
pub mod message_batch;
mod outcome;
mod policy;

pub(crate) use cluster::PLACEMENT_HISTORY;
pub use cluster::{ClusterState, Member, Placement, Role, Stopped};
pub use command::{ActivationReason, Command, EngineOp};
pub use ids::{
    ClusterId, ConsumerId, Epoch, MessageId, NameError, ProducerId, QueueId, QueueName, ReplicaId, ServerName,
};
pub use message::{Message, StoredMessage};
pub use outcome::{Applied, Committed, OpResult};
pub use policy::{Assistance, Policy, PolicyChange, PolicyError};
