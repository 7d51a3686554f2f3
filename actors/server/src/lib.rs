//! The actors of a server: supervisor, policy, messaging engine, directory, shared storage.
//!
//! Each is a pure core (state and `step` or `decide`, no await, no clock, no randomness, no log) and a thin ractor shell
//! that performs what the core returned.

pub mod directory;
pub mod engine;
pub mod policy;
pub mod shared_storage;
pub mod slot;
pub mod supervisor;
