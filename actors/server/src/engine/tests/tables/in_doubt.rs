//! Transactions that wait for an outside coordinator's decision.

use baton_domain::{TransactionName, TransactionSend};

use super::*;

fn name(text: &str) -> TransactionName {
    TransactionName::new(text).unwrap()
}

fn prepare(bench: &mut Bench, number: u64, named: &str, taken: &[MessageId]) -> EngineReply {
    let sends = vec![TransactionSend { queue: queue("bills"), messages: vec![text("bill")].into() }];
    let acknowledged = vec![(consumer(1), taken.to_vec())];
    bench.call(EngineRequest::Prepare { name: name(named), session: session(9), number, sends, acknowledged })
}

fn resolve(bench: &mut Bench, named: &str, commit: bool) -> bool {
    match bench.call(EngineRequest::Resolve { name: name(named), commit }) {
        EngineReply::Resolved { found } => found,
        other => panic!("{other:?}"),
    }
}

fn refused(reply: EngineReply) -> String {
    match reply {
        EngineReply::Error(EngineError::Refused(why)) => why,
        other => panic!("{other:?}"),
    }
}

/// Consumer 1 has two of three messages of `q`, and the first one is in the transaction `x`.
fn prepared() -> (Bench, Vec<MessageId>) {
    let mut bench = started();
    bench.call(EngineRequest::CreateQueue { name: queue("bills") });
    bench.attach(1, "q", 2, &[]);
    bench.send(1, 3);
    bench.settle_down();
    let held = ids(&bench.take());
    bench.call(EngineRequest::OpenSession { session: session(9) });
    assert_eq!(prepare(&mut bench, 1, "x", &held[..1]), EngineReply::Done);
    (bench, held)
}

#[test]
fn what_is_prepared_is_listed_gives_credit_and_is_done_when_committed() {
    let (mut bench, held) = prepared();
    assert_eq!(taken(&mut bench), ["3"], "its consumer has room");
    let EngineReply::InDoubt(list) = bench.call(EngineRequest::ListInDoubt) else { panic!() };
    assert_eq!((list[0].name.as_str(), &list[0].sends[..]), ("x", &[(queue("bills"), 1)][..]));
    assert_eq!(list[0].acknowledges, [(queue("q"), 1)]);
    assert_eq!(prepare(&mut bench, 1, "x", &held[..1]), EngineReply::Done, "its answer was lost");
    assert!(refused(prepare(&mut bench, 2, "x", &held[1..])).contains("another transaction x"));
    assert_eq!(status(&mut bench).depth, 3);
    assert!(!resolve(&mut bench, "y", true));
    assert!(resolve(&mut bench, "x", true));
    assert!(!resolve(&mut bench, "x", true));
    assert_eq!((status(&mut bench).depth, bench.model.in_doubt.len()), (2, 0));
    bench.attach(2, "bills", 9, &[]);
    assert_eq!(taken(&mut bench), ["bill"]);
}

/// Whatever asks for it: acknowledgements, consumers that come back with it, other engines.
#[test]
fn nobody_gets_what_is_in_doubt_from_any_engine() {
    let (mut before, held) = prepared();
    assert_eq!(before.acknowledge(1, &held[..1]), EngineReply::Done);
    assert_eq!(before.model.queues.values().map(|queue| queue.messages.len()).sum::<usize>(), 3);
    let mut bench = Bench::over(before.model, EngineConfig::default());
    bench.attach(1, "q", 9, &held);
    assert_eq!((taken(&mut bench), status(&mut bench).in_flight), (vec!["3".to_owned()], 1 + 1));
    assert_eq!(bench.acknowledge(1, &held), EngineReply::Done);
    assert_eq!(status(&mut bench).depth, 2, "one of them was its own");
    bench.attach(2, "q", 9, &[]);
    assert_eq!(bench.take(), []);
    assert!(resolve(&mut bench, "x", false));
    let back = bench.take();
    assert_eq!((bodies(&deliveries(&back)), back[0].1.redelivered), (vec!["1".to_owned()], true));
}

#[test]
fn what_it_needs_is_neither_purged_nor_deleted() {
    let (mut bench, _) = prepared();
    for destination in ["q", "bills"] {
        for request in [
            EngineRequest::Purge { queue: queue(destination), through: NEWEST },
            EngineRequest::DeleteQueue { name: queue(destination) },
        ] {
            assert!(refused(bench.call(request)).contains("baton transaction resolve x"));
        }
    }
    assert!(resolve(&mut bench, "x", false));
    assert_eq!(
        bench.call(EngineRequest::Purge { queue: queue("q"), through: NEWEST }),
        EngineReply::Moved { messages: 3 }
    );
}

#[test]
fn what_cannot_be_prepared_stays_with_its_consumer() {
    let config = EngineConfig { in_doubt: 1, ..EngineConfig::default() };
    let mut bench = Bench::new(config);
    bench.open("q");
    bench.attach(1, "q", 2, &[]);
    bench.send(1, 2);
    bench.settle_down();
    let held = ids(&bench.take());
    bench.call(EngineRequest::OpenSession { session: session(9) });
    assert!(matches!(prepare(&mut bench, 1, "x", &held[..1]), EngineReply::Error(EngineError::Refused(_))));
    assert_eq!(status(&mut bench).in_flight, 2, "there is no queue for bills");
    bench.call(EngineRequest::CreateQueue { name: queue("bills") });
    assert_eq!(prepare(&mut bench, 1, "x", &held[..1]), EngineReply::Done);
    assert!(refused(prepare(&mut bench, 2, "y", &held[1..])).contains("baton transaction list"));
}

#[test]
fn what_is_in_doubt_does_not_expire() {
    let mut bench = started();
    bench.call(EngineRequest::CreateQueue { name: queue("bills") });
    let messages = vec![text("a").with_time_to_live(Duration::from_millis(100))];
    bench.ask(EngineRequest::Send { producer: producer(1), registration: 0, first: 1, messages: messages.into() });
    bench.settle_down();
    bench.attach(1, "q", 2, &[]);
    let held = ids(&bench.take());
    bench.call(EngineRequest::OpenSession { session: session(9) });
    assert_eq!(prepare(&mut bench, 1, "x", &held), EngineReply::Done);
    bench.advance(500);
    bench.settle_down();
    assert_eq!(status(&mut bench).depth, 1);
    assert!(resolve(&mut bench, "x", false));
    assert_eq!((bench.take(), status(&mut bench).depth), (Vec::new(), 0), "it expires as soon as it comes back");
}

/// Each engine counts anew: a failover, or a wall clock that jumps, never cuts the time short.
#[test]
fn what_nobody_decides_in_time_is_rolled_back_by_whichever_engine_waited_for_it() {
    let config = EngineConfig { in_doubt_timeout_ms: 5_000, ..EngineConfig::default() };
    let (before, held) = prepared();
    let mut bench = Bench::over(before.model, config);
    bench.attach(1, "q", 9, &held[1..]);
    assert_eq!(taken(&mut bench), ["3"]);
    bench.advance(4_999);
    bench.settle_down();
    assert_eq!((bench.take(), &bench.timed_out), (Vec::new(), &Vec::new()));
    bench.advance(1);
    bench.settle_down();
    assert_eq!((taken(&mut bench), &bench.timed_out), (vec!["1".to_owned()], &vec!["x".to_owned()]));
    assert_eq!(bench.model.in_doubt.len(), 0);
    assert!(!resolve(&mut bench, "x", true), "the coordinator hears that it comes too late");
    // A name that is used again has its own time.
    assert_eq!(prepare(&mut bench, 2, "y", &held[1..2]), EngineReply::Done);
    bench.advance(4_000);
    assert!(resolve(&mut bench, "y", false));
    let back = ids(&bench.take());
    assert_eq!(prepare(&mut bench, 3, "y", &back), EngineReply::Done);
    bench.advance(4_000);
    bench.settle_down();
    assert_eq!(bench.timed_out, ["x"]);
    assert!(resolve(&mut bench, "y", true));
    bench.advance(9_000);
    bench.settle_down();
    assert_eq!(bench.timed_out, ["x"]);
}
