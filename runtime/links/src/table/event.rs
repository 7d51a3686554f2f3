//! Events that the table takes in, and effects that it returns.

use std::time::Duration;

use baton_client::peers::PeerKind;
use baton_domain::clock::BootTime;

use super::{ConnectionId, TargetId};
use crate::refusal::RefusalReason;

/// The process at one end of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) name: String,
    pub(crate) kind: PeerKind,
    pub(crate) incarnation: u64,
}

/// Settings that are fixed for the life of the table.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    pub(crate) me: Identity,
    pub(crate) max_clients: usize,
    pub(crate) redial_min: Duration,
    pub(crate) redial_max: Duration,
}

/// The side that dialed a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Inbound,
    Outbound(TargetId),
}

/// Reasons for a dial without a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DialFailure {
    /// Nobody answered, or the connection broke.
    Broken,
    /// RefusalNotice, by either side.
    Refused(RefusalReason),
}

/// Inputs of the table.
#[derive(Debug)]
pub(crate) enum Event {
    /// These should be linked: a name, if it is known, and an address.
    Ensure(Vec<(Option<String>, String)>),
    /// That process should not be linked any more.
    Forget(String),
    /// It is time for the next address.
    Turn,
    /// A dial ended without a link; the name that the other side gave, if it gave one.
    DialFailed { target: TargetId, found: Option<String>, failure: DialFailure },
    /// A handshake is over and both sides proved who they are.
    Opened { connection: ConnectionId, who: Identity, direction: Direction },
    /// The session on a connection is ready.
    Ready { connection: ConnectionId, now: BootTime },
    /// A connection is of no use: silent, or not ready in time.
    Lost { connection: ConnectionId },
    /// The session on a connection has ended.
    Ended { connection: ConnectionId, now: BootTime },
    /// This process's hello has changed: all links to servers are made again.
    Renew,
    /// The end.
    Stop,
}

/// Outputs of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Dial that address after a random wait of half to all of `wait`.
    Dial { target: TargetId, address: String, wait: Duration },
    /// Stop dialing.
    Cancel { target: TargetId },
    /// Send [`Event::Turn`] after that long.
    Turn { after: Duration },
    /// Give a connection to the session layer.
    HandOver { connection: ConnectionId },
    /// Drop a connection that was not handed over.
    Discard { connection: ConnectionId },
    /// End a session; [`Event::Ended`] follows.
    Close { connection: ConnectionId },
    /// Put a link into the table of peers.
    Announce { connection: ConnectionId },
    /// Take a link out of the table of peers.
    Withdraw { connection: ConnectionId },
}
