//! What an engine writes.

use baton_domain::{ChangeId, ConsumerId, Lane, Settings, SettingsPatch, StopReason, Written};

use super::*;

const ORDERS: QueueId = QueueId(1);

fn create(name: &str) -> EngineOp {
    EngineOp::CreateQueue { name: queue(name) }
}

fn open(number: u8, name: &str) -> EngineOp {
    EngineOp::OpenProducer { producer: producer(number), queue: queue(name) }
}

fn send(number: u8, first: u64, texts: &[&str]) -> EngineOp {
    let messages = texts.iter().map(|text| message(text)).collect();
    EngineOp::Send { registration: 0, producer: producer(number), first, messages, dispatch: false }
}

/// A queue `orders` with producer 1.
fn ready() -> (Bench, Epoch) {
    let (mut bench, epoch) = Bench::running();
    let results = bench.ops(epoch, vec![create("orders"), open(1, "orders")]);
    let expected = [OpResult::Queue { queue: ORDERS, created: true }, opened(ORDERS, 1)];
    assert_eq!(results, expected);
    (bench, epoch)
}

fn texts(bench: &Bench) -> Vec<String> {
    bench.messages(ORDERS).into_iter().map(|(_, text)| text).collect()
}

/// Invariant 1: an engine's write counts only under the newest activation, and not once that was stopped.
fn opened(queue: QueueId, next: u64) -> OpResult {
    OpResult::Producer { queue, next, registration: 0, digest: 0, claimed: false }
}

#[test]
fn a_write_of_any_epoch_but_the_running_one_is_fenced_as_a_whole() {
    let (mut bench, first) = ready();
    let write = |epoch| Command::Engine { epoch, at_ms: 1, ops: vec![send(1, 1, &["x"]), create("more")] };
    let Applied::Activated { epoch: second } = bench.apply(&activate("b")) else { panic!() };
    let future = Epoch { index: second.index + 1, ..second };
    let other_generation = Epoch { generation: 1, ..second };
    for stale in [first, future, other_generation, Epoch::default()] {
        let before = bench.memory.without_hash();
        assert_eq!(bench.apply(&write(stale)), Applied::Fenced { current: second }, "{stale}");
        assert_eq!(bench.memory.without_hash(), before);
    }
    assert!(matches!(bench.apply(&write(second)), Applied::Engine { .. }));
    bench.apply(&Command::Stop { epoch: second, reason: StopReason::Placed(ActivationReason::Move), at_ms: 1 });
    assert_eq!(bench.apply(&write(second)), Applied::Fenced { current: second });
    assert_eq!(texts(&bench), ["x"]);
}

/// Invariant 4: numbers decide. The next one is accepted, lower ones are duplicates, higher ones a gap.
#[test]
fn numbers_are_accepted_in_order_once_and_gaps_are_named() {
    let (mut bench, epoch) = ready();
    let sent = |duplicates, accepted, index, position| OpResult::Sent {
        queue: ORDERS,
        duplicates,
        accepted,
        first: MessageId { generation: 0, index, position },
        due_ms: 0,
    };
    for (what, op, expected) in [
        ("the first", send(1, 1, &["1", "2"]), sent(0, 2, 4, 0)),
        ("all again", send(1, 1, &["1", "2"]), sent(2, 0, 5, 0)),
        ("some again", send(1, 2, &["2", "3"]), sent(1, 1, 6, 0)),
        ("one skipped", send(1, 5, &["5"]), OpResult::Gap { expected: 4 }),
        ("number zero", send(1, 0, &["0"]), OpResult::Gap { expected: 4 }),
        ("the greatest", send(1, u64::MAX, &["x"]), OpResult::Gap { expected: 4 }),
        ("none", send(1, 4, &[]), sent(0, 0, 10, 0)),
        ("a stranger", send(2, 1, &["x"]), OpResult::ProducerUnknown),
        ("the next", send(1, 4, &["4"]), sent(0, 1, 12, 0)),
    ] {
        assert_eq!(bench.ops(epoch, vec![op]), [expected], "{what}");
    }
    assert_eq!(texts(&bench), ["1", "2", "3", "4"]);
    assert_eq!(bench.ops(epoch, vec![open(1, "orders")]), [opened(ORDERS, 5)]);
}

#[test]
fn positions_count_on_over_the_whole_entry() {
    let (mut bench, epoch) = ready();
    let second = QueueId(2);
    let ops = vec![
        create("more"),
        open(2, "more"),
        send(1, 1, &["a", "b"]),
        send(2, 1, &["c"]),
        send(1, 1, &["a", "b", "d"]),
    ];
    let results = bench.ops(epoch, ops);
    let id = |position| MessageId { generation: 0, index: 4, position };
    assert_eq!(results[4], OpResult::Sent { queue: ORDERS, duplicates: 2, accepted: 1, first: id(3), due_ms: 0 });
    let found: Vec<_> = bench.messages(ORDERS).into_iter().chain(bench.messages(second)).collect();
    let expected = [(id(0), "a"), (id(1), "b"), (id(3), "d"), (id(2), "c")].map(|(id, text)| (id, text.to_owned()));
    assert_eq!(found, expected);
}

#[test]
fn a_producer_stays_with_its_queue_until_it_is_forgotten() {
    let (mut bench, epoch) = ready();
    bench.ops(epoch, vec![create("more"), send(1, 1, &["1"])]);
    let stays = opened(ORDERS, 2);
    assert_eq!(bench.ops(epoch, vec![open(1, "more")]), [stays]);
    assert_eq!(bench.ops(epoch, vec![open(1, "none")]), [OpResult::NoSuchQueue]);
    let forget = EngineOp::ForgetProducers { producers: vec![producer(1), producer(7)] };
    let results = bench.ops(epoch, vec![forget, send(1, 2, &["2"]), open(1, "more")]);
    assert_eq!(
        results,
        [OpResult::Done, OpResult::ProducerUnknown, opened(QueueId(2), 1)],
        "forgotten is unknown, never a fresh start, until it registers anew"
    );
}

#[test]
fn a_deleted_queue_takes_its_messages_producers_and_consumers_with_it() {
    let (mut bench, epoch) = ready();
    let consumer = ConsumerId([5; 16]);
    let attach = |name: &str| EngineOp::Attach { queue: queue(name), consumer };
    bench.ops(epoch, vec![send(1, 1, &["1", "2"]), attach("orders"), create("other"), open(2, "other")]);
    let first = bench.messages(ORDERS)[0].0;
    bench.ops(epoch, vec![EngineOp::Requeue { queue: ORDERS, messages: vec![first] }, send(2, 1, &["stays"])]);
    let delete = EngineOp::DeleteQueue { name: queue("orders") };
    let settle = EngineOp::Settle { queue: ORDERS, messages: vec![first], heads: vec![first] };
    // All in one entry: later ops see what earlier ones did.
    let results = bench.ops(
        epoch,
        vec![
            send(1, 3, &["3"]),
            delete.clone(),
            send(1, 4, &["4"]),
            settle,
            delete,
            create("orders"),
            open(1, "orders"),
            send(1, 1, &["new"]),
        ],
    );
    assert_eq!(results[1], OpResult::Done);
    assert_eq!(results[2..5], [OpResult::ProducerUnknown, OpResult::NoSuchQueue, OpResult::NoSuchQueue]);
    assert_eq!(results[5], OpResult::Queue { queue: QueueId(3), created: true }, "numbers are not used again");
    assert_eq!(results[6], opened(QueueId(3), 1));
    assert!(bench.messages(ORDERS).is_empty());
    assert_eq!(bench.messages(QueueId(2)).len(), 1);
    assert_eq!(bench.messages(QueueId(3)).len(), 1);
    assert!(bench.memory.scan(Family::Redeliveries).unwrap().is_empty());
    assert!(bench.memory.scan(Family::Consumers).unwrap().is_empty());
}

#[test]
fn a_queue_is_deleted_only_as_the_caller_expects_it_and_what_went_with_it_is_counted() {
    let (mut bench, epoch) = ready();
    let consumer = ConsumerId([5; 16]);
    let delete = |if_empty: bool, if_unused: bool| EngineOp::Delete { name: queue("orders"), if_empty, if_unused };
    let delayed = message("later").with_delay(std::time::Duration::from_secs(9));
    let attach = EngineOp::Attach { queue: queue("orders"), consumer };
    let post = EngineOp::Post { queue: ORDERS, messages: vec![delayed].into(), dispatch: false };
    // Judged where it stands in the log: what the same entry brought before counts.
    let results = bench.ops(epoch, vec![post, attach, delete(true, false), delete(false, true)]);
    assert_eq!(results[2..], [OpResult::NotEmpty { messages: 1 }, OpResult::InUse { consumers: 1 }]);
    bench.ops(epoch, vec![send(1, 1, &["1", "2"])]);
    assert_eq!(bench.ops(epoch, vec![delete(true, true)]), [OpResult::NotEmpty { messages: 3 }]);
    assert_eq!(bench.messages(ORDERS).len(), 2, "a refusal changes nothing");
    let results = bench.ops(epoch, vec![delete(false, false), delete(true, true)]);
    assert_eq!(results, [OpResult::Deleted { messages: 3, consumers: 1 }, OpResult::NoSuchQueue]);
    bench.ops(epoch, vec![create("orders")]);
    assert_eq!(bench.ops(epoch, vec![delete(true, true)]), [OpResult::Deleted { messages: 0, consumers: 0 }]);
}

#[test]
fn depth_bytes_head_and_redeliveries_follow_the_messages() {
    let (mut bench, epoch) = ready();
    bench.ops(epoch, vec![send(1, 1, &["one", "two", "three"])]);
    let ids: Vec<MessageId> = bench.messages(ORDERS).into_iter().map(|(id, _)| id).collect();
    let totals = |bench: &Bench| {
        let state = bench.queue(ORDERS);
        (state.depth(), state.bytes, state.redelivered)
    };
    assert_eq!(totals(&bench), (3, 11, 0));
    let requeue = |messages: &[MessageId]| EngineOp::Requeue { queue: ORDERS, messages: messages.to_vec() };
    let gone = MessageId { generation: 0, index: 99, position: 0 };
    bench.ops(epoch, vec![requeue(&[ids[0], ids[1], gone]), requeue(&[ids[0]])]);
    assert_eq!(totals(&bench), (3, 11, 2));
    let counts: Vec<_> =
        bench.memory.scan(Family::Redeliveries).unwrap().into_iter().map(|(_, count)| count[3]).collect();
    assert_eq!(counts, [2, 1]);
    let settle = |messages: &[MessageId], head| {
        let heads = vec![head];
        EngineOp::Settle { queue: ORDERS, messages: messages.to_vec(), heads }
    };
    let results = bench
        .ops(epoch, vec![settle(&[ids[0], ids[0], gone], ids[1]), settle(&[ids[0], ids[2]], MessageId::default())]);
    assert_eq!(
        results,
        [OpResult::Settled { settled: 1 }, OpResult::Settled { settled: 1 }],
        "gone ones change nothing"
    );
    assert_eq!(totals(&bench), (1, 3, 1));
    assert_eq!(bench.queue(ORDERS).lanes[&Lane(0)].head, ids[1], "the head never goes back");
    bench.ops(epoch, vec![settle(&[ids[1]], ids[2])]);
    assert_eq!(totals(&bench), (0, 0, 0));
    assert!(bench.memory.scan(Family::Redeliveries).unwrap().is_empty());
}

#[test]
fn the_promise_of_what_was_delivered_only_grows() {
    let (mut bench, epoch) = ready();
    let at = |index| MessageId { generation: 0, index, position: 0 };
    let dispatch = |index| EngineOp::Dispatch { queue: ORDERS, through: at(index) };
    bench.ops(epoch, vec![dispatch(3)]);
    bench.ops(epoch, vec![dispatch(2)]);
    assert_eq!(bench.queue(ORDERS).lanes[&Lane(0)].dispatched, at(3));
    let mut sends = send(1, 1, &["1", "2"]);
    if let EngineOp::Send { dispatch, .. } = &mut sends {
        *dispatch = true;
    }
    bench.ops(epoch, vec![sends]);
    let last = bench.messages(ORDERS)[1].0;
    assert_eq!(bench.queue(ORDERS).lanes[&Lane(0)].dispatched, last);
    bench.ops(epoch, vec![send(1, 3, &["3"])]);
    assert_eq!(bench.queue(ORDERS).lanes[&Lane(0)].dispatched, last);
    assert_eq!(
        bench.ops(epoch, vec![EngineOp::Dispatch { queue: QueueId(9), through: last }]),
        [OpResult::NoSuchQueue]
    );
}

/// The stand-ins of an exclusive queue keep their order over a failover.
#[test]
fn consumers_are_in_the_order_in_which_they_attached() {
    let (mut bench, epoch) = ready();
    let attach = |number| EngineOp::Attach { queue: queue("orders"), consumer: ConsumerId([number; 16]) };
    bench.ops(epoch, vec![attach(9), attach(3)]);
    bench.ops(epoch, vec![attach(1), attach(9)]);
    let mut found: Vec<(u64, u8)> = bench
        .memory
        .scan(Family::Consumers)
        .unwrap()
        .into_iter()
        .map(|(key, record)| (ConsumerRecord::read(&record).unwrap().order, key[0]))
        .collect();
    found.sort();
    assert_eq!(found.iter().map(|(_, number)| *number).collect::<Vec<_>>(), [9, 3, 1]);
}

#[test]
fn consumers_are_recorded_with_their_queue() {
    let (mut bench, epoch) = ready();
    let consumer = ConsumerId([5; 16]);
    let attach = |name: &str| EngineOp::Attach { queue: queue(name), consumer };
    let results = bench.ops(epoch, vec![attach("orders"), attach("orders"), attach("none")]);
    let attached = OpResult::Queue { queue: ORDERS, created: false };
    assert_eq!(results, [attached.clone(), attached, OpResult::NoSuchQueue]);
    let found = bench.memory.scan(Family::Consumers).unwrap();
    let [(key, record)] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(*key, consumer.0);
    assert_eq!(ConsumerRecord::read(record).unwrap().queue, ORDERS);
    bench.ops(epoch, vec![EngineOp::Detach { consumer }, EngineOp::Detach { consumer }]);
    assert!(bench.memory.scan(Family::Consumers).unwrap().is_empty());
}

/// A newer registration of a name fences the older one, and only if what it saw is what was written.
#[test]
fn whoever_takes_a_producers_name_over_fences_whoever_had_it() {
    let (mut bench, epoch) = Bench::running();
    let claim = |seen| EngineOp::ClaimProducer { producer: producer(1), queue: queue("orders"), seen };
    let send = |registration, first, texts: &[&str]| EngineOp::Send {
        producer: producer(1),
        registration,
        first,
        messages: texts.iter().map(|text| message(text)).collect(),
        dispatch: false,
    };
    assert_eq!(bench.ops(epoch, vec![claim(None)]), [OpResult::NoSuchQueue]);
    bench.ops(epoch, vec![EngineOp::CreateQueue { name: queue("orders") }]);
    let registered = |result: &OpResult| match result {
        OpResult::Producer { registration, claimed: true, .. } => *registration,
        other => panic!("{other:?}"),
    };
    let both = bench.ops(epoch, vec![claim(None), claim(None)]);
    let (first, older) = (registered(&both[0]), registered(&both[1]));
    assert_ne!(first, older, "of two in one entry");
    assert_eq!(bench.ops(epoch, vec![send(first, 1, &["z"])]), [OpResult::Fenced]);
    let results = bench.ops(epoch, vec![open(1, "orders"), send(older, 1, &["a", "b"]), send(older, 2, &["b", "c"])]);
    let answer =
        |registration, next, digest, claimed| OpResult::Producer { queue: ORDERS, next, registration, digest, claimed };
    assert_eq!(results[0], answer(older, 1, 0, false));
    assert!(matches!(results[2], OpResult::Sent { duplicates: 1, accepted: 1, .. }));
    let written = ["a", "b", "c"].iter().fold(Written::default(), |before, text| before.and(text.as_bytes()));
    let other = Written { digest: written.digest ^ 1, ..written };
    assert_eq!(bench.ops(epoch, vec![claim(Some(other))]), [answer(older, 4, written.digest, false)]);
    assert_eq!(bench.ops(epoch, vec![open(1, "orders")]), [answer(older, 4, written.digest, false)]);
    let results = bench.ops(epoch, vec![send(older, 4, &["d"]), claim(Some(written))]);
    assert!(matches!(results[1], OpResult::Producer { claimed: false, next: 5, .. }), "more was written meanwhile");
    let newer = registered(&bench.ops(epoch, vec![claim(Some(written.and(b"d")))])[0]);
    let results = bench.ops(epoch, vec![send(older, 5, &["x"]), send(newer, 5, &["e"])]);
    assert_eq!(results[0], OpResult::Fenced);
    assert!(matches!(results[1], OpResult::Sent { accepted: 1, .. }));
    assert_eq!(bench.ops(epoch, vec![send(0, 6, &["y"])]), [OpResult::Fenced]);
    let texts: Vec<String> = bench.messages(ORDERS).into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, ["a", "b", "c", "d", "e"]);
}

/// Two changes at once both hold, as the store merges them; and one can insist on what it saw.
#[test]
fn changes_of_settings_are_merged_and_counted() {
    let (mut bench, epoch) = Bench::running();
    let change = |patch: SettingsPatch, if_version| EngineOp::Configure {
        name: queue("orders"),
        patch: Box::new(patch),
        if_version,
    };
    let bound = SettingsPatch::default().max_messages(7);
    let pause = SettingsPatch::default().receive_paused(true);
    assert_eq!(bench.ops(epoch, vec![change(bound.clone(), None)]), [OpResult::NoSuchQueue]);
    assert!(bench.machine.names.is_empty(), "a change behind a deletion does not bring the queue back");
    bench.ops(epoch, vec![create("orders")]);
    let results = bench.ops(epoch, vec![change(bound.clone(), None), change(pause.clone(), Some(1))]);
    assert!(matches!(&results[0], OpResult::Configured { version: 1, .. }));
    let settings = Settings { max_messages: 7, receive_paused: true, ..Settings::default() };
    let settings = Box::new(settings);
    assert_eq!(results[1], OpResult::Configured { queue: ORDERS, settings, version: 2 });
    assert_eq!(bench.ops(epoch, vec![change(bound, Some(1))]), [OpResult::OtherVersion { version: 2 }]);
}

/// An answer may be lost; meanwhile somebody else may have changed it again.
#[test]
fn a_change_is_applied_once() {
    let (mut bench, epoch) = Bench::running();
    bench.ops(epoch, vec![create("orders")]);
    let change = |number: u32, messages| {
        let patch = SettingsPatch::default().max_messages(messages);
        let op = EngineOp::Configure { name: queue("orders"), patch: Box::new(patch), if_version: None };
        EngineOp::Once { change: id(number), op: Box::new(op) }
    };
    let [first, second] = bench.ops(epoch, vec![change(1, 7), change(2, 9)]).try_into().unwrap();
    assert!(matches!(&first, OpResult::Configured { version: 1, .. }), "{first:?}");
    assert!(matches!(&second, OpResult::Configured { version: 2, .. }), "{second:?}");
    let repeated = OpResult::Repeated(Box::new(first));
    for bench in [&mut bench.reopened(), &mut bench] {
        let hash = bench.machine.hash;
        let results = bench.ops(epoch, vec![change(1, 7), EngineOp::Recall { change: id(1) }]);
        assert_eq!(results, [repeated.clone(), repeated.clone()]);
        assert_eq!(bench.ops(epoch, vec![EngineOp::Recall { change: id(3) }]), [OpResult::Done]);
        assert_eq!((bench.machine.settings_of(ORDERS).max_messages, bench.machine.hash), (9, hash));
    }
    // The latest are remembered, and no others take room.
    for number in 10..5_000 {
        bench.ops(epoch, vec![change(number, u64::from(number))]);
    }
    let mut bench = bench.reopened();
    let known = |bench: &mut Bench, number| {
        bench.ops(epoch, vec![EngineOp::Recall { change: id(number) }])[0] != OpResult::Done
    };
    assert!(!known(&mut bench, 1) && !known(&mut bench, 903));
    assert!(known(&mut bench, 904) && known(&mut bench, 4_999));
    bench.ops(epoch, vec![change(5_000, 1)]);
    assert!(!known(&mut bench, 904) && known(&mut bench, 905));
    assert_eq!(bench.memory.scan(Family::Changes).unwrap().len(), 4_096);
}

fn id(number: u32) -> ChangeId {
    ChangeId(u128::from(number).to_be_bytes())
}
