//! Messages and arguments of the engine actor.

use baton_client::peers::Peers;
use baton_client::protocol::PlacementNews;
use baton_client::wire::Inbound;
use baton_domain::Epoch;
use baton_replica::Store;
use ractor::RpcReplyPort;
use ractor_cluster_derive::RactorMessage;
use tokio::sync::watch;

use crate::engine::{EngineConfig, EngineView, Input, Quarantine, Totals};

/// Messages of the engine actor.
#[derive(RactorMessage)]
pub enum EngineMessage {
    /// A frame for [`baton_client::wire::Service::Engine`]. Bounded by the credit of the links: a sender has at most that many bytes
    /// unanswered.
    Inbound(Inbound),
    /// The activation was applied on this server, and it leads: start. Answered once started, or with why not. An
    /// epoch that was stopped here is never started again.
    Start {
        /// The activation.
        epoch: Epoch,
        /// The answer.
        reply: RpcReplyPort<Result<(), String>>,
    },
    /// Stop: planned (`drain`: confirms what is on its way, within a bounded time) or at once. Answered on standby.
    Stop {
        /// Whether to wait for commits on their way.
        drain: bool,
        /// Why, in words.
        why: String,
        /// The answer.
        reply: RpcReplyPort<()>,
    },
    /// Where the engine is: what clients of a standby instance are told.
    News(PlacementNews),
    /// The free bytes of the fullest replica that a majority needs. Until it is told, the engine takes space for granted.
    Space {
        /// Bytes.
        free_bytes: u64,
    },
    /// Its own: the outcome of an effect, or a timer.
    Own(EngineOwn),
}

/// A message of the engine to itself; nobody else can make one.
#[derive(Debug)]
pub struct EngineOwn(pub(in crate::engine) Own);

#[derive(Debug)]
pub(in crate::engine) enum Own {
    Input(Input),
    /// Everything that was in the mailbox when this was sent has been taken.
    Flush,
    Timer,
}

/// Arguments of an engine actor.
pub struct EngineArguments<S = Store> {
    /// The store.
    pub store: S,
    /// The links of this process.
    pub peers: Peers,
    /// Bounds and times.
    pub config: EngineConfig,
    /// Where the instance shows how it stands. Standby again without a [`EngineMessage::Stop`]: it fenced itself.
    pub view: watch::Sender<EngineView>,
    /// Where it counts what it does.
    pub totals: watch::Sender<Totals>,
    /// Requests on which an instance before panicked.
    pub quarantine: Quarantine,
}
