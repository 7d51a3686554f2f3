//! Messages below the assured level: what is in memory alone, and what is confirmed before it is stored.

use baton_client::protocol::Kind;
use baton_domain::{ExceptionDestination, Expired, Reliability, TransactionSend};

use super::*;

const EXPRESS: Reliability = Reliability::ExpressNonpersistent;
const BEST_EFFORT: Reliability = Reliability::BestEffortNonpersistent;

fn post_all(bench: &mut Bench, reliability: Reliability, messages: Vec<Message>) -> EngineReply {
    bench.call(EngineRequest::Post { queue: queue("q"), reliability, messages: messages.into() })
}

fn post(bench: &mut Bench, reliability: Reliability, bodies: &[&str]) -> EngineReply {
    post_all(bench, reliability, bodies.iter().map(|body| text(body)).collect())
}

fn settle(
    bench: &mut Bench,
    acknowledged: Vec<MessageId>,
    refused: Vec<MessageId>,
    rejected: Vec<(MessageId, String)>,
) -> EngineReply {
    bench.call(EngineRequest::Settle {
        consumer: consumer(1),
        acknowledged,
        refused,
        rejected,
        released: Vec::new(),
        received: None,
    })
}

#[test]
fn nonpersistent_messages_are_taken_delivered_and_settled_without_the_log() {
    let mut bench = started();
    bench.attach(1, "q", 9, &[]);
    let index = bench.model.index;
    assert_eq!(post(&mut bench, EXPRESS, &["a", "b"]), EngineReply::Posted);
    let taken = bench.take();
    assert_eq!(bodies(&deliveries(&taken)), ["a", "b"]);
    assert_eq!((status(&mut bench).depth, status(&mut bench).nonpersistent, status(&mut bench).in_flight), (2, 2, 2));
    assert_eq!(settle(&mut bench, ids(&taken), Vec::new(), Vec::new()), EngineReply::Done);
    assert_eq!((status(&mut bench).depth, bench.model.index), (0, index), "nothing was proposed");
    assert_eq!(bench.state.running().unwrap().memory.bytes(), 0);
    let consumer = bench.state.running().unwrap().consumers.get(consumer(1)).unwrap();
    assert_eq!(consumer.held, 0);
}

#[test]
fn they_are_gone_with_the_engine_and_what_a_consumer_still_says_of_them_means_nothing() {
    let mut before = started();
    before.attach(1, "q", 2, &[]);
    post(&mut before, EXPRESS, &["a", "b", "c"]);
    let held = ids(&before.take());
    let mut bench = Bench::over(before.model, EngineConfig::default());
    bench.attach(1, "q", 2, &held);
    assert_eq!(status(&mut bench).in_flight, 0);
    post(&mut bench, EXPRESS, &["d", "e"]);
    assert_eq!(settle(&mut bench, held, Vec::new(), Vec::new()), EngineReply::Done, "of an engine before");
    assert_eq!(taken(&mut bench), ["d", "e"]);
    assert_eq!(status(&mut bench).in_flight, 2);
}

#[test]
fn priorities_hold_among_stored_and_other_messages_and_of_one_priority_they_take_turns() {
    let mut bench = started();
    for first in 1..=3 {
        bench.send(first, 1);
        bench.settle_down();
    }
    post(&mut bench, EXPRESS, &["a", "b", "c"]);
    post_all(&mut bench, EXPRESS, vec![text("high").with_priority(9), text("low").with_priority(0)]);
    bench.attach(1, "q", 100, &[]);
    let got = taken(&mut bench);
    assert_eq!((got[0].as_str(), got[7].as_str()), ("high", "low"), "{got:?}");
    let of = |stored: bool| got[1..7].iter().filter(move |body| (body.len() == 1 && body.as_str() < "9") == stored);
    assert_eq!(of(true).cloned().collect::<Vec<_>>(), ["1", "2", "3"]);
    assert_eq!(of(false).cloned().collect::<Vec<_>>(), ["a", "b", "c"]);
}

#[test]
fn what_is_refused_comes_again_and_what_failed_too_often_goes_to_the_exception_destination() {
    let mut bench = started();
    configure(&mut bench, Settings { max_failed_deliveries: 2, redelivery_delay_ms: 50, ..Settings::default() });
    bench.attach(1, "q", 9, &[]);
    post(&mut bench, EXPRESS, &["a", "b"]);
    let first = bench.take();
    settle(&mut bench, Vec::new(), vec![first[0].1.id], vec![(first[1].1.id, "no".to_owned())]);
    assert_eq!(bench.model.set_aside, [("no".to_owned(), "b".to_owned())]);
    assert_eq!((bench.take(), status(&mut bench).delayed), (Vec::new(), 1), "it waits");
    bench.advance(60);
    bench.settle_down();
    let again = bench.take();
    assert_eq!((again.len(), again[0].1.redeliveries, again[0].1.redelivered), (1, 1, true));
    settle(&mut bench, Vec::new(), ids(&again), Vec::new());
    assert_eq!(bench.model.set_aside[1], ("2 deliveries failed".to_owned(), "a".to_owned()));
    assert_eq!((status(&mut bench).depth, bench.state.running().unwrap().memory.bytes()), (0, 0));
}

#[test]
fn a_consumer_that_goes_gives_them_back_and_one_that_comes_back_keeps_them() {
    let mut bench = started();
    bench.attach(1, "q", 9, &[]);
    post(&mut bench, EXPRESS, &["a", "b", "c"]);
    let held = ids(&bench.take());
    bench.attach(1, "q", 9, &held[..2]);
    let back = bench.take();
    assert_eq!((bodies(&deliveries(&back)), back[0].1.redeliveries), (vec!["c".to_owned()], 0), "it did not have that");
    bench.call(EngineRequest::Detach { consumer: consumer(1), untouched: vec![held[0]] });
    bench.attach(2, "q", 9, &[]);
    let other: Vec<_> = bench.take().into_iter().map(|(_, one)| (one.message.body, one.redeliveries)).collect();
    assert_eq!(other, [("a".into(), 0), ("b".into(), 1), ("c".into(), 1)]);
}

#[test]
fn they_wait_and_expire_at_their_times() {
    let mut bench = started();
    configure(&mut bench, Settings { expired: Expired::Exception, ..Settings::default() });
    let live = |body, ms| text(body).with_time_to_live(Duration::from_millis(ms));
    let later = text("later").with_delay(Duration::from_millis(200));
    post_all(&mut bench, EXPRESS, vec![live("short", 100), live("long", 1_000), later]);
    assert_eq!((status(&mut bench).depth, status(&mut bench).delayed), (2, 1));
    bench.advance(150);
    bench.settle_down();
    assert_eq!(bench.model.set_aside, [("its time to live was over".to_owned(), "short".to_owned())]);
    bench.attach(1, "q", 9, &[]);
    let held = bench.take();
    assert_eq!(bodies(&deliveries(&held)), ["long"]);
    bench.advance(100);
    bench.settle_down();
    let later = bench.take();
    assert_eq!(bodies(&deliveries(&later)), ["later"]);
    bench.advance(2_000);
    bench.settle_down();
    assert_eq!(bench.model.set_aside.len(), 1, "it was delivered in time");
    settle(&mut bench, ids(&later), ids(&held), Vec::new());
    assert_eq!((bench.take(), bench.model.set_aside.len()), (Vec::new(), 2), "it came back, too late");
    assert_eq!(bench.state.running().unwrap().memory.bytes(), 0);
}

#[test]
fn a_full_queue_drops_the_oldest_best_effort_message_and_refuses_the_others() {
    let mut bench = started();
    configure(&mut bench, Settings { max_messages: 3, ..Settings::default() });
    bench.send(1, 1);
    bench.settle_down();
    post(&mut bench, BEST_EFFORT, &["a", "b"]);
    let full = EngineReply::Error(EngineError::QueueFull { queue: queue("q"), limit: 3 });
    assert_eq!(post(&mut bench, EXPRESS, &["x"]), full);
    assert_eq!(post(&mut bench, BEST_EFFORT, &["c"]), EngineReply::Posted);
    assert_eq!((status(&mut bench).depth, status(&mut bench).dropped), (3, 1));
    bench.attach(1, "q", 9, &[]);
    let mut got = taken(&mut bench);
    got.sort();
    assert_eq!(got, ["1", "b", "c"]);
    post(&mut bench, BEST_EFFORT, &["d"]);
    assert_eq!(status(&mut bench).dropped, 2, "nothing else can go: what consumers have stays");
}

#[test]
fn the_bound_of_memory_holds_back_what_may_not_be_dropped() {
    let config = EngineConfig { nonpersistent_bytes: 1_000, ..EngineConfig::default() };
    let mut bench = Bench::new(config);
    bench.open("q");
    let large = "x".repeat(600);
    assert_eq!(post(&mut bench, EXPRESS, &[&large]), EngineReply::Posted);
    assert_eq!(post(&mut bench, EXPRESS, &[&large]), EngineReply::Error(EngineError::Busy));
    assert_eq!(post(&mut bench, BEST_EFFORT, &[&large]), EngineReply::Posted);
    assert_eq!((status(&mut bench).depth, status(&mut bench).dropped), (1, 1));
    bench.call(EngineRequest::Purge { queue: queue("q"), through: NEWEST });
    assert_eq!(post(&mut bench, EXPRESS, &[&large]), EngineReply::Posted);
    bench.call(EngineRequest::DeleteQueue { name: queue("q") });
    assert_eq!(bench.state.running().unwrap().memory.bytes(), 0);
}

#[test]
fn reliable_persistent_is_confirmed_before_the_commit_and_assured_after() {
    let mut bench = started();
    let ask = |bench: &mut Bench, reliability, body: &str| {
        let request =
            bench.ask(EngineRequest::Post { queue: queue("q"), reliability, messages: vec![text(body)].into() });
        bench.step(Input::Flush);
        request
    };
    let early = ask(&mut bench, Reliability::ReliablePersistent, "early");
    assert_eq!(bench.replies.get(&early), Some(&EngineReply::Posted));
    assert_eq!(bench.commits.len(), 1);
    let sure = ask(&mut bench, Reliability::AssuredPersistent, "sure");
    assert_eq!(bench.replies.get(&sure), None);
    bench.settle_down();
    assert_eq!(bench.replies.get(&sure), Some(&EngineReply::Posted));
    let running = bench.state.running().unwrap();
    assert_eq!((running.pending, running.totals.confirmed), (0, 2));
    bench.attach(1, "q", 9, &[]);
    assert_eq!(taken(&mut bench), ["early", "sure"]);
}

#[test]
fn what_is_published_reaches_the_subscriptions_that_want_it() {
    let mut bench = Bench::new(EngineConfig::default());
    let create = |bench: &mut Bench, name: &str, kind| {
        let create = EngineRequest::Create { name: queue(name), kind, settings: Box::default() };
        assert_eq!(bench.call(create), EngineReply::Created { created: true });
    };
    create(&mut bench, "q", Kind::TopicSpace);
    for (name, topic, selector) in [("all", "#", ""), ("sport", "sport/*", ""), ("few", "#", "kind = 'x'")] {
        let (topic, selector) = (topic.to_owned(), selector.to_owned());
        create(&mut bench, name, Kind::Subscription { space: queue("q"), topic, selector });
    }
    let about = |body, topic: &str| text(body).with_topic(topic);
    let messages = vec![about("a", "sport/golf"), about("b", "weather").with_header("kind", "x")];
    assert_eq!(post_all(&mut bench, EXPRESS, messages), EngineReply::Posted);
    for (number, name, expected) in [(1, "all", vec!["a", "b"]), (2, "sport", vec!["a"]), (3, "few", vec!["b"])] {
        bench.attach(number, name, 9, &[]);
        assert_eq!(taken(&mut bench), expected, "{name}");
    }
    bench.call(EngineRequest::DeleteQueue { name: queue("sport") });
    assert_eq!(post_all(&mut bench, EXPRESS, vec![about("c", "sport/golf")]), EngineReply::Posted);
    assert_eq!(taken(&mut bench), ["c"]);
}

#[test]
fn browsing_shows_them_after_the_stored_ones() {
    let mut bench = started();
    bench.send(1, 1);
    bench.settle_down();
    post(&mut bench, EXPRESS, &["a", "b"]);
    let (mut from, mut seen) = (None, Vec::new());
    loop {
        let EngineReply::Messages { messages, next, .. } =
            bench.call(EngineRequest::Browse { queue: queue("q"), from, limit: 1 })
        else {
            panic!()
        };
        seen.extend(bodies(&messages));
        from = next;
        if from.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["1", "a", "b"]);
}

#[test]
fn a_transaction_takes_them_only_if_it_is_done() {
    let mut bench = started();
    bench.attach(1, "q", 9, &[]);
    post(&mut bench, EXPRESS, &["a"]);
    let held = ids(&bench.take());
    bench.call(EngineRequest::OpenSession { session: session(9) });
    let mut transact = |number, to: &str| {
        let sends = vec![TransactionSend { queue: queue(to), messages: vec![text("out")].into() }];
        let acknowledged = vec![(consumer(1), held.clone())];
        bench.call(EngineRequest::Transact { session: session(9), number, sends, acknowledged })
    };
    assert!(matches!(transact(1, "nowhere"), EngineReply::Error(EngineError::Refused(_))));
    assert_eq!(transact(1, "q"), EngineReply::Done);
    assert!(matches!(transact(2, "q"), EngineReply::Error(EngineError::Refused(_))), "it is gone");
    let running = bench.state.running().unwrap();
    assert_eq!(
        (running.memory.bytes(), running.consumers.get(consumer(1)).unwrap().held),
        (0, 1),
        "it has what was sent"
    );
}

#[test]
fn without_an_exception_destination_they_are_delivered_again_and_rejected_ones_are_dropped() {
    let mut bench = started();
    let exception = ExceptionDestination::None;
    configure(&mut bench, Settings { max_failed_deliveries: 1, exception, ..Settings::default() });
    bench.attach(1, "q", 9, &[]);
    post(&mut bench, EXPRESS, &["a", "b"]);
    let held = bench.take();
    settle(&mut bench, Vec::new(), vec![held[0].1.id], vec![(held[1].1.id, "no".to_owned())]);
    assert_eq!(taken(&mut bench), ["a"]);
    assert_eq!((bench.model.set_aside.len(), status(&mut bench).depth), (0, 1));
}
