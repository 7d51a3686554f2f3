//! The replicated message store.
//!
//! Owns what survives the engine's host: messages, destinations, producers, consumers, policy and placement.
//! Promises that a command whose commit was reported is on disk at a majority of replicas and applied here, that
//! every replica applies the same commands in the same order, and that a write of an older engine is refused
//! ([`baton_domain::Applied::Fenced`]). Knows no actor and no socket: its network is the [`Transport`] trait.

mod clock;
mod config;
mod damage;
mod disk;
mod error;
mod failure;
mod format;
mod header;
mod keeper;
mod lease;
mod machine;
mod queue;
mod replicated;
mod set_aside;
pub mod shared;
#[cfg(test)]
mod simulation;
mod skipped;
mod space;
mod state;
mod status;
mod store;
mod transport;

pub use config::StoreConfig;
pub use damage::{damage, older_copy};
pub use disk::free_bytes;
pub use error::{CommitError, HandOverError, Shortage, StoreError, VotingError};
pub use format::{format, inspect};
pub use header::{Genesis, StoreHeader};
pub use lease::Lease;
pub use queue::{LaneRecord, QueueRecord};
#[doc(hidden)]
pub use replicated::parts;
pub use replicated::{
    RecoveryReport, SkipError, SkipReport, entry_to_skip, recover, skip_entry, skipped_entries, stop_skipping,
};
pub use set_aside::StoppedStore;
pub use skipped::SkippedEntry;
pub use status::{Follower, Keeping, LogHealth, StoreStatus};
pub use store::Store;
pub use transport::{Transport, TransportError};
