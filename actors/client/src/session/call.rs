//! Calls to the engine, which leave in the order in which they were made. Calls that wait for a frame are in the link's
//! [`Outbox`](crate::outbox::Outbox).

use std::time::Duration;

use futures::FutureExt;
use tokio::time::Instant;

use crate::outbox::{Answer, Call, Done, shared_cost};
use crate::peers::Peer;
use crate::protocol::{EngineError, EngineReply, EngineRequest, decode, encode};
use crate::wire::Service;

/// Sends the request and calls `done` with the answer, at once or from another task.
pub(crate) fn call_in_order(
    peer: &Peer,
    request: EngineRequest,
    timeout: Duration,
    done: impl FnOnce(Answer) + Send + 'static,
) {
    let shared = shared_cost(&request);
    let call = Call { request, shared, timeout, since: Instant::now(), done: Box::new(done) };
    peer.outbox().lock().calls.push_back(call);
    send_waiting(peer);
}

/// Sends the waiting calls that may leave.
fn send_waiting(peer: &Peer) {
    let mut queue = peer.outbox().lock();
    // The task that makes frames sees this call, too.
    if std::mem::replace(&mut queue.is_sending, true) {
        return;
    }
    while let Some(calls) = queue.next() {
        drop(queue);
        send(peer, calls);
        queue = peer.outbox().lock();
    }
    queue.is_sending = false;
}

fn send(peer: &Peer, calls: Vec<Call>) {
    let Some(timeout) = calls.first().map(|call| call.timeout.saturating_sub(call.since.elapsed())) else { return };
    let shared = calls.iter().any(|call| call.shared.is_some());
    let (mut requests, done): (Vec<_>, Vec<_>) = calls.into_iter().map(|call| (call.request, call.done)).unzip();
    let payload = match requests.pop() {
        Some(only) if requests.is_empty() => encode(&only),
        last => {
            requests.extend(last);
            encode(&EngineRequest::Several(requests))
        }
    };
    let (link, end) = (peer.clone(), peer.clone());
    // A link takes frames in the order in which their futures are first polled, so the first poll happens here and not
    // in a task that might run later than the next one. Without `unconstrained`, the future of a caller that used up
    // its cooperative budget would return before it queues for credit.
    let mut exchange = Box::pin(tokio::task::coop::unconstrained(async move {
        link.call(Service::Engine, payload, timeout).await.map(|bytes| read(&bytes))
    }));
    let answered = move |answer| {
        if shared {
            end.outbox().lock().in_flight -= 1;
        }
        share(answer, done);
        end
    };
    match (&mut exchange).now_or_never() {
        // The task that makes frames goes on.
        Some(answer) => drop(answered(answer)),
        None => drop(tokio::spawn(async move { send_waiting(&answered(exchange.await)) })),
    }
}

/// Passes its part of an answer to each call.
fn share(answer: Answer, done: Vec<Done>) {
    let answer = match answer {
        Ok(EngineReply::Several(replies)) if replies.len() == done.len() => {
            return done.into_iter().zip(replies).for_each(|(done, reply)| done(Ok(reply)));
        }
        Ok(EngineReply::Several(_)) => {
            let words = "reply count does not match request count".to_owned();
            Ok(EngineReply::Error(EngineError::BadRequest(words)))
        }
        answer => answer,
    };
    done.into_iter().for_each(|done| done(answer.clone()));
}

/// Decodes a reply. One that cannot be decoded comes from a program of another version.
fn read(bytes: &[u8]) -> EngineReply {
    decode(bytes).unwrap_or_else(|error| EngineReply::Error(EngineError::BadRequest(error.to_string())))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use baton_domain::{Message, ProducerId};
    use tokio::sync::mpsc;

    use super::*;
    use crate::outbox::{FRAME_BYTES, FRAMES};
    use crate::peers::PeerInfo;
    use crate::wire::{CallError, Handler, LocalTransport, PeerKind, ReplyPort};

    type Frames = mpsc::UnboundedReceiver<(EngineRequest, ReplyPort)>;
    type Answers = mpsc::UnboundedReceiver<(u64, Answer)>;

    /// A link, the frames that leave over it, and a channel of answers.
    async fn link() -> (Peer, Frames, mpsc::UnboundedSender<(u64, Answer)>, Answers) {
        let (frames, received) = mpsc::unbounded_channel();
        let handler = Handler::cast(move |inbound| {
            frames.send((decode(&inbound.payload).unwrap(), inbound.reply)).unwrap();
        });
        let transport = LocalTransport { handlers: HashMap::from([(Service::Engine, handler)]) };
        let (name, token) = ("server1".to_owned(), [0; 32]);
        let info = PeerInfo { name, kind: PeerKind::Server, incarnation: 1, replica: None, token, connection: 1 };
        let (answers, answered) = mpsc::unbounded_channel();
        (Peer::new(info, transport, "client".into(), token), received, answers, answered)
    }

    fn send_request(first: u64, body: &[u8]) -> EngineRequest {
        EngineRequest::Send {
            producer: ProducerId([1; 16]),
            registration: 0,
            first,
            messages: vec![Message::new(body.to_vec())].into(),
        }
    }

    fn firsts(request: &EngineRequest) -> Vec<u64> {
        match request {
            EngineRequest::Send { first, .. } => vec![*first],
            EngineRequest::Several(requests) => requests.iter().flat_map(firsts).collect(),
            other => panic!("{other:?}"),
        }
    }

    fn reply(request: &EngineRequest) -> EngineReply {
        match request {
            EngineRequest::Send { first, .. } => EngineReply::Sent { through: *first },
            EngineRequest::Several(requests) => EngineReply::Several(requests.iter().map(reply).collect()),
            _ => EngineReply::Done,
        }
    }

    fn ask(peer: &Peer, number: u64, request: EngineRequest, answers: &mpsc::UnboundedSender<(u64, Answer)>) {
        let answers = answers.clone();
        call_in_order(peer, request, Duration::from_secs(60), move |answer| drop(answers.send((number, answer))));
    }

    #[tokio::test]
    async fn requests_share_frames_in_order_once_many_are_in_flight_and_each_gets_its_own_answer() {
        let (peer, mut frames, answers, mut answered) = link().await;
        for number in 1..=100 {
            ask(&peer, number, send_request(number, b"x"), &answers);
        }
        let mut in_flight = Vec::new();
        for number in 1..=FRAMES as u64 {
            let (request, port) = frames.recv().await.unwrap();
            assert_eq!(firsts(&request), [number], "a request that leaves at once is alone");
            in_flight.push((request, port));
        }
        assert!(frames.try_recv().is_err(), "the others wait");
        let (request, port) = in_flight.remove(0);
        port.send(encode(&reply(&request)));
        let (request, port) = frames.recv().await.unwrap();
        assert_eq!(firsts(&request), (FRAMES as u64 + 1..=100).collect::<Vec<_>>(), "and leave together, in order");
        in_flight.push((request, port));
        for (request, port) in in_flight {
            port.send(encode(&reply(&request)));
        }
        for _ in 1..=100 {
            let (number, answer) = answered.recv().await.unwrap();
            assert_eq!(answer, Ok(EngineReply::Sent { through: number }));
        }
    }

    #[tokio::test]
    async fn a_request_that_may_take_long_leaves_alone_and_in_its_place_and_large_requests_do_not_share() {
        let (peer, mut frames, answers, _answered) = link().await;
        let large = vec![0; FRAME_BYTES];
        for number in 1..=FRAMES as u64 {
            ask(&peer, number, send_request(number, b"x"), &answers);
        }
        ask(&peer, 100, send_request(100, b"x"), &answers);
        ask(&peer, 101, send_request(101, &large), &answers);
        ask(&peer, 102, EngineRequest::CloseProducer { producer: ProducerId([1; 16]) }, &answers);
        ask(&peer, 103, send_request(103, b"x"), &answers);
        let mut ports = Vec::new();
        for _ in 0..FRAMES {
            ports.push(frames.recv().await.unwrap());
        }
        let mut left = Vec::new();
        while left.len() < 4 {
            let (request, port) = ports.remove(0);
            port.send(encode(&reply(&request)));
            while let Ok(Some((request, port))) = tokio::time::timeout(Duration::from_millis(50), frames.recv()).await {
                left.push(if let EngineRequest::CloseProducer { .. } = request { vec![102] } else { firsts(&request) });
                ports.push((request, port));
            }
        }
        assert_eq!(left, [vec![100], vec![101], vec![102], vec![103]]);
    }

    #[tokio::test]
    async fn a_frame_that_fails_fails_all_its_requests_and_the_next_ones_go_on() {
        let (peer, mut frames, answers, mut answered) = link().await;
        for number in 1..=FRAMES as u64 + 2 {
            ask(&peer, number, send_request(number, b"x"), &answers);
        }
        for _ in 0..FRAMES {
            drop(frames.recv().await.unwrap());
        }
        let (request, _) = frames.recv().await.unwrap();
        assert_eq!(firsts(&request).len(), 2);
        for _ in 0..FRAMES {
            assert_eq!(answered.recv().await.unwrap().1, Err(CallError::Disconnected));
        }
        drop(request);
        for _ in 0..2 {
            let told = answered.recv().await.unwrap().1;
            assert_eq!(told, Err(CallError::Disconnected), "a request without an answer fails alike");
        }
    }
}
