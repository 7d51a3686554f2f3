//! The actors of Baton, one module a role. Each is a pure core (state and `step` or `decide`: no await, no clock, no
//! randomness, no logging) and a thin ractor shell that performs what the core returned.

pub mod consumer;
#[cfg(test)]
mod decoder_tests;
pub mod directory;
pub mod engine;
pub mod peers;
pub mod policy;
pub mod producer;
pub mod protocol;
pub mod session;
pub mod shared_storage;
pub mod slot;
pub mod supervisor;
pub mod wire;
