//! What is counted when consumers die, and what waits because no exception destination takes it.

use baton_client::protocol::{Kind, Opening};
use baton_domain::{ExceptionDestination, Settings, SettingsPatch};

use super::*;

/// Three messages with consumer 1, which may hold nine.
fn held() -> (Bench, Vec<MessageId>) {
    let mut bench = started();
    bench.attach(1, "q", 9, &[]);
    bench.send(1, 3);
    bench.settle_down();
    let held = ids(&bench.take());
    (bench, held)
}

/// The process of all consumers dies, and none comes back.
fn die(bench: &mut Bench) {
    bench.step(Input::PeerDown { name: "client".to_owned(), connection: 1 });
    bench.advance(1_000);
    bench.settle_down();
}

/// How often each message failed, as consumer 2 gets them.
fn counts(bench: &mut Bench) -> Vec<(MessageId, u32)> {
    bench.attach(2, "q", 99, &[]);
    deliveries(&bench.take()).iter().map(|one| (one.id, one.redeliveries)).collect()
}

fn says(received: MessageId) -> EngineRequest {
    EngineRequest::Credit { consumer: consumer(1), credit: 9, received: Some(received) }
}

#[test]
fn of_a_consumer_that_dies_what_its_user_received_is_counted_and_nothing_that_was_only_delivered() {
    let (mut bench, held) = held();
    bench.call(says(held[1]));
    die(&mut bench);
    assert_eq!(counts(&mut bench), [(held[0], 1), (held[1], 1), (held[2], 0)]);
}

#[test]
fn if_nothing_is_left_of_what_it_received_the_first_one_that_it_holds_is_counted() {
    let (mut bench, held) = held();
    die(&mut bench);
    assert_eq!(counts(&mut bench), [(held[0], 1), (held[1], 0), (held[2], 0)]);

    let (mut bench, held) = self::held();
    bench.call(says(held[0]));
    bench.acknowledge(1, &held[..1]);
    die(&mut bench);
    assert_eq!(counts(&mut bench), [(held[1], 1), (held[2], 0)]);
}

/// As a client says that has ended, or one that has seen a newer engine: what it did not take in is nobody's failure.
#[test]
fn of_a_client_that_does_not_know_the_consumer_only_what_came_before_is_counted() {
    let mut bench = started();
    bench.attach(1, "q", 9, &[]);
    bench.send(1, 1);
    bench.settle_down();
    assert_eq!(bench.take().len(), 1);
    bench.send(2, 2);
    bench.settle_down();
    let (call, _, messages) = bench.deliveries.pop_front().unwrap();
    bench.step(Input::Delivered { call, answer: Some(ClientReply::ConsumerUnknown) });
    bench.settle_down();
    let counted: Vec<u32> = counts(&mut bench).iter().map(|(_, count)| *count).collect();
    assert_eq!((messages.len(), counted), (2, vec![1, 0, 0]));
}

#[test]
fn what_was_received_is_known_to_the_next_engine_of_consumers_that_come_back() {
    let (bench, held) = held();
    let mut next = Bench::over(bench.model, EngineConfig::default());
    next.call(EngineRequest::Attach {
        consumer: consumer(1),
        queue: queue("q"),
        credit: 9,
        unsettled: vec![held[1], held[0], held[2]],
        received: 2,
        groups: Vec::new(),
        selector: String::new(),
        temporary: None,
    });
    die(&mut next);
    assert_eq!(counts(&mut next), [(held[0], 1), (held[1], 1), (held[2], 0)]);
}

/// A message that kills the process which hosts the engine is found, too.
#[test]
fn a_new_engine_counts_one_message_for_each_consumer_that_does_not_come_back() {
    let (bench, held) = held();
    let mut next = Bench::over(bench.model, EngineConfig::default());
    next.attach(2, "q", 9, &[]);
    assert!(next.take().is_empty(), "consumer 1 is awaited");
    next.advance(1_000);
    next.settle_down();
    let counted: Vec<_> = deliveries(&next.take()).iter().map(|one| (one.id, one.redeliveries)).collect();
    assert_eq!(counted, [(held[0], 1), (held[1], 0), (held[2], 0)]);

    // What one that came back holds is not it.
    let mut before = started();
    before.attach(1, "q", 1, &[]);
    before.attach(3, "q", 1, &[]);
    before.send(1, 3);
    before.settle_down();
    let taken = before.take();
    let of = |number| taken.iter().find(|(to, _)| *to == consumer(number)).unwrap().1.id;
    let mut next = Bench::over(before.model, EngineConfig::default());
    next.attach(1, "q", 1, &[of(1)]);
    next.advance(1_000);
    next.settle_down();
    assert_eq!(counts(&mut next)[0], (of(3), 1));
}

#[test]
fn released_messages_go_back_uncounted() {
    let (mut bench, held) = held();
    let release = EngineRequest::Settle {
        consumer: consumer(1),
        acknowledged: Vec::new(),
        refused: Vec::new(),
        rejected: Vec::new(),
        released: held.clone(),
        received: Some(held[2]),
    };
    bench.call(EngineRequest::Credit { consumer: consumer(1), credit: 0, received: None });
    assert_eq!(bench.call(release), EngineReply::Done);
    assert_eq!(counts(&mut bench), held.iter().map(|id| (*id, 0)).collect::<Vec<_>>());
}

fn reject(id: MessageId) -> EngineRequest {
    EngineRequest::Settle {
        consumer: consumer(1),
        acknowledged: Vec::new(),
        refused: Vec::new(),
        rejected: vec![(id, "bad".to_owned())],
        released: Vec::new(),
        received: None,
    }
}

#[test]
fn what_no_exception_destination_takes_waits_is_shown_and_comes_again() {
    let mut bench = started();
    let none = SettingsPatch::default().exception(ExceptionDestination::None);
    bench.call(EngineRequest::Configure { name: queue("q"), patch: Box::new(none), if_version: None });
    bench.attach(1, "q", 9, &[]);
    bench.send(1, 2);
    bench.settle_down();
    let held = ids(&bench.take());
    for (turn, wait_ms) in [(1, 1_000), (2, 1_000), (3, 1_000), (10, 1_000), (11, 2_000)] {
        let known = bench.model.queues.values().next().unwrap().messages.values().next().unwrap().redeliveries;
        if turn > 3 && known < turn - 1 {
            continue;
        }
        assert_eq!(bench.call(reject(held[0])), EngineReply::Done);
        let EngineReply::Queues(queues) = bench.call(EngineRequest::ListQueues) else { panic!() };
        assert_eq!((queues[0].depth, queues[0].kept, queues[0].in_flight), (2, 1, 1), "turn {turn}");
        bench.advance(wait_ms - 1);
        bench.settle_down();
        assert!(bench.take().is_empty(), "not before its time");
        bench.advance(1);
        bench.settle_down();
        let again = deliveries(&bench.take());
        assert_eq!((again[0].id, again[0].redeliveries), (held[0], turn));
    }
}

#[test]
fn settings_that_cannot_be_are_refused_with_words() {
    let mut bench = started();
    bench.call(EngineRequest::Create { name: queue("news"), kind: Kind::TopicSpace, settings: Box::default() });
    for (name, words) in [("news", "topic space"), ("q", "its own")] {
        let exception = ExceptionDestination::Queue(queue(name));
        let patch = Box::new(SettingsPatch::default().exception(exception));
        let answer = bench.call(EngineRequest::Configure { name: queue("q"), patch: patch.clone(), if_version: None });
        assert!(matches!(&answer, EngineReply::Error(EngineError::Refused(why)) if why.contains(words)), "{answer:?}");
    }
}

/// A pause, or what somebody set meanwhile, is no difference for whoever declares something else.
#[test]
fn a_declaration_is_done_if_nothing_that_it_names_differs() {
    let mut bench = started();
    let declare = |bench: &mut Bench, failed| {
        let settings = SettingsPatch::default().max_failed_deliveries(failed);
        bench.call(EngineRequest::Create { name: queue("q"), kind: Kind::Queue, settings: Box::new(settings) })
    };
    let paused = SettingsPatch::default().receive_paused(true);
    let change = EngineRequest::Configure { name: queue("q"), patch: Box::new(paused), if_version: Some(0) };
    assert_eq!(bench.call(change.clone()), EngineReply::Configured { version: 1 });
    let stale = EngineReply::Error(EngineError::OtherVersion { queue: queue("q"), version: 1 });
    assert_eq!(bench.call(change), stale);
    assert_eq!(declare(&mut bench, Settings::default().max_failed_deliveries), EngineReply::Created { created: false });
    let differs = declare(&mut bench, 3);
    assert!(
        matches!(&differs, EngineReply::Error(EngineError::QueueDiffers { differences, .. }) if differences.len() == 1),
        "{differs:?}"
    );
    let running = bench.state.running().unwrap();
    assert!(running.queues.by_name().all(|queue| queue.settings.receive_paused));
}

/// Two bad messages among good ones end nobody: they are refused where the limit is known, by name.
#[test]
fn a_topic_is_needed_where_a_queue_forwards_to_a_topic_space() {
    let mut bench = started();
    bench.call(EngineRequest::Create { name: queue("news"), kind: Kind::TopicSpace, settings: Box::default() });
    let forward = SettingsPatch::default().forward_to(vec![queue("news")]);
    bench.call(EngineRequest::Configure { name: queue("q"), patch: Box::new(forward), if_version: None });
    let open = EngineRequest::OpenProducer { producer: producer(1), queue: queue("q"), opening: Opening::First };
    assert!(matches!(bench.call(open), EngineReply::Producer { publishes: true, .. }));
    let send = bench.send(1, 1);
    bench.settle_down();
    assert!(matches!(bench.error_of(send), Some(EngineError::BadTopic(_))));
}
