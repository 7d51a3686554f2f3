//! Proof that a peer's process died, as opposed to a cut network or a frozen process.
//!
//! Next to its link a pair of servers keeps a second connection, on which nothing is ever sent. When a process dies its
//! kernel closes that connection in order: the other side reads its end. A firewall that cuts or resets connections
//! cannot imitate this, because there is no packet in flight that it could answer. The proof is complete when the
//! peer's port then refuses connections, or a newer process of that server answers there.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use baton_client::peers::{PeerInfo, Peers};
use ractor::ActorRef;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::address::Address;
use super::message::Message;
use super::preamble::Hello;
use super::reach::reach;
use super::refusal::{RefusalNotice, RefusalReason};
use super::shared::Shared;
use super::socket::Stream;

/// Pause before a broken watch connection is dialed again.
const REST: Duration = Duration::from_secs(1);
/// Duration of the search for a proof, in heartbeats. A server that came back cannot lead before an election timeout is
/// over, which is longer, so a proof never hits another leader than the one that died.
const SEARCH_HEARTBEATS: u32 = 2;
/// Deadline of one dial of the search, and the pause after it.
const DIAL: Duration = Duration::from_millis(50);
const PAUSE: Duration = Duration::from_millis(1);

/// Waits until the connection ends; answers whether the other side's kernel closed it in order.
pub(super) async fn until_end(stream: Stream) -> bool {
    match stream {
        Stream::Plain(stream) => closes_in_order(stream).await,
        Stream::Tls(stream) => closes_in_order(*stream).await,
    }
}

async fn closes_in_order(mut stream: impl AsyncRead + Unpin) -> bool {
    let mut unheard = [0; 64];
    loop {
        match stream.read(&mut unheard).await {
            Ok(0) => return true,
            // A newer program may send something here.
            Ok(_) => {}
            // A killed process does not end TLS properly; the connection under it was closed in order.
            Err(error) => return error.kind() == io::ErrorKind::UnexpectedEof,
        }
    }
}

/// Accepts a process that may watch this one, or be watched by it.
pub(super) fn admit(them: &Hello, expected: Option<&PeerInfo>) -> Result<(), RefusalNotice> {
    let fits = expected.is_none_or(|expected| expected.name == them.name);
    if them.server && fits {
        return Ok(());
    }
    Err(RefusalNotice::new(RefusalReason::UnexpectedName, format!("{} is not the watched server", them.name)))
}

/// Dials the peer as a watch.
async fn dial(shared: &Shared, address: &str, peer: &PeerInfo, deadline: Duration) -> Option<(Hello, Stream)> {
    let mine = Hello { watch: true, ..shared.hello() };
    let gate = |them: Hello| async move { admit(&them, Some(peer)) };
    let reached = timeout(deadline, reach(shared, address, deadline, &mine, gate)).await.ok()?.ok()?;
    Some((reached.them, reached.stream))
}

/// Keeps a watch over a peer that this process dials, for as long as that very process is linked.
pub(super) async fn keep(shared: Arc<Shared>, links: ActorRef<Message>, peers: Peers, peer: PeerInfo, address: String) {
    loop {
        if let Some((them, stream)) = dial(&shared, &address, &peer, shared.config.handshake_deadline()).await
            && them.incarnation == peer.incarnation
            && until_end(stream).await
        {
            // If the links are gone, nobody needs this.
            let _ = links.cast(Message::WatchClosed { name: them.name, incarnation: them.incarnation });
        }
        sleep(REST).await;
        if peers.get(&peer.name).is_none_or(|now| now.info().incarnation != peer.incarnation) {
            return;
        }
    }
}

/// True if nothing listens at the address: each of its addresses refuses.
async fn refuses(address: &str) -> bool {
    let Ok(address) = address.parse::<Address>() else { return false };
    let Ok(resolved) = address.resolve().await else { return false };
    for address in resolved {
        match timeout(DIAL, TcpStream::connect(address)).await {
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Ok(_) | Err(_) => return false,
        }
    }
    true
}

/// Searches for the rest of the proof once the watch was closed, and reports it to the peers' table.
pub(super) async fn prove(shared: Arc<Shared>, peers: Peers, peer: Arc<PeerInfo>, addresses: Vec<String>) {
    let (began, search) = (Instant::now(), Duration::from_millis(shared.config.heartbeat_ms) * SEARCH_HEARTBEATS);
    while began.elapsed() < search {
        for address in &addresses {
            // A listener that is about to die may still accept: only an answer proves that a process is there.
            let how = if refuses(address).await {
                "its port refuses connections"
            } else {
                match dial(&shared, address, &peer, DIAL).await {
                    Some((them, _)) if them.incarnation == peer.incarnation => return,
                    Some((them, _)) if them.incarnation > peer.incarnation => "a newer process of it answers",
                    Some(_) | None => continue,
                }
            };
            tracing::warn!(peer = peer.name, how, "a server process died");
            peers.dead(peer);
            return;
        }
        sleep(PAUSE).await;
    }
    tracing::info!(peer = peer.name, "a server closed its watch without proof of its death");
}
