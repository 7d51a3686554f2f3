//! ractor_cluster's part: this process's endpoint and node server, and the events of sessions.

use baton_client::wire::{Endpoint, Wire};
use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef};
use ractor_cluster::node::{NodeConnectionMode, NodeServerSessionInformation};
use ractor_cluster::{ClusterBidiStream, NodeEventSubscription, NodeServer, NodeServerMessage};
use tokio::io::DuplexStream;

use crate::actor::{CLOSE_DEADLINE, RestartedPart};
use crate::message::Message;
use crate::preamble;
use crate::shared::Shared;
use crate::socket::{BoxRead, BoxWrite};
use crate::table::ConnectionId;

/// Prefix of the labels of connections; the rest is the connection's number.
const LABEL: &str = "baton link ";

/// The two actors of a server's sessions.
pub(in crate::actor) struct Cluster {
    endpoint: ActorRef<Wire>,
    node_server: ActorRef<NodeServerMessage>,
}

impl Cluster {
    pub(in crate::actor) async fn start(
        myself: &ActorRef<Message>,
        shared: &Shared,
    ) -> Result<Self, ActorProcessingErr> {
        let endpoint = start_endpoint(myself, shared).await?;
        Ok(Self { endpoint, node_server: start_node_server(myself, shared).await? })
    }

    /// Begins a session on ractor_cluster's share of a connection.
    pub(in crate::actor) fn open(&self, stream: DuplexStream, connection: ConnectionId, is_server: bool) {
        let (reader, writer) = tokio::io::split(stream);
        let label = format!("{LABEL}{connection}");
        let stream = Box::new(SessionStream { reader: Box::new(reader), writer: Box::new(writer), label });
        // If the node server is gone, its supervision event ends the connection.
        let _ = self.node_server.cast(NodeServerMessage::ConnectionOpenedExternal { stream, is_server });
    }

    /// Restarts one of these actors that failed.
    pub(in crate::actor) async fn restart(
        &mut self,
        failed: ActorId,
        why: &str,
        myself: &ActorRef<Message>,
        shared: &Shared,
    ) -> Result<RestartedPart, ActorProcessingErr> {
        if failed == self.endpoint.get_id() {
            tracing::error!(why, "the endpoint failed: restarting it");
            self.endpoint = start_endpoint(myself, shared).await?;
            return Ok(RestartedPart::Endpoint);
        }
        if failed == self.node_server.get_id() {
            tracing::error!(why, "the node server failed: restarting it");
            self.node_server = start_node_server(myself, shared).await?;
            return Ok(RestartedPart::Sessions);
        }
        Ok(RestartedPart::Nothing)
    }

    pub(in crate::actor) async fn stop(&self) {
        for result in [
            self.node_server.stop_and_wait(None, Some(CLOSE_DEADLINE)).await,
            self.endpoint.stop_and_wait(None, Some(CLOSE_DEADLINE)).await,
        ] {
            if let Err(error) = result {
                tracing::warn!(%error, "part of the links did not stop in time");
            }
        }
    }
}

/// A connection in the form that ractor_cluster takes. Its events carry the label.
struct SessionStream {
    reader: BoxRead,
    writer: BoxWrite,
    label: String,
}

impl ClusterBidiStream for SessionStream {
    fn split(self: Box<Self>) -> (BoxRead, BoxWrite) {
        (self.reader, self.writer)
    }

    fn peer_label(&self) -> Option<String> {
        Some(self.label.clone())
    }
}

async fn start_endpoint(myself: &ActorRef<Message>, shared: &Shared) -> Result<ActorRef<Wire>, ActorProcessingErr> {
    let endpoint = Endpoint::spawn_linked(myself.get_cell()).await?;
    shared.change(|hello| hello.endpoint = endpoint.get_id().pid());
    Ok(endpoint)
}

async fn start_node_server(
    myself: &ActorRef<Message>,
    shared: &Shared,
) -> Result<ActorRef<NodeServerMessage>, ActorProcessingErr> {
    // A host name of its own for every start of a process: ractor_cluster takes nodes of one name for one node.
    let node_server = NodeServer::new(
        0,
        preamble::session_cookie(&shared.secrets.cookie),
        shared.config.name.clone(),
        format!("{:016x}", shared.incarnation),
        None,
        Some(NodeConnectionMode::Isolated),
    )
    // Its own listener cannot be switched off: only this machine reaches it, and we end the connections that arrive
    // there.
    .with_listen_addr(std::net::Ipv4Addr::LOCALHOST.into());
    let (node_server, _) = Actor::spawn_linked(None, node_server, (), myself.get_cell()).await?;
    node_server.cast(NodeServerMessage::SubscribeToEvents {
        id: "baton links".to_owned(),
        subscription: Box::new(Sessions { links: myself.clone() }),
    })?;
    Ok(node_server)
}

/// Passes the events of sessions on.
struct Sessions {
    links: ActorRef<Message>,
}

impl Sessions {
    fn connection(session: &NodeServerSessionInformation) -> Option<ConnectionId> {
        session.peer_addr.strip_prefix(LABEL)?.parse().ok()
    }

    fn tell(&self, message: Option<Message>) {
        // The links are gone and take the sessions with them.
        let _ = message.map(|message| self.links.cast(message));
    }
}

impl NodeEventSubscription for Sessions {
    fn node_session_opened(&self, session: NodeServerSessionInformation) {
        match Self::connection(&session) {
            Some(connection) => {
                self.tell(Some(Message::SessionOpened { connection, session: session.actor.get_cell() }))
            }
            // Came in through ractor_cluster's own listener, past our handshake.
            None => session.actor.stop(None),
        }
    }

    fn node_session_disconnected(&self, session: NodeServerSessionInformation) {
        self.tell(Self::connection(&session).map(|connection| Message::SessionEnded { connection }));
    }

    fn node_session_authenticated(&self, _: NodeServerSessionInformation) {}

    fn node_session_ready(&self, session: NodeServerSessionInformation) {
        let node = session.node_id;
        self.tell(Self::connection(&session).map(|connection| Message::SessionReady { connection, node }));
    }
}
