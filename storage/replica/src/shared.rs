//! A store whose order is kept by a log that all servers reach, such as a database.

mod log;

pub use log::{
    Answer, Append, Chain, Claimant, LeaseRow, LogEntry, LogError, LogIdentity, LogSize, LogSnapshot, Nominee,
    Position, Read, SNAPSHOT_PART_BYTES, ServerRow, Sessions, SharedLog, SharedLogs, SnapshotFile,
};
