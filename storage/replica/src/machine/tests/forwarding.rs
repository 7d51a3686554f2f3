//! What is sent to a queue that forwards: stored in each destination that it names, in the one entry of the send.

use std::time::Duration;

use baton_domain::{Changes, DestinationKind, SessionId, Settings, Subscription, Timer, TimerKind, TransactionSend};

use super::*;

const ORDERS: QueueId = QueueId(1);

fn to(names: &[&str]) -> Settings {
    Settings { forward_to: names.iter().map(|name| queue(name)).collect(), ..Settings::default() }
}

fn open() -> EngineOp {
    EngineOp::OpenProducer { producer: producer(1), queue: queue("orders") }
}

fn send(first: u64, texts: &[&str]) -> EngineOp {
    let messages = texts.iter().map(|text| message(text)).collect();
    EngineOp::Send { registration: 0, producer: producer(1), first, messages, dispatch: false }
}

/// A queue `orders` with producer 1 that forwards to these, and the others as they are named.
fn ready(forward_to: &[&str], others: &[&str]) -> (Bench, Epoch) {
    let (mut bench, epoch) = Bench::running();
    let others = others.iter().map(|name| create(name, Settings::default()));
    bench.ops(epoch, [create("orders", to(forward_to)), open()].into_iter().chain(others).collect());
    (bench, epoch)
}

fn texts(bench: &Bench, name: &str) -> Vec<String> {
    bench.messages(bench.machine.names[&queue(name)]).into_iter().map(|(_, text)| text).collect()
}

fn timers(bench: &Bench) -> Vec<Timer> {
    bench.memory.scan(Family::Timers).unwrap().iter().map(|(key, _)| Timer::from_key(key).unwrap()).collect()
}

#[test]
fn what_is_sent_to_a_queue_that_forwards_is_stored_in_the_other() {
    let (mut bench, epoch) = ready(&["other"], &[]);
    bench.ops(epoch, vec![send(1, &["before"])]);
    assert_eq!(texts(&bench, "orders"), ["before"], "there is no such queue yet");
    bench.ops(epoch, vec![create("other", to(&["orders"]))]);
    let other = bench.machine.names[&queue("other")];
    let results = bench.ops(epoch, vec![send(2, &["after"])]);
    assert!(matches!(results[0], OpResult::Sent { queue, accepted: 1, .. } if queue == other), "one step, no circles");
    assert_eq!(texts(&bench, "other"), ["after"]);
}

/// Two that are there, one that is not, one that is named twice.
#[test]
fn each_destination_that_there_is_has_a_copy_and_the_result_tells_which() {
    let (mut bench, epoch) = ready(&["b", "missing", "c", "b"], &["b", "c"]);
    let [b, c] = ["b", "c"].map(|name| bench.machine.names[&queue(name)]);
    let results = bench.ops(epoch, vec![send(1, &["1", "2"])]);
    let OpResult::Published { duplicates: 0, accepted: 2, first, due_ms: 0, matched } = &results[0] else {
        panic!("{results:?}")
    };
    assert_eq!(*matched, [(b, vec![0, 1]), (c, vec![0, 1])]);
    let ids = |queue| bench.messages(queue).into_iter().map(|(id, _)| id).collect::<Vec<_>>();
    let counted = [0, 1].map(|at| first.after(at, baton_domain::Lane(0)));
    assert_eq!((ids(b), ids(c)), (counted.to_vec(), counted.to_vec()), "ids are as the result counts them");
    assert_eq!([bench.queue(ORDERS), bench.queue(b), bench.queue(c)].map(|state| state.depth()), [0, 2, 2]);
    let results = bench.ops(epoch, vec![send(3, &["3"]), send(4, &["4"])]);
    assert_eq!(results.len(), 2);
    assert_eq!(texts(&bench, "c"), ["1", "2", "3", "4"], "two sends of an entry do not meet");
}

#[test]
fn a_queue_that_names_itself_keeps_a_copy() {
    let (mut bench, epoch) = ready(&["orders", "b"], &["b"]);
    bench.ops(epoch, vec![send(1, &["a"])]);
    assert_eq!((texts(&bench, "orders"), texts(&bench, "b")), (vec!["a".to_owned()], vec!["a".to_owned()]));
}

#[test]
fn what_is_sent_again_is_stored_once_in_each() {
    let (mut bench, epoch) = ready(&["b", "c"], &["b", "c"]);
    bench.ops(epoch, vec![send(1, &["1", "2"])]);
    let results = bench.ops(epoch, vec![send(1, &["1", "2", "3"]), send(5, &["5"])]);
    assert!(matches!(results[0], OpResult::Published { duplicates: 2, accepted: 1, .. }), "{results:?}");
    assert_eq!(results[1], OpResult::Gap { expected: 4 });
    assert_eq!(
        (texts(&bench, "b"), texts(&bench, "c")),
        (texts(&bench, "c"), ["1", "2", "3"].map(String::from).to_vec())
    );
}

#[test]
fn each_copy_has_its_own_delay_and_expires_as_its_queue_says() {
    let (mut bench, epoch) = ready(&["b", "c"], &["b"]);
    bench.ops(epoch, vec![create("c", Settings { time_to_live_ms: 500, ..Settings::default() })]);
    let at_ms = bench.index * 10;
    let messages = vec![message("later").with_delay(Duration::from_secs(1)), message("now")];
    let op =
        EngineOp::Send { registration: 0, producer: producer(1), first: 1, messages: messages.into(), dispatch: false };
    let results = bench.ops(epoch, vec![op]);
    assert!(matches!(results[0], OpResult::Published { due_ms, .. } if due_ms == at_ms + 500), "{results:?}");
    let [b, c] = ["b", "c"].map(|name| bench.machine.names[&queue(name)]);
    assert_eq!([b, c].map(|queue| (bench.queue(queue).depth(), bench.queue(queue).delayed)), [(1, 1), (1, 1)]);
    let due: Vec<Timer> = timers(&bench).into_iter().filter(|timer| timer.kind == TimerKind::Enter).collect();
    assert_eq!(due.iter().map(|timer| timer.queue).collect::<Vec<_>>(), [b, c]);
    bench.ops(epoch, vec![EngineOp::Fire { timers: due }]);
    assert_eq!(texts(&bench, "b"), ["now", "later"]);
    assert_eq!(texts(&bench, "c"), ["now", "later"]);
    assert!(timers(&bench).iter().all(|timer| timer.queue == c && timer.kind == TimerKind::Expire));
}

/// A topic space publishes its copy; a subscription has what its space has, and takes nothing else.
#[test]
fn a_topic_space_publishes_what_is_forwarded_and_a_subscription_is_passed_over() {
    let (mut bench, epoch) = ready(&["news", "sport", "b"], &["b"]);
    let create =
        |name: &str, kind| EngineOp::Create { name: queue(name), kind, settings: Settings::default(), owner: None };
    bench.ops(epoch, vec![create("news", DestinationKind::TopicSpace)]);
    let space = bench.machine.names[&queue("news")];
    let wants = Subscription { space, topic: "sport/#".to_owned(), selector: String::new() };
    bench.ops(epoch, vec![create("sport", DestinationKind::Subscription(wants))]);
    let messages = vec![message("golf").with_topic("sport/golf"), message("rain").with_topic("weather")];
    let op =
        EngineOp::Send { registration: 0, producer: producer(1), first: 1, messages: messages.into(), dispatch: false };
    let results = bench.ops(epoch, vec![op]);
    let [b, sport] = ["b", "sport"].map(|name| bench.machine.names[&queue(name)]);
    let OpResult::Published { matched, .. } = &results[0] else { panic!("{results:?}") };
    assert_eq!(*matched, [(sport, vec![0]), (b, vec![0, 1])]);
    assert_eq!((bench.queue(space).depth(), bench.queue(sport).depth()), (1, 1));
    assert_eq!(texts(&bench, "b"), ["golf", "rain"]);
}

#[test]
fn what_a_transaction_sends_is_forwarded_too() {
    let (mut bench, epoch) = ready(&["b", "missing", "c"], &["b", "c"]);
    let session = SessionId([9; 16]);
    let sends = vec![TransactionSend { queue: queue("orders"), messages: vec![message("a"), message("b")].into() }];
    let transact = EngineOp::Transact { session, number: 1, sends, settles: Vec::new() };
    let results = bench.ops(epoch, vec![EngineOp::OpenSession { session }, transact.clone(), transact]);
    let OpResult::Changed(Changes { arrived, .. }) = &results[1] else { panic!("{results:?}") };
    let names = arrived.iter().map(|arrival| (arrival.name.as_str(), arrival.messages)).collect::<Vec<_>>();
    assert_eq!(names, [("b", 2), ("c", 2)]);
    assert_eq!(results[2], OpResult::Done, "sent again, it was done");
    assert_eq!((texts(&bench, "b"), texts(&bench, "c")), (texts(&bench, "c"), ["a", "b"].map(String::from).to_vec()));
    assert!(texts(&bench, "orders").is_empty());
}

/// Copies have the same ids in several queues: what happens to one leaves the others, and every batching ends in the
/// same bytes.
#[test]
fn copies_live_apart_however_entries_are_batched() {
    let (mut single, epoch) = ready(&["b", "c", "orders"], &["b", "c"]);
    let [b, c] = ["b", "c"].map(|name| single.machine.names[&queue(name)]);
    let mut commands = Vec::new();
    let mut apply = |bench: &mut Bench, op| {
        let command = Command::Engine { epoch, at_ms: 5, ops: vec![op] };
        bench.apply(&command);
        commands.push(command);
    };
    apply(&mut single, send(1, &["1", "2"]));
    let id = single.messages(b)[0].0;
    apply(&mut single, EngineOp::Settle { queue: b, messages: vec![id], heads: Vec::new() });
    apply(&mut single, EngineOp::Requeue { queue: c, messages: vec![id] });
    apply(&mut single, send(3, &["3"]));
    let all = ["orders", "b", "c"].map(|name| texts(&single, name).concat());
    assert_eq!(all, ["123", "23", "123"]);
    assert_eq!([b, c, ORDERS].map(|queue| single.queue(queue).redelivered), [0, 1, 0]);
    let (mut batched, _) = ready(&["b", "c", "orders"], &["b", "c"]);
    batched.apply_in_batches(&commands, &[4]);
    assert_eq!(single.memory, batched.memory);
    assert_eq!(Machine::load(&batched.memory).unwrap().queues, single.machine.queues);
}
