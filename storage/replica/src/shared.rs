//! A store whose order is kept by a log that all servers reach, such as a database.
//!
//! The log has one row that says which server may append: the lease. Its holder appends the commands of the engine; every
//! server reads them into its own state. The modules `holder` and `candidate` are pure cores that decide, `member` is
//! the shell around them, and `keeper` makes it a part of a store.

#[cfg(test)]
mod api;
mod applying;
mod candidate;
#[cfg(test)]
mod cases;
#[cfg(test)]
mod contract;
#[cfg(test)]
mod contract_tests;
mod holder;
mod inquest;
mod keeper;
#[cfg(test)]
mod keeper_tests;
mod log;
mod measured;
mod member;
mod message;
mod names;
mod open;
mod process;
mod publish;
mod recent;
mod record;
mod regress;
mod seeded;
mod shelf;
#[cfg(test)]
mod simulated;
#[cfg(test)]
mod simulation;
mod timing;
mod upkeep;
mod wire;

pub use log::{
    Answer, Append, Chain, Claimant, LeaseRow, LogEntry, LogError, LogIdentity, LogSize, LogSnapshot, Nominee,
    Position, Read, SNAPSHOT_PART_BYTES, ServerRow, Sessions, SharedLog, SharedLogs, SnapshotFile,
};
pub use open::SharedConfig;
pub(crate) use open::open as open_shared;
pub use timing::SharedTiming;
