//! The handshake of two processes, before ractor_cluster's: identities, and proof that both hold the same secrets.
//!
//! ```text
//! dialer                         acceptor
//!   Hello (nonce)          ->
//!                          <-    Hello (nonce)
//!   Proof                  ->
//!                          <-    Proof          the acceptor took it
//! ```
//! A refusal in words may replace any answer. A proof is an HMAC-SHA256 of both hellos as they were sent, under the
//! cookie, and also under the servers' key where a server proves itself to a server. It covers the side that proves as
//! well, so that a proof cannot be reflected.
//!
//! The frame's head, and the refusal, are the same in every version: an older program can read why a newer one
//! refuses it.

use baton_client::peers::PeerKind;
use baton_client::wire::Token;
use baton_domain::{ClusterId, ReplicaId, msgpack};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::refusal::{RefusalNotice, RefusalReason};

/// The version of the handshake. Frames and payloads that follow it have versions of their own.
pub(super) const LINK_VERSION: u8 = 5;
/// The first bytes of every frame of the handshake.
pub(super) const MAGIC: [u8; 4] = *b"BTON";
/// Magic, version, kind, length of the payload.
pub(super) const HEAD: usize = 8;
/// The longest payload.
pub(super) const PAYLOAD_MAX: usize = 4_096;

/// Kinds of handshake frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Hello = 1,
    Proof = 2,
    Refusal = 3,
}

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) version: u8,
    pub(super) kind: u8,
    pub(super) length: usize,
}

pub(super) fn frame(kind: Kind, payload: &[u8]) -> Vec<u8> {
    assert!(payload.len() <= PAYLOAD_MAX, "a frame of the handshake is short");
    let mut bytes = Vec::with_capacity(HEAD + payload.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&[LINK_VERSION, kind as u8]);
    bytes.extend_from_slice(&(payload.len() as u16).to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// Reads a frame's head; `None` if this is no handshake of ours.
pub(super) fn head(bytes: [u8; HEAD]) -> Option<Head> {
    let [m0, m1, m2, m3, version, kind, l0, l1] = bytes;
    let length = usize::from(u16::from_be_bytes([l0, l1]));
    ([m0, m1, m2, m3] == MAGIC && length <= PAYLOAD_MAX).then_some(Head { version, kind, length })
}

/// Writes fields with their names, so that a newer program may add some.
fn encode_named(value: &impl Serialize) -> Vec<u8> {
    rmp_serde::to_vec_named(value).unwrap_or_else(|error| panic!("a handshake value cannot be written: {error}"))
}

/// A process's description of itself. Fields are written with their names: a newer program may add some.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) server: bool,
    pub(super) name: String,
    pub(super) cluster: ClusterId,
    pub(super) generation: u32,
    pub(super) replica: Option<ReplicaId>,
    pub(super) incarnation: u64,
    /// The number of the process's endpoint actor: any process may join any process group.
    pub(super) endpoint: u64,
    pub(super) nonce: [u8; 32],
    /// The connection is a watch over the process, not a link.
    #[serde(default)]
    pub(super) watch: bool,
}

impl Hello {
    pub(super) fn kind(&self) -> PeerKind {
        if self.server { PeerKind::Server } else { PeerKind::Client }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        encode_named(self)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, RefusalNotice> {
        let hello: Self = msgpack::read(bytes).map_err(|_| malformed("the hello"))?;
        if hello.name.is_empty() || hello.name.len() > usize::from(u8::MAX) || hello.name.chars().any(char::is_control)
        {
            return Err(malformed("the name in the hello is not 1 to 255 bytes of text"));
        }
        if !hello.server && (hello.replica.is_some() || hello.watch) {
            return Err(malformed("a client says that it holds a replica or watches a server"));
        }
        Ok(hello)
    }
}

/// A refusal that leaves out the decoder's error, which may repeat a stranger's bytes.
fn malformed(what: &str) -> RefusalNotice {
    RefusalNotice::new(RefusalReason::Malformed, format!("invalid handshake: {what}"))
}

/// The secrets that admit a process.
#[derive(Clone)]
pub(super) struct Secrets {
    pub(super) cookie: [u8; 32],
    pub(super) server_key: Option<[u8; 32]>,
}

/// Which side of a connection proves itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Dialer = 1,
    Acceptor = 2,
}

/// That a process holds the secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Proof {
    cookie: [u8; 32],
    server: Option<[u8; 32]>,
}

impl Proof {
    pub(super) fn encode(&self) -> Vec<u8> {
        encode_named(self)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, RefusalNotice> {
        msgpack::read(bytes).map_err(|_| malformed("the proof"))
    }
}

/// Both hellos as they were sent.
pub(super) struct Transcript<'a> {
    pub(super) dialer: &'a [u8],
    pub(super) acceptor: &'a [u8],
}

fn mac(key: &[u8; 32], parts: &[&[u8]]) -> Hmac<Sha256> {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(key).unwrap_or_else(|_| unreachable!("HMAC takes keys of every length"));
    for part in parts {
        // The length goes first, so that no two lists of parts are the same bytes.
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    mac
}

fn proof_mac(key: &[u8; 32], what: &[u8], side: Side, transcript: &Transcript<'_>) -> Hmac<Sha256> {
    mac(key, &[b"baton link", what, &[side as u8], transcript.dialer, transcript.acceptor])
}

/// Proves that `me`, on that side, holds the secrets.
pub(super) fn prove(secrets: &Secrets, me: &Hello, side: Side, transcript: &Transcript<'_>) -> Proof {
    let cookie = proof_mac(&secrets.cookie, b"cookie", side, transcript).finalize().into_bytes().into();
    let server = match (&secrets.server_key, me.server) {
        (Some(key), true) => Some(proof_mac(key, b"server", side, transcript).finalize().into_bytes().into()),
        (Some(_), false) | (None, _) => None,
    };
    Proof { cookie, server }
}

/// Checks the proof of `them`, on that side. A client cannot check that a server is one: it lacks the key.
pub(super) fn verify(
    secrets: &Secrets,
    me: &Hello,
    them: &Hello,
    side: Side,
    transcript: &Transcript<'_>,
    proof: &Proof,
) -> Result<(), RefusalNotice> {
    if proof_mac(&secrets.cookie, b"cookie", side, transcript).verify_slice(&proof.cookie).is_err() {
        return Err(RefusalNotice::new(
            RefusalReason::WrongCookie,
            format!(
                "wrong cookie: {} and {} were not set up by the same `baton init`; use the files that it wrote",
                me.name, them.name
            ),
        ));
    }
    if let (Some(key), true) = (&secrets.server_key, them.server) {
        let good = proof
            .server
            .as_ref()
            .is_some_and(|server| proof_mac(key, b"server", side, transcript).verify_slice(server).is_ok());
        if !good {
            return Err(RefusalNotice::new(
                RefusalReason::WrongServerKey,
                format!(
                    "wrong server key: {} says that it is a server, but does not have the server key of {}; \
                     use the server files that `baton init` wrote",
                    them.name, me.name
                ),
            ));
        }
    }
    Ok(())
}

/// Checks a hello before anything is proved.
///
/// # Errors
/// The refusal. It names neither this process nor its cluster: the other side is a stranger.
pub(super) fn judge_stranger(me: &Hello, them: &Hello) -> Result<(), RefusalNotice> {
    if me.cluster == them.cluster {
        return Ok(());
    }
    let text = format!(
        "other cluster: {} and the process that answers at this address belong to different clusters; check addresses \
         and files",
        them.name
    );
    Err(RefusalNotice::new(RefusalReason::OtherCluster, text))
}

/// Two servers that proved themselves, with stores of different generations: the cluster was recovered by force, and one
/// of the two stores is from before that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GenerationMismatch {
    /// The generation of this server's store.
    pub(super) mine: u32,
    /// The generation of the other server's store.
    pub(super) theirs: u32,
}

impl GenerationMismatch {
    /// True if this server's store is the one from before the recovery.
    pub(super) fn mine_is_older(self) -> bool {
        self.mine < self.theirs
    }

    /// The verdict for people, with the remedy.
    pub(super) fn describe(self, me: &str, them: &str) -> String {
        let older = if self.mine_is_older() { me } else { them };
        format!(
            "older generation: {older}'s store is of generation {} and the cluster was recovered by force at generation \
             {}; wipe the store of {older} and start it again: then it joins again",
            self.mine.min(self.theirs),
            self.mine.max(self.theirs)
        )
    }
}

/// Compares the generations of two processes that proved who they are. Both sides come to the same answer.
///
/// # Errors
/// [`GenerationMismatch`], if both hold replicas of different generations.
pub(super) fn judge_generation(me: &Hello, them: &Hello) -> Result<(), GenerationMismatch> {
    // A server without a replica has nothing that could be old: it joins under the cluster's generation.
    let both_store = me.server && them.server && me.replica.is_some() && them.replica.is_some();
    if both_store && me.generation != them.generation {
        return Err(GenerationMismatch { mine: me.generation, theirs: them.generation });
    }
    Ok(())
}

/// The token in the frames of a server, which only servers can make. Never put it into a frame to a client: the
/// client could use it.
pub(super) fn token(server_key: Option<&[u8; 32]>, hello: &Hello) -> Token {
    let (Some(key), true) = (server_key, hello.server) else { return Token::default() };
    let parts: [&[u8]; 5] = [
        b"baton storage frame",
        &hello.cluster.0,
        &hello.generation.to_be_bytes(),
        hello.name.as_bytes(),
        &hello.incarnation.to_be_bytes(),
    ];
    mac(key, &parts).finalize().into_bytes().into()
}

/// The cookie of ractor_cluster's own handshake. Derived, because that handshake is weaker than ours and would let an
/// eavesdropper try cookies out.
#[cfg(feature = "sessions")]
pub(super) fn session_cookie(cookie: &[u8; 32]) -> String {
    mac(cookie, &[b"baton ractor_cluster"]).finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(name: &str, server: bool) -> Hello {
        Hello {
            server,
            name: name.to_owned(),
            cluster: ClusterId([1; 16]),
            generation: 0,
            replica: None,
            incarnation: 7,
            endpoint: 3,
            nonce: [name.len() as u8; 32],
            watch: false,
        }
    }

    fn secrets(cookie: u8, server: Option<u8>) -> Secrets {
        Secrets { cookie: [cookie; 32], server_key: server.map(|byte| [byte; 32]) }
    }

    /// The verdict of the acceptor, a server with cookie 1 and key 2, on a dialer's proof.
    fn verdict(dialer: &Hello, dialer_secrets: &Secrets) -> Result<(), RefusalReason> {
        let me = hello("server1", true);
        let (dialed, accepted) = (dialer.encode(), me.encode());
        let transcript = Transcript { dialer: &dialed, acceptor: &accepted };
        let proof = prove(dialer_secrets, dialer, Side::Dialer, &transcript);
        let proof = Proof::decode(&proof.encode()).unwrap();
        verify(&secrets(1, Some(2)), &me, dialer, Side::Dialer, &transcript, &proof).map_err(|refused| refused.reason)
    }

    #[test]
    fn only_who_holds_the_secrets_is_let_in() {
        for (is_server, cookie, key, expected) in [
            (false, 1, None, Ok(())),
            (true, 1, Some(2), Ok(())),
            (false, 9, None, Err(RefusalReason::WrongCookie)),
            (true, 9, Some(2), Err(RefusalReason::WrongCookie)),
            (true, 1, None, Err(RefusalReason::WrongServerKey)),
            (true, 1, Some(9), Err(RefusalReason::WrongServerKey)),
        ] {
            let got = verdict(&hello("server2", is_server), &secrets(cookie, key));
            assert_eq!(got, expected, "server {is_server}, cookie {cookie}, key {key:?}");
        }
    }

    #[test]
    fn a_proof_is_good_for_its_side_and_its_hellos_only() {
        let (me, them, secrets) = (hello("server1", true), hello("server2", true), secrets(1, Some(2)));
        let (dialed, accepted) = (them.encode(), me.encode());
        let transcript = Transcript { dialer: &dialed, acceptor: &accepted };
        let proof = prove(&secrets, &them, Side::Dialer, &transcript);
        assert!(verify(&secrets, &me, &them, Side::Dialer, &transcript, &proof).is_ok());
        assert!(verify(&secrets, &me, &them, Side::Acceptor, &transcript, &proof).is_err(), "reflected");
        let again = Hello { nonce: [99; 32], ..me.clone() }.encode();
        let replayed = Transcript { dialer: &dialed, acceptor: &again };
        assert!(verify(&secrets, &me, &them, Side::Dialer, &replayed, &proof).is_err(), "replayed");
    }

    #[test]
    fn heads_are_bounded_and_hellos_may_grow() {
        let bytes = frame(Kind::Hello, b"payload");
        let first: [u8; HEAD] = bytes[..HEAD].try_into().unwrap();
        assert_eq!(head(first), Some(Head { version: LINK_VERSION, kind: Kind::Hello as u8, length: 7 }));
        assert_eq!(head(*b"GET / HT"), None);
        assert_eq!(head(*b"BTON\x01\x01\xff\xff"), None, "too long");

        #[derive(Serialize)]
        struct Newer {
            #[serde(flatten)]
            hello: Hello,
            mood: &'static str,
        }
        let newer = rmp_serde::to_vec_named(&Newer { hello: hello("server1", true), mood: "good" }).unwrap();
        assert_eq!(Hello::decode(&newer).unwrap(), hello("server1", true));
        assert!(Hello::decode(&hello("", true).encode()).is_err());
        assert!(Hello::decode(&hello("a\nb", true).encode()).is_err());
        assert!(Hello::decode(b"garbage").is_err());
    }

    /// A client that passed for a replica would get the log of all queues and count as an acknowledgement.
    #[test]
    fn a_client_holds_no_replica_and_watches_nobody() {
        let client = hello("shop", false);
        assert_eq!(Hello::decode(&client.encode()), Ok(client.clone()));
        for lie in [Hello { replica: Some(ReplicaId(2)), ..client.clone() }, Hello { watch: true, ..client }] {
            assert_eq!(Hello::decode(&lie.encode()).map_err(|refused| refused.reason), Err(RefusalReason::Malformed));
        }
    }

    #[test]
    fn a_stranger_is_not_told_whom_it_reached() {
        let (me, stranger) = (hello("server1", true), Hello { cluster: ClusterId([9; 16]), ..hello("x1", false) });
        let refused = judge_stranger(&me, &stranger).expect_err("another cluster");
        assert!(!refused.text.contains("server1") && !refused.text.contains("0101"), "{}", refused.text);
    }

    #[test]
    fn an_older_store_is_refused_whoever_dials_and_names_who_must_wipe() {
        let store = |name, generation, replica: Option<u64>| Hello {
            generation,
            replica: replica.map(ReplicaId),
            ..hello(name, true)
        };
        let (old, new, joining) = (store("old", 0, Some(1)), store("new", 1, Some(2)), store("joining", 0, None));
        let client = hello("client", false);
        for (me, them) in [(&old, &new), (&new, &old)] {
            let mismatch = judge_generation(me, them).expect_err("one is older");
            assert_eq!(mismatch.mine_is_older(), me.name == "old");
            let text = mismatch.describe(&me.name, &them.name);
            assert!(text.contains("wipe the store of old"), "{text}");
        }
        for (me, them) in [(&new, &joining), (&joining, &new), (&client, &new), (&new, &client), (&new, &new)] {
            assert_eq!(judge_generation(me, them), Ok(()), "{} and {}", me.name, them.name);
        }
    }

    #[test]
    fn tokens_are_a_servers_own_and_clients_have_none() {
        let key = [2; 32];
        let one = token(Some(&key), &hello("server1", true));
        assert_ne!(one, Token::default());
        for other in [
            hello("server2", true),
            Hello { generation: 1, ..hello("server1", true) },
            Hello { incarnation: 8, ..hello("server1", true) },
            Hello { cluster: ClusterId([2; 16]), ..hello("server1", true) },
        ] {
            assert_ne!(token(Some(&key), &other), one, "{other:?}");
        }
        assert_ne!(token(Some(&[3; 32]), &hello("server1", true)), one);
        assert_eq!(token(Some(&key), &hello("server1", false)), Token::default());
        assert_eq!(token(None, &hello("server1", true)), Token::default());
    }
}
