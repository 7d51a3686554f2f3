//! The engine's rules, one by one.

use std::time::Duration;

use baton_storage::{Command, CommitError, EngineOp, Message, MessageId};

use super::bench::{Bench, bodies, consumer, producer, queue};
use crate::engine::{EngineConfig, Input, RequestId};
use crate::protocol::{ClientReply, Delivery, EngineError, EngineReply, EngineRequest, EngineState};

fn deliveries(taken: &[(baton_storage::ConsumerId, Delivery)]) -> Vec<Delivery> {
    taken.iter().map(|(_, one)| one.clone()).collect()
}

fn ids(taken: &[(baton_storage::ConsumerId, Delivery)]) -> Vec<MessageId> {
    taken.iter().map(|(_, one)| one.id).collect()
}

fn started() -> Bench {
    let mut bench = Bench::new(EngineConfig::default());
    bench.open("q");
    bench
}

fn is_not_started(error: Option<EngineError>) -> bool {
    matches!(error, Some(EngineError::NotStarted { .. }))
}

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
fn fresh_messages_for_a_waiting_consumer_are_dispatched_by_their_own_entry() {
    let mut bench = started();
    bench.attach(1, "q", 100, &[]);
    bench.send(1, 1);
    bench.step(Input::Flush);
    assert_eq!(bench.commits.len(), 1);
    let Command::Engine { ops, .. } = &bench.commits[0].1 else { panic!() };
    assert!(matches!(ops[..], [EngineOp::Send { dispatch: true, .. }]), "{ops:?}");
    bench.commit_one();
    bench.step(Input::Flush);
    assert_eq!(bench.deliveries.len(), 1);
    assert!(bench.commits.is_empty(), "no second entry was needed");
}

#[test]
fn nothing_is_delivered_before_its_dispatch_is_committed() {
    let mut bench = started();
    bench.send(1, 3);
    bench.settle_down();
    let request = EngineRequest::Attach { consumer: consumer(1), queue: queue("q"), credit: 9, unsettled: Vec::new() };
    bench.ask(request);
    bench.step(Input::Flush);
    bench.commit_one();
    bench.step(Input::Flush);
    assert!(bench.read_one());
    bench.step(Input::Flush);
    assert!(bench.deliveries.is_empty());
    let Command::Engine { ops, .. } = &bench.commits[0].1 else { panic!() };
    assert!(matches!(ops[..], [EngineOp::Dispatch { .. }]), "{ops:?}");
    bench.settle_down();
    assert_eq!(bodies(&deliveries(&bench.take())), ["1", "2", "3"]);
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
    let open = |known, number| EngineRequest::OpenProducer { producer: producer(number), queue: queue("q"), known };
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
    let large = EngineRequest::Send { producer: producer(1), first: 1, messages: vec![Message::new("12345678901")] };
    let error = EngineError::MessageTooLarge { size: 11, limit: 10 };
    assert_eq!(bench.call(large), EngineReply::Error(error));
    let more = bench.call(EngineRequest::CreateQueue { name: queue("r") });
    assert!(matches!(more, EngineReply::Error(EngineError::BadRequest(_))));
    bench.send(1, 1);
    bench.send(2, 1);
    let third = bench.send(3, 1);
    assert_eq!(bench.error_of(third), Some(EngineError::Busy));
    let none = EngineRequest::OpenProducer { producer: producer(2), queue: queue("none"), known: false };
    bench.settle_down();
    assert_eq!(bench.call(none), EngineReply::Error(EngineError::NoSuchQueue(queue("none"))));
}

#[test]
fn credit_bounds_what_a_consumer_holds_and_settling_frees_it() {
    let mut bench = started();
    bench.attach(1, "q", 2, &[]);
    bench.send(1, 5);
    bench.settle_down();
    let first = bench.take();
    assert_eq!(bodies(&deliveries(&first)), ["1", "2"]);
    assert_eq!(bench.acknowledge(1, &ids(&first)[..1]), EngineReply::Done);
    assert_eq!(bodies(&deliveries(&bench.take())), ["3"]);
    assert_eq!(bench.call(EngineRequest::Credit { consumer: consumer(1), credit: 4 }), EngineReply::Done);
    assert_eq!(bodies(&deliveries(&bench.take())), ["4", "5"]);
    let EngineReply::Queues(queues) = bench.call(EngineRequest::ListQueues) else { panic!() };
    assert_eq!((queues[0].depth, queues[0].in_flight, queues[0].consumers), (4, 4, 1));
}

#[test]
fn consumers_of_a_queue_share_it() {
    let mut bench = started();
    bench.attach(1, "q", 100, &[]);
    bench.attach(2, "q", 100, &[]);
    bench.send(1, 100);
    bench.settle_down();
    let taken = bench.take();
    let share = taken.iter().filter(|(to, _)| *to == consumer(1)).count();
    assert_eq!((taken.len(), share), (100, 50));
}

#[test]
fn a_refused_message_comes_back_in_front_with_its_count() {
    let mut bench = started();
    bench.attach(1, "q", 2, &[]);
    bench.send(1, 4);
    bench.settle_down();
    let taken = bench.take();
    let refused = vec![taken[0].1.id];
    let settle = EngineRequest::Settle { consumer: consumer(1), acknowledged: Vec::new(), refused };
    assert_eq!(bench.call(settle), EngineReply::Done);
    assert_eq!(bodies(&deliveries(&bench.take())), ["3"], "the credit was free before the count was committed");
    bench.acknowledge(1, &[taken[1].1.id]);
    let again = deliveries(&bench.take());
    assert_eq!(bodies(&again), ["1"]);
    assert_eq!((again[0].redeliveries, again[0].redelivered), (1, true));
}

#[test]
fn what_a_leaving_consumer_never_touched_is_not_counted() {
    let mut bench = started();
    bench.attach(1, "q", 2, &[]);
    bench.send(1, 2);
    bench.settle_down();
    let taken = ids(&bench.take());
    let detach = EngineRequest::Detach { consumer: consumer(1), untouched: vec![taken[1]] };
    assert_eq!(bench.call(detach.clone()), EngineReply::Done);
    assert_eq!(bench.call(detach), EngineReply::Done, "again");
    bench.attach(2, "q", 9, &[]);
    let again: Vec<_> =
        deliveries(&bench.take()).iter().map(|one| (one.id, one.redeliveries, one.redelivered)).collect();
    assert_eq!(again, [(taken[0], 1, true), (taken[1], 0, false)]);
}

#[test]
fn a_consumer_that_lost_its_link_keeps_its_messages_for_a_grace() {
    for (ms, back) in [(999, true), (1_000, false)] {
        let mut bench = started();
        bench.attach(1, "q", 1, &[]);
        bench.attach(2, "q", 0, &[]);
        bench.send(1, 1);
        bench.settle_down();
        let taken = ids(&bench.take());
        bench.step(Input::PeerDown { name: "client".to_owned(), connection: 7 });
        assert_eq!(bench.state.deadline().map(|due| due.since(bench.now) > Duration::from_secs(2)), Some(true));
        bench.step(Input::PeerDown { name: "client".to_owned(), connection: 1 });
        bench.attach(2, "q", 9, &[]);
        bench.advance(ms);
        bench.settle_down();
        assert_eq!(bench.take().len(), usize::from(!back), "after {ms} ms");
        if back {
            bench.attach(1, "q", 1, &taken);
            bench.advance(5_000);
            bench.settle_down();
            assert!(bench.take().is_empty(), "withheld");
            assert_eq!(bench.acknowledge(1, &taken), EngineReply::Done);
        } else {
            let late = bench.acknowledge(1, &taken);
            assert_eq!(late, EngineReply::Error(EngineError::ConsumerUnknown));
        }
    }
}

#[test]
fn a_delivery_that_did_not_arrive_goes_out_again_after_the_consumer_attached_again() {
    let mut bench = started();
    bench.attach(1, "q", 9, &[]);
    bench.send(1, 1);
    bench.settle_down();
    let (call, _, lost) = bench.deliveries.pop_front().unwrap();
    bench.attach(1, "q", 9, &[]);
    assert!(bench.deliveries.is_empty(), "it may still arrive");
    bench.step(Input::Delivered { call, answer: None });
    bench.settle_down();
    let again = deliveries(&bench.take());
    assert_eq!((again[0].id, again[0].redelivered), (lost[0].id, true));
}

#[test]
fn a_client_that_does_not_know_the_consumer_detaches_it() {
    for answer in [ClientReply::ConsumerUnknown, ClientReply::Stale] {
        let mut bench = started();
        bench.attach(1, "q", 9, &[]);
        bench.send(1, 1);
        bench.settle_down();
        let (call, ..) = bench.deliveries.pop_front().unwrap();
        bench.step(Input::Delivered { call, answer: Some(answer) });
        bench.settle_down();
        assert!(bench.model.consumers.is_empty());
        bench.attach(2, "q", 9, &[]);
        assert_eq!(bench.take().len(), 1);
    }
}

/// What the engine before may have delivered: held for its consumers, flagged for others.
#[test]
fn a_new_engine_waits_for_former_consumers_and_flags_what_they_may_have_seen() {
    let mut before = started();
    before.attach(1, "q", 3, &[]);
    before.send(1, 3);
    before.settle_down();
    let seen = ids(&before.take());
    before.attach(1, "q", 0, &seen);
    let detach = EngineRequest::Credit { consumer: consumer(1), credit: 0 };
    before.call(detach);
    before.send(4, 2);
    before.settle_down();

    let mut bench = Bench::over(before.model.clone(), EngineConfig::default());
    bench.attach(2, "q", 9, &[]);
    assert!(bench.take().is_empty(), "consumer 1 is awaited");
    bench.attach(1, "q", 0, &seen[..1]);
    let flags: Vec<_> = deliveries(&bench.take()).iter().map(|one| (one.id, one.redelivered)).collect();
    assert_eq!((flags[0], flags[1]), ((seen[1], true), (seen[2], true)));
    assert_eq!(flags[2..].iter().map(|flag| flag.1).collect::<Vec<_>>(), [false, false]);

    let mut bench = Bench::over(before.model, EngineConfig::default());
    bench.attach(2, "q", 9, &[]);
    bench.advance(999);
    bench.settle_down();
    assert!(bench.take().is_empty());
    bench.advance(1);
    bench.settle_down();
    assert_eq!(bench.take().len(), 5);
    assert_eq!(bench.model.consumers.keys().collect::<Vec<_>>(), [&consumer(2)]);
}

#[test]
fn an_acknowledgement_of_what_an_earlier_engine_delivered_counts() {
    let mut before = started();
    before.attach(1, "q", 9, &[]);
    before.send(1, 2);
    before.settle_down();
    let seen = ids(&before.take());
    let mut bench = Bench::over(before.model, EngineConfig::default());
    assert_eq!(bench.acknowledge(1, &seen), EngineReply::Error(EngineError::ConsumerUnknown));
    bench.attach(1, "q", 0, &[]);
    assert_eq!(bench.acknowledge(1, &seen), EngineReply::Done);
    assert!(bench.model.queues.values().all(|queue| queue.messages.is_empty()));
    bench.call(EngineRequest::Credit { consumer: consumer(1), credit: 9 });
    assert!(bench.take().is_empty());
}

#[test]
fn a_deleted_queue_takes_its_consumers_and_producers_with_it() {
    let mut bench = started();
    bench.attach(1, "q", 9, &[]);
    bench.send(1, 2);
    bench.settle_down();
    let taken = ids(&bench.take());
    assert_eq!(bench.call(EngineRequest::DeleteQueue { name: queue("q") }), EngineReply::Done);
    assert_eq!(bench.acknowledge(1, &taken), EngineReply::Error(EngineError::ConsumerUnknown));
    let send = bench.send(3, 1);
    bench.settle_down();
    assert_eq!(bench.error_of(send), Some(EngineError::ProducerUnknown));
    let again = EngineReply::Error(EngineError::NoSuchQueue(queue("q")));
    assert_eq!(bench.call(EngineRequest::DeleteQueue { name: queue("q") }), again);
    assert_eq!(bench.attach(1, "q", 9, &[]), again);
    bench.open("q");
    assert_eq!(bench.call(EngineRequest::ListQueues), {
        let (depth, in_flight, consumers) = (0, 0, 0);
        EngineReply::Queues(vec![crate::protocol::QueueStatus { name: queue("q"), depth, in_flight, consumers }])
    });
}

/// Invariant 2.
#[test]
fn nothing_leaves_while_the_lease_does_not_hold() {
    let mut bench = started();
    bench.attach(1, "q", 9, &[]);
    bench.lease_until = bench.now;
    let request = bench.send(1, 1);
    bench.settle_down();
    assert!(bench.deliveries.is_empty() && !bench.replies.contains_key(&request));
    bench.now = bench.now + Duration::from_millis(100);
    bench.lease_until = bench.now + Duration::from_millis(100);
    bench.step(Input::Tick);
    assert_eq!((bench.deliveries.len(), bench.replies.contains_key(&request)), (1, true));
}

/// Invariant 2.
#[test]
fn what_was_decided_before_a_pause_leaves_only_under_a_renewed_lease() {
    let mut bench = started();
    bench.attach(1, "q", 9, &[]);
    let lease_until = bench.now + Duration::from_secs(10);
    bench.lease_until = bench.now;
    bench.send(1, 1);
    bench.settle_down();
    // The lease of the moment of the decision would still hold by the clock, but nobody renewed it since.
    bench.now = bench.now + Duration::from_millis(300);
    let mut bench_lease = bench.lease_until;
    std::mem::swap(&mut bench_lease, &mut bench.lease_until);
    for (until, leaves) in [(bench_lease, 0), (lease_until, 1)] {
        bench.lease_until = until;
        bench.release();
        assert_eq!(bench.deliveries.len(), leaves);
    }
}

/// Invariant 2.
#[test]
fn a_lease_that_does_not_come_back_stops_the_engine_at_once() {
    let mut bench = started();
    bench.attach(1, "q", 9, &[]);
    bench.lease_until = bench.now;
    let committed = bench.send(1, 1);
    bench.settle_down();
    let on_the_way = bench.send(2, 1);
    bench.step(Input::Flush);
    bench.advance(EngineConfig::default().lease_wait_ms);
    assert_eq!(bench.state.view().state, EngineState::Standby);
    for request in [committed, on_the_way] {
        assert_eq!(bench.error_of(request), Some(EngineError::Unknown));
    }
    bench.lease_until = baton_storage::clock::BootTime(u64::MAX);
    bench.settle_down();
    assert!(bench.deliveries.is_empty(), "nothing leaves after the stop");
}

/// Invariants 1 and 2.
#[test]
fn a_fenced_write_stops_the_engine_and_only_a_newer_activation_starts_it() {
    let mut bench = started();
    let epoch = bench.model.epoch;
    let newer = bench.model.activate();
    let request = bench.send(1, 1);
    bench.settle_down();
    assert!(is_not_started(bench.error_of(request)), "nothing was written");
    for old in [epoch, epoch] {
        bench.step(Input::Start { epoch: old });
        assert_eq!(bench.state.view().state, EngineState::Standby);
    }
    bench.step(Input::Start { epoch: newer });
    assert_eq!(bench.state.view().state, EngineState::Starting);
}

#[test]
fn a_failed_commit_answers_what_is_known() {
    let failures = [
        (CommitError::NotLeader { leader: None }, true),
        (CommitError::Unknown, false),
        (CommitError::Failed("disk".to_owned()), false),
    ];
    for (error, nothing_written) in failures {
        let mut bench = Bench::new(EngineConfig { entries_in_flight: 2, ..EngineConfig::default() });
        bench.open("q");
        let requests: Vec<RequestId> = (1..=3)
            .map(|first| {
                let request = bench.send(first, 1);
                bench.step(Input::Flush);
                request
            })
            .collect();
        bench.fail_one(error);
        assert_eq!(bench.state.view().state, EngineState::Standby);
        assert_eq!(is_not_started(bench.error_of(requests[0])), nothing_written);
        assert_eq!(bench.error_of(requests[1]), Some(EngineError::Unknown));
        assert!(is_not_started(bench.error_of(requests[2])), "it was not proposed");
        bench.commit_one();
        assert_eq!(bench.error_of(requests[1]), Some(EngineError::Unknown), "a late commit changes nothing");
    }
}

#[test]
fn a_drain_confirms_what_is_on_its_way_and_turns_away_the_rest() {
    let mut bench = Bench::new(EngineConfig { entries_in_flight: 1, ..EngineConfig::default() });
    bench.open("q");
    bench.attach(1, "q", 9, &[]);
    let on_the_way = bench.send(1, 1);
    bench.step(Input::Flush);
    let waiting = bench.send(2, 1);
    bench.step(Input::Stop { drain: true, why: "moved".to_owned() });
    assert_eq!(bench.state.view().state, EngineState::Stopping);
    let late = bench.send(3, 1);
    assert!(is_not_started(bench.error_of(waiting)) && is_not_started(bench.error_of(late)));
    bench.step(Input::Flush);
    assert_eq!(bench.state.view().state, EngineState::Stopping);
    bench.commit_one();
    bench.step(Input::Flush);
    assert_eq!(bench.replies.get(&on_the_way), Some(&EngineReply::Sent { through: 1 }));
    assert_eq!((bench.state.view().state, bench.state.view().why.as_str()), (EngineState::Standby, "moved"));
    assert!(bench.deliveries.is_empty());
}

#[test]
fn a_drain_ends_after_its_time() {
    let mut bench = started();
    let request = bench.send(1, 1);
    bench.step(Input::Flush);
    bench.step(Input::Stop { drain: true, why: "moved".to_owned() });
    assert!(bench.state.deadline().is_some());
    bench.advance(EngineConfig::default().drain_ms);
    assert_eq!(bench.state.view().state, EngineState::Standby);
    assert_eq!(bench.error_of(request), Some(EngineError::Unknown));
}

#[test]
fn a_standby_instance_says_where_the_engine_is() {
    let mut bench = started();
    bench.step(Input::Stop { drain: false, why: "lost".to_owned() });
    let news = crate::protocol::PlacementNews { address: Some("there:1".to_owned()), ..Default::default() };
    bench.step(Input::News(news.clone()));
    assert_eq!(bench.call(EngineRequest::ListQueues), EngineReply::Error(EngineError::NotStarted { news }));
    assert_eq!(bench.state.deadline(), None, "nothing waits on time");
}

#[test]
fn the_loss_of_leadership_stops_only_the_activation_that_it_concerns() {
    let mut bench = started();
    let epoch = bench.model.epoch;
    let earlier = baton_storage::Epoch { index: epoch.index - 1, ..epoch };
    bench.step(Input::LeadershipLost { epoch: earlier, why: "lost".to_owned() });
    assert_eq!(bench.state.view().state, EngineState::Started);
    bench.step(Input::LeadershipLost { epoch, why: "lost".to_owned() });
    assert_eq!(bench.state.view().state, EngineState::Standby);
}

#[test]
fn a_consumer_that_attaches_before_its_link_is_known_is_served_once_it_is() {
    let mut bench = started();
    bench.send(1, 1);
    let request = RequestId(1_000);
    let (queue, credit, unsettled) = (queue("q"), 9, Vec::new());
    let body = EngineRequest::Attach { consumer: consumer(1), queue, credit, unsettled };
    bench.step(Input::Request { request, from: "client".to_owned(), connection: None, body });
    bench.settle_down();
    assert!(bench.deliveries.is_empty());
    bench.step(Input::PeerUp { name: "client".to_owned(), connection: 2 });
    bench.settle_down();
    assert_eq!(bench.take().len(), 1);
    bench.advance(5_000);
    bench.settle_down();
    assert_eq!(bench.model.consumers.len(), 1, "it is not given up");
}

#[test]
fn idle_producers_are_forgotten_unless_they_were_heard_since() {
    let mut bench = started();
    bench.call(EngineRequest::OpenProducer { producer: producer(2), queue: queue("q"), known: false });
    let before_ms = bench.now.0 / 1_000_000 + 500;
    bench.advance(1_000);
    bench.send(1, 1);
    bench.settle_down();
    bench.step(Input::IdleProducers { producers: vec![producer(1), producer(2)], before_ms });
    bench.settle_down();
    assert_eq!(bench.model.producers.keys().collect::<Vec<_>>(), [&producer(1)]);
}

#[test]
fn a_deep_queue_is_read_a_page_at_a_time_within_the_memory_bounds() {
    let config = EngineConfig {
        ready_messages: 64,
        page_messages: 32,
        dispatch_ahead: 16,
        ready_total_bytes: 64 * 1024,
        page_bytes: 4 * 1024,
        ..EngineConfig::default()
    };
    let mut bench = Bench::new(config);
    bench.open("q");
    for batch in 0..50 {
        bench.send(1 + batch * 100, 100);
        bench.settle_down();
    }
    bench.attach(1, "q", 10, &[]);
    let mut received = Vec::new();
    while received.len() < 5_000 {
        let taken = bench.take();
        assert!(!taken.is_empty(), "stuck after {}", received.len());
        received.extend(bodies(&deliveries(&taken)));
        let (ready, returned, held) = bench.state.running().unwrap().queues.values().next().unwrap().sizes();
        assert!(ready <= 64 && returned == 0 && held <= 10, "{ready} ready, {returned} returned, {held} held");
        bench.acknowledge(1, &ids(&taken));
    }
    assert_eq!(received, (1..=5_000).map(|number| number.to_string()).collect::<Vec<_>>());
    let left = bench.model.queues.values().next().unwrap();
    assert!(left.messages.is_empty() && left.head > MessageId::default());
}

#[test]
fn idle_queues_give_their_memory_to_those_that_deliver() {
    let config = EngineConfig {
        ready_messages: 100,
        page_messages: 50,
        page_bytes: 8 * 1024,
        ready_total_bytes: 12 * 1024,
        ..EngineConfig::default()
    };
    let mut bench = Bench::new(config);
    for (at, name) in ["a", "b", "c"].into_iter().enumerate() {
        bench.call(EngineRequest::CreateQueue { name: queue(name) });
        let number = at as u8 + 1;
        bench.call(EngineRequest::OpenProducer { producer: producer(number), queue: queue(name), known: false });
        let messages = (0..100).map(|number| Message::new(number.to_string())).collect();
        bench.call(EngineRequest::Send { producer: producer(number), first: 1, messages });
        bench.attach(number, name, 1, &[]);
    }
    for number in [1, 2, 3] {
        bench.call(EngineRequest::Credit { consumer: consumer(number), credit: 1_000 });
    }
    let mut received = 0;
    while received < 300 {
        let taken = bench.take();
        assert!(!taken.is_empty(), "stuck after {received}");
        received += taken.len();
        assert!(bench.state.running().unwrap().ready_bytes <= 12 * 1024);
    }
}
