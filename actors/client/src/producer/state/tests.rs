use super::*;
use crate::peers::CallError;
use crate::protocol::{EngineError, EngineReply, PlacementNews};

fn queue() -> QueueName {
    QueueName::new("q").unwrap()
}

fn epoch(index: u64) -> Epoch {
    Epoch { generation: 0, index }
}

fn bounds() -> Bounds {
    Bounds { window_messages: 4, window_bytes: 10_000, give_up: Some(Duration::from_secs(10)) }
}

fn send(ticket: u64, size: usize) -> Input<u64> {
    Input::Send { message: Message::new(vec![0; size]), ticket, now: BootTime(0) }
}

fn at(index: u64) -> Input<u64> {
    Input::EngineAt { epoch: epoch(index), link: index }
}

fn opened(state: &State<u64>, next: u64, message_bytes: u64) -> Input<u64> {
    let limits = Limits { message_bytes, consumer_credit: 1, frame_min_bytes: 64 << 10, frame_max_bytes: 256 << 10 };
    let answer = Ok(EngineReply::new_producer(epoch(1), next, limits));
    Input::Opened { attempt: state.attempt, answer }
}

fn refused(state: &State<u64>, error: EngineError) -> Input<u64> {
    let request = *state.requests.keys().next().unwrap();
    Input::Sent { attempt: state.attempt, request, answer: Ok(EngineReply::Error(error)) }
}

/// In short words, what effects say.
fn words(effects: Vec<Effect<u64>>) -> Vec<String> {
    let word = |effect| match effect {
        Effect::PumpSoon => "pump".to_owned(),
        Effect::Open { known, .. } => format!("open known={known}"),
        Effect::Renew => "renew".to_owned(),
        Effect::Send { first, messages, .. } => format!("send {first}+{}", messages.len()),
        Effect::CloseProducer => "close".to_owned(),
        Effect::Confirm { number, .. } => format!("confirm {number}"),
        Effect::Flushed { ticket } => format!("flushed {ticket}"),
        Effect::Refuse { ticket, why, .. } => format!("refuse {ticket}: {why}"),
        Effect::Fail { why, unconfirmed, flushes } => {
            let doubts = unconfirmed.iter().map(|(back, ticket)| format!(" {ticket}:{}", back.in_doubt));
            format!("fail {} flushes, {why}:{}", flushes.len(), doubts.collect::<String>())
        }
        Effect::Connected { .. } => "connected".to_owned(),
        Effect::Disconnected => "disconnected".to_owned(),
        Effect::Confirmed { through } => format!("through {through}"),
        Effect::Resent { from, through } => format!("resent {from}-{through}"),
        Effect::Trouble { .. } => "trouble".to_owned(),
        Effect::Works { .. } => "works".to_owned(),
        Effect::WakeAfter { delay, .. } => format!("wake {} ms", delay.as_millis()),
        Effect::CheckAgeAfter(delay) => format!("age {} s", delay.as_secs()),
        Effect::Stop => "stop".to_owned(),
    };
    effects.into_iter().map(word).collect()
}

/// A producer that registered and has `count` messages in one request.
fn sending(count: u64) -> State<u64> {
    let mut state = State::new(queue(), bounds(), None);
    state.step(at(1));
    state.step(opened(&state, 1, 5_000));
    for ticket in 1..=count {
        state.step(send(ticket, 1));
    }
    assert_eq!(words(state.step(Input::Pump)), [format!("send 1+{count}")]);
    state
}

#[test]
fn messages_sent_before_the_engine_is_found_go_out_in_one_request() {
    let mut state = State::new(queue(), bounds(), None);
    assert_eq!(words(state.step(send(1, 1))), ["pump", "age 10 s"]);
    assert_eq!(words(state.step(send(2, 1))), [""; 0]);
    assert_eq!(words(state.step(Input::Pump)), [""; 0]);
    assert_eq!(words(state.step(at(1))), ["open known=false"]);
    assert_eq!(words(state.step(opened(&state, 1, 5_000))), ["works", "connected", "send 1+2"]);
}

#[test]
fn an_idle_producer_sends_at_once_and_a_busy_one_lets_requests_grow() {
    let mut state = sending(1);
    for (ticket, expected) in [(2, "send 2+1"), (3, ""), (4, "")] {
        state.step(send(ticket, 1));
        assert_eq!(words(state.step(Input::Pump)).concat(), expected);
    }
    let answer = Ok(EngineReply::Sent { through: 1 });
    let effects = words(state.step(Input::Sent { attempt: state.attempt, request: 0, answer }));
    assert_eq!(effects, ["confirm 1", "through 1", "send 3+2"]);
}

#[test]
fn messages_that_come_together_make_one_request_at_once() {
    let mut state = sending(1);
    let sends = [2, 3, 4, 5].map(|ticket| (Message::new("x"), ticket)).into();
    let full = "refuse 5: the producer's window is full: wait for confirms";
    assert_eq!(words(state.step(Input::SendAll { sends, now: BootTime(0) })), [full, "send 2+3"]);
    assert_eq!(words(state.step(Input::SendAll { sends: Vec::new(), now: BootTime(0) })), [""; 0]);
}

#[test]
fn a_full_window_hands_the_message_back() {
    let full = "the producer's window is full: wait for confirms";
    let mut state = sending(4);
    assert_eq!(words(state.step(send(5, 1))), [format!("refuse 5: {full}")]);
    let mut state = sending(1);
    assert_eq!(words(state.step(send(2, 9_990)))[0], "refuse 2: the message has 9990 bytes; the limit is 5000");
    state.step(send(3, 5_000));
    assert_eq!(words(state.step(send(4, 5_000))), [format!("refuse 4: {full}")]);
}

#[test]
fn a_message_that_is_too_large_gets_no_number() {
    let mut state = State::new(queue(), bounds(), None);
    for (ticket, size) in [(1, 10), (2, 200), (3, 10)] {
        state.step(send(ticket, size));
    }
    state.step(Input::Flush { ticket: 9 });
    state.step(Input::Pump);
    state.step(at(1));
    let effects = words(state.step(opened(&state, 1, 100)));
    let refusal = "refuse 2: the message has 200 bytes; the limit is 100";
    assert_eq!(effects, ["works", "connected", refusal, "send 1+2"]);
    let answer = Ok(EngineReply::Sent { through: 2 });
    let effects = words(state.step(Input::Sent { attempt: state.attempt, request: 0, answer }));
    assert_eq!(effects, ["confirm 1", "confirm 2", "through 2", "flushed 9"]);
}

#[test]
fn each_refusal_has_its_answer() {
    let unknown_fate = "fail 0 flushes, outcome unknown: the engine forgot this producer, and unconfirmed messages may have been stored or not";
    let news = PlacementNews::default();
    for (error, expected) in [
        (EngineError::Busy, vec!["wake 5 ms"]),
        (EngineError::StoreFull { free_bytes: 0, reserve_bytes: 1 }, vec!["wake 100 ms"]),
        (EngineError::Gap { expected: 1 }, vec!["wake 5 ms"]),
        (EngineError::NotStarted { news }, vec!["disconnected", "trouble"]),
        (EngineError::Unknown, vec!["disconnected", "trouble"]),
        (EngineError::ProducerUnknown, vec!["wake 5 ms"]),
    ] {
        let mut state = sending(2);
        assert_eq!(words(state.step(refused(&state, error.clone()))), expected, "{error}");
    }
    let mut state = sending(2);
    let silence = Input::Sent { attempt: state.attempt, request: 0, answer: Err(CallError::Disconnected) };
    assert_eq!(words(state.step(silence)), ["disconnected", "trouble"]);
    assert_eq!(words(state.step(at(1))), ["open known=true"], "the same engine, told again");
    let mut state = sending(2);
    let effects = words(state.step(refused(&state, EngineError::NoSuchQueue(queue()))));
    assert!(effects[0].starts_with("fail 0 flushes, there is no queue q"), "{effects:?}");
    assert!(effects[0].ends_with(": 1:true 2:true"), "{effects:?}");

    let mut state = sending(2);
    state.step(send(3, 1));
    state.step(refused(&state, EngineError::ProducerUnknown));
    assert_eq!(words(state.step(Input::Wake { attempt: state.attempt })), ["open known=true"]);
    let answer = Ok(EngineReply::Error(EngineError::ProducerUnknown));
    let effects = words(state.step(Input::Opened { attempt: state.attempt, answer }));
    assert_eq!(effects, [format!("{unknown_fate}: 1:true 2:true 3:false")]);
    assert!(words(state.step(send(4, 1)))[0].starts_with("refuse 4: outcome unknown"));
}

#[test]
fn after_a_refusal_one_request_at_a_time_goes_out_until_one_is_taken() {
    let mut state = sending(1);
    state.step(send(2, 1));
    assert_eq!(words(state.step(Input::Pump)), ["send 2+1"]);
    state.step(refused(&state, EngineError::Busy));
    let stale =
        Input::Sent { attempt: 1, request: 1, answer: Ok(EngineReply::Error(EngineError::Gap { expected: 1 })) };
    assert_eq!(words(state.step(stale)), [""; 0], "what follows a refusal is refused too, and no news");
    assert_eq!(words(state.step(Input::Wake { attempt: state.attempt })), ["resent 1-2", "send 1+2"]);
    state.step(send(3, 1));
    assert_eq!(words(state.step(Input::Pump)), [""; 0]);
    assert_eq!(words(state.step(refused(&state, EngineError::Busy))), ["wake 10 ms"]);
}

#[test]
fn another_engine_is_told_only_what_it_does_not_have() {
    let mut state = sending(3);
    assert_eq!(words(state.step(Input::EngineGone)), ["disconnected"]);
    assert_eq!(words(state.step(at(2))), ["open known=true"]);
    let effects = words(state.step(opened(&state, 3, 5_000)));
    assert_eq!(effects, ["works", "connected", "confirm 1", "confirm 2", "through 2", "resent 3-3", "send 3+1"]);
    assert_eq!(words(state.step(at(2))), [""; 0], "told again because somebody else had trouble");
}

#[test]
fn a_store_that_lost_confirmed_messages_ends_the_producer() {
    let mut state = sending(2);
    let answer = Ok(EngineReply::Sent { through: 1 });
    state.step(Input::Sent { attempt: 1, request: 9, answer });
    state.step(at(2));
    let effects = words(state.step(opened(&state, 1, 5_000)));
    assert!(effects[0].contains("expects message 1 of this producer, though messages up to 1"), "{effects:?}");
}

#[test]
fn an_old_message_ends_the_producer_and_hands_all_back() {
    let mut state = sending(1);
    state.step(Input::Send { message: Message::new("x"), ticket: 2, now: BootTime(9_000_000_000) });
    assert_eq!(words(state.step(Input::CheckAge { now: BootTime(4_000_000_000) })), ["age 6 s"]);
    let effects = words(state.step(Input::CheckAge { now: BootTime(10_000_000_000) }));
    assert_eq!(effects, ["fail 0 flushes, outcome unknown: a message was not confirmed within 10s: 1:true 2:false"]);
}

#[test]
fn an_old_message_says_what_held_it_up() {
    let mut state = sending(1);
    let full = EngineError::QueueFull { queue: QueueName::new("orders").unwrap(), limit: 9 };
    state.step(Input::Sent { attempt: 1, request: 0, answer: Ok(EngineReply::Error(full)) });
    let effects = words(state.step(Input::CheckAge { now: BootTime(10_000_000_000) }));
    assert!(effects[0].contains("within 10s: queue orders is full"), "{effects:?}");
}

#[test]
fn a_closed_producer_waits_for_its_confirms_and_says_good_bye() {
    let mut state = sending(1);
    assert_eq!(words(state.step(Input::Close)), [""; 0]);
    assert_eq!(words(state.step(send(2, 1))), ["refuse 2: the producer is closed"]);
    let answer = Ok(EngineReply::Sent { through: 1 });
    let effects = words(state.step(Input::Sent { attempt: state.attempt, request: 0, answer }));
    assert_eq!(effects, ["confirm 1", "through 1", "close"]);
    assert_eq!(words(state.step(Input::Closed)), ["stop"]);
    assert_eq!(words(State::<u64>::new(queue(), bounds(), None).step(Input::Close)), ["stop"], "never connected");
}

#[test]
fn a_producer_that_was_forgotten_with_nothing_in_doubt_goes_on_under_another_id() {
    let mut state = sending(1);
    let sent = |through| Ok(EngineReply::Sent { through });
    state.step(Input::Sent { attempt: state.attempt, request: 0, answer: sent(1) });
    state.step(Input::KeepAlive);
    state.step(Input::KeepAlive);
    state.step(send(2, 1));
    state.step(Input::Pump);
    let answer = Ok(EngineReply::Error(EngineError::ProducerUnknown));
    let effects = words(state.step(Input::Opened { attempt: state.attempt, answer }));
    assert_eq!(effects, ["renew", "open known=false"]);
    assert_eq!(words(state.step(opened(&state, 1, 5_000))), ["works", "send 1+1"]);
    let late = Input::Sent { attempt: 1, request: 0, answer: sent(1) };
    assert_eq!(words(state.step(late)), [""; 0], "it speaks of the other id's number 1");
    let effects = words(state.step(Input::Sent { attempt: state.attempt, request: 1, answer: sent(1) }));
    assert_eq!(effects, ["confirm 2", "through 2"]);
}

#[test]
fn an_idle_producer_asks_whether_it_is_known() {
    let mut state = sending(1);
    let answer = Ok(EngineReply::Sent { through: 1 });
    state.step(Input::Sent { attempt: state.attempt, request: 0, answer });
    assert_eq!(words(state.step(Input::KeepAlive)), [""; 0], "it sent something");
    assert_eq!(words(state.step(Input::KeepAlive)), ["open known=true"]);
    assert_eq!(words(state.step(opened(&state, 2, 5_000))), ["works"]);
}

/// A topic that is none is told before its message has a number, also for what waited since before the destination was known.
#[test]
fn a_message_without_a_topic_is_refused_alone_where_one_is_needed() {
    let mut state = State::new(queue(), bounds(), None);
    let about =
        |ticket, topic: &str| Input::Send { message: Message::new("x").with_topic(topic), ticket, now: BootTime(0) };
    state.step(at(1));
    for input in [about(1, "a/b"), about(2, "a/*"), about(3, "a/c")] {
        state.step(input);
    }
    let Input::Opened { attempt, answer: Ok(EngineReply::Producer { epoch, next, limits, .. }) } =
        opened(&state, 1, 5_000)
    else {
        panic!()
    };
    let (publishes, reliability) = (true, Default::default());
    let (registration, digest, claimed) = (0, 0, false);
    let reply = EngineReply::Producer { epoch, next, limits, reliability, publishes, registration, digest, claimed };
    let told = words(state.step(Input::Opened { attempt, answer: Ok(reply) }));
    assert!(told.iter().any(|word| word.starts_with("refuse 2: the topic")), "{told:?}");
    let sent = words(state.step(Input::Pump));
    assert!(told.iter().chain(&sent).any(|word| word == "send 1+2"), "{told:?} {sent:?}");
    let late = words(state.step(about(4, "")));
    assert!(late.iter().any(|word| word.starts_with("refuse 4: the topic")), "{late:?}");
}

/// Whoever took the name over stores on; this one hands back what it has.
#[test]
fn a_producer_whose_name_was_taken_over_ends_and_hands_its_messages_back() {
    let mut state = sending(2);
    let told = words(state.step(refused(&state, EngineError::Fenced)));
    assert!(told.iter().any(|word| word.contains("took over")), "{told:?}");
    assert!(told.iter().any(|word| word.contains(" 1:true 2:true")), "{told:?}");
}
