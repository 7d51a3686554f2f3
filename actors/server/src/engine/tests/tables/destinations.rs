//! How a queue behaves: priorities, expiry, bounds, pauses, exclusive consumers; and what operators do with messages.

use baton_client::protocol::Kind;
use baton_domain::{Settings, StoredMessage};

use super::*;

#[test]
fn a_higher_priority_goes_first_and_each_keeps_its_order() {
    let mut bench = started();
    let messages = [(4, "a"), (9, "b"), (0, "c"), (4, "d"), (9, "e")];
    let messages = messages.map(|(priority, body)| text(body).with_priority(priority)).to_vec();
    send(&mut bench, 1, messages);
    bench.attach(1, "q", 100, &[]);
    assert_eq!(taken(&mut bench), ["b", "e", "a", "d", "c"]);
}

/// Strict means that what has to be read first is waited for.
#[test]
fn a_lower_priority_in_memory_never_overtakes_a_higher_one_in_the_store() {
    let config = EngineConfig { ready_messages: 8, page_messages: 4, ..EngineConfig::default() };
    let mut bench = Bench::new(config);
    bench.open("q");
    let mut number = 0;
    let mut next = |priority| {
        number += 1;
        text(&format!("{priority}:{number}")).with_priority(priority)
    };
    let low: Vec<_> = (0..30).map(|_| next(1)).collect();
    let high: Vec<_> = (0..30).map(|_| next(8)).collect();
    send(&mut bench, 1, low);
    bench.attach(1, "q", 5, &[]);
    assert!(taken(&mut bench).iter().all(|body| body.starts_with("1:")), "there is nothing else yet");
    send(&mut bench, 31, high);
    bench.call(EngineRequest::Credit { consumer: consumer(1), credit: 1_000, received: None });
    let bodies = taken(&mut bench);
    assert_eq!(bodies.len(), 55);
    assert!(bodies[..30].iter().all(|body| body.starts_with("8:")), "{bodies:?}");
}

#[test]
fn what_expired_is_not_delivered_and_leaves_the_queue_also_while_nobody_listens() {
    let mut bench = started();
    let short = |body| text(body).with_time_to_live(Duration::from_millis(50));
    send(&mut bench, 1, vec![short("a"), text("b"), short("c")]);
    bench.attach(1, "q", 1, &[]);
    assert_eq!(taken(&mut bench), ["a"]);
    bench.advance(60);
    bench.settle_down();
    let left = |bench: &Bench| -> Vec<StoredMessage> {
        bench.model.queues.values().next().unwrap().messages.values().cloned().collect()
    };
    assert_eq!(left(&bench).len(), 2, "what a consumer has was delivered in time");
    assert_eq!(status(&mut bench).depth, 2);
    bench.call(EngineRequest::Credit { consumer: consumer(1), credit: 9, received: None });
    assert_eq!(taken(&mut bench), ["b"]);
    // It comes back too late.
    let detach = EngineRequest::Detach { consumer: consumer(1), untouched: Vec::new() };
    bench.call(detach);
    bench.attach(2, "q", 9, &[]);
    assert_eq!(taken(&mut bench), ["b"]);
    assert_eq!(left(&bench).len(), 1);
}

#[test]
fn a_new_engine_finds_what_expired_while_there_was_none() {
    let mut before = started();
    send(&mut before, 1, vec![text("a").with_time_to_live(Duration::from_millis(50)), text("b")]);
    let mut bench = Bench::over(before.model, EngineConfig::default());
    bench.now = before.now + Duration::from_millis(60);
    bench.advance(0);
    bench.settle_down();
    bench.attach(1, "q", 9, &[]);
    assert_eq!(taken(&mut bench), ["b"]);
    assert_eq!(status(&mut bench).depth, 1);
}

#[test]
fn a_full_queue_refuses_until_some_are_taken_off() {
    let mut bench = started();
    assert_eq!(
        configure(&mut bench, Settings { max_messages: 2, ..Settings::default() }),
        EngineReply::Configured { version: 1 }
    );
    send(&mut bench, 1, vec![text("a"), text("b"), text("c")]);
    let refused = send(&mut bench, 4, vec![text("d")]);
    assert_eq!(bench.error_of(refused), Some(EngineError::QueueFull { queue: queue("q"), limit: 2 }));
    bench.attach(1, "q", 9, &[]);
    let ids = ids(&bench.take());
    bench.acknowledge(1, &ids);
    let sent = send(&mut bench, 4, vec![text("d")]);
    assert_eq!(bench.error_of(sent), None);
}

#[test]
fn a_paused_queue_takes_nothing_or_delivers_nothing() {
    let mut bench = started();
    bench.attach(1, "q", 9, &[]);
    configure(&mut bench, Settings { receive_paused: true, ..Settings::default() });
    send(&mut bench, 1, vec![text("a")]);
    assert_eq!(taken(&mut bench), [""; 0]);
    configure(&mut bench, Settings { send_paused: true, ..Settings::default() });
    assert_eq!(taken(&mut bench), ["a"]);
    let refused = send(&mut bench, 2, vec![text("b")]);
    assert_eq!(bench.error_of(refused), Some(EngineError::SendPaused(queue("q"))));
}

/// One consumer at a time, the others in the order in which they came, also for the next engine.
#[test]
fn an_exclusive_queue_serves_the_first_consumer_and_then_its_stand_ins_in_order() {
    let mut bench = started();
    configure(&mut bench, Settings { exclusive: true, ..Settings::default() });
    for number in [7, 3, 5] {
        bench.attach(number, "q", 2, &[]);
    }
    send(&mut bench, 1, (1..=6).map(|number| text(&number.to_string())).collect());
    let first = bench.take();
    assert_eq!(first.iter().map(|(to, _)| *to).collect::<Vec<_>>(), [consumer(7); 2]);
    bench.call(EngineRequest::Detach { consumer: consumer(7), untouched: ids(&first) });
    let second = bench.take();
    assert_eq!(second.iter().map(|(to, _)| *to).collect::<Vec<_>>(), [consumer(3); 2]);
    assert_eq!(bodies(&deliveries(&second)), ["1", "2"]);
}

#[test]
fn a_rejected_message_leaves_with_its_reason_and_frees_its_credit() {
    let mut bench = started();
    bench.attach(1, "q", 1, &[]);
    send(&mut bench, 1, vec![text("bad"), text("good")]);
    let bad = bench.take()[0].1.id;
    let stranger = MessageId { index: 1, ..bad };
    let rejected = vec![(bad, "no JSON".to_owned()), (stranger, "not mine".to_owned())];
    let (acknowledged, refused) = (Vec::new(), Vec::new());
    let settle = EngineRequest::Settle {
        consumer: consumer(1),
        acknowledged,
        refused,
        rejected,
        released: Vec::new(),
        received: None,
    };
    assert_eq!(bench.call(settle), EngineReply::Done);
    assert_eq!(taken(&mut bench), ["good"]);
    assert_eq!(status(&mut bench).depth, 1);
}

#[test]
fn browsing_shows_what_is_there_in_the_order_of_delivery_and_takes_nothing() {
    let mut bench = started();
    send(&mut bench, 1, vec![text("a"), text("b").with_priority(9), text("c")]);
    let (mut from, mut seen) = (None, Vec::new());
    loop {
        let browse = EngineRequest::Browse { queue: queue("q"), from, limit: 1 };
        let EngineReply::Messages { messages, next, .. } = bench.call(browse) else { panic!() };
        seen.extend(bodies(&messages));
        match next {
            Some(next) => from = Some(next),
            None => break,
        }
    }
    assert_eq!(seen, ["b", "a", "c"]);
    bench.attach(1, "q", 9, &[]);
    assert_eq!(taken(&mut bench), ["b", "a", "c"]);
    let none = EngineRequest::Browse { queue: queue("none"), from: None, limit: 1 };
    assert_eq!(bench.call(none), EngineReply::Error(EngineError::NoSuchQueue(queue("none"))));
}

#[test]
fn a_purge_empties_the_queue_and_what_comes_later_stays() {
    let mut bench = started();
    bench.attach(1, "q", 3, &[]);
    let number = |number: u64| text(&number.to_string()).with_priority((number % 3) as u8);
    send(&mut bench, 1, (1..=3_000).map(number).collect());
    let held = ids(&bench.take());
    assert_eq!(
        bench.call(EngineRequest::Purge { queue: queue("q"), through: NEWEST }),
        EngineReply::Moved { messages: 3_000 }
    );
    assert_eq!(status(&mut bench).depth, 0);
    send(&mut bench, 3_001, vec![text("new")]);
    assert_eq!(bench.acknowledge(1, &held), EngineReply::Done, "what a consumer held is settled as ever");
    assert_eq!(taken(&mut bench), ["new"]);
}

#[test]
fn messages_go_back_by_replay_unless_somebody_holds_them() {
    let mut bench = started();
    bench.attach(1, "q", 1, &[]);
    send(&mut bench, 1, vec![text("held"), text("free")]);
    let held = ids(&bench.take());
    let all: Vec<MessageId> = bench.model.queues.values().next().unwrap().messages.keys().map(|(_, id)| *id).collect();
    let replay = EngineRequest::Replay { queue: queue("q"), messages: all.clone() };
    assert_eq!(bench.call(replay), EngineReply::Moved { messages: 1 });
    let left: Vec<MessageId> = bench.model.queues.values().next().unwrap().messages.keys().map(|(_, id)| *id).collect();
    assert_eq!(left, held);
}

#[test]
fn settings_are_created_once_and_changed_by_name() {
    let mut bench = started();
    let settings = Settings { max_messages: 5, ..Settings::default() };
    let create = |name: &str| EngineRequest::Create {
        name: queue(name),
        kind: Kind::Queue,
        settings: Box::new(settings.clone().into()),
    };
    let change = |name: &str| EngineRequest::Configure {
        name: queue(name),
        patch: Box::new(settings.clone().into()),
        if_version: None,
    };
    let differs = bench.call(create("q"));
    assert!(matches!(differs, EngineReply::Error(EngineError::QueueDiffers { .. })), "{differs:?}");
    assert_eq!(bench.call(change("new")), EngineReply::Error(EngineError::NoSuchQueue(queue("new"))));
    assert_eq!(bench.call(create("new")), EngineReply::Created { created: true });
    assert_eq!(bench.call(create("new")), EngineReply::Created { created: false });
    assert_eq!(bench.call(change("q")), EngineReply::Configured { version: 1 });
    assert_eq!(status(&mut bench).settings, settings);
    let next = Bench::over(bench.model, EngineConfig::default());
    let running = next.state.running().unwrap();
    assert!(running.queues.by_name().all(|queue| queue.settings == settings));
}
