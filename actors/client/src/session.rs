//! Locates the messaging engine and follows it, once per process.
//!
//! Owns this process's knowledge of the engine's location. Every newly linked server is asked for it, and reports
//! changes from then on; the newest epoch wins. Producers and consumers subscribe: they receive [`EngineNews::At`] when
//! there is a link to the engine's host, and [`EngineNews::Gone`] when there is none. They report an engine that does
//! not serve ([`Session::trouble`]), and the session asks the servers again, with a backoff, until it does.
//!
//! Promises that a delivery of an epoch older than one that this process has seen reaches no consumer
//! (invariant 2), and that a subscriber that reported trouble gets the location again once a server names it.

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

/// Receives the reports of an actor. Must not block: pass them on, for example as messages to another actor.
pub type Sink<E> = Arc<dyn Fn(E) + Send + Sync>;

/// A sink that sends the reports to an actor, as messages.
///
/// ```
/// # use baton_client::producer::ProducerEvent;
/// # use baton_client::session::{Sink, to_actor};
/// # use ractor::ActorRef;
/// enum ShopMessage {
///     Progress(ProducerEvent),
/// }
/// # impl ractor::Message for ShopMessage {}
///
/// fn events(shop: ActorRef<ShopMessage>) -> Sink<ProducerEvent> {
///     to_actor(shop, ShopMessage::Progress)
/// }
/// ```
pub fn to_actor<E: 'static, M: Message>(
    actor: ActorRef<M>,
    convert: impl Fn(E) -> M + Send + Sync + 'static,
) -> Sink<E> {
    // An actor that stopped needs no reports.
    Arc::new(move |report| drop(actor.cast(convert(report))))
}

/// A sink that sends the reports to an output port. A port drops reports for slow subscribers (ractor keeps ten): use
/// it for progress, not for messages that must not be lost.
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

/// Reports to subscribers.
#[derive(Debug, Clone)]
pub enum EngineNews {
    /// The engine is reachable. Reported again after a subscriber had trouble, even if nothing changed.
    At(EngineAt),
    /// No started engine is known, or there is no link to its host.
    Gone,
    /// The session stopped. The last report.
    Ended,
}

/// Receives [`EngineNews`]; returns false once its owner has stopped.
pub type EngineSink = Arc<dyn Fn(EngineNews) -> bool + Send + Sync>;

/// Messages for one consumer, from one frame.
#[derive(Debug)]
pub struct Deliveries {
    /// The engine's epoch.
    pub epoch: Epoch,
    /// The messages, in order.
    pub messages: Vec<Delivery>,
    /// Receives the answer.
    pub reply: ReplyPort,
}

/// Receives [`Deliveries`] and answers them; returns their port once its owner has stopped.
pub type DeliverySink = Arc<dyn Fn(Deliveries) -> Result<(), ReplyPort> + Send + Sync>;

/// A sink that gets [`EngineNews::Ended`] when it is dropped, wherever that happens: a session that stops leaves
/// messages in its mailbox.
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

    /// The handler of frames for [`crate::wire::Service::Client`].
    #[must_use]
    pub fn handler(&self) -> Handler {
        let actor = self.actor.clone();
        // A session that stopped drops the frame, and the caller sees a broken link.
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

    /// The engine's location; marked as changed on each report, also when it is the same again after trouble.
    #[must_use]
    pub fn engine(&self) -> watch::Receiver<Option<EngineAt>> {
        self.engine.clone()
    }

    /// Reports the engine's location to `sink`, now and at each change, until it returns false; [`EngineNews::Ended`]
    /// is last.
    pub fn subscribe(&self, id: ActorId, sink: EngineSink) {
        let _ = self.actor.cast(SessionMessage::Subscribe { id, sink: Subscriber(sink) });
    }

    /// Ends a subscription.
    pub fn unsubscribe(&self, id: ActorId) {
        let _ = self.actor.cast(SessionMessage::Unsubscribe(id));
    }

    /// Routes deliveries for that consumer to `sink`, until it returns a port.
    pub fn register(&self, consumer: ConsumerId, sink: DeliverySink) {
        let _ = self.actor.cast(SessionMessage::Register { consumer, sink });
    }

    /// Ends the routing; the engine then gets [`crate::protocol::ClientReply::ConsumerUnknown`].
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
        // Without a deadline there is one error: it stopped already.
        let _ = self.actor.stop_and_wait(None, None).await;
    }
}
