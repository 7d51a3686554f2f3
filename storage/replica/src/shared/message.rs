//! What servers that share a log say to each other.

use std::time::Duration;

use baton_domain::ServerName;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use super::inquest::Verdict;

/// A question, or news.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Message {
    /// The holder of that term has committed the log up to there. Answered with [`Reply::Standing`].
    Tail {
        /// The holder's term.
        term: u64,
        /// The last entry.
        index: u64,
        /// The timeline of the holder's log.
        timeline: u32,
        /// The holder has a lease: no other server has one, not even one that the log forgot.
        leased: bool,
    },
    /// Asks for [`Reply::Standing`].
    Standing,
    /// Asks for [`Reply::Verdict`] on a process.
    Verdict {
        /// The server of the process.
        server: ServerName,
        /// The process.
        incarnation: u64,
    },
    /// The holder of that term has ended its lease for good.
    Released {
        /// The holder's term.
        term: u64,
    },
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// The server as it describes itself.
    Standing {
        /// The last entry that it has.
        index: u64,
        /// The hash of all entries up to it.
        chain: u128,
        /// The last entry that it has applied.
        applied: u64,
        /// It can put entries back that the log lost.
        heals: bool,
        /// Age of its last request that the log answered, in milliseconds.
        reached_ms: Option<u64>,
    },
    /// What it knows about the process.
    Verdict(Verdict),
    /// The news arrived.
    Noted,
}

/// The other servers, as a trait.
pub(crate) trait Others: Send + Sync + 'static {
    /// Sends a message; `None` if there is no answer in time.
    fn ask(&self, to: &ServerName, message: Message, timeout: Duration) -> BoxFuture<'static, Option<Reply>>;
}
