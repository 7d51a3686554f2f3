//! Messages between clients, engine and servers: values in rmp-serde inside a [`crate::wire::Frame`].
//!
//! ractor's calls have no negative reply, so errors are values. Enums grow by adding at the end.

mod client;
mod delivery;
mod directory;
mod engine;
mod engine_error;
mod engine_status;
mod placement;

pub use client::{ClientReply, ClientRequest};
pub use delivery::Delivery;
pub use directory::{
    DatabaseStatus, DirectoryReply, DirectoryRequest, EngineStatus, FailBackWait, QuorumStatus, ServerReport,
    ServerStatus, Status,
};
pub use engine::{EngineReply, EngineRequest, Limits, Opening};
pub use engine_error::EngineError;
pub use engine_status::{ConsumerStatus, InDoubtStatus, Kind, QueueStatus};
pub use placement::{EngineState, PlacementNews};

use baton_domain::msgpack;
use serde::{Serialize, de::DeserializeOwned};

/// The version of the payloads, their first byte.
pub const PROTOCOL_VERSION: u8 = 7;

/// A payload that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    /// Written by a program of an unknown version.
    #[error("unknown payload version {0}: this program speaks version {PROTOCOL_VERSION}")]
    Version(u8),
    /// Damaged or cut short.
    #[error("cannot decode the payload: {0}")]
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
/// [`ProtocolError`], if it cannot be read.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ProtocolError> {
    match bytes.split_first() {
        Some((&PROTOCOL_VERSION, payload)) => {
            msgpack::read(payload).map_err(|error| ProtocolError::Damaged(error.to_string()))
        }
        Some((&version, _)) => Err(ProtocolError::Version(version)),
        None => Err(ProtocolError::Damaged("it is empty".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A few kilobytes of a client's must not end the process that hosts the engine: a stack that overflows is not
    /// unwound. And no server's answer ends a client.
    #[test]
    fn requests_within_requests_within_requests_are_refused() {
        let mut bytes = vec![PROTOCOL_VERSION];
        for _ in 0..1_020 {
            // A map of one: the variant's name, and a list of one request.
            bytes.extend_from_slice(b"\x81\xa7Several\x91");
        }
        bytes.extend_from_slice(b"\xaaListQueues");
        let read = move || (decode::<EngineRequest>(&bytes).is_err(), decode::<EngineReply>(&bytes).is_err());
        let thread = std::thread::Builder::new().stack_size(256 * 1024).spawn(read).unwrap();
        assert_eq!(thread.join().unwrap(), (true, true));
        let one = EngineRequest::Several(vec![EngineRequest::ListQueues]);
        assert_eq!(decode::<EngineRequest>(&encode(&one)).unwrap(), one);
    }
}
