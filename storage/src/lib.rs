//! The replicated message store.
//!
//! Owns what survives the engine's host: messages, destinations, producers, consumers, policy and placement.
//! Promises that a command whose commit was reported is on disk at a majority of replicas and applied here, that
//! every replica applies the same commands in the same order, and that a write of an older engine is refused
//! ([`Applied::Fenced`]). Knows no actor and no socket: its network is the [`Transport`] trait.

pub mod clock;
#[cfg(test)]
mod damage;
mod disk;
mod domain;
mod machine;
mod raft;
#[doc(hidden)]
pub mod seeded;
#[cfg(test)]
mod simulation;
mod store;
mod transport;

pub use disk::{Shortage, free_bytes};
pub use domain::*;
#[doc(hidden)]
pub use raft::parts;
pub use store::{
    CommitError, Genesis, LaneRecord, Lease, Progress, QueueRecord, RecoveryReport, StoppedStore, Store, StoreConfig,
    StoreError, StoreHeader, StoreStatus, damage, format, inspect, older_copy, recover,
};
pub use transport::{Transport, TransportError};
