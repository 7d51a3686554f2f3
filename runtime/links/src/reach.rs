//! Dials a process and performs the handshake, for a link and for a watch.

use std::io;
use std::time::Duration;

use super::address::Address;
use super::handshake::{self, Outcome, Party};
use super::message::{FailedHandshake, Opened};
use super::preamble::Hello;
use super::refusal::RefusalNotice;
use super::shared::Shared;
use super::socket::{self, Stream};
use super::table::Direction;
use super::tls;

/// The failure of an exchange that took too long.
pub(super) fn late(deadline: Duration) -> Box<FailedHandshake> {
    io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} ms", deadline.as_millis())).into()
}

/// A process that was reached, and that proved who it is.
pub(super) struct Reached {
    pub(super) them: Hello,
    pub(super) stream: Stream,
}

impl Reached {
    pub(super) fn new(outcome: Outcome, stream: Stream) -> Result<Self, Box<FailedHandshake>> {
        match outcome {
            Outcome { them: Some(them), result: Ok(()) } => Ok(Self { them, stream }),
            Outcome { them, result: Err(failure) } => Err(Box::new(FailedHandshake { them, failure })),
            Outcome { them: None, result: Ok(()) } => unreachable!("a handshake succeeds with a hello"),
        }
    }

    pub(super) fn opened(self, direction: Direction, mine: Hello, address: String) -> Box<Opened> {
        let Self { them, stream } = self;
        Box::new(Opened { direction, mine, them, stream, address })
    }
}

/// Dials, and performs the handshake as `mine`; `gate` judges the process that answers.
pub(super) async fn reach<F>(
    shared: &Shared,
    address: &str,
    deadline: Duration,
    mine: &Hello,
    gate: impl FnOnce(Hello) -> F + Send,
) -> Result<Reached, Box<FailedHandshake>>
where
    F: Future<Output = Result<(), RefusalNotice>> + Send,
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

/// The names in the certificate of the other side; nothing without TLS.
pub(super) fn certified(stream: &Stream) -> Option<Vec<String>> {
    match stream {
        Stream::Plain(_) => None,
        Stream::Tls(stream) => Some(tls::peer_names(stream)),
    }
}
