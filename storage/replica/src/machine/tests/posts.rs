//! Messages without numbers: stored as sent, or set aside from an engine's memory.

use baton_domain::{ExceptionDestination, SYSTEM_EXCEPTION_QUEUE, Settings, exception_header};

use super::*;

const ORDERS: QueueId = QueueId(1);

fn post(texts: &[&str]) -> EngineOp {
    EngineOp::Post { queue: ORDERS, messages: texts.iter().map(|text| message(text)).collect(), dispatch: false }
}

fn set_aside(text: &str) -> EngineOp {
    EngineOp::SetAside { queue: ORDERS, reason: "no good".to_owned(), messages: vec![message(text)].into() }
}

fn texts(bench: &Bench, id: QueueId) -> Vec<String> {
    bench.messages(id).into_iter().map(|(_, text)| text).collect()
}

#[test]
fn what_is_posted_is_stored_each_time_that_it_is() {
    let (mut bench, epoch) = Bench::running();
    let create = EngineOp::CreateQueue { name: queue("orders") };
    let results = bench.ops(epoch, vec![create, post(&["a", "b"]), post(&["a"])]);
    assert!(matches!(results[1], OpResult::Sent { queue: ORDERS, duplicates: 0, accepted: 2, .. }));
    assert_eq!(texts(&bench, ORDERS), ["a", "b", "a"]);
    let delete = EngineOp::DeleteQueue { name: queue("orders") };
    let gone = bench.ops(epoch, vec![delete, post(&["c"]), set_aside("d")]);
    assert_eq!(gone[1..], [OpResult::NoSuchQueue, OpResult::NoSuchQueue]);
}

#[test]
fn what_was_in_memory_alone_is_set_aside_as_what_was_stored_and_goes_back_by_replay() {
    let (mut bench, epoch) = Bench::running();
    let create = EngineOp::CreateQueue { name: queue("orders") };
    let results = bench.ops(epoch, vec![create, set_aside("a")]);
    let OpResult::Changed(changes) = &results[1] else { panic!("{results:?}") };
    let arrival = &changes.arrived[0];
    assert_eq!((arrival.name.as_str(), arrival.messages), (SYSTEM_EXCEPTION_QUEUE, 1));
    let value = bench.memory.get(Family::Messages, &message_key(arrival.queue, arrival.last)).unwrap().unwrap();
    let stored = decode_message(&value, None).unwrap().message;
    assert_eq!(stored.header(exception_header::REASON), Some("no good"));
    assert_eq!(stored.header(exception_header::FROM), Some("orders"));
    let (queue, messages) = (arrival.queue, vec![arrival.last]);
    bench.ops(epoch, vec![EngineOp::Move { queue, messages, to: baton_domain::MoveTo::Origin }]);
    assert_eq!(texts(&bench, ORDERS), ["a"]);
}

#[test]
fn without_an_exception_destination_it_goes_nowhere() {
    let (mut bench, epoch) = Bench::running();
    let settings = Settings { exception: ExceptionDestination::None, ..Settings::default() };
    let results = bench.ops(epoch, vec![create("orders", settings), set_aside("a")]);
    assert_eq!(results[1], OpResult::Changed(baton_domain::Changes::default()));
    assert_eq!(bench.machine.names.len(), 1);
}
