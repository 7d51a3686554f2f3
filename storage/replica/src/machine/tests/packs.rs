//! Messages that lie in one record.

use baton_domain::{Changes, Lane, Properties, SYSTEM_EXCEPTION_QUEUE};

use super::*;

const ORDERS: QueueId = QueueId(1);

fn post(texts: &[&str]) -> EngineOp {
    let messages = texts.iter().map(|text| message(text)).collect();
    EngineOp::Post { queue: ORDERS, messages, dispatch: false }
}

fn settle(messages: &[MessageId]) -> EngineOp {
    EngineOp::Settle { queue: ORDERS, messages: messages.to_vec(), heads: Vec::new() }
}

/// A queue with five messages in one record.
fn ready() -> (Bench, Epoch, Vec<MessageId>) {
    let (mut bench, epoch) = Bench::running();
    bench.ops(epoch, vec![EngineOp::CreateQueue { name: queue("orders") }, post(&["a", "b", "c", "d", "e"])]);
    let ids = bench.messages(ORDERS).into_iter().map(|(id, _)| id).collect();
    (bench, epoch, ids)
}

fn texts(bench: &Bench) -> String {
    bench.messages(ORDERS).into_iter().map(|(_, text)| text).collect()
}

fn records(bench: &Bench, family: Family) -> usize {
    bench.memory.scan(family).unwrap().len()
}

#[test]
fn what_one_op_stores_is_one_record_that_goes_with_its_last_message() {
    let (mut bench, epoch, ids) = ready();
    assert_eq!((records(&bench, Family::Messages), records(&bench, Family::Packs)), (1, 1));
    for forget in [false, true] {
        if forget {
            bench.machine = Machine::load(&bench.memory).unwrap();
        }
        assert_eq!(
            bench.ops(epoch, vec![settle(&ids[1..3])]),
            [OpResult::Settled { settled: if forget { 0 } else { 2 } }]
        );
        assert_eq!(texts(&bench), "ade");
        assert_eq!((records(&bench, Family::Messages), records(&bench, Family::Packs)), (1, 1));
    }
    let settled = bench.ops(epoch, vec![settle(&[ids[4], ids[4]]), settle(&[ids[0], ids[3]])]);
    assert_eq!(settled, [OpResult::Settled { settled: 1 }, OpResult::Settled { settled: 2 }]);
    assert_eq!((records(&bench, Family::Messages), records(&bench, Family::Packs)), (0, 0));
    assert_eq!((bench.queue(ORDERS).depth(), bench.queue(ORDERS).bytes), (0, 0));
}

/// Many producers with a message each at a time are as cheap as one with many.
#[test]
fn what_an_entry_stores_in_a_queue_is_one_record_until_something_else_comes_in_between() {
    let (mut bench, epoch, _) = ready();
    let (one, other) = (ProducerId([1; 16]), ProducerId([2; 16]));
    let open = |producer| EngineOp::OpenProducer { producer, queue: queue("orders") };
    bench.ops(epoch, vec![open(one), open(other), EngineOp::CreateQueue { name: queue("bills") }]);
    let send = |producer, first, text| EngineOp::Send {
        producer,
        registration: 0,
        first,
        messages: [message(text)].into_iter().collect(),
        dispatch: false,
    };
    let elsewhere =
        || EngineOp::Post { queue: QueueId(2), messages: [message("x")].into_iter().collect(), dispatch: false };
    let before = records(&bench, Family::Messages);
    bench.ops(epoch, vec![send(one, 1, "f"), send(other, 1, "g"), post(&["h"]), send(one, 2, "i")]);
    assert_eq!((texts(&bench).as_str(), records(&bench, Family::Messages) - before), ("abcdefghi", 1));
    // Another queue, and an op that stores nothing.
    bench.ops(epoch, vec![send(one, 3, "j"), elsewhere(), send(other, 2, "k"), open(one), send(other, 3, "l")]);
    assert_eq!((texts(&bench).as_str(), records(&bench, Family::Messages) - before), ("abcdefghijkl", 5));
    bench.machine = Machine::load(&bench.memory).unwrap();
    let ids: Vec<_> = bench.messages(ORDERS).into_iter().map(|(id, _)| id).collect();
    assert_eq!(bench.ops(epoch, vec![settle(&ids[4..])]), [OpResult::Settled { settled: 8 }]);
    assert_eq!(texts(&bench), "abcd");
}

#[test]
fn what_is_stored_and_settled_in_one_batch_leaves_nothing() {
    let (mut bench, epoch, _) = ready();
    let of = |position| MessageId { generation: 0, index: 4, position };
    let commands = [vec![post(&["f", "g"]), settle(&[of(0)])], vec![settle(&[of(1)])]];
    bench.apply_all(&commands.map(|ops| Command::Engine { epoch, at_ms: 9, ops }));
    assert_eq!(texts(&bench), "abcde");
    assert_eq!((records(&bench, Family::Messages), records(&bench, Family::Packs)), (1, 1));
}

#[test]
fn a_message_amid_others_is_moved_and_counted_as_one_alone() {
    let (mut bench, epoch, ids) = ready();
    bench.ops(epoch, vec![EngineOp::Requeue { queue: ORDERS, messages: vec![ids[2]] }]);
    bench.machine = Machine::load(&bench.memory).unwrap();
    let to = baton_domain::MoveTo::Exception { reason: "no good".into() };
    bench.ops(epoch, vec![EngineOp::Move { queue: ORDERS, messages: vec![ids[2]], to }]);
    assert_eq!((texts(&bench).as_str(), bench.queue(ORDERS).redelivered), ("abde", 0));
    let aside = bench.machine.names[&queue(SYSTEM_EXCEPTION_QUEUE)];
    assert_eq!(bench.messages(aside)[0].1, "c");
}

#[test]
fn a_purge_begins_and_ends_amid_them() {
    let (mut bench, epoch, ids) = ready();
    bench.ops(epoch, vec![EngineOp::Settle { queue: ORDERS, messages: vec![ids[0]], heads: vec![ids[1]] }]);
    let mut purge = |through, limit| {
        let results = bench.ops(epoch, vec![EngineOp::Purge { queue: ORDERS, through, limit }]);
        let OpResult::Changed(Changes { removed, more, .. }) = &results[0] else { panic!("{results:?}") };
        (removed.len(), *more, texts(&bench))
    };
    assert_eq!(purge(ids[3], 2), (2, true, "de".to_owned()));
    assert_eq!(purge(ids[3], 2), (1, false, "e".to_owned()));
    assert_eq!(purge(Lane::default().end_of(0, 99), 9), (1, false, String::new()));
}

#[test]
fn priorities_and_times_to_live_part_them() {
    let (mut bench, epoch, _) = ready();
    let with = |text: &str, priority, time_to_live_ms| {
        let mut message = message(text);
        message.properties = Some(Box::new(Properties { priority, time_to_live_ms, ..Properties::default() }));
        message
    };
    let messages = vec![message("f"), message("g"), with("h", 9, 0), with("i", 4, 7), message("j"), message("k")];
    bench.ops(epoch, vec![EngineOp::Post { queue: ORDERS, messages: messages.into(), dispatch: false }]);
    assert_eq!(records(&bench, Family::Messages), 1 + 4, "two, one, one, two");
    assert_eq!(texts(&bench), "abcdefgijkh");
}

/// Timers of a queue that is gone find nothing, whatever is remembered of its messages.
#[test]
fn a_timer_of_a_queue_that_is_gone_does_nothing() {
    let (mut bench, epoch, _) = ready();
    let mut message = message("f");
    message.properties = Some(Box::new(Properties { time_to_live_ms: 5, ..Properties::default() }));
    bench.ops(epoch, vec![EngineOp::Post { queue: ORDERS, messages: vec![message].into(), dispatch: false }]);
    let timers = bench.memory.scan(Family::Timers).unwrap();
    let timers: Vec<Timer> = timers.iter().map(|(key, _)| Timer::from_key(key).unwrap()).collect();
    assert_eq!(timers.len(), 1);
    bench.ops(epoch, vec![EngineOp::DeleteQueue { name: queue("orders") }]);
    let results = bench.ops(epoch, vec![EngineOp::Fire { timers }]);
    assert_eq!(results, [OpResult::Changed(Changes::default())]);
    assert_eq!(records(&bench, Family::Timers), 0);
}

/// Whatever a queue holds when it is deleted, and however much of it was written in the same entry, nothing of it is left.
#[test]
fn nothing_is_left_of_a_deleted_queue_however_much_it_held() {
    let post = |count: u32| EngineOp::Post {
        queue: ORDERS,
        messages: (0..count).map(|number| message(&number.to_string())).collect(),
        dispatch: false,
    };
    let delete = || EngineOp::DeleteQueue { name: queue("orders") };
    let settle =
        |messages: &[MessageId]| EngineOp::Settle { queue: ORDERS, messages: messages.to_vec(), heads: vec![] };
    let requeue = |messages: &[MessageId]| EngineOp::Requeue { queue: ORDERS, messages: messages.to_vec() };
    // How many are there, whether more come in the same entry.
    for (count, more) in [(0, false), (1, false), (3, false), (3, true), (40, false), (2_000, false), (2_000, true)] {
        let (mut bench, epoch) = Bench::running();
        bench.ops(epoch, vec![EngineOp::CreateQueue { name: queue("orders") }]);
        bench.ops(epoch, vec![post(count / 2)]);
        bench.ops(epoch, vec![post(1), post(count - count / 2)]);
        let ids: Vec<MessageId> = bench.messages(ORDERS).into_iter().map(|(id, _)| id).collect();
        bench.ops(epoch, vec![requeue(&ids[..1])]);
        let mut ops = vec![settle(&ids[..ids.len() / 2])];
        if more {
            ops.extend([post(3), requeue(&ids[ids.len() - 1..])]);
        }
        ops.push(delete());
        let results = bench.ops(epoch, ops);
        assert_eq!(results.last(), Some(&OpResult::Done));
        for family in [Family::Messages, Family::Packs, Family::Redeliveries, Family::Queues] {
            assert!(bench.memory.scan(family).unwrap().is_empty(), "{family:?} of {count} messages, more: {more}");
        }
    }
}
