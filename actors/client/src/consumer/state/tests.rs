use super::*;
use crate::outbox::Answer;
use crate::peers::CallError;
use crate::protocol::{EngineError, EngineReply, Limits, PlacementNews};
use baton_domain::Message;

fn epoch(index: u64) -> Epoch {
    Epoch { generation: 0, index }
}

fn id(index: u64) -> MessageId {
    MessageId { generation: 0, index, position: 0 }
}

fn deliver(epoch_index: u64, ids: &[u64]) -> Input<u64> {
    let delivery =
        |index: &u64| Delivery { id: id(*index), redeliveries: 0, redelivered: false, message: Message::default() };
    Input::Deliver { epoch: epoch(epoch_index), deliveries: ids.iter().map(delivery).collect() }
}

fn at(index: u64) -> Input<u64> {
    Input::EngineAt { epoch: epoch(index), link: index }
}

fn attached(state: &State<u64>, index: u64) -> Input<u64> {
    let limits = Limits { message_bytes: 1, consumer_credit: 9, frame_min_bytes: 64 << 10, frame_max_bytes: 256 << 10 };
    Input::Attached { attempt: state.attempt, answer: Ok(EngineReply::Attached { epoch: epoch(index), limits }) }
}

fn settled(state: &State<u64>, answer: Answer) -> Input<u64> {
    Input::Settled { attempt: state.attempt, request: state.settlements.first_request(), answer }
}

fn numbers(ids: &[MessageId]) -> String {
    ids.iter().map(|id| id.index.to_string()).collect::<Vec<_>>().join(",")
}

/// A word or two for each effect.
fn words(effects: Vec<Effect<u64>>) -> Vec<String> {
    let word = |effect| match effect {
        Effect::Give(message) => format!("give {}", message.id.index),
        Effect::PumpSoon => "pump".to_owned(),
        Effect::Attach { credit, unsettled, .. } => format!("attach {credit} [{}]", numbers(&unsettled)),
        Effect::Settle { acknowledged, refused, rejected: _, .. } => {
            format!("settle [{}] refuse [{}]", numbers(&acknowledged), numbers(&refused))
        }
        Effect::Credit { credit, .. } => format!("credit {credit}"),
        Effect::Detach { untouched, .. } => format!("detach [{}]", numbers(&untouched)),
        Effect::Flushed { ticket, outcome: Ok(()) } => format!("flushed {ticket}"),
        Effect::Flushed { ticket, outcome: Err(_) } => format!("not flushed {ticket}"),
        Effect::Connected { .. } => "connected".to_owned(),
        Effect::Disconnected => "disconnected".to_owned(),
        Effect::Settled { messages } => format!("settled [{}]", numbers(&messages)),
        Effect::Fail { why } => format!("fail {why}"),
        Effect::Trouble { .. } => "trouble".to_owned(),
        Effect::Works { .. } => "works".to_owned(),
        Effect::WakeAfter { delay, .. } => format!("wake {} ms", delay.as_millis()),
        Effect::Stop => "stop".to_owned(),
    };
    effects.into_iter().map(word).collect()
}

/// A consumer with a credit of 9 that holds messages 1 to 4.
fn holding() -> State<u64> {
    let mut state = State::new(QueueName::new("q").unwrap(), 9, 100);
    assert_eq!(words(state.step(at(1))), ["attach 9 []"]);
    assert_eq!(words(state.step(attached(&state, 1))), ["works", "connected"]);
    assert_eq!(words(state.step(deliver(1, &[1, 2, 3, 4]))), ["give 1", "give 2", "give 3", "give 4"]);
    state
}

#[test]
fn acknowledgements_are_sent_together_and_reported_when_committed() {
    let mut state = holding();
    assert_eq!(words(state.step(Input::Acknowledge { id: id(1) })), ["pump"]);
    assert_eq!(words(state.step(Input::Refuse { id: id(3) })), [""; 0]);
    assert_eq!(words(state.step(Input::Flush { ticket: 7 })), [""; 0]);
    assert_eq!(words(state.step(Input::Pump)), ["settle [1] refuse [3]"]);
    assert_eq!(words(state.step(settled(&state, Ok(EngineReply::Done)))), ["settled [1,3]", "flushed 7"]);
    assert_eq!(words(state.step(Input::Flush { ticket: 8 })), ["flushed 8"]);
    assert_eq!(words(state.step(Input::Acknowledge { id: id(1) })), [""; 0], "settled before");
}

#[test]
fn messages_that_are_settled_together_make_one_request_at_once() {
    let mut state = holding();
    let settled = Input::SettleAll(vec![(id(1), true), (id(3), false), (id(4), true), (id(1), true)]);
    assert_eq!(words(state.step(settled)), ["settle [1,4] refuse [3]"]);
    assert_eq!(words(state.step(Input::SettleAll(Vec::new()))), [""; 0]);
}

#[test]
fn a_copy_is_dropped_and_one_of_a_settled_message_is_acknowledged_again() {
    let mut state = holding();
    state.step(Input::Acknowledge { id: id(1) });
    assert_eq!(words(state.step(deliver(1, &[1, 2]))), [""; 0], "held, and acknowledged a moment ago");
    state.step(Input::Pump);
    state.step(settled(&state, Ok(EngineReply::Done)));
    assert_eq!(words(state.step(deliver(1, &[1, 2]))), ["pump"]);
    assert_eq!(words(state.step(Input::Pump)), ["settle [1] refuse []"]);
}

#[test]
fn the_next_engine_learns_which_messages_are_held_and_those_in_doubt_are_settled_again() {
    let mut state = holding();
    state.step(Input::Acknowledge { id: id(1) });
    state.step(Input::Pump);
    state.step(Input::Acknowledge { id: id(2) });
    assert_eq!(words(state.step(Input::EngineGone)), ["disconnected"]);
    assert_eq!(words(state.step(at(5))), ["attach 9 [1,2,3,4]"]);
    assert_eq!(words(state.step(deliver(1, &[5]))), [""; 0], "of an older epoch");
    state.step(Input::Pump);
    assert_eq!(words(state.step(attached(&state, 5))), ["works", "connected", "settle [1,2] refuse []"]);
    let given = state.step(deliver(5, &[6]));
    assert!(matches!(&given[..], [Effect::Give(received)] if received.epoch == epoch(5)), "{given:?}");
}

#[test]
fn a_refused_message_that_comes_again_is_not_refused_once_more() {
    let mut state = holding();
    state.step(Input::Refuse { id: id(1) });
    assert_eq!(words(state.step(deliver(1, &[1]))), [""; 0], "a copy: the engine has not heard the refusal");
    state.step(Input::Pump);
    assert_eq!(words(state.step(deliver(1, &[1]))), ["give 1"], "the engine heard the refusal");
    state.step(Input::EngineGone);
    state.step(at(5));
    assert_eq!(words(state.step(attached(&state, 5))), ["works", "connected"]);
}

#[test]
fn each_refusal_has_its_answer() {
    let news = PlacementNews::default();
    for (error, expected) in [
        (EngineError::Busy, vec!["wake 5 ms"]),
        (EngineError::ConsumerUnknown, vec!["wake 5 ms"]),
        (EngineError::NotStarted { news }, vec!["disconnected", "trouble"]),
        (EngineError::Unknown, vec!["disconnected", "trouble"]),
    ] {
        let mut state = holding();
        state.step(Input::Acknowledge { id: id(1) });
        state.step(Input::Pump);
        let answer = Ok(EngineReply::Error(error.clone()));
        assert_eq!(words(state.step(settled(&state, answer))), expected, "{error}");
        let again = match error {
            EngineError::Busy => "settle [1] refuse []",
            EngineError::ConsumerUnknown => "attach 9 [1,2,3,4]",
            _ => continue,
        };
        assert_eq!(words(state.step(Input::Wake { attempt: state.attempt })), [again]);
    }
    let mut state = holding();
    state.step(Input::Acknowledge { id: id(1) });
    state.step(Input::Pump);
    let silence = settled(&state, Err(CallError::Disconnected));
    assert_eq!(words(state.step(silence)), ["disconnected", "trouble"]);
    assert_eq!(words(state.step(at(1))), ["attach 9 [1,2,3,4]"], "the same engine, reported again");
    let mut state = holding();
    state.step(Input::Flush { ticket: 1 });
    state.step(Input::Acknowledge { id: id(1) });
    state.step(Input::Flush { ticket: 2 });
    state.step(Input::Pump);
    let gone = EngineError::NoSuchQueue(QueueName::new("q").unwrap());
    let effects = words(state.step(settled(&state, Ok(EngineReply::Error(gone)))));
    assert_eq!(effects, ["fail queue q was deleted", "not flushed 2"]);
}

fn no_queue(state: &State<u64>) -> Input<u64> {
    let gone = EngineError::NoSuchQueue(QueueName::new("q").unwrap());
    Input::Attached { attempt: state.attempt, answer: Ok(EngineReply::Error(gone)) }
}

/// The engine forgot the consumer with its queue.
fn of_a_deleted_queue(grace_ms: u64) -> State<u64> {
    let mut state = holding().with_deleted_grace(Duration::from_millis(grace_ms));
    state.step(Input::Acknowledge { id: id(1) });
    state.step(Input::Pump);
    state.step(settled(&state, Ok(EngineReply::Error(EngineError::ConsumerUnknown))));
    assert_eq!(words(state.step(Input::Wake { attempt: state.attempt })), ["attach 9 [1,2,3,4]"]);
    state
}

#[test]
fn a_consumer_of_a_deleted_queue_attaches_to_one_that_is_created_again_and_else_ends() {
    let mut state = State::<u64>::new(QueueName::new("q").unwrap(), 9, 100);
    state.step(at(1));
    assert!(words(state.step(no_queue(&state)))[0].contains("there is no queue q"), "it never was there");
    for grace_ms in [0, 100] {
        let mut state = of_a_deleted_queue(grace_ms);
        state.step(Input::Flush { ticket: 1 });
        let mut waited = 0;
        loop {
            let effects = words(state.step(no_queue(&state)));
            if effects[0].starts_with("fail") {
                assert_eq!(effects, ["fail queue q was deleted", "not flushed 1"]);
                break;
            }
            waited += 1;
            assert_eq!(effects[0] == "disconnected", waited == 1, "{effects:?}");
            assert!(effects.last().unwrap().starts_with("wake "), "{effects:?}");
            assert_eq!(words(state.step(Input::Wake { attempt: state.attempt })), ["attach 9 [1,2,3,4]"]);
        }
        assert_eq!(waited > 0, grace_ms > 0);
    }
    let mut state = of_a_deleted_queue(100);
    state.step(no_queue(&state));
    state.step(Input::Wake { attempt: state.attempt });
    assert_eq!(words(state.step(attached(&state, 1)))[..2], ["works", "connected"]);
    assert_eq!(state.absent, Duration::ZERO);
}

#[test]
fn a_closed_consumer_does_not_wait_for_a_deleted_queue() {
    let mut state = of_a_deleted_queue(10_000);
    state.step(no_queue(&state));
    state.step(Input::Close { untouched: Vec::new() });
    state.step(Input::Wake { attempt: state.attempt });
    let effects = words(state.step(no_queue(&state)));
    assert_eq!(effects, ["fail queue q was deleted", "stop"]);
}

#[test]
fn a_paused_consumer_grants_no_credit_and_attaches_with_none() {
    let mut state = holding();
    assert_eq!(words(state.step(Input::Pause(true))), ["credit 0"]);
    assert_eq!(words(state.step(Input::Pause(false))), [""; 0], "one request about credit at a time");
    let done = Input::Credited { attempt: state.attempt, answer: Ok(EngineReply::Done) };
    assert_eq!(words(state.step(done)), ["credit 9"]);
    state.step(Input::Pause(true));
    state.step(Input::EngineGone);
    assert_eq!(words(state.step(at(5))), ["attach 0 [1,2,3,4]"]);
}

#[test]
fn an_idle_consumer_checks_that_it_is_known_and_attaches_again_if_not() {
    let mut state = holding();
    assert_eq!(words(state.step(Input::KeepAlive)), [""; 0], "something was delivered");
    assert_eq!(words(state.step(Input::KeepAlive)), ["credit 9"]);
    let answer = Ok(EngineReply::Error(EngineError::ConsumerUnknown));
    assert_eq!(words(state.step(Input::Credited { attempt: state.attempt, answer })), ["wake 5 ms"]);
    assert_eq!(words(state.step(Input::Wake { attempt: state.attempt })), ["attach 9 [1,2,3,4]"]);
}

#[test]
fn a_closed_consumer_settles_first_and_then_hands_back_untouched_messages() {
    let mut state = holding();
    state.step(Input::Acknowledge { id: id(1) });
    assert_eq!(words(state.step(Input::Close { untouched: vec![id(3), id(4)] })), ["credit 0"]);
    assert_eq!(words(state.step(deliver(1, &[5]))), [""; 0], "not given any more");
    assert_eq!(words(state.step(Input::Pump)), ["settle [1] refuse []"]);
    state.step(Input::Credited { attempt: state.attempt, answer: Ok(EngineReply::Done) });
    let effects = words(state.step(settled(&state, Ok(EngineReply::Done))));
    assert_eq!(effects, ["settled [1]", "detach [3,4,5]"]);
    let done = Input::Detached { attempt: state.attempt, answer: Ok(EngineReply::Done) };
    assert_eq!(words(state.step(done)).last().unwrap(), "stop");
}

#[test]
fn a_consumer_that_no_engine_knows_stops_at_once() {
    let close = || Input::Close { untouched: vec![] };
    let mut state = State::<u64>::new(QueueName::new("q").unwrap(), 9, 100);
    assert_eq!(words(state.step(close())).last().unwrap(), "stop");
    let mut state = State::<u64>::new(QueueName::new("q").unwrap(), 9, 100);
    state.step(at(1));
    let news = PlacementNews::default();
    let answer = Ok(EngineReply::Error(EngineError::NotStarted { news }));
    state.step(Input::Attached { attempt: state.attempt, answer });
    assert_eq!(words(state.step(close())).last().unwrap(), "stop");
}
