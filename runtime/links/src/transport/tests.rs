use std::collections::HashMap;
use std::time::Duration;

use baton_client::wire::{Frame, Handler, Service, Token};
use tokio::io::{duplex, split};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::out::PIECE_BYTES;
use super::piece::PIECE_MAX;
use super::*;

/// One end of a connection: its transport, ractor_cluster's end of the session, and its task.
struct End {
    transport: LinkTransport,
    session: DuplexStream,
    driver: JoinHandle<()>,
}

fn end(connection: DuplexStream, handlers: Handlers) -> End {
    let (reader, writer) = split(connection);
    let (transport, session, driver) = LinkTransport::with_session(Box::new(reader), Box::new(writer), handlers);
    transport.announced();
    End { transport, session, driver: tokio::spawn(driver) }
}

/// Answers a frame with its payload.
fn echo() -> Handlers {
    let cast = Handler::cast(|inbound| inbound.reply.send(inbound.payload.to_vec()));
    let serve = Handler::serve(|frame| {
        Some(Box::pin(async move {
            tokio::task::yield_now().await;
            frame.payload.to_vec()
        }))
    });
    HashMap::from([(Service::Engine, cast), (Service::Storage, serve)])
}

/// The other side may announce a link first: handlers look the sender of a frame up.
#[test]
fn calls_wait_in_their_order_until_the_link_is_announced() {
    block_on(async {
        let (sender, mut came) = mpsc::unbounded_channel();
        let take = Handler::cast(move |inbound| sender.send(inbound.payload[0]).unwrap());
        let (one, other) = duplex(10_000);
        let (reader, writer) = split(other);
        let handlers = HashMap::from([(Service::Engine, take)]);
        let (transport, mut hears, driver) = LinkTransport::with_session(Box::new(reader), Box::new(writer), handlers);
        let (mut one, _driver) = (end(one, HashMap::new()), tokio::spawn(driver));
        let mut calls: Vec<_> = (0..3).map(|number| call(&one.transport, Service::Engine, vec![number])).collect();
        // The session goes on, because it announces links.
        one.session.write_all(b"session").await.unwrap();
        hears.read_exact(&mut [0; 7]).await.unwrap();
        assert!(came.try_recv().is_err());
        transport.announced();
        calls.push(call(&one.transport, Service::Engine, vec![3]));
        for number in 0..4 {
            assert_eq!(came.recv().await, Some(number));
        }
    });
}

/// On the link of a client no session tells ractor_cluster which node it is.
#[test]
fn a_link_without_a_session_ends_with_the_first_word_of_one() {
    block_on(async {
        let (one, other) = duplex(10_000);
        let (reader, writer) = split(other);
        let (transport, driver) = LinkTransport::alone(Box::new(reader), Box::new(writer), echo());
        transport.announced();
        let driver = tokio::spawn(driver);
        let mut one = end(one, HashMap::new());
        assert_eq!(call(&one.transport, Service::Engine, vec![1]).await.unwrap(), [1]);
        one.session.write_all(b"session").await.unwrap();
        driver.await.unwrap();
        one.driver.await.unwrap();
    });
}

/// Two ends; `room` bytes fit in between.
fn pair(room: usize, first: Handlers, second: Handlers) -> (End, End) {
    let (one, other) = duplex(room);
    (end(one, first), end(other, second))
}

fn call(transport: &LinkTransport, service: Service, payload: Vec<u8>) -> Answer {
    transport.call(Outgoing::new(Frame::head(service, "a", &Token::default(), 0), payload)).unwrap()
}

fn block_on(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(30), test).await.expect("it hangs") });
}

/// However little the connection takes at a time, in both directions at once, and next to a session that is busy too.
#[test]
fn every_call_gets_its_own_answer_and_the_session_its_bytes() {
    for room in [1, 7, 64, 100_000] {
        block_on(async move {
            let (one, other) = pair(room, echo(), echo());
            let size = |number: usize| if number.is_multiple_of(9) { room.min(64) * 100 } else { number };
            let calls = |transport: LinkTransport, service| {
                let calls = (0..60).map(move |number| {
                    let payload = vec![number as u8; size(number)];
                    (payload.clone(), call(&transport, service, payload))
                });
                calls.collect::<Vec<_>>()
            };
            let waiting = [
                calls(one.transport.clone(), Service::Engine),
                calls(other.transport.clone(), Service::Storage),
                calls(other.transport.clone(), Service::Ping),
            ];
            let said: Vec<u8> =
                (0..40_000_u32).flat_map(u32::to_be_bytes).take(if room < 64 { 2_000 } else { 160_000 }).collect();
            let (mut speaks, expected) = (one.session, said.clone());
            let speaking = tokio::spawn(async move {
                speaks.write_all(&said).await.unwrap();
                speaks
            });
            let mut hears = other.session;
            let mut heard = vec![0; expected.len()];
            hears.read_exact(&mut heard).await.unwrap();
            assert!(heard == expected, "the session's bytes come as they were written");
            for (at, calls) in waiting.into_iter().enumerate() {
                for (payload, answer) in calls {
                    let expected = if at == 2 { Vec::new() } else { payload };
                    assert_eq!(answer.await.unwrap(), expected, "transport {at}");
                }
            }
            drop(speaking.await);
        });
    }
}

#[test]
fn frames_arrive_in_the_order_of_the_calls() {
    block_on(async {
        let (sender, mut came) = mpsc::unbounded_channel();
        let take = Handler::cast(move |inbound| sender.send(inbound).unwrap());
        let (one, _other) = pair(1_000, HashMap::new(), HashMap::from([(Service::Engine, take)]));
        let mut answers = Vec::new();
        for number in 0..100_u8 {
            answers.push(call(&one.transport, Service::Engine, vec![number; 50]));
        }
        let mut ports = Vec::new();
        for number in 0..100_u8 {
            let inbound = came.recv().await.unwrap();
            assert_eq!(inbound.payload[0], number);
            ports.push(inbound.reply);
        }
        // Answered in another order, each is still its own.
        for (number, port) in ports.into_iter().enumerate().rev() {
            port.send(vec![number as u8]);
        }
        for (number, answer) in answers.into_iter().enumerate() {
            assert_eq!(answer.await.unwrap(), [number as u8]);
        }
    });
}

#[test]
fn whoever_waits_hears_of_the_end_whichever_side_ends() {
    for which in 0..3 {
        block_on(async move {
            let silent = || HashMap::from([(Service::Engine, Handler::cast(std::mem::forget))]);
            let (mut one, mut other) = pair(1_000, silent(), silent());
            let answer = call(&one.transport, Service::Engine, b"x".to_vec());
            match which {
                // The session of this side or of the other one, or the other process.
                0 => drop(std::mem::replace(&mut one.session, duplex(1).0)),
                1 => drop(std::mem::replace(&mut other.session, duplex(1).0)),
                _ => other.driver.abort(),
            }
            assert!(answer.await.is_err());
            one.driver.await.unwrap();
            assert!(one.transport.call(Outgoing::new(Vec::new(), Vec::new())).is_none());
            assert_eq!(one.session.read(&mut [0]).await.unwrap_or(0), 0, "and so does the session");
            assert_eq!(one.transport.lock().waits(), (0, 0));
        });
    }
}

#[test]
fn a_panic_of_a_handler_ends_the_connection() {
    block_on(async {
        let panics = HashMap::from([(Service::Engine, Handler::cast(|_| panic!("as the test wants it")))]);
        let (one, other) = pair(1_000, HashMap::new(), panics);
        assert!(call(&one.transport, Service::Engine, Vec::new()).await.is_err());
        assert!(other.driver.await.unwrap_err().is_panic());
    });
}

/// Complaint: a call that timed out gave its credit back while its bytes waited still.
#[test]
fn a_call_that_was_given_up_leaves_its_line_and_then_gives_its_credit_back() {
    block_on(async {
        let (near, mut far) = duplex(10);
        let one = end(near, HashMap::new());
        let credit = Arc::new(tokio::sync::Semaphore::new(3));
        let call = |payload: Vec<u8>| {
            let credit = Some(credit.clone().try_acquire_owned().unwrap());
            let head = Frame::head(Service::Engine, "a", &Token::default(), 0);
            one.transport.call(Outgoing { credit, ..Outgoing::new(head, payload) }).unwrap()
        };
        let (begun, waits, last) = (call(vec![1; 1_000]), call(vec![2; 1 << 20]), call(vec![3; 5]));
        assert_eq!((one.transport.lock().waits(), credit.available_permits()), ((2, 3), 0));
        drop(waits);
        assert_eq!((one.transport.lock().waits(), credit.available_permits()), ((1, 2), 1));
        // Its bytes must follow: the other side has some of them.
        drop(begun);
        let (frame, piece) = (Frame::head(Service::Engine, "a", &Token::default(), 0).len(), 13);
        let mut came = vec![0; 2 * (piece + frame) + 1_005];
        far.read_exact(&mut came).await.unwrap();
        assert!(came.ends_with(&[3; 5]), "{came:?}");
        assert_eq!((one.transport.lock().waits(), credit.available_permits()), ((0, 1), 2));
        drop(last);
        assert_eq!((one.transport.lock().waits(), credit.available_permits()), ((0, 0), 3));
    });
}

/// Complaint: heartbeats waited behind megabytes, and the leader was deposed.
#[test]
fn what_goes_ahead_waits_for_one_piece_and_not_for_megabytes() {
    block_on(async {
        let (sender, mut came) = mpsc::unbounded_channel();
        let take = Handler::cast(move |inbound| sender.send(inbound).unwrap());
        let (near, far) = duplex(PIECE_BYTES);
        let one = end(near, HashMap::new());
        let bulk = call(&one.transport, Service::Engine, vec![1; 4 << 20]);
        let after = call(&one.transport, Service::Engine, vec![2]);
        let head = Frame::head(Service::Engine, "a", &Token::default(), 0);
        let ahead = one.transport.call(Outgoing { ahead: true, ..Outgoing::new(head, vec![3]) }).unwrap();
        let _other = end(far, HashMap::from([(Service::Engine, take)]));
        for (first, length) in [(3, 1), (1, 4 << 20), (2, 1)] {
            let inbound = came.recv().await.unwrap();
            assert_eq!((inbound.payload[0], inbound.payload.len()), (first, length));
            assert!(inbound.payload.iter().all(|byte| *byte == first));
            inbound.reply.send(vec![first; length]);
        }
        assert_eq!(ahead.await.unwrap(), [3]);
        assert_eq!(bulk.await.unwrap(), vec![1; 4 << 20]);
        assert_eq!(after.await.unwrap(), [2]);
    });
}

/// Frames that go ahead do not starve the others.
#[test]
fn others_get_their_turn_beside_a_session_that_is_never_silent() {
    block_on(async {
        let (one, mut other) = pair(1_000, HashMap::new(), echo());
        let mut speaks = one.session;
        let speaking = tokio::spawn(async move { while speaks.write_all(&[7; 1_000]).await.is_ok() {} });
        let hearing =
            tokio::spawn(async move { while other.session.read(&mut [0; 4_096]).await.is_ok_and(|n| n > 0) {} });
        let answer = call(&one.transport, Service::Engine, vec![9; 200_000]).await.unwrap();
        assert_eq!(answer, vec![9; 200_000]);
        speaking.abort();
        hearing.abort();
    });
}

/// Whatever arrives, the driver ends, and no call gets an answer that was not sent.
#[test]
fn what_is_no_piece_ends_the_connection() {
    let head = |kind: u8, length: u32| [&[kind][..], &[0; 8], &length.to_be_bytes()].concat();
    for bytes in [
        head(7, 0),
        head(255, 0),
        head(CALL, PIECE_MAX as u32 + 1),
        head(SESSION, u32::MAX),
        head(CALL_END, 0),
        head(ANSWER_END, 0),
    ] {
        block_on(async move {
            let (mut stranger, ours) = duplex(1_000);
            let End { driver, .. } = end(ours, echo());
            stranger.write_all(&bytes).await.unwrap();
            driver.await.unwrap();
        });
    }
    // A frame that cannot be read is dropped, so is an answer without a call, and half a piece does nothing.
    block_on(async {
        let (mut stranger, ours) = duplex(10_000);
        let End { driver, session, .. } = end(ours, echo());
        for (kind, length) in [(CALL, 3), (ANSWER, 9), (SESSION, 0)] {
            stranger.write_all(&head(kind, length)).await.unwrap();
            stranger.write_all(&vec![7; length as usize]).await.unwrap();
        }
        stranger.write_all(&head(CALL, 100)[..7]).await.unwrap();
        assert!(!driver.is_finished());
        stranger.shutdown().await.unwrap();
        let (mut rest, _) = (Vec::new(), session);
        stranger.read_to_end(&mut rest).await.unwrap();
        assert!(rest.is_empty());
        driver.await.unwrap();
    });
}
