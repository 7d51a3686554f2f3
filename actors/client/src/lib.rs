//! The parts of a client: the protocol, the session that follows the engine, producers and consumers.
//!
//! Knows no disk and no consensus: it builds without RocksDB, openraft and a C++ compiler.

pub mod consumer;
#[cfg(test)]
mod decoder_tests;
#[cfg(test)]
mod golden_tests;
mod outbox;
pub mod peers;
pub mod producer;
pub mod protocol;
#[cfg(test)]
mod sample_values;
pub mod session;
#[cfg(test)]
mod simulation;
pub mod wire;
