//! Finds the messaging engine and follows it, once a process.
//!
//! Owns what this process knows of the engine's place. Every newly linked server is asked where the engine is, and
//! tells of changes from then on; the newest epoch wins. Producers and consumers subscribe and are told
//! [`EngineNews::At`] when there is a link to the engine's host and [`EngineNews::Gone`] when there is not; they
//! report what does not work ([`Session::trouble`]), and the session asks again, with a growing delay, until it does.
//!
//! Promises that a delivery of an epoch older than one that this process has seen reaches no consumer
//! (invariant 2), and that a subscriber which reported trouble hears of the engine again once a server names it.

mod call;
mod shell;
mod state;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;

use std::sync::{Arc, OnceLock};

use baton_domain::{ConsumerId, Epoch};
use futures::future::BoxFuture;
use ractor::{Actor, ActorId, ActorRef, Message, OutputMessage, OutputPort, SpawnErr};
use tokio::sync::watch;

use crate::peers::{Peer, Peers};
use crate::protocol::{Delivery, PlacementNews};
use crate::wire::{Handler, ReplyPort};

pub use shell::{SessionActor, SessionArguments, SessionMessage};

pub(crate) use call::call_in_order;
pub(crate) use shell::{answer, jitter};
pub(crate) use state::Backoff;

/// Asks the links to keep a link to each of these servers: name and address.
pub type Ensure = Arc<dyn Fn(Vec<(String, String)>) + Send + Sync>;

/// Takes what an actor reports. Must not block: hand it on, for example as a message to an actor.
pub type Sink<E> = Arc<dyn Fn(E) + Send + Sync>;

/// Reports as messages to an actor.
pub fn to_actor<E: 'static, M: Message>(
    actor: ActorRef<M>,
    convert: impl Fn(E) -> M + Send + Sync + 'static,
) -> Sink<E> {
    // An actor that stopped wants no reports.
    Arc::new(move |report| drop(actor.cast(convert(report))))
}

/// Reports over an output port. A port forgets what its subscribers are too slow for (ractor keeps ten): fit for
/// progress, not for messages that must not be lost.
#[must_use]
pub fn to_port<E: OutputMessage>(port: Arc<OutputPort<E>>) -> Sink<E> {
    Arc::new(move |report| port.send(report))
}

/// A server that hosts the engine, and the link to it.
#[derive(Debug, Clone)]
pub struct EngineAt {
    /// The link to the host.
    pub peer: Peer,
    /// The engine's epoch.
    pub epoch: Epoch,
}

/// What subscribers are told.
#[derive(Debug, Clone)]
pub enum EngineNews {
    /// The engine is there. Told again after trouble was reported, even if nothing changed.
    At(EngineAt),
    /// Nobody knows a started engine, or there is no link to its host.
    Gone,
    /// The session stopped: nothing more will be told.
    Ended,
}

/// Takes [`EngineNews`]; answers false when its owner is gone.
pub type EngineSink = Arc<dyn Fn(EngineNews) -> bool + Send + Sync>;

/// Messages for one consumer, as they came in one frame.
pub struct Deliveries {
    /// The engine's epoch.
    pub epoch: Epoch,
    /// The messages, in order.
    pub messages: Vec<Delivery>,
    /// Where the answer goes.
    pub reply: ReplyPort,
}

/// Takes [`Deliveries`] and answers them; hands their port back when its owner is gone.
pub type DeliverySink = Arc<dyn Fn(Deliveries) -> Result<(), ReplyPort> + Send + Sync>;

/// A sink that hears [`EngineNews::Ended`] when it is dropped, wherever that is: a session that stops leaves messages
/// in its mailbox unread.
pub struct Subscriber(EngineSink);

impl Drop for Subscriber {
    fn drop(&mut self) {
        (self.0)(EngineNews::Ended);
    }
}

/// The handle of a process's session. Cheap to clone; the session lives until [`Session::stop`].
#[derive(Debug, Clone)]
pub struct Session {
    actor: ActorRef<SessionMessage>,
    engine: watch::Receiver<Option<EngineAt>>,
    peers: Arc<OnceLock<Peers>>,
}

impl Session {
    /// Spawns the session. It does nothing until [`Session::start`]: the links need [`Session::handler`] first.
    ///
    /// # Errors
    /// [`SpawnErr`] if the actor cannot be spawned.
    pub fn spawn() -> BoxFuture<'static, Result<Self, SpawnErr>> {
        Box::pin(async {
            let (sender, engine) = watch::channel(None);
            let (actor, _) = Actor::spawn(None, SessionActor, SessionArguments { engine: sender }).await?;
            Ok(Self { actor, engine, peers: Arc::default() })
        })
    }

    /// Takes in the frames for [`crate::wire::Service::Client`].
    #[must_use]
    pub fn handler(&self) -> Handler {
        let actor = self.actor.clone();
        // A session that stopped drops the frame, and its caller sees a link that is gone.
        Handler::cast(move |inbound| drop(actor.cast(SessionMessage::Inbound(inbound))))
    }

    /// Starts to follow the engine over these links. A second call changes nothing.
    pub fn start(&self, peers: Peers, ensure: Ensure) {
        if self.peers.set(peers.clone()).is_ok() {
            let _ = self.actor.cast(SessionMessage::Start { peers, ensure });
        }
    }

    /// The links; `None` before [`Session::start`].
    #[must_use]
    pub fn peers(&self) -> Option<&Peers> {
        self.peers.get()
    }

    /// Where the engine is; marked changed each time it is told, so also when it is the same again after trouble.
    #[must_use]
    pub fn engine(&self) -> watch::Receiver<Option<EngineAt>> {
        self.engine.clone()
    }

    /// Tells `sink` where the engine is, now and at each change, until it answers false; [`EngineNews::Ended`] is last.
    pub fn subscribe(&self, id: ActorId, sink: EngineSink) {
        let _ = self.actor.cast(SessionMessage::Subscribe { id, sink: Subscriber(sink) });
    }

    /// Ends a subscription.
    pub fn unsubscribe(&self, id: ActorId) {
        let _ = self.actor.cast(SessionMessage::Unsubscribe(id));
    }

    /// Routes deliveries for that consumer to `sink`, until it hands one back.
    pub fn register(&self, consumer: ConsumerId, sink: DeliverySink) {
        let _ = self.actor.cast(SessionMessage::Register { consumer, sink });
    }

    /// Ends the routing; the engine then hears [`crate::protocol::ClientReply::ConsumerUnknown`].
    pub fn unregister(&self, consumer: ConsumerId) {
        let _ = self.actor.cast(SessionMessage::Unregister(consumer));
    }

    /// Reports that the engine of that epoch did not answer, or answered that it is not started.
    pub fn trouble(&self, epoch: Epoch, news: Option<PlacementNews>) {
        let _ = self.actor.cast(SessionMessage::Trouble { epoch, news });
    }

    /// Reports that the engine of that epoch serves.
    pub fn works(&self, epoch: Epoch) {
        let _ = self.actor.cast(SessionMessage::Works { epoch });
    }

    /// Stops the session, and with it its producers and consumers, as they are: close those first.
    pub async fn stop(&self) {
        // Without a deadline only one thing can go wrong: it is stopped already.
        let _ = self.actor.stop_and_wait(None, None).await;
    }
}
