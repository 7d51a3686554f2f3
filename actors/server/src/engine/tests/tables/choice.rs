//! Consumers with selectors, and message groups.

use super::*;

fn attach(bench: &mut Bench, number: u8, credit: u32, selector: &str) -> EngineReply {
    bench.call(EngineRequest::Attach {
        consumer: consumer(number),
        queue: queue("q"),
        credit,
        unsettled: Vec::new(),
        received: 0,
        groups: Vec::new(),
        selector: selector.to_owned(),
        temporary: None,
    })
}

fn send(bench: &mut Bench, first: u64, messages: Vec<Message>) {
    bench.ask(EngineRequest::Send { producer: producer(1), registration: 0, first, messages: messages.into() });
    bench.settle_down();
}

/// Messages of kind `a` or `b`, by turns, numbered on.
fn mixed(first: u64, count: u64) -> Vec<Message> {
    let kind = |number| if number % 2 == 0 { "a" } else { "b" };
    (first..first + count).map(|number| text(&number.to_string()).with_header("kind", kind(number))).collect()
}

/// Takes and acknowledges until nothing more comes; who got what.
fn drain(bench: &mut Bench) -> Vec<(u8, String)> {
    let mut got = Vec::new();
    loop {
        let taken = bench.take();
        if taken.is_empty() {
            return got;
        }
        for (to, one) in taken {
            got.push((to.0[0], bodies(std::slice::from_ref(&one))[0].clone()));
            bench.acknowledge(to.0[0], &[one.id]);
        }
    }
}

fn of(got: &[(u8, String)], number: u8) -> Vec<u64> {
    got.iter().filter(|(to, _)| *to == number).map(|(_, body)| body.parse().unwrap()).collect()
}

#[test]
fn a_consumer_gets_what_it_selects_and_the_rest_stays_for_others() {
    let config = EngineConfig { ready_messages: 8, page_messages: 4, ..EngineConfig::default() };
    let mut bench = Bench::new(config);
    bench.open("q");
    send(&mut bench, 1, mixed(1, 50));
    attach(&mut bench, 1, 3, "kind = 'a'");
    let got = drain(&mut bench);
    assert_eq!(of(&got, 1), (1..=50).filter(|number| number % 2 == 0).collect::<Vec<_>>());
    assert_eq!(status(&mut bench).depth, 25);
    send(&mut bench, 51, mixed(51, 4));
    assert_eq!(of(&drain(&mut bench), 1), [52, 54], "also what comes later");
    let sizes = bench.state.running().unwrap().queues.by_name().next().unwrap().sizes();
    assert_eq!(sizes, (0, 0, 0), "what nobody selects takes no memory");
    bench.attach(2, "q", 3, &[]);
    let rest: Vec<u64> = (1..=54).filter(|number| number % 2 == 1).collect();
    assert_eq!(of(&drain(&mut bench), 2), rest, "in order");
    assert_eq!(status(&mut bench).depth, 0);
}

#[test]
fn a_new_engine_finds_what_was_left_out() {
    let mut before = started();
    send(&mut before, 1, mixed(1, 20));
    attach(&mut before, 1, 100, "kind = 'a'");
    assert_eq!(drain(&mut before).len(), 10);
    let mut bench = Bench::over(before.model, EngineConfig::default());
    attach(&mut bench, 1, 100, "kind = 'a'");
    assert_eq!(drain(&mut bench), []);
    attach(&mut bench, 2, 100, "kind = 'b' OR kind = 'a'");
    assert_eq!(drain(&mut bench).len(), 10);
}

#[test]
fn what_waits_for_one_consumer_does_not_stand_in_the_way_of_another() {
    let mut bench = started();
    attach(&mut bench, 1, 1, "kind = 'a'");
    attach(&mut bench, 2, 100, "kind = 'b'");
    send(&mut bench, 1, mixed(1, 40));
    let first = bench.take();
    let got: Vec<_> = first.iter().map(|(to, one)| (to.0[0], bodies(std::slice::from_ref(one))[0].clone())).collect();
    assert_eq!(of(&got, 1), [2], "it has credit for one");
    assert_eq!(of(&got, 2).len(), 20);
}

#[test]
fn a_selector_that_is_none_is_refused_and_another_one_takes_its_place_when_the_consumer_attaches_again() {
    let mut bench = started();
    let EngineReply::Error(EngineError::Refused(why)) = attach(&mut bench, 1, 9, "kind =") else { panic!() };
    assert!(why.contains("selector"), "{why}");
    send(&mut bench, 1, mixed(1, 4));
    attach(&mut bench, 1, 9, "kind = 'a'");
    assert_eq!(of(&drain(&mut bench), 1), [2, 4]);
    attach(&mut bench, 1, 9, "kind = 'b'");
    assert_eq!(of(&drain(&mut bench), 1), [1, 3]);
}

#[test]
fn a_bound_of_what_nobody_selects_is_not_passed_by_the_head() {
    let mut bench = started();
    send(&mut bench, 1, mixed(1, 6));
    attach(&mut bench, 1, 9, "kind = 'a'");
    // The model asserts that no head is above a live message.
    assert_eq!(drain(&mut bench).len(), 3);
    let lowest = bench.model.queues.values().next().unwrap().messages.keys().next().unwrap().1;
    let running = bench.state.running().unwrap();
    assert!(running.queues.by_name().next().unwrap().heads().all(|head| head <= lowest));
}

fn grouped(first: u64, groups: &[&str]) -> Vec<Message> {
    (first..).zip(groups).map(|(number, group)| text(&number.to_string()).with_group(*group)).collect()
}

#[test]
fn a_group_is_with_one_consumer_at_a_time_and_keeps_its_order() {
    let mut bench = started();
    attach(&mut bench, 1, 2, "");
    attach(&mut bench, 2, 2, "");
    send(&mut bench, 1, grouped(1, &["x", "x", "x", "y", "y", "", "x"]));
    let mut owners: std::collections::HashMap<&str, u8> = std::collections::HashMap::new();
    let mut order: std::collections::HashMap<String, Vec<u64>> = std::collections::HashMap::new();
    let mut held: Vec<(u8, Delivery)> = Vec::new();
    loop {
        held.extend(bench.take().into_iter().map(|(to, one)| (to.0[0], one)));
        for (to, one) in &held {
            if !one.message.group().is_empty() {
                let group = if one.message.group() == "x" { "x" } else { "y" };
                assert_eq!(owners.entry(group).or_insert(*to), to, "{group} is with two consumers");
            }
        }
        let Some((to, one)) = held.pop() else { break };
        let number = bodies(std::slice::from_ref(&one))[0].parse().unwrap();
        order.entry(one.message.group().to_owned()).or_default().push(number);
        bench.acknowledge(to, &[one.id]);
        owners.clear();
    }
    let mut x = order.remove("x").unwrap();
    x.sort_unstable();
    assert_eq!((x, order.remove("y").map(|all| all.len()), status(&mut bench).depth), (vec![1, 2, 3, 7], Some(2), 0));
    let running = bench.state.running().unwrap();
    assert!(running.queues.by_name().all(|queue| queue.groups.is_empty()));
}

#[test]
fn other_groups_pass_one_whose_consumer_is_busy() {
    let mut bench = started();
    attach(&mut bench, 1, 1, "");
    send(&mut bench, 1, grouped(1, &["x", "x", "x", "y"]));
    assert_eq!(taken(&mut bench), ["1"]);
    attach(&mut bench, 2, 9, "");
    assert_eq!(taken(&mut bench), ["4"], "x is with the first one");
}

#[test]
fn what_was_refused_comes_before_the_rest_of_its_group() {
    let mut bench = started();
    attach(&mut bench, 1, 1, "");
    attach(&mut bench, 2, 1, "");
    send(&mut bench, 1, grouped(1, &["x", "x"]));
    let first = bench.take();
    assert_eq!(first.len(), 1);
    let refused = vec![first[0].1.id];
    let consumer = first[0].0;
    bench.ask(EngineRequest::Settle {
        consumer,
        acknowledged: Vec::new(),
        refused,
        rejected: Vec::new(),
        released: Vec::new(),
        received: None,
    });
    bench.step(Input::Flush);
    assert_eq!(bench.deliveries.len(), 0, "the second one waits until the first one is back");
    bench.settle_down();
    assert_eq!(taken(&mut bench), ["1"]);
}

#[test]
fn a_new_engine_knows_the_groups_that_consumers_hold() {
    let mut before = started();
    attach(&mut before, 1, 1, "");
    send(&mut before, 1, grouped(1, &["x", "x", "y"]));
    let held = before.take();
    assert_eq!(bodies(&deliveries(&held)), ["1"]);
    let mut bench = Bench::over(before.model, EngineConfig::default());
    let attach_again = EngineRequest::Attach {
        consumer: consumer(1),
        queue: queue("q"),
        credit: 1,
        unsettled: ids(&held),
        received: 0,
        groups: vec![(held[0].1.id, "x".to_owned())],
        selector: String::new(),
        temporary: None,
    };
    assert!(matches!(bench.call(attach_again), EngineReply::Attached { .. }));
    attach(&mut bench, 2, 9, "");
    assert_eq!(taken(&mut bench), ["3"], "x is with the first one");
    bench.acknowledge(1, &ids(&held));
    assert_eq!(taken(&mut bench), ["2"]);
}

/// The order of its group is kept when a consumer is gone for good: what it held comes first.
#[test]
fn what_a_consumer_that_went_held_comes_before_the_rest_of_the_group() {
    let mut bench = started();
    attach(&mut bench, 1, 2, "");
    send(&mut bench, 1, grouped(1, &["x", "x", "x"]));
    assert_eq!(taken(&mut bench), ["1", "2"]);
    attach(&mut bench, 2, 9, "");
    assert_eq!(bench.take(), []);
    bench.call(EngineRequest::Detach { consumer: consumer(1), untouched: Vec::new() });
    assert_eq!(taken(&mut bench), ["1", "2", "3"]);
}
