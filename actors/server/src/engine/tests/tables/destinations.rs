//! How a queue behaves: priorities, expiry, bounds, pauses, exclusive consumers; and what operators do with messages.

use baton_client::protocol::Kind;
use baton_client::protocol::Opening;
use baton_domain::{Destinations, Settings, StoredMessage, TransactionSend};

use super::*;

fn send(bench: &mut Bench, first: u64, messages: Vec<Message>) -> RequestId {
    let request =
        bench.ask(EngineRequest::Send { producer: producer(1), registration: 0, first, messages: messages.into() });
    bench.settle_down();
    request
}

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

/// A topic space with a producer in the place of `q`.
fn space() -> Bench {
    let mut bench = Bench::new(EngineConfig::default());
    let create = EngineRequest::Create { name: queue("news"), kind: Kind::TopicSpace, settings: Box::default() };
    assert_eq!(bench.call(create), EngineReply::Created { created: true });
    let open = EngineRequest::OpenProducer { producer: producer(1), queue: queue("news"), opening: Opening::First };
    assert!(matches!(bench.call(open), EngineReply::Producer { .. }));
    bench
}

fn subscription(topic: &str) -> Kind {
    Kind::Subscription { space: queue("news"), topic: topic.to_owned(), selector: String::new() }
}

fn take_from(bench: &mut Bench, number: u8) -> Vec<String> {
    let taken = bench.take();
    let mine = taken.iter().filter(|(to, _)| *to == consumer(number)).map(|(_, one)| one.clone());
    bodies(&mine.collect::<Vec<_>>())
}

#[test]
fn each_subscription_gets_what_it_wants_and_keeps_it_while_nobody_listens() {
    let mut bench = space();
    for (name, topic) in [("all", "#"), ("sport", "sport/*")] {
        let (name, settings) = (queue(name), Box::default());
        let create = EngineRequest::Create { name, kind: subscription(topic), settings };
        assert_eq!(bench.call(create), EngineReply::Created { created: true });
    }
    let about = |body, topic: &str| text(body).with_topic(topic);
    send(&mut bench, 1, vec![about("a", "sport/tennis"), about("b", "weather")]);
    bench.attach(1, "all", 9, &[]);
    assert_eq!(take_from(&mut bench, 1), ["a", "b"]);
    send(&mut bench, 3, vec![about("c", "sport/golf")]);
    assert_eq!(take_from(&mut bench, 1), ["c"], "straight from memory");
    bench.attach(2, "sport", 9, &[]);
    assert_eq!(take_from(&mut bench, 2), ["a", "c"]);
}

/// As a full queue among those that a send is forwarded to.
#[test]
fn what_a_full_subscription_wants_is_refused_and_the_rest_is_published() {
    let mut bench = space();
    for (name, topic) in [("all", "#"), ("sport", "sport/*")] {
        let settings = Box::new(Settings { max_messages: u64::from(name == "sport"), ..Settings::default() }.into());
        bench.call(EngineRequest::Create { name: queue(name), kind: subscription(topic), settings });
    }
    let about = |body, topic: &str| text(body).with_topic(topic);
    send(&mut bench, 1, vec![about("a", "sport/golf")]);
    let refused = send(&mut bench, 2, vec![about("b", "weather"), about("c", "sport/golf")]);
    assert_eq!(bench.error_of(refused), Some(EngineError::QueueFull { queue: queue("sport"), limit: 1 }));
    let published = send(&mut bench, 2, vec![about("b", "weather")]);
    assert_eq!(bench.error_of(published), None);
    bench.attach(1, "all", 9, &[]);
    assert_eq!(take_from(&mut bench, 1), ["a", "b"]);
    bench.attach(2, "sport", 9, &[]);
    let held = ids(&bench.take());
    bench.acknowledge(2, &held);
    let published = send(&mut bench, 3, vec![about("c", "sport/golf")]);
    assert_eq!(bench.error_of(published), None);
}

/// Of what an engine keeps of a message as of what the store has.
#[test]
fn a_subscription_has_its_spaces_time_to_live_unless_it_has_its_own() {
    let mut bench = space();
    let living = |ms| Box::new(Settings { time_to_live_ms: ms, ..Settings::default() }.into());
    bench.call(EngineRequest::Configure { name: queue("news"), patch: living(1_000), if_version: None });
    for (name, own_ms) in [("long", 0), ("short", 50)] {
        bench.call(EngineRequest::Create { name: queue(name), kind: subscription("#"), settings: living(own_ms) });
    }
    let running = bench.state.running().unwrap();
    let of = |name: &str| running.queues.time_to_live_ms(running.queues.id(&queue(name)).unwrap());
    assert_eq!(["news", "long", "short"].map(of), [1_000, 1_000, 50]);
}

/// A non-durable subscription, or a place for answers: there with its consumer, and gone with it.
#[test]
fn a_temporary_destination_comes_with_its_consumer_outlives_the_engine_and_goes_with_the_consumer() {
    let mut before = space();
    let attach = |number, topic: &str| EngineRequest::Attach {
        consumer: consumer(number),
        queue: queue("mine"),
        credit: 9,
        unsettled: Vec::new(),
        received: 0,
        groups: Vec::new(),
        selector: String::new(),
        temporary: Some(Box::new(subscription(topic))),
    };
    assert!(matches!(before.call(attach(1, "sport/#")), EngineReply::Attached { .. }));
    send(&mut before, 1, vec![text("a").with_topic("sport/golf"), text("b").with_topic("weather")]);
    assert_eq!(take_from(&mut before, 1), ["a"]);
    let mut bench = Bench::over(before.model, EngineConfig::default());
    assert!(matches!(bench.call(attach(1, "sport/#")), EngineReply::Attached { .. }));
    assert!(bench.state.running().unwrap().queues.by_name().any(|queue| queue.temporary));
    let wrong = bench.call(attach(2, "a//b"));
    assert!(matches!(wrong, EngineReply::Attached { .. }), "it is there: what it would be does not matter");
    bench.call(EngineRequest::Detach { consumer: consumer(1), untouched: Vec::new() });
    assert_eq!(bench.model.queues.len(), 1);
    assert_eq!(bench.state.running().unwrap().queues.len(), 1);
    let gone = EngineRequest::Credit { consumer: consumer(2), credit: 3, received: None };
    assert_eq!(bench.call(gone), EngineReply::Error(EngineError::ConsumerUnknown), "its queue is gone");
}

/// Whether it is refused at once or only when its destination is there, since others were faster.
#[test]
fn a_consumer_that_is_refused_leaves_no_temporary_destination_behind() {
    let mut bench = Bench::new(EngineConfig { consumers: 1, ..EngineConfig::default() });
    let attach = |number, name: &str, selector: &str| EngineRequest::Attach {
        consumer: consumer(number),
        queue: queue(name),
        credit: 9,
        unsettled: Vec::new(),
        received: 0,
        groups: Vec::new(),
        selector: selector.to_owned(),
        temporary: Some(Box::new(Kind::Queue)),
    };
    let (first, second) = (bench.ask(attach(1, "one", "")), bench.ask(attach(2, "two", "")));
    bench.settle_down();
    assert!(matches!(bench.replies[&first], EngineReply::Attached { .. }));
    assert!(matches!(bench.error_of(second), Some(EngineError::BadRequest(_))));
    let names = |bench: &Bench| bench.model.queues.values().map(|queue| queue.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&bench), [queue("one")]);
    assert!(matches!(bench.call(attach(3, "three", "")), EngineReply::Error(EngineError::BadRequest(_))));
    bench.call(EngineRequest::Detach { consumer: consumer(1), untouched: Vec::new() });
    assert!(matches!(bench.call(attach(3, "three", "no = = selector")), EngineReply::Error(EngineError::Refused(_))));
    assert!(names(&bench).is_empty());
    assert!(bench.state.running().unwrap().queues.len() == 0);
}

#[test]
fn what_cannot_be_about_topics_is_refused_with_what_can() {
    let mut bench = space();
    let refused = |reply: EngineReply| match reply {
        EngineReply::Error(EngineError::Refused(why)) => why,
        other => panic!("{other:?}"),
    };
    let create = |kind| EngineRequest::Create { name: queue("new"), kind, settings: Box::default() };
    assert!(refused(bench.call(create(subscription("a b")))).contains("1 to 32 levels"));
    let nowhere = Kind::Subscription { space: queue("none"), topic: "#".to_owned(), selector: String::new() };
    assert!(refused(bench.call(create(nowhere))).contains("baton topic create none"));
    let sent = send(&mut bench, 1, vec![text("no topic")]);
    assert!(matches!(bench.error_of(sent), Some(EngineError::BadTopic(_))));
    assert!(refused(bench.attach(1, "news", 9, &[])).contains("subscriptions"));
    assert!(
        refused(bench.call(EngineRequest::Purge { queue: queue("news"), through: NEWEST })).contains("subscriptions")
    );
    bench.call(create(subscription("#")));
    let open = EngineRequest::OpenProducer { producer: producer(2), queue: queue("new"), opening: Opening::First };
    assert!(refused(bench.call(open)).contains("topic space"));
}

fn transact(bench: &mut Bench, number: u64, to: &str, bodies: &[&str], taken: &[MessageId]) -> EngineReply {
    let messages = bodies.iter().map(|body| text(body)).collect();
    let sends = vec![TransactionSend { queue: queue(to), messages }];
    let acknowledged = vec![(consumer(1), taken.to_vec())];
    bench.call(EngineRequest::Transact { session: session(9), number, sends, acknowledged })
}

/// A queue `q` with messages 1 to 4, of which consumer 1 has two, a queue `bills`, and a session.
fn with_session() -> (Bench, Vec<MessageId>) {
    let mut bench = started();
    bench.call(EngineRequest::CreateQueue { name: queue("bills") });
    bench.attach(1, "q", 2, &[]);
    send(&mut bench, 1, (1..=4).map(|number| text(&number.to_string())).collect());
    let held = ids(&bench.take());
    let open = bench.call(EngineRequest::OpenSession { session: session(9) });
    assert!(matches!(open, EngineReply::Producer { next: 1, .. }));
    (bench, held)
}

/// The engine remembers some sessions; of the others the store knows what was done.
#[test]
fn a_transaction_that_is_asked_for_again_is_done_though_the_engine_forgot_its_session() {
    let (mut bench, held) = with_session();
    let mut bench = Bench::over(
        std::mem::take(&mut bench.model),
        EngineConfig { producers_remembered: 1, ..EngineConfig::default() },
    );
    bench.attach(1, "q", 9, &held);
    assert_eq!(transact(&mut bench, 1, "bills", &["a"], &held[..1]), EngineReply::Done);
    let other = EngineRequest::OpenSession { session: session(8) };
    assert!(matches!(bench.call(other), EngineReply::Producer { next: 1, .. }));
    let sends = vec![TransactionSend { queue: queue("bills"), messages: vec![text("b")].into() }];
    let other = EngineRequest::Transact { session: session(8), number: 1, sends, acknowledged: Vec::new() };
    assert_eq!(bench.call(other), EngineReply::Done);
    assert_eq!(bench.state.running().unwrap().transactions.sessions_len(), 1, "session 9 is forgotten");
    assert_eq!(transact(&mut bench, 1, "bills", &["a"], &held[..1]), EngineReply::Done);
    let words = format!("message {} is not held by the consumer that acknowledges it", held[0]);
    let refused = EngineReply::Error(EngineError::Refused(words));
    assert_eq!(transact(&mut bench, 2, "bills", &["c"], &held[..1]), refused, "that one was not done");
    assert_eq!(bench.model.queues.values().map(|queue| queue.messages.len()).sum::<usize>(), 5);
}

#[test]
fn a_transaction_takes_what_a_consumer_has_and_what_it_sends_is_delivered() {
    let (mut bench, held) = with_session();
    assert_eq!(transact(&mut bench, 1, "bills", &["a", "b"], &held), EngineReply::Done);
    assert_eq!(taken(&mut bench), ["3", "4"], "its credit is free");
    bench.attach(2, "bills", 9, &[]);
    assert_eq!(taken(&mut bench), ["a", "b"]);
    assert_eq!(status(&mut bench).depth, 2);
}

/// After a failover, its answer lost: it is done, once.
#[test]
fn a_transaction_that_is_sent_again_to_the_next_engine_is_done_once() {
    let (mut before, held) = with_session();
    assert_eq!(transact(&mut before, 1, "bills", &["a"], &held), EngineReply::Done);
    let mut bench = Bench::over(before.model, EngineConfig::default());
    let unknown = EngineReply::Error(EngineError::ConsumerUnknown);
    assert_eq!(transact(&mut bench, 1, "bills", &["a"], &held), unknown, "it has not found this engine yet");
    bench.attach(1, "q", 2, &held);
    assert_eq!(transact(&mut bench, 1, "bills", &["a"], &held), EngineReply::Done);
    bench.attach(2, "bills", 9, &[]);
    let all = taken(&mut bench);
    assert_eq!(all.iter().filter(|body| *body == "a").count(), 1, "{all:?}");
}

/// Its answer was lost or late, and its consumer came back before it was committed.
#[test]
fn a_transaction_that_is_sent_again_to_its_engine_is_done_whatever_became_of_its_messages() {
    let (mut bench, held) = with_session();
    let sends = vec![TransactionSend { queue: queue("bills"), messages: vec![text("a")].into() }];
    let acknowledged = vec![(consumer(1), held.clone())];
    bench.ask(EngineRequest::Transact { session: session(9), number: 1, sends, acknowledged });
    bench.step(Input::Flush);
    bench.attach(1, "q", 2, &held);
    assert_eq!(transact(&mut bench, 1, "bills", &["a"], &held), EngineReply::Done);
    bench.attach(2, "bills", 9, &[]);
    assert_eq!(take_from(&mut bench, 2), ["a"]);
    assert!(matches!(transact(&mut bench, 2, "bills", &["b"], &held), EngineReply::Error(EngineError::Refused(_))));
}

#[test]
fn a_transaction_that_cannot_be_done_leaves_its_messages_with_their_consumer() {
    let (mut bench, held) = with_session();
    let stranger = MessageId { index: 99, ..held[0] };
    let refused = |reply| assert!(matches!(reply, EngineReply::Error(EngineError::Refused(_))), "{reply:?}");
    refused(transact(&mut bench, 1, "bills", &["a"], &[held[0], stranger]));
    refused(transact(&mut bench, 1, "none", &["a"], &held));
    // Credit is free as soon as it is asked for, as with any settlement; what is refused stays where it was.
    assert_eq!(taken(&mut bench), ["3", "4"]);
    assert_eq!(status(&mut bench).in_flight, 4);
    // What is still there is below the head of nothing, also for what is settled meanwhile.
    assert_eq!(bench.acknowledge(1, &held[1..]), EngineReply::Done);
    refused(transact(&mut bench, 1, "none", &["a"], &held[..1]));
    assert_eq!(transact(&mut bench, 1, "bills", &["a"], &held[..1]), EngineReply::Done);
    let detach = EngineRequest::Detach { consumer: consumer(1), untouched: Vec::new() };
    bench.call(detach);
    assert_eq!(status(&mut bench).depth, 2);
}

#[test]
fn a_transaction_is_refused_as_a_whole_where_a_queue_is_full_or_paused() {
    let (mut bench, held) = with_session();
    configure(&mut bench, Settings { max_messages: 3, ..Settings::default() });
    let full = EngineReply::Error(EngineError::QueueFull { queue: queue("q"), limit: 3 });
    assert_eq!(transact(&mut bench, 1, "q", &["again"], &held[..1]), full);
    assert_eq!((taken(&mut bench), status(&mut bench).in_flight), (vec![], 2), "nothing was taken");
    assert_eq!(transact(&mut bench, 1, "q", &["again", "and again"], &held), EngineReply::Done, "it makes room");
    assert_eq!((taken(&mut bench), status(&mut bench).depth), (vec!["3".to_owned(), "4".to_owned()], 4));
    configure(&mut bench, Settings { send_paused: true, ..Settings::default() });
    let paused = EngineReply::Error(EngineError::SendPaused(queue("q")));
    assert_eq!(transact(&mut bench, 2, "q", &["more"], &[]), paused);
    configure(&mut bench, Settings::default());
    assert_eq!(transact(&mut bench, 2, "q", &["more"], &[]), EngineReply::Done);
}

/// The head of a queue never passes a message that a transaction may yet leave behind.
#[test]
fn what_a_transaction_may_leave_behind_is_not_below_the_head() {
    let (mut bench, held) = with_session();
    let sends = vec![TransactionSend { queue: queue("none"), messages: vec![text("a")].into() }];
    let acknowledged = vec![(consumer(1), held[..1].to_vec())];
    bench.ask(EngineRequest::Transact { session: session(9), number: 1, sends, acknowledged });
    let (acknowledged, refused, rejected) = (held[1..].to_vec(), Vec::new(), Vec::new());
    bench.ask(EngineRequest::Settle {
        consumer: consumer(1),
        acknowledged,
        refused,
        rejected,
        released: Vec::new(),
        received: None,
    });
    // The model fails if a head passes a live message.
    bench.settle_down();
    let next = Bench::over(bench.model, EngineConfig::default());
    let queue = next.state.running().unwrap().queues.by_name().find(|state| state.name == queue("q")).unwrap();
    assert_eq!(queue.depth, 3);
}
