use baton_domain::{ClusterId, ReplicaId};
use tokio::io::{DuplexStream, duplex};

use super::*;

fn hello(name: &str, server: bool) -> Hello {
    Hello {
        server,
        name: name.to_owned(),
        cluster: ClusterId([1; 16]),
        generation: 0,
        replica: server.then_some(ReplicaId(1)),
        incarnation: 7,
        endpoint: 3,
        watch: false,
        nonce: [name.len() as u8; 32],
    }
}

fn secrets() -> Secrets {
    Secrets { cookie: [1; 32], server_key: Some([2; 32]) }
}

struct End {
    hello: Hello,
    secrets: Secrets,
    certified: Option<Vec<String>>,
    admit: Result<(), RefusalNotice>,
}

impl End {
    fn new(name: &str, server: bool) -> Self {
        Self { hello: hello(name, server), secrets: secrets(), certified: None, admit: Ok(()) }
    }

    fn party(&self) -> Party<'_> {
        Party { hello: &self.hello, secrets: &self.secrets, certified: self.certified.as_deref() }
    }
}

/// The reason for a refusal by either side.
fn reason(outcome: &Outcome) -> Option<RefusalReason> {
    match &outcome.result {
        Ok(()) => None,
        Err(Failure::RefusedByUs(refused) | Failure::RefusedByPeer(refused)) => Some(refused.reason),
        Err(Failure::Generation(_)) => Some(RefusalReason::OlderGeneration),
        Err(Failure::Broken(error)) => panic!("broken: {error}"),
    }
}

/// True if the failure is this side's own verdict on a peer that proved to be a server.
fn is_verdict(outcome: &Outcome) -> bool {
    matches!(outcome.result, Err(Failure::Generation(_)))
}

async fn shake(dialer: &End, acceptor: &End) -> (Outcome, Outcome, DuplexStream, DuplexStream) {
    let (mut left, mut right) = duplex(16 * 1024);
    let (dialer_party, acceptor_party) = (dialer.party(), acceptor.party());
    let (dialed, accepted) = tokio::join!(
        dial(&mut left, &dialer_party, |_| async { dialer.admit.clone() }),
        accept(&mut right, &acceptor_party, |_| async { acceptor.admit.clone() }),
    );
    (dialed, accepted, left, right)
}

#[tokio::test]
async fn two_that_hold_the_secrets_agree_and_leave_the_rest_of_the_stream_alone() {
    let (dialer, acceptor) = (End::new("server1", true), End::new("server2", true));
    let (dialed, accepted, mut left, mut right) = shake(&dialer, &acceptor).await;
    assert_eq!((reason(&dialed), reason(&accepted)), (None, None));
    assert_eq!((dialed.them, accepted.them), (Some(acceptor.hello), Some(dialer.hello)));
    left.write_all(b"from the dialer").await.unwrap();
    right.write_all(b"from the acceptor").await.unwrap();
    drop((left.shutdown().await, right.shutdown().await));
    let (mut one, mut two) = (Vec::new(), Vec::new());
    left.read_to_end(&mut one).await.unwrap();
    right.read_to_end(&mut two).await.unwrap();
    assert_eq!((&one[..], &two[..]), (&b"from the acceptor"[..], &b"from the dialer"[..]));
}

#[tokio::test]
async fn both_sides_hear_why_there_is_no_link() {
    let with = |change: fn(&mut End)| {
        let mut end = End::new("server1", true);
        change(&mut end);
        end
    };
    let in_use = || Err(RefusalNotice::new(RefusalReason::NameInUse, "name in use"));
    let cases: [(&str, End, End, RefusalReason); 9] = [
        ("cookie", with(|end| end.secrets.cookie = [9; 32]), End::new("server2", true), RefusalReason::WrongCookie),
        ("key", with(|end| end.secrets.server_key = None), End::new("server2", true), RefusalReason::WrongServerKey),
        (
            "cluster",
            with(|end| end.hello.cluster = ClusterId([9; 16])),
            End::new("s", true),
            RefusalReason::OtherCluster,
        ),
        ("old dialer", with(|_| ()), older(1), RefusalReason::OlderGeneration),
        ("old acceptor", with(|end| end.hello.generation = 2), older(1), RefusalReason::OlderGeneration),
        ("dialer says no", End { admit: in_use(), ..with(|_| ()) }, End::new("s", true), RefusalReason::NameInUse),
        ("acceptor says no", with(|_| ()), End { admit: in_use(), ..End::new("s", true) }, RefusalReason::NameInUse),
        (
            "dialer's certificate",
            with(|_| ()),
            End { certified: Some(vec!["server9".to_owned()]), ..End::new("s", true) },
            RefusalReason::Certificate,
        ),
        (
            "acceptor's certificate",
            End { certified: Some(Vec::new()), ..with(|_| ()) },
            End::new("s", true),
            RefusalReason::Certificate,
        ),
    ];
    for (case, dialer, acceptor, expected) in cases {
        let (dialed, accepted, ..) = shake(&dialer, &acceptor).await;
        assert_eq!((reason(&dialed), reason(&accepted)), (Some(expected), Some(expected)), "{case}");
    }
}

/// Invariant: only a proof ends a server. The verdict is each side's own, from the two hellos that the proofs cover.
#[tokio::test]
async fn of_an_older_store_both_sides_have_proof() {
    for (mine, theirs) in [(0, 1), (1, 0)] {
        let mut dialer = End::new("server1", true);
        dialer.hello.generation = mine;
        let (dialed, accepted, ..) = shake(&dialer, &older(theirs)).await;
        assert!(is_verdict(&dialed) && is_verdict(&accepted), "{mine} and {theirs}");
    }
}

/// A stranger who knows the cluster's id sends everything that needs no secret.
#[tokio::test]
async fn a_stranger_says_what_it_wants_and_proves_nothing() {
    let words = [
        RefusalNotice::new(RefusalReason::OlderGeneration, "wipe the store of server1"),
        RefusalNotice::new(RefusalReason::WrongCookie, "wrong cookie"),
        RefusalNotice::new(RefusalReason::Yourself, "you dialed yourself"),
    ];
    for told in words {
        let (mut left, mut right) = duplex(16 * 1024);
        let acceptor = End::new("server1", true);
        let party = acceptor.party();
        let stranger = async {
            send(&mut left, &frame(Kind::Hello, &hello("server2", true).encode())).await.unwrap();
            receive(&mut left, Kind::Hello).await.unwrap();
            send(&mut left, &frame(Kind::Refusal, &told.encode())).await.unwrap();
        };
        let (accepted, ()) = tokio::join!(accept(&mut right, &party, |_| async { Ok(()) }), stranger);
        assert!(matches!(accepted.result, Err(Failure::RefusedByPeer(_))), "{told:?}");
        // And where it is dialed.
        let (mut left, mut right) = duplex(16 * 1024);
        let stranger = async {
            receive(&mut right, Kind::Hello).await.unwrap();
            send(&mut right, &frame(Kind::Hello, &hello("server2", true).encode())).await.unwrap();
            receive(&mut right, Kind::Proof).await.unwrap();
            send(&mut right, &frame(Kind::Refusal, &told.encode())).await.unwrap();
        };
        let (dialed, ()) = tokio::join!(dial(&mut left, &party, |_| async { Ok(()) }), stranger);
        assert!(matches!(dialed.result, Err(Failure::RefusedByPeer(_))), "{told:?}");
    }
}

#[tokio::test]
async fn whoever_answers_a_dial_proves_that_it_is_a_server() {
    let client = |name| End { secrets: Secrets { server_key: None, ..secrets() }, ..End::new(name, false) };
    // With the cookie, and TLS with any client's certificate: under the name of the server that was dialed.
    let impostor = End { certified: None, ..client("server2") };
    for dialer in [
        End { certified: Some(vec!["clients".to_owned()]), ..End::new("server1", true) },
        End { certified: Some(vec!["clients".to_owned()]), ..client("shop") },
    ] {
        let (dialed, accepted, ..) = shake(&dialer, &impostor).await;
        assert_eq!(
            (reason(&dialed), reason(&accepted)),
            (Some(RefusalReason::NotAServer), Some(RefusalReason::NotAServer))
        );
    }
    // One that says it is a server, and has no key.
    let keyless = End { secrets: Secrets { server_key: None, ..secrets() }, ..End::new("server2", true) };
    let (dialed, ..) = shake(&End::new("server1", true), &keyless).await;
    assert_eq!(reason(&dialed), Some(RefusalReason::WrongServerKey));
}

fn older(generation: u32) -> End {
    let mut end = End::new("server2", true);
    end.hello.generation = generation;
    end
}

#[tokio::test]
async fn a_clients_certificate_stands_for_any_client() {
    let client = End { secrets: Secrets { server_key: None, ..secrets() }, ..End::new("shop", false) };
    let acceptor = End { certified: Some(vec!["clients".to_owned()]), ..End::new("server1", true) };
    let (dialed, accepted, ..) = shake(&client, &acceptor).await;
    assert_eq!((reason(&dialed), reason(&accepted)), (None, None));
}

#[tokio::test]
async fn an_acceptor_that_does_not_hold_the_cookie_is_found_out_by_the_dialer() {
    let (mut left, mut right) = duplex(16 * 1024);
    let (dialer, impostor) = (End::new("server1", true), End::new("server2", true));
    let party = dialer.party();
    let fake = async {
        receive(&mut right, Kind::Hello).await.unwrap();
        send(&mut right, &frame(Kind::Hello, &impostor.hello.encode())).await.unwrap();
        let proof = receive(&mut right, Kind::Proof).await.unwrap();
        send(&mut right, &proof).await.unwrap();
    };
    let (dialed, ()) = tokio::join!(dial(&mut left, &party, |_| async { Ok(()) }), fake);
    assert_eq!(reason(&dialed), Some(RefusalReason::WrongCookie), "a proof that is sent back proves nothing");
}

#[tokio::test]
async fn what_is_no_handshake_of_ours_is_refused_in_words() {
    for (sent, expected, words) in [
        (&b"BTON\x09\x01\x00\x00"[..], RefusalReason::UnknownVersion, "version 9"),
        (&b"BTON\x05\x02\x00\x00"[..], RefusalReason::Malformed, "unexpected handshake frame"),
        (&b"BTON\x05\x01\x00\x03abc"[..], RefusalReason::Malformed, "the hello"),
        (&b"GET / HTTP/1.1\r\n"[..], RefusalReason::Malformed, "does not speak"),
        (&b"\x16\x03\x01\x02\x00\x01\x00\x00"[..], RefusalReason::TlsMismatch, "TLS"),
    ] {
        let (mut left, mut right) = duplex(16 * 1024);
        left.write_all(sent).await.unwrap();
        let acceptor = End::new("server1", true);
        let party = acceptor.party();
        let accepted = accept(&mut right, &party, |_| async { Ok(()) }).await;
        assert_eq!(reason(&accepted), Some(expected), "{sent:?}");
        match receive(&mut left, Kind::Hello).await {
            Err(Failure::RefusedByPeer(told)) => {
                assert_eq!(told.reason, expected);
                assert!(told.text.contains(words), "{}", told.text);
            }
            other => panic!("{other:?}"),
        }
    }
}
