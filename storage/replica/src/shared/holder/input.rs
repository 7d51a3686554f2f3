//! What happens to a holder.

use baton_domain::ServerName;
use baton_domain::clock::BootTime;
use bytes::Bytes;

use super::super::log::{Append, LogError, Nominee, Position, Read};

/// A command that waits for its place in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Proposal {
    /// By which its proposer is answered.
    pub(crate) id: u64,
    /// The command, encoded.
    pub(crate) body: Bytes,
}

/// Another server, as it describes itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Behind the last entry that it has.
    pub(crate) position: Position,
    /// It can put entries back that the log lost.
    pub(crate) heals: bool,
    /// The time, on this server's clock, at which it sent its last request that the log answered.
    pub(crate) reached: Option<BootTime>,
    /// Its rank among the possible holders; the lower the better.
    pub(crate) rank: usize,
}

/// The answer to the oldest unanswered statement of its kind in this session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// To a renewal.
    Renewed(Result<Option<u64>, LogError>),
    /// To an append.
    Appended(Result<Append, LogError>),
    /// To a read.
    Read(Result<Read, LogError>),
    /// To a give.
    Gave(Result<bool, LogError>),
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Input {
    /// A command is to be committed.
    Propose(Proposal),
    /// The log answered.
    Answered(Answer),
    /// The session broke.
    Broke(LogError),
    /// The log answered something that was sent then, whatever it was.
    Alive(BootTime),
    /// A session was opened, after one that broke; true if the log may lack commits that it had.
    Opened(bool),
    /// No session could be opened; it is tried again.
    NotOpened(LogError),
    /// The servers that answered when they were asked for their positions: all of them that are linked, but for silent
    /// ones.
    Standings(Vec<(ServerName, Standing)>),
    /// A server described itself.
    Heard(ServerName, Standing),
    /// The link to a server is down.
    Unlinked(ServerName),
    /// The lease is to be given to a server.
    Give(Nominee),
    /// Time passed.
    Tick,
}
