//! Transactions: done once and as a whole, or not at all.

use baton_domain::TransactionSend;

use super::*;

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
    // No window's head is above a message that remains, also while others are settled.
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
