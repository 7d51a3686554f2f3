//! A store whose order is kept by consensus: openraft over our log, our state and our frames. Nothing outside of this
//! module knows openraft.

mod acknowledged;
mod acknowledging;
mod answered;
mod applied;
mod birth;
mod cause;
mod client;
mod codec;
mod commit;
mod consensus;
#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod decoder_tests;
mod entry_cache;
mod flusher;
mod frame;
#[cfg(test)]
mod golden_tests;
mod guard;
mod hand_over;
mod heartbeats;
mod holds;
mod housekeeping;
mod incoming;
mod lease;
mod log_reader;
mod log_store;
mod members;
mod network;
mod open;
pub mod parts;
mod pipeline;
mod receiver;
mod recover;
mod recovery;
mod settings;
mod skip;
mod snapshot;
mod snapshot_builder;
mod state_machine;
mod succession;
#[cfg(test)]
mod suite_tests;
mod testimony;
mod types;
mod watcher;

#[cfg(test)]
pub(crate) use acknowledged::log_id;
pub(crate) use acknowledged::{Acknowledged, Table};
pub(crate) use answered::Answered;
pub(crate) use applied::AppliedRecord;
pub(crate) use consensus::Consensus;
pub(crate) use holds::SnapshotHolds;
pub(crate) use log_store::LogStore;
pub(crate) use network::Network;
pub(crate) use open::open;
pub(crate) use receiver::{Receiver, start};
pub use recover::{RecoveryReport, recover};
pub(crate) use recovery::adopt;
pub(crate) use settings::{Timing, settings};
pub use skip::{SkipError, SkipReport, entry_to_skip, skip_entry, skipped_entries, stop_skipping};
pub(crate) use state_machine::{Raft, StateMachine};
pub(crate) use testimony::{Inquest, Testimony, Voters, majority};
#[cfg(test)]
pub(crate) use types::RaftConfig;
pub(crate) use types::{DataMetrics, EncodedCommand, ReplicaNode, Runtime, ServerMetrics, TransferRequest, Vote};
