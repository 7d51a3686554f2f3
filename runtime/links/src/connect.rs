//! Dialing and accepting, each in a task of its own with a deadline.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ractor::ActorRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::death;
use super::failure::Failure;
use super::handshake::{self, Party};
use super::message::{FailedHandshake, Message, Opened};
use super::preamble::{Hello, MAGIC};
use super::reach::{Reached, certified, late, reach};
use super::refusal::{RefusalNotice, RefusalReason, tls_mismatch};
use super::shared::Shared;
use super::socket::{self, Stream};
use super::table::{Direction, Identity, TargetId};
use crate::descriptors;
use crate::pending::Pending;

/// Pause of the accept loop when the process has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Asks the links whether that process may link.
async fn admit(links: ActorRef<Message>, them: Hello, direction: Direction) -> Result<(), RefusalNotice> {
    let (reply, verdict) = oneshot::channel();
    let who = Identity { kind: them.kind(), name: them.name, incarnation: them.incarnation };
    let stopping = |_| RefusalNotice::new(RefusalReason::Busy, "the other side is stopping");
    links
        .cast(Message::Admit { who, direction, reply })
        .map_err(|_| RefusalNotice::new(RefusalReason::Busy, "stopping"))?;
    verdict.await.map_err(stopping)?
}

/// Waits, dials once, and reports the result to the links.
pub(super) async fn dial(
    shared: Arc<Shared>,
    links: ActorRef<Message>,
    target: TargetId,
    address: String,
    wait: Duration,
) {
    tokio::time::sleep(wait).await;
    let deadline = shared.config.handshake_deadline();
    let attempt = attempt(&shared, &links, target, &address, deadline);
    let message = match tokio::time::timeout(deadline, attempt).await.unwrap_or_else(|_| Err(late(deadline))) {
        Ok(opened) => Message::Opened(opened),
        Err(failed) => Message::DialFailed { target, failed },
    };
    // If the links are gone, nobody needs the result.
    let _ = links.cast(message);
}

async fn attempt(
    shared: &Shared,
    links: &ActorRef<Message>,
    target: TargetId,
    address: &str,
    deadline: Duration,
) -> Result<Box<Opened>, Box<FailedHandshake>> {
    let mine = shared.hello();
    let direction = Direction::Outbound(target);
    let reached = reach(shared, address, deadline, &mine, |them| admit(links.clone(), them, direction)).await?;
    Ok(reached.opened(direction, mine, address.to_owned()))
}

/// Accepts until it is dropped, which ends the handshakes too.
pub(super) async fn accept(listener: TcpListener, shared: Arc<Shared>, links: ActorRef<Message>) {
    let mut pending = Pending::new(shared.config.max_unauthenticated);
    loop {
        let tcp = match listener.accept().await {
            Ok((tcp, _)) => tcp,
            Err(error) => {
                tracing::debug!(%error, "cannot accept a connection");
                pending.end_oldest();
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let scarce = descriptors::few_are_left(&tcp);
        if pending.serve(scarce, |authenticated| greet(tcp, shared.clone(), links.clone(), authenticated)) {
            tracing::debug!("too many handshakes: closed the oldest connection in one");
        }
    }
}

async fn greet(tcp: TcpStream, shared: Arc<Shared>, links: ActorRef<Message>, authenticated: Arc<AtomicBool>) {
    let address = tcp.peer_addr().map_or_else(|_| "a closed connection".to_owned(), |address| address.to_string());
    let deadline = shared.config.handshake_deadline();
    let mine = shared.hello();
    let receive = receive(tcp, &shared, &links, &authenticated, &mine);
    let message = match tokio::time::timeout(deadline, receive).await.unwrap_or_else(|_| Err(late(deadline))) {
        Ok(Reached { them: Hello { watch: true, name, incarnation, .. }, stream, .. }) => {
            if !death::until_end(stream).await {
                return;
            }
            Message::WatchClosed { name, incarnation }
        }
        Ok(reached) => Message::Opened(reached.opened(Direction::Inbound, mine, address)),
        Err(failed) => Message::AcceptFailed { address, failed },
    };
    let _ = links.cast(message);
}

async fn receive(
    tcp: TcpStream,
    shared: &Shared,
    links: &ActorRef<Message>,
    authenticated: &Arc<AtomicBool>,
    mine: &Hello,
) -> Result<Reached, Box<FailedHandshake>> {
    let mut tcp = tcp;
    let few_left = descriptors::few_are_left(&tcp);
    socket::prepare(&tcp)?;
    let mut stream = match &shared.tls {
        None => Stream::Plain(tcp),
        Some(tls) => {
            let mut first = [0];
            if tcp.peek(&mut first).await? == 1 && first[0] == MAGIC[0] {
                // TLS could only close the connection: the dialer would not learn why.
                let them = handshake::turn_away(&mut tcp, tls_mismatch()).await;
                let failure = Failure::RefusedByUs(tls_mismatch());
                return Err(Box::new(FailedHandshake { them, failure }));
            }
            Stream::Tls(tls.accept(tcp).await?)
        }
    };
    let certified = certified(&stream);
    let party = Party { hello: mine, secrets: &shared.secrets, certified: certified.as_deref() };
    let gate = |them: Hello| async {
        authenticated.store(true, Ordering::Relaxed);
        if few_left && !them.server {
            let text = format!("{} has no file descriptors left for clients: raise its limit (ulimit -n)", mine.name);
            return Err(RefusalNotice::new(RefusalReason::TooManyConnections, text));
        }
        if them.watch { death::admit(&them, None) } else { admit(links.clone(), them, Direction::Inbound).await }
    };
    let outcome = match &mut stream {
        Stream::Plain(stream) => handshake::accept(stream, &party, gate).await,
        Stream::Tls(stream) => handshake::accept(stream, &party, gate).await,
    };
    Reached::new(outcome, stream)
}
