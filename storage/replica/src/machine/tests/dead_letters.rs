//! Dead letters are messages too: where they go, how long they live there, and what becomes of those that find no room.

use std::time::Duration;

use baton_domain::{
    Changes, DeadLetterOverflow, DestinationKind, ExceptionDestination, Expired, Kept, MoveTo, SYSTEM_EXCEPTION_QUEUE,
    Settings, SettingsPatch, Timer, TimerKind, TransactionName, exception_header,
};

use super::*;

const ORDERS: QueueId = QueueId(1);

fn send(first: u64, messages: Vec<Message>) -> EngineOp {
    EngineOp::Send { producer: producer(1), registration: 0, first, messages: messages.into(), dispatch: false }
}

/// A queue `orders` with producer 1 whose dead letters go to `dead`.
fn ready(orders: Settings, dead: Settings) -> (Bench, Epoch, QueueId) {
    let (mut bench, epoch) = Bench::running();
    let exception = ExceptionDestination::Queue(queue("dead"));
    let open = EngineOp::OpenProducer { producer: producer(1), queue: queue("orders") };
    bench.ops(epoch, vec![create("orders", Settings { exception, ..orders }), open, create("dead", dead)]);
    let dead = bench.machine.names[&queue("dead")];
    (bench, epoch, dead)
}

fn ids(bench: &Bench, id: QueueId) -> Vec<MessageId> {
    bench.messages(id).into_iter().map(|(id, _)| id).collect()
}

fn texts(bench: &Bench, id: QueueId) -> Vec<String> {
    bench.messages(id).into_iter().map(|(_, text)| text).collect()
}

fn timers(bench: &Bench) -> Vec<Timer> {
    bench.memory.scan(Family::Timers).unwrap().iter().map(|(key, _)| Timer::from_key(key).unwrap()).collect()
}

fn changes(result: &OpResult) -> &Changes {
    match result {
        OpResult::Changed(changes) => changes,
        other => panic!("{other:?}"),
    }
}

fn reject(messages: Vec<MessageId>, reason: &str) -> EngineOp {
    EngineOp::Move { queue: ORDERS, messages, to: MoveTo::Exception { reason: reason.to_owned() } }
}

fn stored(bench: &Bench, queue: QueueId) -> Vec<StoredMessage> {
    bench.stored(queue).into_iter().map(|(_, stored)| stored.unwrap()).collect()
}

#[test]
fn a_dead_letter_lives_as_long_as_its_destination_says_and_a_replayed_one_as_its_target_says() {
    let live = |ms| Settings { time_to_live_ms: ms, ..Settings::default() };
    let (mut bench, epoch, dead) = ready(live(0), live(3_000));
    let own = message("a").with_time_to_live(Duration::from_secs(500)).with_delay(Duration::ZERO);
    bench.ops(epoch, vec![send(1, vec![own])]);
    let at_ms = bench.index * 10;
    let id = ids(&bench, ORDERS)[0];
    bench.ops(epoch, vec![reject(vec![id], "bad")]);
    let there = &stored(&bench, dead)[0];
    assert_eq!(there.expires_ms, at_ms + 3_000, "its own time to live is over");
    assert_eq!(there.message.expires_ms(5, 0), 0, "and does not come back");
    let due = timers(&bench);
    assert_eq!(due.iter().map(|timer| (timer.queue, timer.due_ms)).collect::<Vec<_>>(), [(dead, at_ms + 3_000)]);

    let patch = SettingsPatch::default().time_to_live_ms(700);
    bench.ops(epoch, vec![EngineOp::Configure { name: queue("orders"), patch: Box::new(patch), if_version: None }]);
    let at_ms = bench.index * 10;
    let id = ids(&bench, dead)[0];
    bench.ops(epoch, vec![EngineOp::Move { queue: dead, messages: vec![id], to: MoveTo::Origin }]);
    assert_eq!(stored(&bench, ORDERS)[0].expires_ms, at_ms + 700);
    assert!(texts(&bench, dead).is_empty());
}

#[test]
fn at_its_bound_a_dead_letter_stays_in_its_source_counted_and_waits() {
    let bound = |overflow| Settings { max_messages: 2, dead_letter_overflow: overflow, ..Settings::default() };
    let failing = Settings { max_failed_deliveries: 1, ..Settings::default() };
    let (mut bench, epoch, dead) = ready(failing, bound(DeadLetterOverflow::Wait));
    bench.ops(epoch, vec![send(1, ["a", "b", "c", "d"].map(message).to_vec())]);
    let all = ids(&bench, ORDERS);
    let results = bench.ops(epoch, vec![reject(all[..3].to_vec(), "bad")]);
    assert_eq!(changes(&results[0]).kept, [Kept { queue: ORDERS, message: all[2], failed: 1 }]);
    let results = bench.ops(epoch, vec![EngineOp::Requeue { queue: ORDERS, messages: vec![all[2], all[3]] }]);
    let kept = |message, failed| Kept { queue: ORDERS, message, failed };
    assert_eq!(changes(&results[0]).kept, [kept(all[2], 2), kept(all[3], 1)]);
    assert_eq!(
        (texts(&bench, ORDERS), texts(&bench, dead)),
        (vec!["c".into(), "d".into()], vec!["a".into(), "b".into()])
    );
    assert_eq!(bench.queue(ORDERS).redelivered, 2);

    // Where that is set, the oldest go for them; not while a transaction in doubt takes something off that queue.
    let prepare = EngineOp::Prepare {
        name: TransactionName::new("t").unwrap(),
        session: session_id(9),
        number: 1,
        sends: Vec::new(),
        settles: vec![(dead, vec![ids(&bench, dead)[1]])],
    };
    let session = EngineOp::OpenSession { session: session_id(9) };
    bench.ops(epoch, vec![session, prepare, configure("dead", bound(DeadLetterOverflow::DropOldest))]);
    let results = bench.ops(epoch, vec![reject(vec![all[2]], "bad")]);
    assert_eq!(changes(&results[0]).kept.len(), 1);
    let decide = EngineOp::Resolve { name: TransactionName::new("t").unwrap(), commit: false };
    let results = bench.ops(epoch, vec![decide, reject(vec![all[2]], "bad")]);
    assert_eq!(changes(&results[1]).dropped, [(dead, 1)]);
    assert_eq!((texts(&bench, ORDERS), texts(&bench, dead)), (vec!["d".into()], vec!["b".into(), "c".into()]));
    assert_eq!(bench.queue(dead).depth(), 2);
}

#[test]
fn a_bound_in_bytes_holds_for_dead_letters_alone() {
    let dead = Settings { max_dead_letter_bytes: 1, ..Settings::default() };
    let (mut bench, epoch, dead) = ready(Settings::default(), dead);
    bench.ops(epoch, vec![send(1, ["a", "b"].map(message).to_vec())]);
    let all = ids(&bench, ORDERS);
    let results = bench.ops(epoch, vec![reject(all, "bad")]);
    assert_eq!((changes(&results[0]).kept.len(), texts(&bench, dead)), (1, vec!["a".into()]));
}

#[test]
fn what_expires_waits_for_room_with_its_timer() {
    let (mut bench, epoch, dead) = ready(
        Settings { expired: Expired::Exception, ..Settings::default() },
        Settings { max_messages: 1, ..Settings::default() },
    );
    let short = |text| message(text).with_time_to_live(Duration::from_millis(20));
    bench.ops(epoch, vec![send(1, vec![short("a"), short("b")])]);
    let due = timers(&bench);
    let results = bench.ops(epoch, vec![EngineOp::Fire { timers: due.clone() }]);
    assert_eq!((changes(&results[0]).kept.len(), texts(&bench, dead)), (1, vec!["a".into()]));
    assert_eq!((texts(&bench, ORDERS), timers(&bench)), (vec!["b".into()], vec![due[1]]));
    let purge = EngineOp::Purge { queue: dead, through: ids(&bench, dead)[0], limit: 9 };
    bench.ops(epoch, vec![purge, EngineOp::Fire { timers: vec![due[1]] }]);
    assert_eq!((texts(&bench, ORDERS), texts(&bench, dead)), (vec![], vec!["b".to_owned()]));
}

#[test]
fn only_a_queue_takes_dead_letters_and_no_queue_its_own() {
    let (mut bench, epoch, _) = ready(Settings::default(), Settings::default());
    let space = EngineOp::Create {
        name: queue("space"),
        kind: DestinationKind::TopicSpace,
        settings: Settings::default(),
        owner: None,
    };
    bench.ops(epoch, vec![send(1, ["a", "b", "c"].map(message).to_vec()), space]);
    let all = ids(&bench, ORDERS);
    let to = |name: &str| {
        let exception = ExceptionDestination::Queue(queue(name));
        let patch = Box::new(SettingsPatch::default().exception(exception));
        EngineOp::Configure { name: queue("orders"), patch, if_version: None }
    };
    bench.ops(epoch, vec![to("space"), reject(vec![all[0]], "bad")]);
    assert_eq!(texts(&bench, bench.machine.names[&queue(SYSTEM_EXCEPTION_QUEUE)]), ["a"]);
    let results = bench.ops(epoch, vec![to("orders"), reject(vec![all[1]], "bad")]);
    assert_eq!(changes(&results[1]).kept.len(), 1);
    let none = SettingsPatch::default().exception(ExceptionDestination::None);
    let none = EngineOp::Configure { name: queue("orders"), patch: Box::new(none), if_version: None };
    let results = bench.ops(epoch, vec![none, reject(vec![all[2]], "bad")]);
    assert_eq!(changes(&results[1]).kept, [Kept { queue: ORDERS, message: all[2], failed: 1 }], "it is not dropped");
    assert_eq!(texts(&bench, ORDERS), ["b", "c"]);
}

#[test]
fn a_reason_is_cut_and_what_was_taken_can_be_moved() {
    let (mut bench, epoch, dead) = ready(Settings::default(), Settings::default());
    bench.ops(epoch, vec![send(1, vec![message("12345")])]);
    let id = ids(&bench, ORDERS)[0];
    bench.ops(epoch, vec![reject(vec![id], &"\u{fc}".repeat(10_000))]);
    let message = stored(&bench, dead).remove(0).message;
    assert_eq!(message.header(exception_header::REASON).unwrap().len(), exception_header::REASON_MAX);
    assert_eq!(message.limited_size(), 5);
    let own = Message::new("12345").with_header(exception_header::REASON, "x".repeat(20_000));
    assert!(own.limited_size() > 10_000, "nobody gets a message of any size through by that name");
}

/// Moved on, a message keeps its deadline and waits for nothing a second time.
#[test]
fn a_message_is_delivered_with_its_deadline_and_without_its_delay() {
    let (mut bench, epoch, _) = ready(Settings::default(), Settings::default());
    let asks = message("a").with_delay(Duration::from_secs(1)).with_time_to_live(Duration::from_secs(9));
    bench.ops(epoch, vec![send(1, vec![asks])]);
    let sent_ms = (bench.index - 1) * 10;
    let due = timers(&bench);
    bench.ops(epoch, vec![EngineOp::Fire { timers: due }]);
    let there = stored(&bench, ORDERS).remove(0);
    assert_eq!((there.expires_ms, there.message.delay_ms()), (sent_ms + 9_000, 0));
    let delivered = there.message.delivered(there.expires_ms);
    assert_eq!((delivered.expires_ms(777_777, 1), delivered.delay_ms()), (sent_ms + 9_000, 0));
    bench.ops(epoch, vec![send(2, vec![delivered.clone()])]);
    assert_eq!(stored(&bench, ORDERS)[1].expires_ms, sent_ms + 9_000);
    assert_eq!(delivered.with_time_to_live(Duration::from_secs(2)).expires_ms(100, 0), 2_100, "a new one counts");
}

/// What consumers may have had that are gone: the first in the order of delivery, one for each.
#[test]
fn of_lost_consumers_the_first_messages_that_they_may_have_had_are_counted() {
    let (mut bench, epoch, _) = ready(Settings::default(), Settings::default());
    let urgent = message("urgent").with_priority(9);
    bench.ops(epoch, vec![send(1, vec![message("a"), message("b"), message("c"), urgent, message("d")])]);
    let all = bench.messages(ORDERS);
    let id = |text: &str| all.iter().find(|(_, known)| known == text).unwrap().0;
    let lost = |except: Vec<MessageId>, consumers| EngineOp::CountLost {
        queue: ORDERS,
        through: vec![id("c"), id("urgent")],
        except,
        consumers,
    };
    let results = bench.ops(epoch, vec![lost(vec![], 2)]);
    assert_eq!(changes(&results[0]).counted, [(ORDERS, id("urgent"), 1), (ORDERS, id("a"), 1)]);
    let results = bench.ops(epoch, vec![lost(vec![id("urgent"), id("a")], 5)]);
    assert_eq!(changes(&results[0]).counted, [(ORDERS, id("b"), 1), (ORDERS, id("c"), 1)], "d was never promised");
    let two = Settings { max_failed_deliveries: 2, ..Settings::default() };
    bench.ops(epoch, vec![configure("orders", two)]);
    let results = bench.ops(epoch, vec![lost(vec![id("urgent")], 1)]);
    assert_eq!(changes(&results[0]).removed, [(ORDERS, id("a"))], "it failed too often");
    assert_eq!(
        bench.ops(
            epoch,
            vec![EngineOp::CountLost { queue: QueueId(99), through: vec![], except: vec![], consumers: 1 }]
        ),
        [OpResult::NoSuchQueue]
    );
    assert_eq!(timers(&bench).iter().filter(|timer| timer.kind == TimerKind::Enter).count(), 0);
}
