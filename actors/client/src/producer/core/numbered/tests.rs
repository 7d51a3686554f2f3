use baton_domain::Reliability;

use super::super::tests::{at, new_core, opened, queue, send};
use super::super::{Input, ProducerCore};
use super::*;
use crate::peers::CallError;
use crate::protocol::{EngineReply, PlacementNews};

fn refused(core: &ProducerCore<u64>, error: EngineError) -> Input<u64> {
    let request = *core.numbered.requests.keys().next().unwrap();
    Input::Sent { attempt: core.numbered.attempt, request, answer: Ok(EngineReply::Error(error)) }
}

/// A producer that registered and has `count` messages in one request.
fn sending(count: u64) -> ProducerCore<u64> {
    let mut core = new_core();
    core.words(at(1));
    core.words(opened(&core, 1, 5_000));
    for ticket in 1..=count {
        core.words(send(ticket, 1));
    }
    assert_eq!(core.words(Input::Pump), [format!("send 1+{count}")]);
    core
}

#[test]
fn messages_sent_before_the_engine_is_found_go_out_in_one_request() {
    let mut core = new_core();
    assert_eq!(core.words(send(1, 1)), ["age 10 s"]);
    assert_eq!(core.words(send(2, 1)), [""; 0]);
    assert_eq!(core.words(Input::Pump), [""; 0]);
    assert_eq!(core.words(at(1)), ["open known=false"]);
    assert_eq!(core.words(opened(&core, 1, 5_000)), ["works", "connected", "send 1+2"]);
}

#[test]
fn an_idle_producer_sends_at_once_and_a_busy_one_lets_requests_grow() {
    let mut core = sending(1);
    for (ticket, expected) in [(2, "send 2+1"), (3, ""), (4, "")] {
        core.words(send(ticket, 1));
        assert_eq!(core.words(Input::Pump).concat(), expected);
    }
    let answer = Ok(EngineReply::Sent { through: 1 });
    let effects = core.words(Input::Sent { attempt: core.numbered.attempt, request: 0, answer });
    assert_eq!(effects, ["confirm 1", "through 1", "send 3+2"]);
}

#[test]
fn messages_that_come_together_make_one_request_at_once() {
    let mut core = sending(1);
    let sends = [2, 3, 4, 5].map(|ticket| (Message::new("x"), ticket)).into();
    let full = "refuse 5: the producer's window is full: wait for confirms";
    assert_eq!(core.words(Input::SendAll(sends)), [full, "send 2+3"]);
    assert_eq!(core.words(Input::SendAll(Vec::new())), [""; 0]);
}

#[test]
fn a_full_window_hands_the_message_back() {
    let full = "the producer's window is full: wait for confirms";
    let mut core = sending(4);
    assert_eq!(core.words(send(5, 1)), [format!("refuse 5: {full}")]);
    let mut core = sending(1);
    assert_eq!(core.words(send(2, 9_990))[0], "refuse 2: the message has 9990 bytes; the limit is 5000");
    core.words(send(3, 5_000));
    assert_eq!(core.words(send(4, 5_000)), [format!("refuse 4: {full}")]);
}

#[test]
fn a_message_that_is_too_large_gets_no_number() {
    // Of a level that is known at once, or only with the limits.
    for level in [Some(Reliability::AssuredPersistent), None] {
        let mut core = new_core();
        for (ticket, size) in [(1, 10), (2, 200), (3, 10)] {
            let message = Message::new(vec![0; size]);
            let message = level.into_iter().fold(message, Message::with_reliability);
            core.words(Input::Send { message, ticket });
        }
        core.words(Input::Flush { ticket: 9 });
        core.words(Input::Pump);
        core.words(at(1));
        let effects = core.words(opened(&core, 1, 100));
        let refusal = "refuse 2: the message has 200 bytes; the limit is 100";
        assert_eq!(effects, ["works", "connected", refusal, "send 1+2"]);
        let answer = Ok(EngineReply::Sent { through: 2 });
        let effects = core.words(Input::Sent { attempt: core.numbered.attempt, request: 0, answer });
        assert_eq!(effects, ["confirm 1", "confirm 2", "through 2", "flushed 9"]);
    }
}

#[test]
fn each_refusal_has_its_answer() {
    let unknown_fate =
        "fail outcome unknown: the engine forgot this producer, and unconfirmed messages may have been stored or not";
    let news = PlacementNews::default();
    for (error, expected) in [
        (EngineError::Busy, vec!["wake 5 ms"]),
        (EngineError::StoreFull { free_bytes: 0, reserve_bytes: 1 }, vec!["wake 100 ms"]),
        (EngineError::Gap { expected: 1 }, vec!["wake 5 ms"]),
        (EngineError::NotStarted { news }, vec!["disconnected", "trouble"]),
        (EngineError::Unknown, vec!["disconnected", "trouble"]),
        (EngineError::ProducerUnknown, vec!["wake 5 ms"]),
    ] {
        let mut core = sending(2);
        assert_eq!(core.words(refused(&core, error.clone())), expected, "{error}");
    }
    let mut core = sending(2);
    let silence = Input::Sent { attempt: core.numbered.attempt, request: 0, answer: Err(CallError::Disconnected) };
    assert_eq!(core.words(silence), ["disconnected", "trouble"]);
    assert_eq!(core.words(at(1)), ["open known=true"], "the same engine, reported again");
    let mut core = sending(2);
    let effects = core.words(refused(&core, EngineError::NoSuchQueue(queue())));
    assert!(effects[0].starts_with("fail there is no queue q"), "{effects:?}");
    assert!(effects[0].ends_with(": 1:true 2:true"), "{effects:?}");

    let mut core = sending(2);
    core.words(send(3, 1));
    core.words(refused(&core, EngineError::ProducerUnknown));
    assert_eq!(core.words(Input::Wake(Wake::Numbered { attempt: core.numbered.attempt })), ["open known=true"]);
    let answer = Ok(EngineReply::Error(EngineError::ProducerUnknown));
    let effects = core.words(Input::Opened { attempt: core.numbered.attempt, answer });
    assert_eq!(effects, [format!("{unknown_fate}: 1:true 2:true 3:false")]);
    assert!(core.words(send(4, 1))[0].starts_with("refuse 4: outcome unknown"));
}

#[test]
fn after_a_refusal_one_request_at_a_time_goes_out_until_one_is_taken() {
    let mut core = sending(1);
    core.words(send(2, 1));
    assert_eq!(core.words(Input::Pump), ["send 2+1"]);
    core.words(refused(&core, EngineError::Busy));
    let stale =
        Input::Sent { attempt: 1, request: 1, answer: Ok(EngineReply::Error(EngineError::Gap { expected: 1 })) };
    assert_eq!(core.words(stale), [""; 0], "a request after a refused one is refused, too, and changes nothing");
    assert_eq!(core.words(Input::Wake(Wake::Numbered { attempt: core.numbered.attempt })), ["resent 1-2", "send 1+2"]);
    core.words(send(3, 1));
    assert_eq!(core.words(Input::Pump), [""; 0]);
    assert_eq!(core.words(refused(&core, EngineError::Busy)), ["wake 10 ms"]);
}

#[test]
fn another_engine_gets_only_the_messages_that_it_does_not_have() {
    let mut core = sending(3);
    assert_eq!(core.words(Input::EngineGone), ["disconnected"]);
    assert_eq!(core.words(at(2)), ["open known=true"]);
    let effects = core.words(opened(&core, 3, 5_000));
    assert_eq!(effects, ["works", "connected", "confirm 1", "confirm 2", "through 2", "resent 3-3", "send 3+1"]);
    assert_eq!(core.words(at(2)), [""; 0], "reported again because another producer had trouble");
}

#[test]
fn a_store_that_lost_confirmed_messages_ends_the_producer() {
    let mut core = sending(2);
    let answer = Ok(EngineReply::Sent { through: 1 });
    core.words(Input::Sent { attempt: 1, request: 9, answer });
    core.words(at(2));
    let effects = core.words(opened(&core, 1, 5_000));
    assert!(effects[0].contains("expects message 1 of this producer, though messages up to 1"), "{effects:?}");
}

#[test]
fn an_old_message_ends_the_producer_and_hands_all_back() {
    let mut core = sending(1);
    core.words_at(9, send(2, 1));
    assert_eq!(core.words_at(4, Input::CheckAge), ["age 6 s"]);
    let effects = core.words_at(10, Input::CheckAge);
    assert_eq!(effects, ["fail outcome unknown: a message was not confirmed within 10s: 1:true 2:false"]);
}

#[test]
fn an_old_message_is_given_up_with_the_last_refusal() {
    let mut core = sending(1);
    let full = EngineError::QueueFull { queue: QueueName::new("orders").unwrap(), limit: 9 };
    core.words(Input::Sent { attempt: 1, request: 0, answer: Ok(EngineReply::Error(full)) });
    let effects = core.words_at(10, Input::CheckAge);
    assert!(effects[0].contains("within 10s: queue orders is full"), "{effects:?}");
}

#[test]
fn a_closed_producer_waits_for_its_confirms_and_has_the_engine_forget_it() {
    let mut core = sending(1);
    assert_eq!(core.words(Input::Close), [""; 0]);
    assert_eq!(core.words(send(2, 1)), ["refuse 2: the producer is closed"]);
    let answer = Ok(EngineReply::Sent { through: 1 });
    let effects = core.words(Input::Sent { attempt: core.numbered.attempt, request: 0, answer });
    assert_eq!(effects, ["confirm 1", "through 1", "close"]);
    assert_eq!(core.words(Input::Closed), ["stop"]);
    assert_eq!(new_core().words(Input::Close), ["stop"], "never connected");
}

#[test]
fn a_producer_that_was_forgotten_with_nothing_in_doubt_goes_on_under_another_id() {
    let mut core = sending(1);
    let sent = |through| Ok(EngineReply::Sent { through });
    core.words(Input::Sent { attempt: core.numbered.attempt, request: 0, answer: sent(1) });
    core.words(Input::KeepAlive);
    core.words(Input::KeepAlive);
    core.words(send(2, 1));
    core.words(Input::Pump);
    let answer = Ok(EngineReply::Error(EngineError::ProducerUnknown));
    let effects = core.words(Input::Opened { attempt: core.numbered.attempt, answer });
    assert_eq!(effects, ["renew", "open known=false"]);
    assert_eq!(core.words(opened(&core, 1, 5_000)), ["works", "send 1+1"]);
    let late = Input::Sent { attempt: 1, request: 0, answer: sent(1) };
    assert_eq!(core.words(late), [""; 0], "it refers to number 1 of the other id");
    let effects = core.words(Input::Sent { attempt: core.numbered.attempt, request: 1, answer: sent(1) });
    assert_eq!(effects, ["confirm 2", "through 2"]);
}

#[test]
fn an_idle_producer_checks_that_it_is_known() {
    let mut core = sending(1);
    let answer = Ok(EngineReply::Sent { through: 1 });
    core.words(Input::Sent { attempt: core.numbered.attempt, request: 0, answer });
    assert_eq!(core.words(Input::KeepAlive), [""; 0], "it sent something");
    assert_eq!(core.words(Input::KeepAlive), ["open known=true"]);
    assert_eq!(core.words(opened(&core, 2, 5_000)), ["works"]);
}

/// An invalid topic is refused before its message has a number, also if the message waited for the registration.
#[test]
fn a_message_without_a_topic_is_refused_alone_where_one_is_needed() {
    let mut core = new_core();
    let about = |ticket, topic: &str| Input::Send { message: Message::new("x").with_topic(topic), ticket };
    core.words(at(1));
    for input in [about(1, "a/b"), about(2, "a/*"), about(3, "a/c")] {
        core.words(input);
    }
    let Input::Opened { attempt, answer: Ok(EngineReply::Producer { epoch, next, limits, .. }) } =
        opened(&core, 1, 5_000)
    else {
        panic!()
    };
    let (publishes, reliability) = (true, Default::default());
    let (registration, digest, claimed) = (0, 0, false);
    let reply = EngineReply::Producer { epoch, next, limits, reliability, publishes, registration, digest, claimed };
    let told = core.words(Input::Opened { attempt, answer: Ok(reply) });
    assert!(told.iter().any(|word| word.starts_with("refuse 2: the topic")), "{told:?}");
    let sent = core.words(Input::Pump);
    assert!(told.iter().chain(&sent).any(|word| word == "send 1+2"), "{told:?} {sent:?}");
    let late = core.words(about(4, ""));
    assert!(late.iter().any(|word| word.starts_with("refuse 4: the topic")), "{late:?}");
}

/// The new owner of the name goes on; this producer hands back its messages.
#[test]
fn a_producer_whose_name_was_taken_over_ends_and_hands_its_messages_back() {
    let mut core = sending(2);
    let told = core.words(refused(&core, EngineError::Fenced));
    assert!(told.iter().any(|word| word.contains("took over")), "{told:?}");
    assert!(told.iter().any(|word| word.contains(" 1:true 2:true")), "{told:?}");
}
