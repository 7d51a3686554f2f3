//! The engine and servers to a client ([`crate::wire::Service::Client`]).

use baton_storage::{ConsumerId, Epoch, Message, MessageId};
use serde::{Deserialize, Serialize};

use super::PlacementNews;

/// What a server sends to a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientRequest {
    /// Messages for a consumer, in order.
    Deliver {
        /// The consumer.
        consumer: ConsumerId,
        /// The engine's epoch; a client drops what is older than it has seen.
        epoch: Epoch,
        /// The messages.
        deliveries: Vec<Delivery>,
    },
    /// The engine's place changed.
    News(PlacementNews),
}

/// One message on its way to a consumer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// What it is settled by.
    pub id: MessageId,
    /// How often it was handed back before.
    pub redeliveries: u32,
    /// Whether it may have been delivered before.
    pub redelivered: bool,
    /// The message.
    pub message: Message,
}

/// What a client answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientReply {
    /// Taken.
    Done,
    /// There is no such consumer here: detach it.
    ConsumerUnknown,
    /// The epoch is older than one that this client has seen: dropped.
    Stale,
}
