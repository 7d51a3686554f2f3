//! Errors of a store.

use std::path::PathBuf;
use std::time::Duration;

use baton_domain::ReplicaId;

/// The reason why a store cannot be formatted, opened or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// It was written by an older program.
    #[error(
        "the store at {dir} has format {found} of an older baton, but this one reads format {known}: empty the queues with the older baton and create a new cluster"
    )]
    Older {
        /// Its directory.
        dir: PathBuf,
        /// Its format.
        found: u32,
        /// The format that this program reads.
        known: u32,
    },
    /// It was written by a newer program.
    #[error("the store at {dir} has format {found}; this program reads up to {known}: start it with a newer baton")]
    Newer {
        /// Its directory.
        dir: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format that this program reads.
        known: u32,
    },
    /// It is damaged, or not a store.
    #[error(
        "the store at {dir} is damaged ({why}) and will not start: run `baton rebuild` with the server's file to restore this replica from its peers"
    )]
    Damaged {
        /// Its directory.
        dir: PathBuf,
        /// The damage.
        why: String,
    },
    /// It was restored from an older copy.
    #[error(
        "the store at {dir} is an older copy of itself ({why}) and will not start: run `baton rebuild` with the server's file to restore this replica from its peers"
    )]
    OlderCopy {
        /// Its directory.
        dir: PathBuf,
        /// The entries that it lacks.
        why: String,
    },
    /// A log entry cannot be applied.
    #[error(
        "the store at {dir} stopped: {why}; if every server stops at log entry {entry}, `baton skip` with the server's file and `--entry {entry}` goes on without it"
    )]
    CannotApply {
        /// Its directory.
        dir: PathBuf,
        /// Index of the entry.
        entry: u64,
        /// The reason.
        why: String,
    },
    /// The directory holds other files.
    #[error("{dir} is not a store and holds other files: {files}; move these away, or set `dir` to another directory")]
    Foreign {
        /// Its directory.
        dir: PathBuf,
        /// Their names.
        files: String,
    },
    /// There is a store already.
    #[error("a store already exists at {dir}")]
    Exists {
        /// Its directory.
        dir: PathBuf,
    },
    /// Another process has it open.
    #[error("the store at {dir} is in use by another process")]
    InUse {
        /// Its directory.
        dir: PathBuf,
    },
    /// It was filled from a log that all servers reach.
    #[error(
        "the store at {dir} is a copy of a log in a database: name that as [database] in the server's file, or move the \
         store away"
    )]
    OfLog {
        /// Its directory.
        dir: PathBuf,
    },
    /// It was filled by replicas that vote.
    #[error(
        "the store at {dir} is a replica of a cluster without a database: remove [database] from the server's file, or move \
         the store away"
    )]
    OfReplicas {
        /// Its directory.
        dir: PathBuf,
    },
    /// There is no store.
    #[error("there is no store at {dir}")]
    Missing {
        /// The directory.
        dir: PathBuf,
    },
    /// Reading or writing failed.
    #[error("the store at {dir} cannot be read or written: {why}")]
    Io {
        /// Its directory.
        dir: PathBuf,
        /// The error of the system.
        why: String,
    },
}

/// The reason why a command was not committed, or is not known to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// This replica does not lead: nothing was written.
    #[error("this replica does not lead the store")]
    NotLeader {
        /// The leader, if known.
        leader: Option<ReplicaId>,
    },
    /// Leadership was lost on the way: it may be committed or not.
    #[error("leadership was lost: the outcome is unknown")]
    Unknown,
    /// The command needs room, and there is none: nothing was written.
    #[error("this server's store has no room: {0}")]
    NoRoom(Shortage),
    /// The store stopped working.
    #[error("the store stopped: {0}")]
    Failed(String),
}

/// The reason why the lead was not handed over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandOverError {
    /// This replica does not lead.
    #[error("this replica is not the leader")]
    NotLeader,
    /// The lead would stay here.
    #[error("this replica is already the leader")]
    AlreadyLeader,
    /// The other replica does not vote, or does not reach the log.
    #[error("replica {replica} may not lead")]
    MayNotLead {
        /// The replica.
        replica: ReplicaId,
    },
    /// There is no such replica.
    #[error("replica {replica} is unknown")]
    Unknown {
        /// The replica.
        replica: ReplicaId,
    },
    /// The other replica has not answered for too long.
    #[error("replica {replica} does not answer")]
    Silent {
        /// The replica.
        replica: ReplicaId,
    },
    /// The other replica is not caught up.
    #[error("replica {replica} lags by {entries} entries")]
    Behind {
        /// The replica.
        replica: ReplicaId,
        /// Entries that it lacks.
        entries: u64,
    },
    /// Another replica leads now: a third one, or this one again.
    #[error("replica {replica} did not take over; replica {leader} leads now")]
    LedByAnother {
        /// The replica that should lead.
        replica: ReplicaId,
        /// The leader.
        leader: ReplicaId,
    },
    /// Nobody is known to lead.
    #[error("replica {replica} did not take over in time")]
    NotTaken {
        /// The replica.
        replica: ReplicaId,
    },
    /// The store stopped working.
    #[error("the store stopped: {0}")]
    Failed(String),
}

/// The reason why the voters were not changed, or are not known to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VotingError {
    /// No replica votes in a store of this kind.
    #[error("no replica of this store votes: a log that all servers reach keeps its commands")]
    NoVotes,
    /// There would be no voter.
    #[error("at least one replica must vote")]
    NoVoter,
    /// A replica that is neither voter nor learner cannot vote at once.
    #[error("replica {replica} is not part of the cluster: add it as a learner first")]
    Stranger {
        /// The replica.
        replica: ReplicaId,
    },
    /// This replica does not lead: nothing was changed.
    #[error("this replica does not lead the store")]
    NotLeader {
        /// The leader, if known.
        leader: Option<ReplicaId>,
    },
    /// It was not committed in time; it may still be later.
    #[error("it was not committed within {} s", .0.as_secs())]
    Timeout(Duration),
    /// The change was refused, or given up for another leader's.
    #[error("{0}")]
    Refused(String),
    /// The store stopped working.
    #[error("the store stopped: {0}")]
    Failed(String),
}

/// A shortage of a replica: it takes only commands that free space, or are small and must not wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortage {
    /// Its disk is nearly full.
    Disk,
    /// Its process can open no files.
    Descriptors,
}

impl Shortage {
    /// For people, with what to do.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Disk => "its disk is nearly full: give it more space",
            Self::Descriptors => "its process has no file descriptors left: raise its limit (ulimit -n)",
        }
    }
}

impl std::fmt::Display for Shortage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.words())
    }
}
