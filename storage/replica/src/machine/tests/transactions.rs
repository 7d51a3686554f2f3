//! Transactions: all of them or nothing, and once.

use baton_domain::{DestinationKind, Settings, Subscription, TransactionSend};

use super::*;

const ORDERS: QueueId = QueueId(1);
const BILLS: QueueId = QueueId(2);
const SESSION: u8 = 9;

fn send(name: &str, texts: &[&str]) -> TransactionSend {
    TransactionSend { queue: queue(name), messages: texts.iter().map(|text| message(text)).collect() }
}

fn transact(number: u64, sends: Vec<TransactionSend>, taken: &[(QueueId, Vec<MessageId>)]) -> EngineOp {
    EngineOp::Transact { session: session_id(SESSION), number, sends, settles: taken.to_vec() }
}

/// Queues `orders`, with messages a, b and c, and `bills`, and a session.
fn ready() -> (Bench, Epoch, Vec<MessageId>) {
    let (mut bench, epoch) = Bench::running();
    let create = |name: &str| EngineOp::CreateQueue { name: queue(name) };
    let open = EngineOp::OpenProducer { producer: producer(1), queue: queue("orders") };
    let messages = ["a", "b", "c"].map(message).to_vec();
    let orders =
        EngineOp::Send { registration: 0, producer: producer(1), first: 1, messages: messages.into(), dispatch: false };
    bench.ops(epoch, vec![create("orders"), create("bills"), open, orders]);
    let session = EngineOp::OpenSession { session: session_id(SESSION) };
    assert!(matches!(bench.ops(epoch, vec![session])[0], OpResult::Producer { next: 1, .. }));
    let ids = bench.messages(ORDERS).into_iter().map(|(id, _)| id).collect();
    (bench, epoch, ids)
}

fn texts(bench: &Bench, id: QueueId) -> Vec<String> {
    bench.messages(id).into_iter().map(|(_, text)| text).collect()
}

#[test]
fn a_transaction_takes_and_sends_as_one_and_once() {
    let (mut bench, epoch, ids) = ready();
    let one = transact(1, vec![send("bills", &["A", "B"])], &[(ORDERS, ids[..2].to_vec())]);
    let results = bench.ops(epoch, vec![one.clone()]);
    let OpResult::Changed(changes) = &results[0] else { panic!("{results:?}") };
    assert_eq!(changes.removed, [(ORDERS, ids[0]), (ORDERS, ids[1])]);
    assert_eq!((changes.arrived[0].queue, changes.arrived[0].messages), (BILLS, 2));
    assert_eq!(
        (texts(&bench, ORDERS), texts(&bench, BILLS)),
        (vec!["c".to_owned()], vec!["A".to_owned(), "B".to_owned()])
    );
    let before = bench.memory.without_hash();
    assert_eq!(bench.ops(epoch, vec![one]), [OpResult::Done], "its answer was lost");
    assert_eq!(bench.memory.without_hash(), before);
    let session = EngineOp::OpenSession { session: session_id(SESSION) };
    assert!(matches!(bench.ops(epoch, vec![session])[0], OpResult::Producer { next: 2, .. }));
}

/// Two consumers had the message, for one was thought dead: one of them wins, and the other did nothing.
#[test]
fn a_transaction_of_which_one_part_cannot_be_done_does_nothing() {
    let (mut bench, epoch, ids) = ready();
    bench.ops(epoch, vec![EngineOp::Settle { queue: ORDERS, messages: vec![ids[0]], heads: vec![] }]);
    for (what, sends, taken) in [
        ("taken by another", vec![send("bills", &["A"])], vec![(ORDERS, ids.clone())]),
        ("no such queue", vec![send("bills", &["A"]), send("none", &["x"])], vec![(ORDERS, vec![ids[1]])]),
        ("twice", vec![], vec![(ORDERS, vec![ids[1], ids[1]])]),
    ] {
        let before = bench.memory.without_hash();
        let results = bench.ops(epoch, vec![transact(1, sends, &taken)]);
        let refused = matches!(results[0], OpResult::Refused { .. } | OpResult::Gone { .. });
        assert!(refused, "{what}: {results:?}");
        assert_eq!(bench.memory.without_hash(), before, "{what}");
    }
    let results = bench.ops(epoch, vec![transact(1, vec![send("bills", &["B"])], &[(ORDERS, vec![ids[1]])])]);
    assert!(matches!(results[0], OpResult::Changed(_)), "the number is still free");
}

#[test]
fn numbers_and_sessions_are_judged_as_producers_are() {
    let (mut bench, epoch, _) = ready();
    let results = bench.ops(epoch, vec![transact(3, vec![], &[]), transact(0, vec![], &[])]);
    assert_eq!(results, [OpResult::Gap { expected: 1 }, OpResult::Gap { expected: 1 }]);
    let stranger = EngineOp::Transact { session: session_id(4), number: 1, sends: vec![], settles: vec![] };
    let no_session = EngineOp::Transact { session: session_id(1), number: 4, sends: vec![], settles: vec![] };
    let results = bench.ops(epoch, vec![stranger, no_session]);
    assert_eq!(results, [OpResult::ProducerUnknown, OpResult::ProducerUnknown]);
    let forget = EngineOp::ForgetProducers { producers: vec![producer(SESSION)] };
    let results = bench.ops(epoch, vec![forget, transact(1, vec![], &[])]);
    assert_eq!(results[1], OpResult::ProducerUnknown);
}

#[test]
fn a_transaction_publishes_delays_and_expires_as_producers_do() {
    let (mut bench, epoch, _) = ready();
    let create =
        |name: &str, kind| EngineOp::Create { name: queue(name), kind, settings: Settings::default(), owner: None };
    bench.ops(epoch, vec![create("news", DestinationKind::TopicSpace)]);
    let space = bench.machine.names[&queue("news")];
    let wants = Subscription { space, topic: "a".to_owned(), selector: String::new() };
    bench.ops(epoch, vec![create("readers", DestinationKind::Subscription(wants))]);
    let readers = bench.machine.names[&queue("readers")];
    let published = TransactionSend {
        queue: queue("news"),
        messages: vec![message("b").with_topic("b"), message("a").with_topic("a").with_priority(9)].into(),
    };
    let later = TransactionSend {
        queue: queue("bills"),
        messages: vec![message("later").with_delay(std::time::Duration::from_secs(1)), message("now")].into(),
    };
    let results = bench.ops(epoch, vec![transact(1, vec![published, later], &[])]);
    let OpResult::Changed(changes) = &results[0] else { panic!("{results:?}") };
    let arrived: Vec<_> = changes.arrived.iter().map(|arrival| (arrival.queue, arrival.messages)).collect();
    assert_eq!(arrived, [(readers, 1), (BILLS, 1)]);
    assert_eq!(changes.arrived[0].last.lane().priority(), 9);
    assert_eq!(changes.delayed, [(BILLS, 1)]);
    assert!(changes.due_ms > 0 && bench.queue(BILLS).delayed == 1);
    let wrong = TransactionSend { queue: queue("news"), messages: vec![message("no topic")].into() };
    let into = TransactionSend { queue: queue("readers"), messages: vec![message("x")].into() };
    for sends in [vec![wrong], vec![into]] {
        assert!(matches!(bench.ops(epoch, vec![transact(2, sends, &[])])[0], OpResult::Refused { .. }));
    }
}

fn prepare(number: u64, name: &str, sends: Vec<TransactionSend>, settles: Vec<(QueueId, Vec<MessageId>)>) -> EngineOp {
    EngineOp::Prepare {
        name: baton_domain::TransactionName::new(name).unwrap(),
        session: session_id(9),
        number,
        sends,
        settles,
    }
}

fn resolve(name: &str, commit: bool) -> EngineOp {
    EngineOp::Resolve { name: baton_domain::TransactionName::new(name).unwrap(), commit }
}
/// Prepares that message a makes a bill.
fn prepared() -> (Bench, Epoch, Vec<MessageId>, EngineOp) {
    let (mut bench, epoch, ids) = ready();
    let op = prepare(1, "x/1", vec![send("bills", &["A"])], vec![(ORDERS, vec![ids[0]])]);
    assert_eq!(bench.ops(epoch, vec![op.clone()]), [OpResult::Done]);
    (bench, epoch, ids, op)
}

#[test]
fn a_prepared_transaction_does_nothing_until_it_is_committed_and_then_all() {
    let (mut bench, epoch, ids, op) = prepared();
    assert_eq!((texts(&bench, ORDERS).len(), texts(&bench, BILLS).len()), (3, 0));
    assert_eq!(bench.ops(epoch, vec![op.clone()]), [OpResult::Done], "its answer was lost");
    let mut other = prepare(2, "x/1", vec![], vec![]);
    assert!(matches!(bench.ops(epoch, vec![other])[0], OpResult::Refused { .. }), "the name is taken");
    let results = bench.ops(epoch, vec![resolve("x/1", true)]);
    let OpResult::Changed(changes) = &results[0] else { panic!("{results:?}") };
    assert_eq!((&changes.removed[..], changes.arrived[0].queue), (&[(ORDERS, ids[0])][..], BILLS));
    assert_eq!((texts(&bench, ORDERS), texts(&bench, BILLS)), (vec!["b".into(), "c".into()], vec!["A".to_owned()]));
    assert_eq!(bench.ops(epoch, vec![resolve("x/1", true)]), [OpResult::NoSuchTransaction]);
    let decided = bench.ops(epoch, vec![op]);
    assert!(matches!(&decided[0], OpResult::Refused { why } if why.contains("decided already")), "{decided:?}");
    assert!(bench.memory.scan(Family::InDoubt).unwrap().is_empty());
    other = prepare(2, "x/1", vec![send("bills", &["B"])], vec![]);
    assert_eq!(bench.ops(epoch, vec![other]), [OpResult::Done], "the name is free");
}

#[test]
fn a_prepared_transaction_that_is_rolled_back_did_nothing() {
    let (mut bench, epoch, _, _) = prepared();
    assert_eq!(bench.ops(epoch, vec![resolve("x/1", false)]), [OpResult::Done]);
    assert_eq!((texts(&bench, ORDERS).len(), texts(&bench, BILLS).len()), (3, 0));
    assert!(bench.memory.scan(Family::InDoubt).unwrap().is_empty());
}

#[test]
fn what_cannot_be_done_is_not_prepared_and_what_is_prepared_is_known_after_a_restart() {
    let (mut bench, epoch, ids, _) = prepared();
    bench.ops(epoch, vec![EngineOp::Settle { queue: ORDERS, messages: vec![ids[1]], heads: vec![] }]);
    let gone = prepare(2, "x/2", vec![], vec![(ORDERS, vec![ids[1]])]);
    let nowhere = prepare(2, "x/2", vec![send("none", &["A"])], vec![]);
    for op in [gone, nowhere] {
        assert!(matches!(bench.ops(epoch, vec![op])[0], OpResult::Refused { .. } | OpResult::Gone { .. }));
    }
    bench.machine = Machine::load(&bench.memory).unwrap();
    assert!(matches!(bench.ops(epoch, vec![resolve("x/1", true)])[0], OpResult::Changed(_)));
    assert_eq!(texts(&bench, BILLS), ["A"]);
}
