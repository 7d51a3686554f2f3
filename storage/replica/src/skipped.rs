//! A log entry that is skipped.

use baton_domain::ReplicaId;

/// A log entry that an operator chose to skip.
///
/// Named as consensus names it: where a log was cut back, another entry may stand at the same index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SkippedEntry {
    /// Log index.
    pub index: u64,
    /// Term in which it was proposed.
    pub term: u64,
    /// Replica that proposed it.
    pub leader: ReplicaId,
}
