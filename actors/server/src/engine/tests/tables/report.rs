//! The report of consumers: how long each has settled nothing, and which are slow.

use baton_client::protocol::ConsumerStatus;
use baton_domain::{Settings, TransactionSend};

use super::*;

/// The default of `slow_consumer_ms`.
const SLOW_MS: u64 = 10_000;

fn consumers(bench: &mut Bench) -> Vec<ConsumerStatus> {
    let EngineReply::Consumers(all) = bench.call(EngineRequest::ListConsumers { queue: None }) else { panic!() };
    all
}

fn only(bench: &mut Bench) -> ConsumerStatus {
    let mut all = consumers(bench);
    assert_eq!(all.len(), 1);
    all.remove(0)
}

fn slow_of_queue(bench: &mut Bench) -> u64 {
    let EngineReply::Queues(queues) = bench.call(EngineRequest::ListQueues) else { panic!() };
    queues[0].slow_consumers
}

/// Consumer 1 of `q` with this credit, and so many messages.
fn with(credit: u32, messages: u64) -> (Bench, Vec<MessageId>) {
    let mut bench = started();
    bench.attach(1, "q", credit, &[]);
    bench.advance(5_000);
    bench.send(1, messages);
    bench.settle_down();
    let held = ids(&bench.take());
    (bench, held)
}

#[test]
fn it_tells_for_how_long_a_consumer_has_held_messages_without_settling_any() {
    let (mut bench, held) = with(2, 2);
    let status = only(&mut bench);
    assert_eq!((status.consumer, status.queue, status.client.as_str()), (consumer(1), queue("q"), "client"));
    assert_eq!((status.credit, status.held, status.acknowledged, status.unsettled_ms), (2, 2, 0, 0));
    bench.advance(300);
    bench.send(3, 1);
    bench.settle_down();
    assert_eq!(only(&mut bench).unsettled_ms, 300);
    bench.acknowledge(1, &held[..1]);
    bench.advance(40);
    bench.take();
    let status = only(&mut bench);
    assert_eq!(
        (status.held, status.acknowledged, status.unsettled_ms),
        (2, 1, 40),
        "what it gets meanwhile changes nothing"
    );
    let (acknowledged, refused, rejected) = (Vec::new(), Vec::new(), vec![(held[1], "no".to_owned())]);
    bench.call(EngineRequest::Settle {
        consumer: consumer(1),
        acknowledged,
        refused,
        rejected,
        released: Vec::new(),
        received: None,
    });
    bench.advance(7);
    let status = only(&mut bench);
    assert_eq!((status.held, status.acknowledged, status.unsettled_ms), (1, 1, 7), "a rejection settles too");
    bench.acknowledge(1, &held[..0]);
    assert_eq!(only(&mut bench).unsettled_ms, 7, "nothing is no settlement");
    let EngineReply::Consumers(others) = bench.call(EngineRequest::ListConsumers { queue: Some(queue("q")) }) else {
        panic!()
    };
    assert_eq!(others.len(), 1);
    let none = EngineRequest::ListConsumers { queue: Some(queue("none")) };
    assert_eq!(bench.call(none), EngineReply::Error(EngineError::NoSuchQueue(queue("none"))));
}

#[test]
fn a_consumer_that_holds_nothing_has_nothing_to_settle() {
    let (mut bench, held) = with(2, 1);
    bench.acknowledge(1, &held);
    bench.advance(SLOW_MS * 2);
    let status = only(&mut bench);
    assert_eq!((status.held, status.acknowledged, status.unsettled_ms, status.slow), (0, 1, 0, false));
    bench.send(2, 1);
    bench.settle_down();
    bench.take();
    bench.advance(3);
    assert_eq!(only(&mut bench).unsettled_ms, 3, "counted from when it got the message");
}

#[test]
fn it_is_slow_when_it_holds_all_its_credit_for_too_long_and_messages_wait() {
    let (mut bench, held) = with(2, 3);
    bench.advance(SLOW_MS);
    assert_eq!((only(&mut bench).slow, slow_of_queue(&mut bench)), (false, 0), "not yet");
    bench.advance(1);
    assert_eq!((only(&mut bench).slow, slow_of_queue(&mut bench)), (true, 1));
    bench.acknowledge(1, &held[..1]);
    bench.take();
    assert_eq!((only(&mut bench).slow, slow_of_queue(&mut bench)), (false, 0), "it settled one");
    bench.advance(SLOW_MS + 1);
    assert!(!only(&mut bench).slow, "nothing waits for it");
    bench.send(4, 1);
    bench.settle_down();
    assert!(only(&mut bench).slow);
    bench.call(EngineRequest::Credit { consumer: consumer(1), credit: 9, received: None });
    bench.take();
    assert!(!only(&mut bench).slow, "it has credit left");
    let (mut bench, _) = with(2, 3);
    bench.advance(SLOW_MS + 1);
    let settings = Box::new(Settings { receive_paused: true, ..Settings::default() });
    bench.call(EngineRequest::Configure { name: queue("q"), patch: Box::new((*settings).into()), if_version: None });
    assert_eq!((only(&mut bench).slow, slow_of_queue(&mut bench)), (false, 0), "they wait for the operator");
}

/// It counts afresh: nobody knows what the engine before saw.
#[test]
fn the_next_engine_reports_it_too_once_it_has_waited_as_long() {
    let (mut before, held) = with(1, 2);
    before.advance(SLOW_MS + 1);
    assert!(only(&mut before).slow);
    let mut bench = Bench::over(before.model, EngineConfig::default());
    assert!(consumers(&mut bench).is_empty(), "it has not attached");
    bench.attach(1, "q", 1, &held);
    let status = only(&mut bench);
    assert_eq!((status.held, status.unsettled_ms, status.slow), (1, 0, false));
    bench.advance(SLOW_MS + 1);
    assert!(only(&mut bench).slow);
    bench.attach(1, "q", 1, &held);
    assert!(only(&mut bench).slow, "attaching again settles nothing");
    bench.step(Input::PeerDown { name: "client".to_owned(), connection: 1 });
    assert!(only(&mut bench).lost);
}

#[test]
fn what_a_transaction_acknowledges_counts_unless_it_is_refused() {
    let (mut bench, held) = with(2, 3);
    bench.call(EngineRequest::OpenSession { session: session(9) });
    bench.advance(50);
    let transact = |to: &str, held: &[MessageId]| EngineRequest::Transact {
        session: session(9),
        number: 1,
        sends: vec![TransactionSend { queue: queue(to), messages: vec![Message::new("a")].into() }],
        acknowledged: vec![(consumer(1), held.to_vec())],
    };
    assert!(matches!(bench.call(transact("none", &held[..1])), EngineReply::Error(EngineError::Refused(_))));
    assert_eq!(only(&mut bench).acknowledged, 0);
    assert_eq!(bench.call(transact("q", &held[..1])), EngineReply::Done);
    let status = only(&mut bench);
    assert_eq!((status.acknowledged, status.unsettled_ms), (1, 0));
}

#[test]
fn consumers_are_listed_by_queue_in_the_order_in_which_they_attached() {
    let mut bench = started();
    bench.call(EngineRequest::CreateQueue { name: queue("a") });
    for (number, name) in [(7, "q"), (3, "q"), (5, "a")] {
        bench.attach(number, name, 1, &[]);
    }
    bench.send(1, 1);
    bench.settle_down();
    bench.take();
    let order: Vec<_> = consumers(&mut bench).into_iter().map(|status| status.consumer).collect();
    assert_eq!(order, [5, 7, 3].map(consumer));
}
