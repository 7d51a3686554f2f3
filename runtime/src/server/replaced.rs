//! A server whose replica was replaced: its name joined again with another store, so that the others refuse this one's
//! frames. It must not wait for them in silence.

use std::path::Path;
use std::time::Duration;

use baton_actors::peers::{Peer, PeerEvent, PeerKind, Peers};
use baton_actors::protocol::{DirectoryReply, DirectoryRequest};
use baton_storage::{ReplicaId, ServerName};
use tokio::sync::broadcast::error::RecvError;

use super::birth::ask;

/// How long another server may take to answer.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// Resolves when another server knows this one to have a newer replica than `own`, and says what to do. Replica ids
/// grow, so one that merely lags knows of none.
pub(super) fn replaced(
    peers: Peers,
    me: ServerName,
    own: ReplicaId,
    dir: &Path,
) -> impl Future<Output = String> + use<> {
    let dir = dir.display().to_string();
    let mut events = peers.subscribe();
    async move {
        let is_other = |peer: &Peer| peer.info().kind == PeerKind::Server && peer.info().name != me.as_str();
        loop {
            for peer in peers.all().into_iter().filter(is_other) {
                if let Some(newer) = replica_known_to(&peer, &me).await.filter(|known| *known > own) {
                    return format!(
                        "the store at {dir} holds replica {own} of {me}, which replica {newer} has replaced: `baton \
                         rebuild`, with the server's file, gets the replica anew from the other servers"
                    );
                }
            }
            loop {
                match events.recv().await {
                    Ok(PeerEvent::Up(peer)) if is_other(&peer) => break,
                    Ok(PeerEvent::Up(_) | PeerEvent::Down(_) | PeerEvent::Dead(_)) => {}
                    Err(RecvError::Lagged(_)) => break,
                    // The links are gone, and say so themselves.
                    Err(RecvError::Closed) => return std::future::pending().await,
                }
            }
        }
    }
}

async fn replica_known_to(peer: &Peer, me: &ServerName) -> Option<ReplicaId> {
    match ask(peer, &DirectoryRequest::ReplicaOf { name: me.clone() }, ASK_TIMEOUT).await {
        Ok(DirectoryReply::ReplicaOf(replica)) => replica,
        // Gone, or no answer to this question: a server that is older or has trouble of its own.
        Ok(_) | Err(_) => None,
    }
}
