//! Priorities, timers, exception destinations, purges: messages that change their places.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use baton_domain::{
    Changes, ExceptionDestination, Expired, Lane, MoveTo, Properties, SYSTEM_EXCEPTION_QUEUE, Settings, Timer,
    TimerKind, exception_header,
};
use proptest::prelude::*;

use super::*;

const ORDERS: QueueId = QueueId(1);

fn send(first: u64, messages: Vec<Message>) -> EngineOp {
    EngineOp::Send { registration: 0, producer: producer(1), first, messages: messages.into(), dispatch: false }
}

/// A queue `orders` with producer 1, and these settings.
fn ready(settings: Settings) -> (Bench, Epoch) {
    let (mut bench, epoch) = Bench::running();
    let open = EngineOp::OpenProducer { producer: producer(1), queue: queue("orders") };
    bench.ops(epoch, vec![create("orders", settings), open]);
    (bench, epoch)
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

fn stored(bench: &Bench, queue: QueueId, id: MessageId) -> Message {
    let message = bench.stored(queue).into_iter().find(|(known, _)| *known == id).unwrap().1;
    message.unwrap().message
}

fn changes(result: &OpResult) -> &Changes {
    match result {
        OpResult::Changed(changes) => changes,
        other => panic!("{other:?}"),
    }
}

fn named(bench: &Bench, name: &str) -> QueueId {
    bench.machine.names[&queue(name)]
}

#[test]
fn each_priority_lies_apart_in_its_order() {
    let (mut bench, epoch) = ready(Settings::default());
    let messages = [(4, "a"), (9, "b"), (0, "c"), (4, "d"), (9, "e")]
        .map(|(priority, text)| message(text).with_priority(priority))
        .to_vec();
    bench.ops(epoch, vec![send(1, messages)]);
    let state = bench.queue(ORDERS);
    let depth = |priority| state.lanes[&Lane::of_priority(priority)].depth;
    assert_eq!((depth(4), depth(9), depth(0), state.depth()), (2, 2, 1, 5));
    let by_priority: Vec<(u8, String)> =
        bench.messages(ORDERS).into_iter().map(|(id, text)| (id.lane().priority(), text)).collect();
    let of = |priority: u8| by_priority.iter().filter(move |(of, _)| *of == priority).map(|(_, text)| text.as_str());
    assert_eq!(of(4).collect::<String>() + &of(9).collect::<String>() + &of(0).collect::<String>(), "adbec");
}

/// A poison message leaves in the entry that counts its last failure: it is never in two places or in none.
#[test]
fn what_failed_too_often_goes_to_the_exception_destination_with_the_reason() {
    let (mut bench, epoch) = ready(Settings { max_failed_deliveries: 3, ..Settings::default() });
    bench.ops(epoch, vec![send(1, vec![message("poison").with_header("k", "v"), message("good")])]);
    let poison = ids(&bench, ORDERS)[0];
    let fail = EngineOp::Requeue { queue: ORDERS, messages: vec![poison] };
    for _ in 0..2 {
        let results = bench.ops(epoch, vec![fail.clone()]);
        assert_eq!(changes(&results[0]), &Changes::default());
    }
    let results = bench.ops(epoch, vec![fail.clone()]);
    let exception = named(&bench, SYSTEM_EXCEPTION_QUEUE);
    let moved = changes(&results[0]);
    assert_eq!(moved.removed, [(ORDERS, poison)]);
    assert_eq!((moved.arrived[0].queue, moved.arrived[0].messages), (exception, 1));
    assert_eq!((texts(&bench, ORDERS), texts(&bench, exception)), (vec!["good".to_owned()], vec!["poison".to_owned()]));
    let there = ids(&bench, exception)[0];
    assert_eq!(moved.arrived[0].last, there);
    let message = stored(&bench, exception, there);
    assert_eq!(message.header(exception_header::REASON), Some("3 deliveries failed"));
    assert_eq!(message.header(exception_header::FROM), Some("orders"));
    assert!(message.header(exception_header::AT_MS).is_some() && message.header("k") == Some("v"));
    assert_eq!(changes(&bench.ops(epoch, vec![fail])[0]), &Changes::default(), "it is gone");

    // And back, by one command, as it was.
    let replay = EngineOp::Move { queue: exception, messages: vec![there], to: MoveTo::Origin };
    let results = bench.ops(epoch, vec![replay]);
    assert_eq!(changes(&results[0]).removed, [(exception, there)]);
    assert_eq!(texts(&bench, ORDERS), ["good", "poison"]);
    let back = ids(&bench, ORDERS)[1];
    assert_eq!(stored(&bench, ORDERS, back).headers, [("k".to_owned(), "v".to_owned())]);
    let fail = EngineOp::Requeue { queue: ORDERS, messages: vec![back] };
    assert_eq!(changes(&bench.ops(epoch, vec![fail])[0]), &Changes::default(), "it counts afresh");
}

#[test]
fn nothing_is_sent_back_to_a_queue_that_is_paused_or_full() {
    let settings = Settings { max_failed_deliveries: 1, ..Settings::default() };
    let (mut bench, epoch) = ready(settings.clone());
    bench.ops(epoch, vec![send(1, ["a", "b", "c"].map(message).to_vec())]);
    let all = ids(&bench, ORDERS);
    bench.ops(epoch, vec![EngineOp::Requeue { queue: ORDERS, messages: all }]);
    let exception = named(&bench, SYSTEM_EXCEPTION_QUEUE);
    let all = ids(&bench, exception);
    let replay = EngineOp::Move { queue: exception, messages: all.clone(), to: MoveTo::Origin };
    let paused = configure("orders", Settings { send_paused: true, ..settings.clone() });
    assert_eq!(changes(&bench.ops(epoch, vec![paused, replay.clone()])[1]), &Changes::default());
    let bound = configure("orders", Settings { max_messages: 2, ..settings });
    let results = bench.ops(epoch, vec![bound, replay]);
    assert_eq!(changes(&results[1]).removed, [(exception, all[0]), (exception, all[1])]);
    assert_eq!((texts(&bench, ORDERS).len(), texts(&bench, exception)), (2, vec!["c".to_owned()]));
}

#[test]
fn a_queue_of_ones_own_takes_exceptions_and_none_keeps_them() {
    let exception = ExceptionDestination::Queue(queue("mine"));
    let settings = Settings { max_failed_deliveries: 1, exception, ..Settings::default() };
    let (mut bench, epoch) = ready(settings.clone());
    bench.ops(epoch, vec![send(1, vec![message("a"), message("b"), message("c")])]);
    let all = ids(&bench, ORDERS);
    let fail = |id| EngineOp::Requeue { queue: ORDERS, messages: vec![id] };
    bench.ops(epoch, vec![fail(all[0])]);
    assert_eq!(texts(&bench, named(&bench, SYSTEM_EXCEPTION_QUEUE)), ["a"], "there is no queue of that name");
    bench.ops(epoch, vec![create("mine", Settings::default()), fail(all[1])]);
    assert_eq!(texts(&bench, named(&bench, "mine")), ["b"]);
    let keeps = Settings { exception: ExceptionDestination::None, ..settings };
    bench.ops(epoch, vec![configure("orders", keeps)]);
    for _ in 0..5 {
        bench.ops(epoch, vec![fail(all[2])]);
    }
    assert_eq!(texts(&bench, ORDERS), ["c"]);
}

#[test]
fn a_refused_message_waits_longer_each_time_and_comes_back_with_its_count() {
    let settings = Settings { redelivery_delay_ms: 100, ..Settings::default() };
    let (mut bench, epoch) = ready(settings);
    bench.ops(epoch, vec![send(1, vec![message("a").with_priority(7)])]);
    let mut waited = Vec::new();
    for failed in 1..=3 {
        let id = ids(&bench, ORDERS)[0];
        let at_ms = (bench.index) * 10;
        let results = bench.ops(epoch, vec![EngineOp::Requeue { queue: ORDERS, messages: vec![id] }]);
        let due_ms = changes(&results[0]).due_ms;
        waited.push(due_ms - at_ms);
        assert!(ids(&bench, ORDERS).is_empty() && bench.queue(ORDERS).delayed == 1);
        let due = timers(&bench);
        assert_eq!((due.len(), due[0].due_ms, due[0].kind), (1, due_ms, TimerKind::Enter));
        let results = bench.ops(epoch, vec![EngineOp::Fire { timers: due.clone() }, EngineOp::Fire { timers: due }]);
        assert_eq!(changes(&results[0]).arrived.len(), 1);
        assert_eq!(changes(&results[1]), &Changes::default(), "a timer fires once");
        let state = bench.queue(ORDERS);
        assert_eq!((state.depth(), state.delayed, state.redelivered), (1, 0, 1));
        let counts = bench.memory.scan(Family::Redeliveries).unwrap();
        assert_eq!(counts[0].1, u32::to_be_bytes(failed));
        assert_eq!(ids(&bench, ORDERS)[0].lane().priority(), 7);
    }
    assert_eq!(waited, [100, 200, 400]);
}

#[test]
fn what_expires_is_dropped_or_set_aside_and_what_was_taken_in_time_has_no_timer() {
    for expired in [Expired::Drop, Expired::Exception] {
        let settings = Settings { expired, time_to_live_ms: 500, ..Settings::default() };
        let (mut bench, epoch) = ready(settings);
        let short = message("short").with_time_to_live(Duration::from_millis(20));
        let at_ms = bench.index * 10;
        let results = bench.ops(epoch, vec![send(1, vec![message("long"), short, message("taken")])]);
        assert!(matches!(results[0], OpResult::Sent { due_ms, .. } if due_ms == at_ms + 20), "{results:?}");
        let all = ids(&bench, ORDERS);
        bench.ops(epoch, vec![EngineOp::Settle { queue: ORDERS, messages: vec![all[2]], heads: vec![] }]);
        let due = timers(&bench);
        let at = |timer: &Timer| (timer.due_ms - at_ms, timer.message);
        assert_eq!(due.iter().map(at).collect::<Vec<_>>(), [(20, all[1]), (500, all[0])]);
        let results = bench.ops(epoch, vec![EngineOp::Fire { timers: vec![due[0]] }]);
        assert_eq!(changes(&results[0]).removed, [(ORDERS, all[1])]);
        assert_eq!(texts(&bench, ORDERS), ["long"]);
        match expired {
            Expired::Drop => assert!(!bench.machine.names.contains_key(&queue(SYSTEM_EXCEPTION_QUEUE))),
            Expired::Exception => {
                let exception = named(&bench, SYSTEM_EXCEPTION_QUEUE);
                assert_eq!(texts(&bench, exception), ["short"]);
                assert_eq!(timers(&bench).len(), 1, "it does not expire again");
            }
        }
    }
}

#[test]
fn a_delayed_message_is_numbered_at_once_and_enters_when_it_is_due() {
    let (mut bench, epoch) = ready(Settings::default());
    let delayed = message("later").with_delay(Duration::from_secs(1)).with_time_to_live(Duration::from_secs(9));
    let results = bench.ops(epoch, vec![send(1, vec![delayed.clone(), message("now")])]);
    assert!(matches!(results[0], OpResult::Sent { accepted: 2, .. }));
    assert_eq!(texts(&bench, ORDERS), ["now"]);
    let resent = bench.ops(epoch, vec![send(1, vec![delayed, message("now")])]);
    assert!(matches!(resent[0], OpResult::Sent { duplicates: 2, accepted: 0, .. }));
    let due = timers(&bench);
    bench.ops(epoch, vec![EngineOp::Fire { timers: due }]);
    assert_eq!(texts(&bench, ORDERS), ["now", "later"]);
    assert_eq!(timers(&bench).iter().map(|timer| timer.kind).collect::<Vec<_>>(), [TimerKind::Expire]);
}

#[test]
fn a_purge_goes_lane_by_lane_and_says_whether_more_is_left() {
    let (mut bench, epoch) = ready(Settings { time_to_live_ms: 1_000, ..Settings::default() });
    let messages = (0..5).map(|at| message(&format!("{at}"))).chain([message("urgent").with_priority(9)]).collect();
    bench.ops(epoch, vec![send(1, messages)]);
    let through = Lane(0).end_of(0, bench.index);
    let purge = || EngineOp::Purge { queue: ORDERS, through, limit: 3 };
    let results = bench.ops(epoch, vec![purge()]);
    assert!(changes(&results[0]).more && changes(&results[0]).removed.len() == 3);
    let results = bench.ops(epoch, vec![purge(), purge()]);
    assert_eq!((changes(&results[0]).more, changes(&results[0]).removed.len()), (false, 2));
    assert_eq!(changes(&results[1]).removed.len(), 0);
    assert_eq!(texts(&bench, ORDERS), ["urgent"]);
    assert_eq!(timers(&bench).len(), 1);
    bench.ops(epoch, vec![send(7, vec![message("new")])]);
    assert_eq!(texts(&bench, ORDERS).len(), 2, "later ones are not touched");
}

/// What one random step does; what it does it to is drawn from what is there.
#[derive(Debug, Clone)]
enum Deed {
    Configure(u8, u8, u8, u16, u16),
    Send(Vec<(u8, u16, u16)>),
    Settle(u8, Vec<u8>),
    Fail(u8, Vec<u8>),
    Reject(u8, Vec<u8>),
    Replay(u8, Vec<u8>),
    Fire(Vec<u8>),
    Purge(u8, u8, u8),
}

fn deed() -> impl Strategy<Value = Deed> {
    let some = || proptest::collection::vec(any::<u8>(), 1..5);
    let time = || prop_oneof![2 => Just(0_u16), 1 => 1..900_u16];
    prop_oneof![
        2 => (0..4_u8, 0..4_u8, 0..4_u8, time(), time()).prop_map(|(a, b, c, d, e)| Deed::Configure(a, b, c, d, e)),
        8 => proptest::collection::vec((0..10_u8, time(), time()), 1..6).prop_map(Deed::Send),
        3 => (any::<u8>(), some()).prop_map(|(queue, which)| Deed::Settle(queue, which)),
        5 => (any::<u8>(), some()).prop_map(|(queue, which)| Deed::Fail(queue, which)),
        2 => (any::<u8>(), some()).prop_map(|(queue, which)| Deed::Reject(queue, which)),
        2 => (any::<u8>(), some()).prop_map(|(queue, which)| Deed::Replay(queue, which)),
        4 => some().prop_map(Deed::Fire),
        1 => (any::<u8>(), 0..10_u8, 1..4_u8).prop_map(|(queue, lane, limit)| Deed::Purge(queue, lane, limit)),
    ]
}

fn pick<T: Copy>(all: &[T], which: &[u8]) -> Vec<T> {
    which.iter().filter_map(|which| all.get(*which as usize % all.len().max(1)).copied()).collect()
}

impl Deed {
    fn op(&self, bench: &Bench, sent: &mut u64) -> EngineOp {
        let queues: Vec<QueueId> = bench.machine.queues.keys().copied().collect();
        let of = |at: &u8| queues[*at as usize % queues.len()];
        let chosen = |queue, which: &[u8]| pick(&ids(bench, queue), which);
        match self {
            Self::Configure(name, failed, exception, delay, live) => {
                let exception = match exception {
                    0 => ExceptionDestination::None,
                    1 => ExceptionDestination::Queue(queue("q1")),
                    _ => ExceptionDestination::System,
                };
                let settings = Settings {
                    exception,
                    max_failed_deliveries: u32::from(*failed),
                    redelivery_delay_ms: u64::from(*delay),
                    time_to_live_ms: u64::from(*live),
                    expired: if failed % 2 == 0 { Expired::Drop } else { Expired::Exception },
                    forward_to: (*failed == 3).then(|| queue("q2")).into_iter().collect(),
                    ..Settings::default()
                };
                let name = if *name == 0 { "orders".to_owned() } else { format!("q{name}") };
                let known = bench.machine.names.contains_key(&queue(&name));
                if known { configure(&name, settings) } else { create(&name, settings) }
            }
            Self::Send(messages) => {
                let first = *sent + 1;
                let messages = messages.iter().map(|(priority, delay, live)| {
                    *sent += 1;
                    let properties = Properties {
                        priority: *priority,
                        time_to_live_ms: u64::from(*live),
                        delay_ms: u64::from(*delay),
                        ..Properties::default()
                    };
                    Message { properties: Some(Box::new(properties)), ..message(&sent.to_string()) }
                });
                send(first, messages.collect())
            }
            Self::Settle(queue, which) => {
                EngineOp::Settle { queue: of(queue), messages: chosen(of(queue), which), heads: vec![] }
            }
            Self::Fail(queue, which) => EngineOp::Requeue { queue: of(queue), messages: chosen(of(queue), which) },
            Self::Reject(queue, which) => {
                let to = MoveTo::Exception { reason: "no".into() };
                EngineOp::Move { queue: of(queue), messages: chosen(of(queue), which), to }
            }
            Self::Replay(queue, which) => {
                EngineOp::Move { queue: of(queue), messages: chosen(of(queue), which), to: MoveTo::Origin }
            }
            Self::Fire(which) => EngineOp::Fire { timers: pick(&timers(bench), which) },
            Self::Purge(queue, priority, limit) => EngineOp::Purge {
                queue: of(queue),
                through: Lane::of_priority(*priority).end_of(0, bench.index),
                limit: u32::from(*limit),
            },
        }
    }
}

/// Every message that is in a queue or delayed.
fn everywhere(bench: &Bench) -> Vec<String> {
    let mut all: Vec<String> = bench.machine.queues.keys().flat_map(|id| texts(bench, *id)).collect();
    for (key, value) in bench.memory.scan(Family::Timers).unwrap() {
        if Timer::from_key(&key).unwrap().kind == TimerKind::Enter {
            let body = decode_message(&value, None).unwrap().message.body.to_vec();
            all.push(String::from_utf8(body).unwrap());
        }
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    /// Whatever moves: each message is in one place until it is settled, purged or expires, what the records count is
    /// what is there, and every batching ends in the same bytes.
    #[test]
    fn messages_move_as_one_and_are_never_lost_or_doubled(
        deeds in proptest::collection::vec(deed(), 1..60),
        cuts in proptest::collection::vec(1..6_usize, 1..20),
    ) {
        let (mut single, epoch) = ready(Settings::default());
        let (mut sent, mut gone) = (0, BTreeSet::new());
        let mut commands = Vec::new();
        for deed in &deeds {
            let before = everywhere(&single);
            let op = deed.op(&single, &mut sent);
            let command = Command::Engine { epoch, at_ms: single.index * 10, ops: vec![op.clone()] };
            let Applied::Engine { results } = single.apply(&command) else { panic!() };
            commands.push(command);
            let mut after = everywhere(&single);
            after.sort();
            prop_assert!(after.windows(2).all(|pair| pair[0] != pair[1]), "one message in two places");
            let left = before.iter().filter(|text| after.binary_search(text).is_err());
            match (&op, &results[0]) {
                // These take messages off; a rejection only where there is no exception destination.
                (EngineOp::Settle { .. } | EngineOp::Purge { .. } | EngineOp::Fire { .. } | EngineOp::Move { to: MoveTo::Exception { .. }, .. }, _) => {
                    gone.extend(left.cloned());
                }
                (op, _) => prop_assert_eq!(left.count(), 0, "lost by {:?}", op),
            }
            prop_assert_eq!(after.len() + gone.len(), sent as usize);
            let expiring: BTreeMap<_, _> = timers(&single)
                .into_iter()
                .filter(|timer| timer.kind == TimerKind::Expire)
                .map(|timer| ((timer.queue, timer.message), timer.due_ms))
                .collect();
            for (id, state) in &single.machine.queues {
                let messages = single.stored(*id);
                prop_assert_eq!(state.depth(), messages.len() as u64);
                prop_assert_eq!(state.delayed, timers(&single).iter().filter(|timer| timer.kind == TimerKind::Enter && timer.queue == *id).count() as u64);
                for (message, stored) in &messages {
                    let expires_ms = stored.as_ref().unwrap().expires_ms;
                    prop_assert_eq!(expiring.get(&(*id, *message)).copied().unwrap_or(0), expires_ms);
                }
            }
            single.check_packs();
            prop_assert!(expiring.keys().all(|(queue, id)| ids(&single, *queue).contains(id)), "a timer of nothing");
        }
        let (mut batched, _) = ready(Settings::default());
        batched.apply_in_batches(&commands, &cuts);
        prop_assert_eq!(&single.memory, &batched.memory);
        let mut forgetful = ready(Settings::default()).0;
        forgetful.apply_forgetting(&commands, &cuts);
        prop_assert_eq!(&single.memory, &forgetful.memory);
        let reloaded = Machine::load(&batched.memory).unwrap();
        prop_assert_eq!(&reloaded.queues, &single.machine.queues);
        prop_assert_eq!(&reloaded.settings, &single.machine.settings);
    }
}
