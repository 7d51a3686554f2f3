//! Consumers: credit, settlements, links that drop, what a new engine does for those of the old one.

use baton_client::protocol::{Kind, QueueStatus};
use baton_domain::{Reliability, Settings, TransactionSend};

use super::*;

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
    assert_eq!(
        bench.call(EngineRequest::Credit { consumer: consumer(1), credit: 4, received: None }),
        EngineReply::Done
    );
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
    let settle = EngineRequest::Settle {
        consumer: consumer(1),
        acknowledged: Vec::new(),
        refused,
        rejected: Vec::new(),
        released: Vec::new(),
        received: None,
    };
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

/// Its consumer is gone before the transaction that took it is known not to be done: a user had it all the same.
#[test]
fn a_message_that_a_transaction_leaves_behind_is_flagged_for_the_next_consumer() {
    let mut bench = started();
    bench.attach(1, "q", 1, &[]);
    bench.send(1, 1);
    bench.settle_down();
    let held = ids(&bench.take());
    bench.call(EngineRequest::OpenSession { session: session(9) });
    let sends = vec![TransactionSend { queue: queue("none"), messages: vec![text("a")].into() }];
    let acknowledged = vec![(consumer(1), held.clone())];
    bench.ask(EngineRequest::Transact { session: session(9), number: 1, sends, acknowledged });
    bench.call(EngineRequest::Detach { consumer: consumer(1), untouched: Vec::new() });
    bench.attach(2, "q", 9, &[]);
    let again = deliveries(&bench.take());
    assert_eq!((again[0].id, again[0].redelivered), (held[0], true));
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
    let detach = EngineRequest::Credit { consumer: consumer(1), credit: 0, received: None };
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
    bench.call(EngineRequest::Credit { consumer: consumer(1), credit: 9, received: None });
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
        let (depth, in_flight, delayed, consumers, slow_consumers) = (0, 0, 0, 0, 0);
        let name = queue("q");
        let (kind, settings, temporary) = (Kind::Queue, Settings::default(), false);
        let status = QueueStatus {
            name,
            depth,
            nonpersistent: 0,
            dropped: 0,
            in_flight,
            delayed,
            kept: 0,
            version: 0,
            consumers,
            slow_consumers,
            kind,
            settings,
            temporary,
        };
        EngineReply::Queues(vec![status])
    });
}

#[test]
fn a_queue_with_messages_or_consumers_is_deleted_only_if_that_is_meant() {
    let mut bench = started();
    let delete = |if_empty, if_unused| EngineRequest::Delete { name: queue("q"), if_empty, if_unused };
    let not_empty = |messages| EngineReply::Error(EngineError::QueueNotEmpty { queue: queue("q"), messages });
    bench.attach(1, "q", 0, &[]);
    let in_use = EngineReply::Error(EngineError::QueueInUse { queue: queue("q"), consumers: 1 });
    assert_eq!(bench.call(delete(true, true)), in_use);
    // What is in memory alone is lost with the queue, too.
    let post = |reliability| EngineRequest::Post { queue: queue("q"), reliability, messages: vec![text("a")].into() };
    assert_eq!(bench.call(post(Reliability::ExpressNonpersistent)), EngineReply::Posted);
    assert_eq!(bench.call(delete(true, false)), not_empty(1));
    // A message whose entry is on its way, and which the engine does not count yet.
    bench.send(1, 1);
    bench.step(Input::Flush);
    let asked = bench.ask(delete(false, false));
    bench.settle_down();
    assert_eq!(bench.replies[&asked], EngineReply::Deleted { messages: 2, consumers: 1 });
    assert_eq!(bench.call(delete(true, true)), EngineReply::Error(EngineError::NoSuchQueue(queue("q"))));
}

#[test]
fn a_consumer_that_attaches_before_its_link_is_known_is_served_once_it_is() {
    let mut bench = started();
    bench.send(1, 1);
    let request = RequestId(1_000);
    let (queue, credit, unsettled) = (queue("q"), 9, Vec::new());
    let body = EngineRequest::Attach {
        consumer: consumer(1),
        queue,
        credit,
        unsettled,
        received: 0,
        groups: Vec::new(),
        selector: String::new(),
        temporary: None,
    };
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
