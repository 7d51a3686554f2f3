//! What clients, engine and servers say to each other: values in rmp-serde inside a [`crate::wire::Frame`].
//!
//! ractor's calls have no negative reply, so errors are values. Enums grow by adding at the end.

mod client;
mod directory;
mod engine;

pub use client::{ClientReply, ClientRequest, Delivery};
pub use directory::{
    DirectoryReply, DirectoryRequest, EngineStatus, PlacementNews, QuorumStatus, ServerReport, ServerStatus, Status,
};
pub use engine::{
    ConsumerStatus, EngineError, EngineReply, EngineRequest, EngineState, InDoubtStatus, Kind, Limits, QueueStatus,
};

use serde::{Serialize, de::DeserializeOwned};

/// The version of the payloads, their first byte.
pub const PROTOCOL_VERSION: u8 = 5;

/// A payload that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    /// Written by a program of an unknown version.
    #[error("payload version {0} is unknown: this program speaks {PROTOCOL_VERSION}")]
    Version(u8),
    /// Damaged or cut short.
    #[error("the payload cannot be read: {0}")]
    Damaged(String),
}

/// Writes a payload.
///
/// # Panics
/// If a value of ours cannot be written: a bug.
#[must_use]
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = vec![PROTOCOL_VERSION];
    if let Err(error) = rmp_serde::encode::write(&mut bytes, value) {
        panic!("a protocol value cannot be written: {error}");
    }
    bytes
}

/// Reads a payload.
///
/// # Errors
/// [`ProtocolError`] says what is wrong with it.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ProtocolError> {
    match bytes.split_first() {
        Some((&PROTOCOL_VERSION, payload)) => {
            rmp_serde::from_slice(payload).map_err(|error| ProtocolError::Damaged(error.to_string()))
        }
        Some((&version, _)) => Err(ProtocolError::Version(version)),
        None => Err(ProtocolError::Damaged("it is empty".to_owned())),
    }
}
