//! Replicas of one cluster over a simulated network in one process.

mod elections;
mod failures;
mod files;
mod members;
mod sim;
