//! What a holder wants to be done, and why it ends.

use std::sync::Arc;

use baton_domain::ServerName;
use baton_domain::clock::BootTime;

use super::super::log::{LogEntry, LogError, Nominee, Position};

/// The reason why a holder is no longer one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Why {
    /// Another server has the lease, or had it.
    Deposed,
    /// It gave the lease to a server.
    Gave(Nominee),
    /// It does not reach the log, and that server does.
    Unreached(ServerName),
    /// The log no longer has the next entry: a snapshot is needed.
    Behind,
    /// The log ends before entries that this server has applied and cannot put back.
    OlderLog(Position),
    /// The log and this server have different entries at this index.
    OtherHistory(u64),
    /// The log is damaged, or is another cluster's.
    Failed(LogError),
}

/// Something to do, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Renew the lease.
    Renew,
    /// Append entries behind a position.
    Append(Position, Arc<[LogEntry]>),
    /// Read behind a position.
    Read(Position),
    /// Give the lease up.
    Give(Nominee),
    /// Ask the log for something that it answers without writing.
    Probe,
    /// Forget all unanswered statements, and open another session.
    Reopen,
    /// Ask all linked servers for their positions.
    AskStandings,
    /// The lease holds until then.
    Lease(BootTime),
    /// The lease has ended.
    EndLease,
    /// This server leads from now on.
    Lead,
    /// Apply entries; proposals are answered by their index.
    Apply(Vec<LogEntry>, Vec<(u64, u64)>),
    /// Proposals of which nothing was written.
    NotLeader(Vec<u64>),
    /// Proposals that may be in the log or not.
    Unknown(Vec<u64>),
    /// Tell that server, or all, that the lease of this term has ended for good.
    Release(Option<ServerName>),
    /// This server no longer holds the lease.
    StepDown(Why),
}

/// A problem that lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The log does not work.
    Log(LogError),
    /// A linked server has entries that the log lost, and cannot put them back now.
    Ahead(ServerName, Position),
}
