//! The replicated message store.
//!
//! Owns what survives the engine's host: messages, destinations, producers, consumers, policy and placement.
//! Promises that a command whose commit was reported is on disk at a majority of replicas and applied here, that
//! every replica applies the same commands in the same order, and that a write of an older engine is refused
//! ([`baton_domain::Applied::Fenced`]). Knows no actor and no socket: its network is the [`Transport`] trait.

mod clock;
mod disk;
mod machine;
mod raft;
#[cfg(test)]
mod simulation;
mod store;
mod transport;

pub use disk::{Shortage, free_bytes};
#[doc(hidden)]
pub use raft::parts;
pub use store::{
    CommitError, Genesis, LaneRecord, Lease, Progress, QueueRecord, RecoveryReport, StoppedStore, Store, StoreConfig,
    StoreError, StoreHeader, StoreStatus, damage, format, inspect, older_copy, recover,
};
pub use transport::{Transport, TransportError};
