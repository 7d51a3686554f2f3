//! Queues that forward to several: each one's window has its copy, and the fullest bounds all.

use baton_client::protocol::Kind;
use baton_domain::Settings;

use super::*;

fn forwarding(bench: &mut Bench, to: &[&str]) -> EngineReply {
    let forward_to = to.iter().map(|name| queue(name)).collect();
    let settings = Box::new(Settings { forward_to, ..Settings::default() });
    bench.call(EngineRequest::Configure { name: queue("q"), patch: Box::new((*settings).into()), if_version: None })
}

/// A queue `q` with producer 1 that forwards to `b` and `c`.
fn ready() -> Bench {
    let mut bench = started();
    for name in ["b", "c"] {
        bench.call(EngineRequest::CreateQueue { name: queue(name) });
    }
    assert_eq!(forwarding(&mut bench, &["b", "c"]), EngineReply::Configured { version: 1 });
    bench
}

fn depths(bench: &mut Bench) -> Vec<(String, u64)> {
    let EngineReply::Queues(queues) = bench.call(EngineRequest::ListQueues) else { panic!() };
    queues.into_iter().map(|status| (status.name.to_string(), status.depth)).collect()
}

fn taken_by(taken: &[(baton_domain::ConsumerId, Delivery)], number: u8) -> Vec<String> {
    bodies(&deliveries(&taken.iter().filter(|(to, _)| *to == consumer(number)).cloned().collect::<Vec<_>>()))
}

/// One consumer was there before the message came, the other one came after.
#[test]
fn what_is_forwarded_to_two_queues_is_delivered_by_both() {
    let mut bench = ready();
    bench.attach(1, "b", 9, &[]);
    bench.send(1, 2);
    bench.settle_down();
    let first = bench.take();
    assert_eq!(taken_by(&first, 1), ["1", "2"]);
    bench.attach(2, "c", 9, &[]);
    assert_eq!(taken_by(&bench.take(), 2), ["1", "2"]);
    assert_eq!(depths(&mut bench), [("b", 2), ("c", 2), ("q", 0)].map(|(name, depth)| (name.to_owned(), depth)));
    bench.acknowledge(1, &ids(&first));
    assert_eq!(depths(&mut bench), [("b", 0), ("c", 2), ("q", 0)].map(|(name, depth)| (name.to_owned(), depth)));
    let resent = bench.send(1, 3);
    bench.settle_down();
    assert_eq!(bench.replies.get(&resent), Some(&EngineReply::Sent { through: 3 }));
    let again = bench.take();
    assert_eq!((taken_by(&again, 1), taken_by(&again, 2)), (vec!["3".to_owned()], vec!["3".to_owned()]));
}

#[test]
fn a_send_is_refused_while_one_of_its_queues_is_full() {
    let mut bench = ready();
    let settings = Box::new(Settings { max_messages: 2, ..Settings::default() });
    bench.call(EngineRequest::Configure { name: queue("c"), patch: Box::new((*settings).into()), if_version: None });
    bench.send(1, 2);
    bench.settle_down();
    let refused = bench.send(3, 1);
    bench.settle_down();
    assert_eq!(bench.error_of(refused), Some(EngineError::QueueFull { queue: queue("c"), limit: 2 }));
    assert_eq!(forwarding(&mut bench, &["b", "missing"]), EngineReply::Configured { version: 2 });
    let sent = bench.send(3, 1);
    bench.settle_down();
    assert_eq!(bench.error_of(sent), None);
}

/// Also after its first message went elsewhere.
#[test]
fn a_pause_of_the_queue_that_is_sent_to_holds_for_what_it_forwards() {
    let mut bench = ready();
    for to in [vec!["b"], vec!["b", "c"]] {
        let first = bench.model.producers[&producer(1)].1 + 1;
        forwarding(&mut bench, &to);
        bench.send(first, 1);
        bench.settle_down();
        let forward_to = to.iter().map(|name| queue(name)).collect();
        let settings = Box::new(Settings { forward_to, send_paused: true, ..Settings::default() });
        bench.call(EngineRequest::Configure {
            name: queue("q"),
            patch: Box::new((*settings).into()),
            if_version: None,
        });
        let refused = bench.send(first + 1, 1);
        bench.settle_down();
        assert_eq!(bench.error_of(refused), Some(EngineError::SendPaused(queue("q"))), "{to:?}");
    }
}

#[test]
fn what_cannot_be_forwarded_is_refused_with_what_can() {
    let mut bench = ready();
    let create = |name: &str, kind, forward_to: &[&str]| EngineRequest::Create {
        name: queue(name),
        kind,
        settings: Box::new(
            Settings { forward_to: forward_to.iter().map(|to| queue(to)).collect(), ..Settings::default() }.into(),
        ),
    };
    let wants = || Kind::Subscription { space: queue("news"), topic: "#".to_owned(), selector: String::new() };
    assert_eq!(bench.call(create("news", Kind::TopicSpace, &["b"])), EngineReply::Created { created: true });
    assert_eq!(bench.call(create("all", wants(), &[])), EngineReply::Created { created: true });
    let refused = |reply: EngineReply| match reply {
        EngineReply::Error(EngineError::Refused(why)) => why,
        other => panic!("{other:?}"),
    };
    assert!(refused(bench.call(create("more", wants(), &["b"]))).contains("subscriptions cannot forward"));
    assert!(refused(bench.call(create("d", Kind::Queue, &["b", "all"]))).contains("all is a subscription"));
    assert!(refused(forwarding(&mut bench, &["all"])).contains("topic space"));
    assert!(refused(forwarding(&mut bench, &["b"; 17])).contains("at most 16"));
    assert_eq!(forwarding(&mut bench, &["b", "news"]), EngineReply::Configured { version: 2 });
}
