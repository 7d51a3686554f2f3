//! The session's actor: performs the effects of its core, and routes deliveries.

use std::collections::HashMap;
use std::time::Duration;

use baton_domain::{ConsumerId, Epoch, random};
use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef};
use ractor_cluster_derive::RactorMessage;
use tokio::sync::{broadcast::error::RecvError, watch};
use tokio::task::JoinHandle;

use super::state::{Effect, Input, State};
use super::{Deliveries, DeliverySink, EngineAt, EngineNews, Ensure, Subscriber};
use crate::peers::{PeerEvent, PeerKind, Peers};
use crate::protocol::{ClientReply, ClientRequest, DirectoryReply, DirectoryRequest, PlacementNews, decode, encode};
use crate::wire::{Inbound, ReplyPort, Service};

/// Time limit for a server to name the engine's location. The other servers are asked at the same time.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);

/// Messages for a session.
#[derive(RactorMessage)]
pub enum SessionMessage {
    /// Follow the engine over these links.
    Start {
        /// The links.
        peers: Peers,
        /// Asks the links to dial servers.
        ensure: Ensure,
    },
    /// A frame for [`Service::Client`].
    Inbound(Inbound),
    /// Report the engine's location to `sink`, now and at each change.
    Subscribe {
        /// The subscriber.
        id: ActorId,
        /// Receives the location.
        sink: Subscriber,
    },
    /// End a subscription.
    Unsubscribe(ActorId),
    /// Route a consumer's deliveries.
    Register {
        /// The consumer.
        consumer: ConsumerId,
        /// Receives them.
        sink: DeliverySink,
    },
    /// End the routing.
    Unregister(ConsumerId),
    /// The engine of that epoch did not serve a producer or a consumer.
    Trouble {
        /// The epoch.
        epoch: Epoch,
        /// The location that the server named instead.
        news: Option<PlacementNews>,
    },
    /// The engine of that epoch served a producer or a consumer.
    Works {
        /// The epoch.
        epoch: Epoch,
    },
    /// A message of the session to itself.
    Own(SessionOwn),
}

/// A message of the session to itself; only the session can construct one.
#[derive(Debug)]
pub struct SessionOwn(Own);

#[derive(Debug)]
enum Own {
    /// A link came or went.
    Link(PeerEvent),
    /// Events of links were lost: compare with the table of links.
    LinksMissed,
    /// A server answered a question, or a delay is over.
    Input(Input),
}

impl From<Own> for SessionMessage {
    fn from(own: Own) -> Self {
        Self::Own(SessionOwn(own))
    }
}

/// Arguments of a session actor.
pub struct SessionArguments {
    /// Receives the engine's location, for code that is no actor.
    pub engine: watch::Sender<Option<EngineAt>>,
}

/// The state of the actor.
pub struct Shell {
    core: State,
    links: Option<Links>,
    subscribers: HashMap<ActorId, Subscriber>,
    consumers: HashMap<ConsumerId, DeliverySink>,
    engine: watch::Sender<Option<EngineAt>>,
}

struct Links {
    peers: Peers,
    ensure: Ensure,
    events: JoinHandle<()>,
}

/// The session's actor.
pub struct SessionActor;

impl Actor for SessionActor {
    type Msg = SessionMessage;
    type State = Shell;
    type Arguments = SessionArguments;

    async fn pre_start(
        &self,
        _: ActorRef<SessionMessage>,
        arguments: SessionArguments,
    ) -> Result<Shell, ActorProcessingErr> {
        Ok(Shell {
            core: State::default(),
            links: None,
            subscribers: HashMap::new(),
            consumers: HashMap::new(),
            engine: arguments.engine,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<SessionMessage>,
        message: SessionMessage,
        shell: &mut Shell,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            SessionMessage::Start { peers, ensure } => {
                let events = forward_events(&peers, myself.clone());
                shell.links = Some(Links { peers, ensure, events });
                shell.compare_links(&myself);
            }
            SessionMessage::Inbound(inbound) => shell.take_in(&myself, inbound),
            SessionMessage::Subscribe { id, sink } => {
                let at = shell.engine.borrow().clone();
                if (sink.0)(at.map_or(EngineNews::Gone, EngineNews::At)) {
                    shell.subscribers.insert(id, sink);
                }
            }
            SessionMessage::Unsubscribe(id) => drop(shell.subscribers.remove(&id)),
            SessionMessage::Register { consumer, sink } => drop(shell.consumers.insert(consumer, sink)),
            SessionMessage::Unregister(consumer) => drop(shell.consumers.remove(&consumer)),
            SessionMessage::Trouble { epoch, news } => shell.step(&myself, Input::Trouble { epoch, news }),
            SessionMessage::Works { epoch } => shell.step(&myself, Input::Works { epoch }),
            SessionMessage::Own(SessionOwn(Own::Link(event))) => shell.follow_link(&myself, event),
            SessionMessage::Own(SessionOwn(Own::LinksMissed)) => shell.compare_links(&myself),
            SessionMessage::Own(SessionOwn(Own::Input(input))) => shell.step(&myself, input),
        }
        Ok(())
    }

    async fn post_stop(&self, _: ActorRef<SessionMessage>, shell: &mut Shell) -> Result<(), ActorProcessingErr> {
        if let Some(links) = &shell.links {
            links.events.abort();
        }
        Ok(())
    }
}

/// Turns events of links into messages, until the actor is gone.
fn forward_events(peers: &Peers, actor: ActorRef<SessionMessage>) -> JoinHandle<()> {
    let mut events = peers.subscribe();
    tokio::spawn(async move {
        loop {
            let own = match events.recv().await {
                Ok(event) => Own::Link(event),
                Err(RecvError::Lagged(_)) => Own::LinksMissed,
                Err(RecvError::Closed) => return,
            };
            if actor.cast(own.into()).is_err() {
                return;
            }
        }
    })
}

impl Shell {
    fn step(&mut self, myself: &ActorRef<SessionMessage>, input: Input) {
        // Without links no effect can be performed, and the core relies on its effects. The first links make inputs of
        // all.
        if self.links.is_none() {
            return;
        }
        for effect in self.core.step(input) {
            self.perform(myself, effect);
        }
    }

    fn follow_link(&mut self, myself: &ActorRef<SessionMessage>, event: PeerEvent) {
        match event {
            PeerEvent::Up(peer) => {
                if peer.info().kind == PeerKind::Server {
                    let (name, connection) = (peer.info().name.clone(), peer.info().connection);
                    self.step(myself, Input::LinkUp { name, connection });
                }
            }
            PeerEvent::Down(info) => {
                self.step(myself, Input::LinkDown { name: info.name.clone(), connection: info.connection });
            }
            PeerEvent::Dead(_) => {}
        }
    }

    fn perform(&mut self, myself: &ActorRef<SessionMessage>, effect: Effect) {
        let Some(links) = &self.links else { return };
        match effect {
            Effect::Ask { name, connection } => {
                let peer = links.peers.get(&name).filter(|peer| peer.info().connection == connection);
                let actor = myself.clone();
                tokio::spawn(async move {
                    let request = encode(&DirectoryRequest::Where);
                    let news = match peer {
                        Some(peer) => peer.call(Service::Directory, request, ASK_TIMEOUT).await.ok(),
                        None => None,
                    };
                    let news = news.and_then(|bytes| match decode(&bytes) {
                        Ok(DirectoryReply::News(news)) => Some(news),
                        Ok(_) => None,
                        Err(error) => {
                            tracing::warn!(server = name, %error, "cannot decode the engine's location");
                            None
                        }
                    });
                    let _ = actor.cast(Own::Input(Input::Answered { name, connection, news }).into());
                });
            }
            Effect::Ensure(servers) => (links.ensure)(servers),
            Effect::At { name, connection, epoch } => {
                // If the link broke meanwhile, an event follows.
                if let Some(peer) = links.peers.get(&name).filter(|peer| peer.info().connection == connection) {
                    tracing::debug!(server = name, %epoch, "found the engine");
                    self.report(EngineNews::At(EngineAt { peer, epoch }));
                }
            }
            Effect::Gone => {
                tracing::debug!("no engine known");
                self.report(EngineNews::Gone);
            }
            Effect::WakeAfter(delay) => drop(myself.send_after(jitter(delay), || Own::Input(Input::Wake).into())),
        }
    }

    fn report(&mut self, news: EngineNews) {
        self.engine.send_replace(match &news {
            EngineNews::At(at) => Some(at.clone()),
            EngineNews::Gone | EngineNews::Ended => None,
        });
        self.subscribers.retain(|_, sink| (sink.0)(news.clone()));
    }

    fn compare_links(&mut self, myself: &ActorRef<SessionMessage>) {
        let Some(links) = &self.links else { return };
        let mut now: Vec<(String, u64)> = links
            .peers
            .all()
            .iter()
            .filter(|peer| peer.info().kind == PeerKind::Server)
            .map(|peer| (peer.info().name.clone(), peer.info().connection))
            .collect();
        for gone in self.core.links_not_in(&now) {
            self.step(myself, Input::LinkDown { name: gone.0, connection: gone.1 });
        }
        now.retain(|(name, connection)| !self.core.is_linked(name, *connection));
        for (name, connection) in now {
            self.step(myself, Input::LinkUp { name, connection });
        }
    }

    fn take_in(&mut self, myself: &ActorRef<SessionMessage>, inbound: Inbound) {
        match decode(&inbound.payload) {
            Ok(ClientRequest::Deliver { consumer, epoch, deliveries }) => {
                if !self.core.accepts(epoch) {
                    answer(inbound.reply, ClientReply::Stale);
                } else if let Some(sink) = self.consumers.get(&consumer) {
                    if let Err(reply) = sink(Deliveries { epoch, messages: deliveries, reply: inbound.reply }) {
                        self.consumers.remove(&consumer);
                        answer(reply, ClientReply::ConsumerUnknown);
                    }
                } else {
                    answer(inbound.reply, ClientReply::ConsumerUnknown);
                }
            }
            Ok(ClientRequest::News(news)) => {
                self.step(myself, Input::News(news));
                answer(inbound.reply, ClientReply::Done);
            }
            Err(error) => tracing::warn!(from = inbound.from, %error, "dropped a frame for this client"),
        }
    }
}

/// Answers a server. One that no longer waits is no error.
pub(crate) fn answer(port: ReplyPort, reply: ClientReply) {
    port.send(encode(&reply));
}

/// A random delay between 0.5 and 1.5 times `delay`, so that many clients do not ask at the same time.
pub(crate) fn jitter(delay: Duration) -> Duration {
    delay.mul_f64(0.5 + random::fraction())
}
