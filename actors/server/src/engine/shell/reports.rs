//! The two tasks beside the actor: one awaits commits, one listens to the links.

use baton_client::peers::{PeerEvent, Peers};
use baton_domain::Committed;
use baton_replica::CommitError;
use futures::future::BoxFuture;
use futures::stream::{FuturesOrdered, StreamExt};
use ractor::ActorRef;
use tokio::sync::{broadcast, mpsc};

use super::mailbox::{EngineMessage, EngineOwn, Own};
use crate::engine::{EntryId, Input};

/// Reports commits in the order in which they were proposed.
pub(super) async fn report_commits(
    engine: ActorRef<EngineMessage>,
    mut commits: mpsc::UnboundedReceiver<(EntryId, BoxFuture<'static, Result<Committed, CommitError>>)>,
) {
    let mut waiting = FuturesOrdered::new();
    loop {
        let (entry, result) = tokio::select! {
            biased;
            Some(done) = waiting.next() => done,
            next = commits.recv() => match next {
                Some((entry, commit)) => {
                    waiting.push_back(async move { (entry, commit.await) });
                    continue;
                }
                None => return,
            },
        };
        drop(engine.cast(EngineMessage::Own(EngineOwn(Own::Input(Input::Committed { entry, result })))));
    }
}

/// Reports links that come and go.
pub(super) async fn report_links(
    engine: ActorRef<EngineMessage>,
    peers: Peers,
    mut events: broadcast::Receiver<PeerEvent>,
) {
    loop {
        let input = match events.recv().await {
            Ok(PeerEvent::Up(peer)) => {
                Input::PeerUp { name: peer.info().name.clone(), connection: peer.info().connection }
            }
            Ok(PeerEvent::Down(info)) => Input::PeerDown { name: info.name.clone(), connection: info.connection },
            Ok(PeerEvent::Dead(_)) => continue,
            Err(broadcast::error::RecvError::Lagged(_)) => Input::Links(
                peers.all().into_iter().map(|peer| (peer.info().name.clone(), peer.info().connection)).collect(),
            ),
            Err(broadcast::error::RecvError::Closed) => return,
        };
        drop(engine.cast(EngineMessage::Own(EngineOwn(Own::Input(input)))));
    }
}
