//! Dialing and accepting, each in a task of its own with a deadline.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use baton_client::peers::PeerKind;
use baton_domain::ReplicaId;
use ractor::ActorRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::actor::Message;
use super::address::Address;
use super::config::LinksConfig;
use super::death;
use super::handshake::{self, Failure, Outcome, Party};
use super::preamble::{Hello, MAGIC, Secrets};
use super::refusal::{RefusalReason, Refused};
use super::socket::{self, Stream};
use super::table::{Direction, Identity, TargetId};
use super::tls::{self, Tls};
use crate::descriptors;
use crate::pending::Pending;

/// How long the accept loop rests when the process has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What of the hello can change while the process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mutable {
    pub(super) generation: u32,
    pub(super) replica: Option<ReplicaId>,
    /// The number of the endpoint actor.
    pub(super) endpoint: u64,
}

/// What all tasks of the links share.
pub(super) struct Shared {
    pub(super) config: LinksConfig,
    pub(super) incarnation: u64,
    pub(super) secrets: Secrets,
    pub(super) tls: Option<Tls>,
    pub(super) mutable: RwLock<Mutable>,
}

impl Shared {
    pub(super) fn mutable(&self) -> Mutable {
        *self.mutable.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Mutable)) {
        change(&mut self.mutable.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// What this process says now, under a fresh nonce.
    pub(super) fn hello(&self) -> Hello {
        let Mutable { generation, replica, endpoint } = self.mutable();
        Hello {
            server: self.config.kind == PeerKind::Server,
            name: self.config.name.clone(),
            cluster: self.config.cluster,
            generation,
            replica,
            incarnation: self.incarnation,
            endpoint,
            nonce: rand::random(),
            watch: false,
        }
    }
}

/// A connection whose two ends know each other.
pub(super) struct Opened {
    pub(super) direction: Direction,
    /// What this process said.
    pub(super) mine: Hello,
    pub(super) them: Hello,
    pub(super) stream: Stream,
    pub(super) address: String,
}

/// Why there is no link.
pub(super) struct Refusing {
    pub(super) them: Option<Hello>,
    pub(super) failure: Failure,
}

impl From<io::Error> for Box<Refusing> {
    fn from(error: io::Error) -> Self {
        Self::new(Refusing { them: None, failure: error.into() })
    }
}

fn late(deadline: Duration) -> Box<Refusing> {
    io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} ms", deadline.as_millis())).into()
}

/// Asks the links whether that process may link.
async fn admit(links: ActorRef<Message>, them: Hello, direction: Direction) -> Result<(), Refused> {
    let (reply, verdict) = oneshot::channel();
    let who = Identity { kind: them.kind(), name: them.name, incarnation: them.incarnation };
    let stopping = |_| Refused::new(RefusalReason::Busy, "the other side is stopping");
    links.cast(Message::Admit { who, direction, reply }).map_err(|_| Refused::new(RefusalReason::Busy, "stopping"))?;
    verdict.await.map_err(stopping)?
}

/// Waits, dials once, and tells the links how it ended.
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
        Err(refusing) => Message::DialEnded { target, refusing },
    };
    // The links are gone: nobody wants to know.
    let _ = links.cast(message);
}

async fn attempt(
    shared: &Shared,
    links: &ActorRef<Message>,
    target: TargetId,
    address: &str,
    deadline: Duration,
) -> Result<Box<Opened>, Box<Refusing>> {
    let mine = shared.hello();
    let direction = Direction::Outbound(target);
    let reached = reach(shared, address, deadline, &mine, |them| admit(links.clone(), them, direction)).await?;
    Ok(reached.opened(direction, mine, address.to_owned()))
}

/// A process that was reached, and that proved who it is.
pub(super) struct Reached {
    pub(super) them: Hello,
    pub(super) stream: Stream,
}

impl Reached {
    fn new(outcome: Outcome, stream: Stream) -> Result<Self, Box<Refusing>> {
        match outcome {
            Outcome { them: Some(them), result: Ok(()) } => Ok(Self { them, stream }),
            Outcome { them, result: Err(failure) } => Err(Box::new(Refusing { them, failure })),
            Outcome { them: None, result: Ok(()) } => unreachable!("a handshake succeeds with a hello"),
        }
    }

    fn opened(self, direction: Direction, mine: Hello, address: String) -> Box<Opened> {
        let Self { them, stream } = self;
        Box::new(Opened { direction, mine, them, stream, address })
    }
}

/// Dials, and shakes hands as `mine`; `gate` judges who answers.
pub(super) async fn reach<F>(
    shared: &Shared,
    address: &str,
    deadline: Duration,
    mine: &Hello,
    gate: impl FnOnce(Hello) -> F + Send,
) -> Result<Reached, Box<Refusing>>
where
    F: Future<Output = Result<(), Refused>> + Send,
{
    let parsed: Address = address.parse().map_err(io::Error::other)?;
    let resolved = parsed.resolve().await.map_err(io::Error::other)?;
    let tcp = socket::connect(&resolved, deadline).await?;
    socket::prepare(&tcp)?;
    let mut stream = match &shared.tls {
        None => Stream::Plain(tcp),
        Some(tls) => Stream::Tls(tls.connect(tcp).await?),
    };
    let certified = certified(&stream);
    let party = Party { hello: mine, secrets: &shared.secrets, certified: certified.as_deref() };
    let outcome = match &mut stream {
        Stream::Plain(stream) => handshake::dial(stream, &party, gate).await,
        Stream::Tls(stream) => handshake::dial(stream, &party, gate).await,
    };
    Reached::new(outcome, stream)
}

fn certified(stream: &Stream) -> Option<Vec<String>> {
    match stream {
        Stream::Plain(_) => None,
        Stream::Tls(stream) => Some(tls::peer_names(stream)),
    }
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
        Err(refusing) => Message::Turned { address, refusing },
    };
    let _ = links.cast(message);
}

async fn receive(
    tcp: TcpStream,
    shared: &Shared,
    links: &ActorRef<Message>,
    authenticated: &Arc<AtomicBool>,
    mine: &Hello,
) -> Result<Reached, Box<Refusing>> {
    let mut tcp = tcp;
    let few_left = descriptors::few_are_left(&tcp);
    socket::prepare(&tcp)?;
    let mut stream = match &shared.tls {
        None => Stream::Plain(tcp),
        Some(tls) => {
            let mut first = [0];
            if tcp.peek(&mut first).await? == 1 && first[0] == MAGIC[0] {
                // TLS could only close the connection: the dialer would not learn why.
                let them = handshake::turn_away(&mut tcp, handshake::tls_mismatch()).await;
                let failure = Failure::Refused(handshake::tls_mismatch());
                return Err(Box::new(Refusing { them, failure }));
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
            return Err(Refused::new(RefusalReason::TooManyConnections, text));
        }
        if them.watch { death::admit(&them, None) } else { admit(links.clone(), them, Direction::Inbound).await }
    };
    let outcome = match &mut stream {
        Stream::Plain(stream) => handshake::accept(stream, &party, gate).await,
        Stream::Tls(stream) => handshake::accept(stream, &party, gate).await,
    };
    Reached::new(outcome, stream)
}

/// A task that ends with whoever holds this.
#[derive(Debug)]
pub(super) struct Tether(AbortHandle);

impl Tether {
    pub(super) fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Self {
        let handle = tokio::spawn(task);
        Self(handle.abort_handle())
    }
}

impl Tether {
    pub(super) fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl Drop for Tether {
    fn drop(&mut self) {
        self.0.abort();
    }
}
