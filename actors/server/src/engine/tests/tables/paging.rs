//! From the store to consumers: dispatch before delivery, and memory within bounds.

use baton_client::protocol::Opening;
use baton_domain::Lane;

use super::*;

#[test]
fn fresh_messages_for_a_waiting_consumer_are_dispatched_by_their_own_entry() {
    let mut bench = started();
    bench.attach(1, "q", 100, &[]);
    bench.send(1, 1);
    bench.step(Input::Flush);
    assert_eq!(bench.commits.len(), 1);
    let Command::Engine { ops, .. } = &bench.commits[0].1 else { panic!() };
    assert!(matches!(ops[..], [EngineOp::Send { dispatch: true, .. }]), "{ops:?}");
    bench.commit_one();
    bench.step(Input::Flush);
    assert_eq!(bench.deliveries.len(), 1);
    assert!(bench.commits.is_empty(), "no second entry was needed");
}

#[test]
fn nothing_is_delivered_before_its_dispatch_is_committed() {
    let mut bench = started();
    bench.send(1, 3);
    bench.settle_down();
    let request = EngineRequest::Attach {
        consumer: consumer(1),
        queue: queue("q"),
        credit: 9,
        unsettled: Vec::new(),
        received: 0,
        groups: Vec::new(),
        selector: String::new(),
        temporary: None,
    };
    bench.ask(request);
    bench.step(Input::Flush);
    bench.commit_one();
    bench.step(Input::Flush);
    assert!(bench.read_one());
    bench.step(Input::Flush);
    assert!(bench.deliveries.is_empty());
    let Command::Engine { ops, .. } = &bench.commits[0].1 else { panic!() };
    assert!(matches!(ops[..], [EngineOp::Dispatch { .. }]), "{ops:?}");
    bench.settle_down();
    assert_eq!(bodies(&deliveries(&bench.take())), ["1", "2", "3"]);
}

#[test]
fn a_deep_queue_is_read_a_page_at_a_time_within_the_memory_bounds() {
    let config = EngineConfig {
        ready_messages: 64,
        page_messages: 32,
        dispatch_ahead: 16,
        ready_total_bytes: 64 * 1024,
        page_bytes: 4 * 1024,
        ..EngineConfig::default()
    };
    let mut bench = Bench::new(config);
    bench.open("q");
    for batch in 0..50 {
        bench.send(1 + batch * 100, 100);
        bench.settle_down();
    }
    bench.attach(1, "q", 10, &[]);
    let mut received = Vec::new();
    while received.len() < 5_000 {
        let taken = bench.take();
        assert!(!taken.is_empty(), "stuck after {}", received.len());
        received.extend(bodies(&deliveries(&taken)));
        let (ready, returned, held) = bench.state.running().unwrap().queues.by_name().next().unwrap().sizes();
        assert!(ready <= 64 && returned == 0 && held <= 10, "{ready} ready, {returned} returned, {held} held");
        bench.acknowledge(1, &ids(&taken));
    }
    assert_eq!(received, (1..=5_000).map(|number| number.to_string()).collect::<Vec<_>>());
    let left = bench.model.queues.values().next().unwrap();
    assert!(left.messages.is_empty() && left.heads[&Lane(0)] > MessageId::default());
}

#[test]
fn idle_queues_give_their_memory_to_those_that_deliver() {
    let config = EngineConfig {
        ready_messages: 100,
        page_messages: 50,
        page_bytes: 8 * 1024,
        ready_total_bytes: 12 * 1024,
        ..EngineConfig::default()
    };
    let mut bench = Bench::new(config);
    for (at, name) in ["a", "b", "c"].into_iter().enumerate() {
        bench.call(EngineRequest::CreateQueue { name: queue(name) });
        let number = at as u8 + 1;
        bench.call(EngineRequest::OpenProducer {
            producer: producer(number),
            queue: queue(name),
            opening: Opening::First,
        });
        let messages = (0..100).map(|number| Message::new(number.to_string())).collect();
        bench.call(EngineRequest::Send { producer: producer(number), registration: 0, first: 1, messages });
        bench.attach(number, name, 1, &[]);
    }
    for number in [1, 2, 3] {
        bench.call(EngineRequest::Credit { consumer: consumer(number), credit: 1_000, received: None });
    }
    let mut received = 0;
    while received < 300 {
        let taken = bench.take();
        assert!(!taken.is_empty(), "stuck after {received}");
        received += taken.len();
        assert!(bench.state.running().unwrap().ready_memory.bytes() <= 12 * 1024);
    }
}
