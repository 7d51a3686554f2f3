//! The exchange of [`super::preamble`] over a connection. The caller sets the deadline.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::failure::Failure;
use super::preamble::{
    self, HEAD, Hello, Kind, LINK_VERSION, Proof, Secrets, Side, Transcript, frame, judge_generation, judge_stranger,
    prove, verify,
};
use super::refusal::{RefusalNotice, RefusalReason, tls_mismatch};
use super::tls;

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        tls::refusal_in(&error).unwrap_or(Self::Broken(error))
    }
}

/// The end of the exchange, and the other side's hello if it arrived.
pub(super) struct Outcome {
    pub(super) them: Option<Hello>,
    pub(super) result: Result<(), Failure>,
}

/// This process's part in a handshake.
pub(super) struct Party<'a> {
    pub(super) hello: &'a Hello,
    pub(super) secrets: &'a Secrets,
    /// The names in the other side's certificate; `None` without TLS.
    pub(super) certified: Option<&'a [String]>,
}

impl Party<'_> {
    fn check_certificate(&self, them: &Hello) -> Result<(), RefusalNotice> {
        let Some(names) = self.certified else { return Ok(()) };
        if !them.server || names.iter().any(|name| name.eq_ignore_ascii_case(&them.name)) {
            return Ok(());
        }
        Err(RefusalNotice::new(
            RefusalReason::Certificate,
            format!(
                "certificate: it is for {} and not for the server {}; give each server a certificate with its name as a \
                 DNS subject alternative name",
                if names.is_empty() { "nobody".to_owned() } else { names.join(", ") },
                them.name
            ),
        ))
    }
}

/// The dialer's side. `admit` judges the other side's hello before anything is proved to it.
pub(super) async fn dial<S, F>(stream: &mut S, party: &Party<'_>, admit: impl FnOnce(Hello) -> F + Send) -> Outcome
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    F: Future<Output = Result<(), RefusalNotice>> + Send,
{
    let mut them = None;
    let result = async {
        let dialer = frame(Kind::Hello, &party.hello.encode());
        send(stream, &dialer).await?;
        let acceptor = receive(stream, Kind::Hello).await?;
        let judged = async {
            let hello = Hello::decode(&acceptor[HEAD..])?;
            them = Some(hello.clone());
            judge_stranger(party.hello, &hello)?;
            require_server(&hello)?;
            party.check_certificate(&hello)?;
            admit(hello.clone()).await?;
            Ok(hello)
        };
        let hello = or_refuse(stream, judged.await).await?;
        let transcript = Transcript { dialer: &dialer, acceptor: &acceptor };
        let proof = prove(party.secrets, party.hello, Side::Dialer, &transcript);
        send(stream, &frame(Kind::Proof, &proof.encode())).await?;
        let answer = receive(stream, Kind::Proof).await?;
        let proof = Proof::decode(&answer[HEAD..])?;
        verify(party.secrets, party.hello, &hello, Side::Acceptor, &transcript, &proof)?;
        Ok(judge_generation(party.hello, &hello)?)
    }
    .await;
    Outcome { them, result }
}

/// The acceptor's side. `admit` judges the other side once it has proved who it is.
pub(super) async fn accept<S, F>(stream: &mut S, party: &Party<'_>, admit: impl FnOnce(Hello) -> F + Send) -> Outcome
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    F: Future<Output = Result<(), RefusalNotice>> + Send,
{
    let mut them = None;
    let result = async {
        let dialer = receive(stream, Kind::Hello).await;
        let dialer = match dialer {
            // A dialer learns that its version is not spoken here only from this refusal.
            Err(Failure::RefusedByUs(refused)) => return or_refuse(stream, Err(refused)).await,
            other => other?,
        };
        let judged = Hello::decode(&dialer[HEAD..]).and_then(|hello| {
            them = Some(hello.clone());
            judge_stranger(party.hello, &hello)?;
            party.check_certificate(&hello)?;
            Ok(hello)
        });
        let hello = or_refuse(stream, judged).await?;
        let acceptor = frame(Kind::Hello, &party.hello.encode());
        send(stream, &acceptor).await?;
        let proof = receive(stream, Kind::Proof).await?;
        let transcript = Transcript { dialer: &dialer, acceptor: &acceptor };
        let proved = Proof::decode(&proof[HEAD..])
            .and_then(|proof| verify(party.secrets, party.hello, &hello, Side::Dialer, &transcript, &proof));
        or_refuse(stream, proved).await?;
        // Before any decision about generations: a server acts on them only after the peer proved who it is. The dialer
        // then reaches the same verdict from the two hellos.
        let generation = judge_generation(party.hello, &hello);
        if generation.is_ok() {
            let admitted = admit(hello.clone()).await;
            or_refuse(stream, admitted).await?;
        }
        let proof = prove(party.secrets, party.hello, Side::Acceptor, &transcript);
        send(stream, &frame(Kind::Proof, &proof.encode())).await?;
        Ok(generation?)
    }
    .await;
    Outcome { them, result }
}

/// Only servers accept links: a process that answered a dial as a client would skip the proof of the servers' key and
/// the check of its certificate.
fn require_server(them: &Hello) -> Result<(), RefusalNotice> {
    if them.server {
        return Ok(());
    }
    let text = format!("{} answers there and is not a server: check the address", them.name);
    Err(RefusalNotice::new(RefusalReason::NotAServer, text))
}

/// Refuses a dialer, whatever its hello says.
pub(super) async fn turn_away<S>(stream: &mut S, refused: RefusalNotice) -> Option<Hello>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    // Closing a connection with unread bytes resets it, and the other side would not read the refusal.
    let them = receive(stream, Kind::Hello).await.ok().and_then(|hello| Hello::decode(&hello[HEAD..]).ok());
    tell(stream, &refused).await;
    them
}

/// Passes a verdict on, and tells the other side if it is a refusal.
async fn or_refuse<S, T>(stream: &mut S, verdict: Result<T, RefusalNotice>) -> Result<T, Failure>
where
    S: AsyncWrite + Unpin + Send,
{
    match verdict {
        Ok(value) => Ok(value),
        Err(refused) => {
            tell(stream, &refused).await;
            Err(refused.into())
        }
    }
}

async fn tell<S: AsyncWrite + Unpin + Send>(stream: &mut S, refused: &RefusalNotice) {
    // A failure to send it changes nothing.
    let _ = send(stream, &frame(Kind::Refusal, &refused.encode())).await;
    let _ = stream.shutdown().await;
}

async fn send<S: AsyncWrite + Unpin + Send>(stream: &mut S, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

/// Reads one frame, head included, and no byte of ractor_cluster's, which follow it.
async fn receive<S: AsyncRead + Unpin + Send>(stream: &mut S, expected: Kind) -> Result<Vec<u8>, Failure> {
    let mut head = [0; HEAD];
    stream.read_exact(&mut head).await?;
    let Some(parsed) = preamble::head(head) else { return Err(not_ours(head).into()) };
    let mut bytes = vec![0; HEAD + parsed.length];
    bytes[..HEAD].copy_from_slice(&head);
    stream.read_exact(&mut bytes[HEAD..]).await?;
    // A refusal reads the same in all versions.
    if parsed.kind == Kind::Refusal as u8 {
        return Err(Failure::RefusedByPeer(RefusalNotice::decode(&bytes[HEAD..])));
    }
    if parsed.version != LINK_VERSION {
        let text = format!(
            "unknown version: this program speaks version {LINK_VERSION} of the links and the other side version {}; \
             run programs of matching versions",
            parsed.version
        );
        return Err(RefusalNotice::new(RefusalReason::UnknownVersion, text).into());
    }
    if parsed.kind != expected as u8 {
        let text = format!("unexpected handshake frame: {} instead of {}", parsed.kind, expected as u8);
        return Err(RefusalNotice::new(RefusalReason::Malformed, text).into());
    }
    Ok(bytes)
}

fn not_ours(head: [u8; HEAD]) -> RefusalNotice {
    // The first bytes of a TLS handshake, or of the alert that answers a message that is not TLS.
    if matches!(head, [0x15 | 0x16, 0x03, ..]) {
        return tls_mismatch();
    }
    RefusalNotice::new(RefusalReason::Malformed, "the other side does not speak Baton's protocol: check the address")
}

#[cfg(test)]
#[path = "handshake/tests.rs"]
mod tests;
