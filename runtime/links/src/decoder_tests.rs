//! The handshake with a stranger: bytes that no program of ours sends.

use std::time::Duration;

use baton_domain::{ClusterId, ReplicaId};
use baton_test_support::{Damage, Verdict, damaged, damages, holds, noise, read};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::Address;
use super::handshake::{Outcome, Party, accept, dial};
use super::preamble::{HEAD, Hello, Kind, PAYLOAD_MAX, Proof, Secrets, Side, Transcript, frame, head, prove};
use super::refusal::{RefusalNotice, RefusalReason};

fn hello(name: &str, number: u64) -> Hello {
    Hello {
        server: true,
        name: name.to_owned(),
        cluster: ClusterId([1; 16]),
        generation: number as u32,
        replica: Some(ReplicaId(number)),
        incarnation: number,
        endpoint: 3,
        nonce: [number as u8; 32],
        watch: false,
    }
}

fn secrets(cookie: u8) -> Secrets {
    Secrets { cookie: [cookie; 32], server_key: Some([2; 32]) }
}

/// The outcome at a party that receives `bytes` from a peer that then hangs up; `dials`: the party is the one that
/// dials.
fn against(bytes: &[u8], dials: bool) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let (mut own, mut other) = duplex(64 * 1024);
        let (hello, secrets) = (hello("server1", 0), secrets(1));
        let party = Party { hello: &hello, secrets: &secrets, certified: None };
        other.write_all(bytes).await.unwrap();
        other.shutdown().await.unwrap();
        let exchange = async {
            let admit = |_| async { Ok(()) };
            if dials { dial(&mut own, &party, admit).await } else { accept(&mut own, &party, admit).await }
        };
        let outcome = tokio::time::timeout(Duration::from_secs(10), exchange).await.expect("whoever hangs up is done");
        drop(own);
        // The answer is bounded too.
        let mut answered = Vec::new();
        other.read_to_end(&mut answered).await.unwrap();
        assert!(answered.len() <= 3 * (HEAD + PAYLOAD_MAX));
        outcome
    })
}

/// The frames of a program without the cookie.
fn strangers_words(number: u64) -> Vec<u8> {
    let hello = hello("server2", number);
    let sent = frame(Kind::Hello, &hello.encode());
    let transcript = Transcript { dialer: &sent, acceptor: &sent };
    let proof = prove(&secrets(9), &hello, Side::Dialer, &transcript);
    [sent.clone(), frame(Kind::Proof, &proof.encode())].concat()
}

fn texts(text: &str, harm: &[Damage]) -> [String; 2] {
    [text.to_owned(), String::from_utf8_lossy(&damaged(text.as_bytes(), harm)).into_owned()]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn the_parts_of_a_handshake(
        name in "[^\\p{Cc}]{1,60}", number in any::<u64>(), text in ".{0,700}", harm in damages(), noise in noise(),
    ) {
        let hello = hello(&name, number);
        prop_assert_eq!(&Hello::decode(&hello.encode()).unwrap(), &hello);
        let sent = hello.encode();
        let transcript = Transcript { dialer: &sent, acceptor: &sent };
        let proof = prove(&secrets(1), &hello, Side::Dialer, &transcript);
        prop_assert_eq!(&Proof::decode(&proof.encode()).unwrap(), &proof);
        for (sound, damaged) in [(sent.clone(), damaged(&sent, &harm)), (sent.clone(), noise.clone())] {
            prop_assert_eq!(holds(&sound, Hello::decode, Hello::encode), Verdict::Taken);
            holds(&damaged, Hello::decode, Hello::encode);
        }
        holds(&damaged(&proof.encode(), &harm), Proof::decode, Proof::encode);
        holds(&noise, Proof::decode, Proof::encode);

        let refused = RefusalNotice::new(RefusalReason::WrongCookie, text.clone());
        let decode = |bytes: &[u8]| Ok::<_, ()>(RefusalNotice::decode(bytes));
        for bytes in [refused.encode(), damaged(&refused.encode(), &harm), noise.clone()] {
            let found = read(&bytes, RefusalNotice::decode);
            prop_assert!(!found.text.chars().any(char::is_control), "what could steer a terminal came through");
            holds(&bytes, |bytes| decode(bytes).map(|refused| refused.reason), |reason| RefusalNotice::new(*reason, "").encode());
        }
        let payload = &sent[..sent.len().min(PAYLOAD_MAX)];
        let mut first: [u8; HEAD] = frame(Kind::Proof, payload)[..HEAD].try_into().unwrap();
        prop_assert_eq!(head(first).map(|head| head.length), Some(payload.len()));
        let harmed = damaged(&first, &harm);
        first[..harmed.len().min(HEAD)].copy_from_slice(&harmed[..harmed.len().min(HEAD)]);
        prop_assert!(head(first).is_none_or(|head| head.length <= PAYLOAD_MAX));
    }

    /// Whatever bytes arrive, a process without the cookie is not let in, and the handshake ends.
    #[test]
    fn nobody_is_let_in_by_luck(number in any::<u64>(), harm in damages(), noise in noise()) {
        for dials in [false, true] {
            for bytes in [strangers_words(number), damaged(&strangers_words(number), &harm), noise.clone()] {
                prop_assert!(against(&bytes, dials).result.is_err());
            }
        }
    }

    #[test]
    fn addresses(text in ".{0,40}", host in "[a-z0-9.-]{1,20}", port in any::<u16>(), harm in damages()) {
        let sound = format!("{host}:{port}");
        for text in texts(&sound, &harm).into_iter().chain([text]) {
            if let Ok(address) = text.parse::<Address>() {
                prop_assert_eq!(address.to_string().parse::<Address>(), Ok(address));
            }
        }
    }
}
