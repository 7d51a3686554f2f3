//! Performs the table's effects.

use std::sync::Arc;
use std::time::Duration;

use baton_client::peers::{Peer, PeerInfo, PeerKind};
use baton_client::wire::{Handlers, LocalTransport, Token};
use baton_domain::random;
use ractor::ActorRef;

use super::{CLOSE_DEADLINE, State};
use crate::abort_on_drop::AbortOnDrop;
use crate::connect;
use crate::death;
use crate::heartbeat::{PeerMonitor, PingPath, Rhythm};
use crate::message::Message;
use crate::preamble;
use crate::table::{ConnectionId, Direction, Effect};
use crate::transport::LinkTransport;

impl State {
    pub(super) fn perform(&mut self, myself: &ActorRef<Message>, effect: Effect) {
        match effect {
            Effect::Dial { target, address, wait } => {
                let wait = wait.mul_f64(0.5 + random::fraction() / 2.0);
                let dial = connect::dial(self.shared.clone(), myself.clone(), target, address, wait);
                self.dials.insert(target, AbortOnDrop::spawn(dial));
            }
            Effect::Cancel { target } => drop(self.dials.remove(&target)),
            Effect::Turn { after } => self.turn = Some(after_that(myself, after, Message::Turn)),
            Effect::HandOver { connection } => self.hand_over(myself, connection),
            Effect::Discard { connection } => drop(self.held.remove(&connection)),
            Effect::Close { connection } => self.close(myself, connection),
            Effect::Announce { connection } => self.announce(myself, connection),
            Effect::Withdraw { connection } => {
                if let Some(held) = self.held.get(&connection) {
                    tracing::info!(peer = held.them.name, connection, "link down");
                    self.published.peers.remove(&held.them.name, connection);
                }
            }
        }
    }

    fn hand_over(&mut self, myself: &ActorRef<Message>, connection: ConnectionId) {
        let Some(held) = self.held.get_mut(&connection) else { return };
        let Some(stream) = held.stream.take() else { return };
        let (reader, writer) = stream.into_halves(held.traffic.clone());
        let handlers = offered(&self.shared.config.handlers, held.them.kind());
        let links = myself.clone();
        let both_servers = self.cluster.as_ref().filter(|_| held.them.server);
        let Some(cluster) = both_servers else {
            let (transport, driver) = LinkTransport::alone(reader, writer, handlers);
            held.ping_path = Some(PingPath::Transport(transport.clone()));
            let ends = async move {
                driver.await;
                let _ = links.cast(Message::SessionEnded { connection });
            };
            held.transport = Some((transport, AbortOnDrop::spawn(ends)));
            let _ = myself.cast(Message::TransportReady { connection });
            return;
        };
        let (transport, session, driver) = LinkTransport::with_session(reader, writer, handlers);
        held.transport = Some((transport, AbortOnDrop::spawn(driver)));
        cluster.open(session, connection, held.direction == Direction::Inbound);
        let late = Message::Lost { connection, why: "its session was not ready in time" };
        held.watch = Some(after_that(myself, self.shared.config.handshake_deadline(), late));
    }

    fn close(&mut self, myself: &ActorRef<Message>, connection: ConnectionId) {
        let Some(held) = self.held.get_mut(&connection) else { return };
        held.closing = true;
        // First the connection: a session that is blocked in a write would never end.
        held.transport = None;
        match &held.session {
            Some(session) => session.stop(None),
            None if matches!(held.ping_path, Some(PingPath::Transport(_))) => {
                drop(myself.cast(Message::SessionEnded { connection }))
            }
            None => {}
        }
        held.watch = Some(after_that(myself, CLOSE_DEADLINE, Message::Stuck { connection }));
    }

    fn announce(&mut self, myself: &ActorRef<Message>, connection: ConnectionId) {
        let Some(held) = self.held.get_mut(&connection) else { return };
        let Some(path) = held.ping_path.clone() else { return };
        let Some((transport, _)) = held.transport.as_ref() else { return };
        let transport = transport.clone();
        let key = self.shared.secrets.server_key.as_ref();
        let info = PeerInfo {
            name: held.them.name.clone(),
            kind: held.them.kind(),
            incarnation: held.them.incarnation,
            // A client cannot claim to hold a replica.
            replica: held.them.replica.filter(|_| held.them.server),
            token: preamble::token(key, &held.them),
            connection,
        };
        // Not to a client: it could put our token into frames of its own and pass for this server.
        let mine = match held.them.kind() {
            PeerKind::Server => preamble::token(key, &held.mine),
            PeerKind::Client => Token::default(),
        };
        let rhythm = Rhythm {
            interval: Duration::from_millis(self.shared.config.heartbeat_ms.max(1)),
            timeout: self.shared.config.heartbeat_timeout(),
            dialer: held.direction != Direction::Inbound,
        };
        let monitor = PeerMonitor { path, me: self.me.clone(), traffic: held.traffic.clone(), rhythm };
        let links = myself.clone();
        held.watch = Some(AbortOnDrop::spawn(async move {
            monitor.until_gone().await;
            let _ = links.cast(Message::Lost { connection, why: "the peer is silent" });
        }));
        tracing::info!(peer = held.them.name, address = held.address, connection, "link up");
        let direction = held.direction;
        let peer = Peer::new(info.clone(), transport.clone(), self.me.clone(), mine);
        self.published.peers.insert(peer.with_credit(self.shared.config.link_credit_bytes));
        transport.announced();
        self.clear(&info.name);
        if self.shared.config.kind == PeerKind::Server && info.kind == PeerKind::Server {
            self.watch(myself, info, direction);
        }
    }

    /// Watches over the process of a server that was linked; the side that dialed the link dials the watch.
    fn watch(&mut self, myself: &ActorRef<Message>, peer: PeerInfo, direction: Direction) {
        let before = self.known.insert(peer.name.clone(), Arc::new(peer.clone()));
        let same = before.is_some_and(|before| before.incarnation == peer.incarnation);
        let kept = same && self.watches.get(&peer.name).is_some_and(|watch| !watch.is_finished());
        let Direction::Outbound(target) = direction else { return };
        let address = self.table.target(target).map(|(_, address)| address.to_owned());
        if let Some(address) = address.filter(|_| !kept) {
            let name = peer.name.clone();
            let keep = death::keep(self.shared.clone(), myself.clone(), self.published.peers.clone(), peer, address);
            self.watches.insert(name, AbortOnDrop::spawn(keep));
        }
    }

    pub(super) fn watch_closed(&self, name: &str, incarnation: u64) {
        let known = self.known.get(name).filter(|known| known.incarnation == incarnation);
        let Some(peer) = known else { return };
        let addresses = self.table.addresses(name).map(str::to_owned).collect();
        tokio::spawn(death::prove(self.shared.clone(), self.published.peers.clone(), peer.clone(), addresses));
    }

    /// Puts a server itself into the table of peers, so that clients in its process reach it like any other.
    pub(super) fn announce_myself(&self) {
        let mine = self.shared.hello();
        if !mine.server {
            return;
        }
        let token = preamble::token(self.shared.secrets.server_key.as_ref(), &mine);
        let info = PeerInfo {
            name: mine.name.clone(),
            kind: PeerKind::Server,
            incarnation: mine.incarnation,
            replica: mine.replica,
            token,
            connection: 0,
        };
        let transport = LocalTransport { handlers: self.shared.config.handlers.clone() };
        self.published.peers.insert(Peer::new(info, transport, self.me.clone(), token));
    }
}

/// The services that a peer of that kind may ask for. The link decides, never the contents of a frame.
fn offered(handlers: &Handlers, them: PeerKind) -> Handlers {
    let handlers = handlers.iter().filter(|(service, _)| service.is_for(them));
    handlers.map(|(service, handler)| (*service, handler.clone())).collect()
}

fn after_that(myself: &ActorRef<Message>, wait: Duration, message: Message) -> AbortOnDrop {
    let links = myself.clone();
    AbortOnDrop::spawn(async move {
        tokio::time::sleep(wait).await;
        let _ = links.cast(message);
    })
}
