//! The session's actor: performs what its core returned, and routes deliveries.

use std::collections::HashMap;
use std::time::Duration;

use baton_domain::{ConsumerId, Epoch};
use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef};
use ractor_cluster_derive::RactorMessage;
use tokio::sync::{broadcast::error::RecvError, watch};
use tokio::task::JoinHandle;

use super::state::{Effect, Input, State};
use super::{Deliveries, DeliverySink, EngineAt, EngineNews, Ensure, Subscriber};
use crate::peers::{PeerEvent, PeerKind, Peers};
use crate::protocol::{ClientReply, ClientRequest, DirectoryReply, DirectoryRequest, PlacementNews, decode, encode};
use crate::wire::{Inbound, ReplyPort, Service};

/// How long a server has to say where the engine is. Others are asked meanwhile.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);

/// What a session is told.
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
    /// Tell `sink` where the engine is.
    Subscribe {
        /// The subscriber.
        id: ActorId,
        /// Where to tell it.
        sink: Subscriber,
    },
    /// Tell it no more.
    Unsubscribe(ActorId),
    /// Route a consumer's deliveries.
    Register {
        /// The consumer.
        consumer: ConsumerId,
        /// Where they go.
        sink: DeliverySink,
    },
    /// Route them no more.
    Unregister(ConsumerId),
    /// The engine of that epoch did not serve somebody.
    Trouble {
        /// The epoch.
        epoch: Epoch,
        /// What the server said instead.
        news: Option<PlacementNews>,
    },
    /// The engine of that epoch served somebody.
    Works {
        /// The epoch.
        epoch: Epoch,
    },
    /// A link came or went.
    Link(PeerEvent),
    /// Events of links were lost: look at the table.
    LinksMissed,
    /// A server answered, or did not.
    Answered {
        /// The server.
        name: String,
        /// The link that it was asked over.
        connection: u64,
        /// What it said.
        news: Option<PlacementNews>,
    },
    /// A delay is over.
    Wake,
}

/// What a session is spawned with.
pub struct SessionArguments {
    /// Where the engine is, for those who are no actors.
    pub engine: watch::Sender<Option<EngineAt>>,
}

/// What the shell keeps beside the core.
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
                shell.look_at_links(&myself);
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
            SessionMessage::Link(PeerEvent::Up(peer)) => {
                if peer.info().kind == PeerKind::Server {
                    let (name, connection) = (peer.info().name.clone(), peer.info().connection);
                    shell.step(&myself, Input::LinkUp { name, connection });
                }
            }
            SessionMessage::Link(PeerEvent::Down(info)) => {
                shell.step(&myself, Input::LinkDown { name: info.name.clone(), connection: info.connection });
            }
            SessionMessage::Link(PeerEvent::Dead(_)) => {}
            SessionMessage::LinksMissed => shell.look_at_links(&myself),
            SessionMessage::Answered { name, connection, news } => {
                shell.step(&myself, Input::Answered { name, connection, news });
            }
            SessionMessage::Wake => shell.step(&myself, Input::Wake),
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
            let message = match events.recv().await {
                Ok(event) => SessionMessage::Link(event),
                Err(RecvError::Lagged(_)) => SessionMessage::LinksMissed,
                Err(RecvError::Closed) => return,
            };
            if actor.cast(message).is_err() {
                return;
            }
        }
    })
}

impl Shell {
    fn step(&mut self, myself: &ActorRef<SessionMessage>, input: Input) {
        // Without links nothing can be done, and the core counts on what it asked for. Once there are some, all are asked.
        if self.links.is_none() {
            return;
        }
        for effect in self.core.step(input) {
            self.perform(myself, effect);
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
                            tracing::warn!(server = name, %error, "cannot decode the engine's place");
                            None
                        }
                    });
                    let _ = actor.cast(SessionMessage::Answered { name, connection, news });
                });
            }
            Effect::Ensure(servers) => (links.ensure)(servers),
            Effect::At { name, connection, epoch } => {
                // A link that went meanwhile is followed by an event that says so.
                if let Some(peer) = links.peers.get(&name).filter(|peer| peer.info().connection == connection) {
                    tracing::debug!(server = name, %epoch, "found the engine");
                    self.tell(EngineNews::At(EngineAt { peer, epoch }));
                }
            }
            Effect::Gone => {
                tracing::debug!("no engine known");
                self.tell(EngineNews::Gone);
            }
            Effect::WakeAfter(delay) => drop(myself.send_after(jitter(delay), || SessionMessage::Wake)),
        }
    }

    fn tell(&mut self, news: EngineNews) {
        self.engine.send_replace(match &news {
            EngineNews::At(at) => Some(at.clone()),
            EngineNews::Gone | EngineNews::Ended => None,
        });
        self.subscribers.retain(|_, sink| (sink.0)(news.clone()));
    }

    fn look_at_links(&mut self, myself: &ActorRef<SessionMessage>) {
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

/// Answers a server. One that gave up waiting is no error.
pub(crate) fn answer(port: ReplyPort, reply: ClientReply) {
    port.send(encode(&reply));
}

/// Between half and one and a half of `delay`, so that many clients do not ask in step.
pub(crate) fn jitter(delay: Duration) -> Duration {
    // Without randomness the delay is as good as it is.
    let random = getrandom::u32().unwrap_or(u32::MAX / 2);
    delay.mul_f64(0.5 + f64::from(random) / f64::from(u32::MAX))
}
