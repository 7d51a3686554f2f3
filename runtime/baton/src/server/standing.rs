//! A server whose replica no longer belongs to the cluster: it was removed, or its name joined again with another store.
//! The others refuse its frames, and it must not wait for them in silence.
//!
//! Only authenticated servers are asked (decision 0021), and only what they know after the creation of this replica
//! counts.

use std::path::Path;
use std::time::Duration;

use baton_client::peers::{Peer, PeerEvent, PeerKind, Peers};
use baton_client::protocol::{DirectoryReply, DirectoryRequest};
use baton_domain::{ReplicaId, ServerName, Standing};
use baton_replica::Store;
use tokio::sync::broadcast::error::RecvError;

/// Time limit of another server's answer.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// Reason why a server cannot go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Its replica was replaced by a newer one of the same name.
    Replaced(String),
    /// It was removed from the cluster.
    Removed(String),
}

/// Resolves when this server's own store, or another server, says that its replica no longer belongs to the cluster.
pub(super) fn lost(store: Store, peers: Peers, me: ServerName, dir: &Path) -> impl Future<Output = Verdict> + use<> {
    let dir = dir.display().to_string();
    let own = store.header().replica;
    async move {
        let standing = tokio::select! {
            standing = by_the_store(&store, &me, own) => standing,
            standing = by_others(peers, &me, own) => standing,
        };
        verdict(standing, &me, own, &dir)
    }
}

fn verdict(standing: Standing, me: &ServerName, own: ReplicaId, dir: &str) -> Verdict {
    match standing {
        Standing::Replaced { by } => Verdict::Replaced(format!(
            "the store at {dir} holds replica {own} of {me}, which was replaced by replica {by}: run `baton rebuild` with \
            the server's file to restore this replica from its peers"
        )),
        Standing::Removed | Standing::Member => Verdict::Removed(format!(
            "{me} was removed from the cluster. To bring it back, run `baton member add \
             {me}` and `baton rebuild` with the server's file, then start it"
        )),
    }
}

async fn by_the_store(store: &Store, me: &ServerName, own: ReplicaId) -> Standing {
    let mut cluster = store.cluster();
    let removed = cluster.wait_for(|cluster| cluster.standing(me, own) == Standing::Removed).await.is_ok();
    // Otherwise the store is gone, and reports so itself.
    if removed { Standing::Removed } else { std::future::pending().await }
}

async fn by_others(peers: Peers, me: &ServerName, own: ReplicaId) -> Standing {
    let mut events = peers.subscribe();
    let is_other = |peer: &Peer| peer.info().kind == PeerKind::Server && peer.info().name != me.as_str();
    loop {
        for peer in peers.all().into_iter().filter(is_other) {
            match standing_with(&peer, me, own).await {
                Some(Standing::Member) | None => {}
                Some(standing @ (Standing::Replaced { .. } | Standing::Removed)) => return standing,
            }
        }
        loop {
            match events.recv().await {
                Ok(PeerEvent::Up(peer)) if is_other(&peer) => break,
                Ok(PeerEvent::Up(_) | PeerEvent::Down(_) | PeerEvent::Dead(_)) => {}
                Err(RecvError::Lagged(_)) => break,
                // The links are gone, and report so themselves.
                Err(RecvError::Closed) => return std::future::pending().await,
            }
        }
    }
}

async fn standing_with(peer: &Peer, me: &ServerName, own: ReplicaId) -> Option<Standing> {
    let request = DirectoryRequest::StandingOf { name: me.clone(), replica: own };
    match peer.ask_directory(&request, ASK_TIMEOUT).await {
        Ok(DirectoryReply::Standing(standing)) => Some(standing),
        // Gone, or no answer to this question: a server with a problem of its own.
        Ok(_) | Err(_) => None,
    }
}
