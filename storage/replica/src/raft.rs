//! The consensus: openraft over our log, our state and our frames. Nothing outside of this crate sees it.

mod acknowledged;
mod answered;
mod codec;
#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod decoder_tests;
mod entry_cache;
mod flusher;
mod frame;
mod heartbeats;
mod holds;
mod incoming;
mod log_reader;
mod log_store;
mod network;
pub mod parts;
mod pipeline;
mod receiver;
mod recovery;
mod settings;
mod snapshot;
mod state;
mod state_machine;
#[cfg(test)]
mod suite_tests;
mod testimony;
mod types;

#[cfg(test)]
pub(crate) use acknowledged::log_id;
pub(crate) use acknowledged::{Acknowledged, Table};
pub(crate) use answered::Answered;
pub(crate) use codec::encode_command;
pub(crate) use flusher::Failure;
pub(crate) use holds::SnapshotHolds;
pub(crate) use log_store::LogStore;
pub(crate) use network::Network;
pub(crate) use receiver::{Receiver, start};
pub(crate) use recovery::adopt;
pub(crate) use settings::{Timing, settings};
pub(crate) use state::{AppliedRecord, SharedState};
pub(crate) use state_machine::StateMachine;
pub(crate) use testimony::{Inquest, Testimony, Voters, majority};
#[cfg(test)]
pub(crate) use types::EncodedCommand;
pub(crate) use types::{DataMetrics, Raft, ReplicaNode, Runtime, ServerMetrics, TransferRequest, Vote};
