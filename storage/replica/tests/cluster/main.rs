//! Replicas of one cluster over a simulated network in one process.
#![allow(clippy::unwrap_used, clippy::type_complexity, reason = "in a test a failure is a panic")]

mod damage;
mod elections;
mod failures;
mod files;
mod members;
mod sim;
mod succession;
