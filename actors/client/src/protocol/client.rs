//! The engine and servers to a client ([`crate::wire::Service::Client`]).

use baton_domain::{ConsumerId, Epoch};
use serde::{Deserialize, Serialize};

use super::{Delivery, PlacementNews};

/// Messages from a server to a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientRequest {
    /// Messages for a consumer, in order.
    Deliver {
        /// The consumer.
        consumer: ConsumerId,
        /// The engine's epoch; a client drops deliveries that are older than the newest epoch it has seen.
        epoch: Epoch,
        /// The messages.
        #[serde(with = "super::delivery::deliveries")]
        deliveries: Vec<Delivery>,
    },
    /// The engine's place changed.
    News(PlacementNews),
}

/// A client's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientReply {
    /// Taken.
    Done,
    /// There is no such consumer here: detach it.
    ConsumerUnknown,
    /// The epoch is older than one that this client has seen: dropped.
    Stale,
}
