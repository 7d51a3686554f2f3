//! Producers: confirms, numbers, limits.

use baton_client::protocol::Opening;

use super::*;

/// Invariant 3.
#[test]
fn a_send_is_confirmed_only_after_its_commit() {
    let mut bench = started();
    let request = bench.send(1, 3);
    bench.step(Input::Flush);
    assert_eq!(bench.replies.get(&request), None);
    assert!(bench.commit_one());
    assert_eq!(bench.replies.get(&request), Some(&EngineReply::Sent { through: 3 }));
}

/// Invariant 5.
#[test]
fn messages_come_out_in_the_order_they_were_sent() {
    let mut bench = started();
    bench.attach(1, "q", 100, &[]);
    for first in [1, 4, 7] {
        bench.send(first, 3);
        bench.step(Input::Flush);
    }
    bench.settle_down();
    assert_eq!(bodies(&deliveries(&bench.take())), ["1", "2", "3", "4", "5", "6", "7", "8", "9"]);
}

#[test]
fn a_busy_engine_merges_what_waits_into_one_entry() {
    let mut bench = Bench::new(EngineConfig { entries_in_flight: 1, ..EngineConfig::default() });
    bench.open("q");
    let requests = [bench.send(1, 1), bench.send(2, 1), bench.send(3, 1)];
    bench.step(Input::Flush);
    let later = bench.send(4, 1);
    bench.step(Input::Flush);
    assert_eq!(bench.commits.len(), 1, "one entry on its way");
    bench.commit_one();
    assert!(requests.iter().all(|request| bench.replies.contains_key(request)));
    assert!(!bench.replies.contains_key(&later));
    bench.settle_down();
    assert_eq!(bench.replies.get(&later), Some(&EngineReply::Sent { through: 4 }));
}

/// Invariant 4.
#[test]
fn what_follows_a_refused_send_is_a_gap_and_a_resend_is_confirmed_once() {
    let mut bench = started();
    bench.step(Input::Space { free_bytes: 0 });
    let refused = bench.send(1, 2);
    assert!(matches!(bench.error_of(refused), Some(EngineError::StoreFull { free_bytes: 0, .. })));
    bench.step(Input::Space { free_bytes: u64::MAX });
    let following = bench.send(3, 2);
    bench.settle_down();
    assert_eq!(bench.error_of(following), Some(EngineError::Gap { expected: 1 }));
    for _ in 0..2 {
        let again = bench.send(1, 4);
        bench.settle_down();
        assert_eq!(bench.replies.get(&again), Some(&EngineReply::Sent { through: 4 }));
    }
    bench.attach(1, "q", 100, &[]);
    assert_eq!(bodies(&deliveries(&bench.take())), ["1", "2", "3", "4"]);
}

#[test]
fn a_producer_that_was_known_is_not_registered_afresh() {
    let mut bench = started();
    bench.send(1, 5);
    let open = |known, number| {
        let opening = if known { Opening::Again { registration: 0 } } else { Opening::First };
        EngineRequest::OpenProducer { producer: producer(number), queue: queue("q"), opening }
    };
    assert!(matches!(bench.call(open(true, 1)), EngineReply::Producer { next: 6, .. }));
    assert_eq!(bench.call(open(true, 2)), EngineReply::Error(EngineError::ProducerUnknown));
    assert!(matches!(bench.call(open(false, 1)), EngineReply::Producer { next: 6, .. }));
    assert_eq!(bench.call(EngineRequest::CloseProducer { producer: producer(1) }), EngineReply::Done);
    assert_eq!(bench.call(open(true, 1)), EngineReply::Error(EngineError::ProducerUnknown));
}

#[test]
fn limits_answer_with_their_names() {
    let config = EngineConfig { message_bytes: 10, pending_requests: 2, queues: 1, ..EngineConfig::default() };
    let mut bench = Bench::new(config);
    bench.open("q");
    let large = EngineRequest::Send {
        producer: producer(1),
        registration: 0,
        first: 1,
        messages: vec![Message::new("12345678901")].into(),
    };
    let error = EngineError::MessageTooLarge { size: 11, limit: 10 };
    assert_eq!(bench.call(large), EngineReply::Error(error));
    let more = bench.call(EngineRequest::CreateQueue { name: queue("r") });
    let EngineReply::Error(EngineError::Refused(why)) = more else { panic!("{more:?}") };
    assert!(why.contains("max_queues"), "{why}");
    bench.send(1, 1);
    bench.send(2, 1);
    let third = bench.send(3, 1);
    assert_eq!(bench.error_of(third), Some(EngineError::Busy));
    let none = EngineRequest::OpenProducer { producer: producer(2), queue: queue("none"), opening: Opening::First };
    bench.settle_down();
    assert_eq!(bench.call(none), EngineReply::Error(EngineError::NoSuchQueue(queue("none"))));
}

#[test]
fn idle_producers_are_forgotten_unless_they_were_heard_since() {
    let mut bench = started();
    bench.call(EngineRequest::OpenProducer { producer: producer(2), queue: queue("q"), opening: Opening::First });
    let before_ms = bench.now.0 / 1_000_000 + 500;
    bench.advance(1_000);
    bench.send(1, 1);
    bench.settle_down();
    bench.step(Input::IdleProducers { producers: vec![producer(1), producer(2)], before_ms });
    bench.settle_down();
    assert_eq!(bench.model.producers.keys().collect::<Vec<_>>(), [&producer(1)]);
}
