//! Topic spaces, subscriptions and temporary destinations.

use baton_client::protocol::{Kind, Opening};
use baton_domain::Destinations;

use super::*;

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

/// The moment of the refusal: at once, or when its destination is there because others were faster.
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
