//! A store whose order is kept by a log that all servers reach, such as a database.

#[cfg(test)]
mod api;
mod candidate;
#[cfg(test)]
mod cases;
#[cfg(test)]
mod contract;
#[cfg(test)]
mod contract_tests;
mod holder;
mod inquest;
mod log;
mod member;
mod message;
mod recent;
mod regress;
mod seeded;
#[cfg(test)]
mod simulated;
#[cfg(test)]
mod simulation;
mod timing;

pub use log::{
    Answer, Append, Chain, Claimant, LeaseRow, LogEntry, LogError, LogIdentity, LogSize, LogSnapshot, Nominee,
    Position, Read, SNAPSHOT_PART_BYTES, ServerRow, Sessions, SharedLog, SharedLogs, SnapshotFile,
};
pub use timing::SharedTiming;
