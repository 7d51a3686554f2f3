//! ractor_cluster's part: this process's endpoint and node server, the events of sessions, and where a peer's endpoint
//! is found.

use baton_client::wire::{ENDPOINT_GROUP, Endpoint, Wire};
use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef};
use ractor_cluster::node::{NodeConnectionMode, NodeServerSessionInformation};
use ractor_cluster::{NodeEventSubscription, NodeServer, NodeServerMessage};

use super::Message;
use crate::connect::Shared;
use crate::preamble;
use crate::table::ConnectionId;

/// What the labels of connections begin with; the rest is the connection's number.
const LABEL: &str = "baton link ";

/// The label under which ractor_cluster speaks of that connection.
pub(super) fn label(connection: ConnectionId) -> String {
    format!("{LABEL}{connection}")
}

pub(super) async fn start_endpoint(
    myself: &ActorRef<Message>,
    shared: &Shared,
) -> Result<ActorRef<Wire>, ActorProcessingErr> {
    let endpoint = Endpoint::spawn_linked(myself.get_cell()).await?;
    shared.change(|mutable| mutable.endpoint = endpoint.get_id().pid());
    Ok(endpoint)
}

pub(super) async fn start_node_server(
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
    // Its own listener cannot be switched off: nobody but this machine reaches it, and we end what comes in there.
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
            Some(connection) => self.tell(Some(Message::SessionOpened { connection, session: session.actor })),
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

/// The endpoint of the process behind a session. By both numbers: any peer may join any group.
pub(super) fn endpoint_of(node: u64, pid: u64) -> Option<ActorRef<Wire>> {
    let wanted = ActorId::Remote { node_id: node, pid };
    let members = ractor::pg::get_members(&ENDPOINT_GROUP.to_owned());
    members.into_iter().find(|member| member.get_id() == wanted).map(Into::into)
}
