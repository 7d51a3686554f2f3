//! Replicas of one cluster over a simulated network in one process.
#![allow(missing_docs)]

mod elections;
mod sim;
