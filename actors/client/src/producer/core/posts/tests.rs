use super::super::tests::{at, message, new_core, send_at};
use super::super::{Input, ProducerCore};
use super::*;

const EXPRESS: Reliability = Reliability::ExpressNonpersistent;
const RELIABLE: Reliability = Reliability::ReliableNonpersistent;

/// A producer that is at the engine of epoch 7, and not registered.
fn at_engine() -> ProducerCore<u64> {
    let mut core = new_core();
    assert_eq!(core.words(at(7)), ["open known=false"]);
    core
}

fn send_all(messages: &[(Reliability, u64)]) -> Input<u64> {
    Input::SendAll(messages.iter().map(|(level, ticket)| message(*level, *ticket)).collect())
}

fn answer(core: &ProducerCore<u64>, answer: Answer) -> Input<u64> {
    Input::Posted { attempt: core.posts.attempt, answer }
}

fn posted(core: &ProducerCore<u64>) -> Input<u64> {
    answer(core, Ok(EngineReply::Posted))
}

#[test]
fn a_request_has_one_level_and_the_order_of_the_calls() {
    let mut core = at_engine();
    let told = core.words(send_all(&[(EXPRESS, 1), (EXPRESS, 2), (RELIABLE, 3), (EXPRESS, 4), (EXPRESS, 5)]));
    let full = "refuse 5: the producer's window is full: wait for confirms";
    assert_eq!(told, [full, "post express-nonpersistent [12]", "age 10 s"]);
    assert_eq!(core.words(Input::Pump), [""; 0], "one request at a time");
    let told = core.words(posted(&core));
    assert_eq!(told, ["confirm ticket 1", "confirm ticket 2", "works", "post reliable-nonpersistent [3]"]);
    assert_eq!(core.words(posted(&core)), ["confirm ticket 3", "works", "post express-nonpersistent [4]"]);
    assert!(!core.posts.is_empty());
    core.words(posted(&core));
    assert!(core.posts.is_empty());
}

#[test]
fn after_a_lost_link_only_messages_of_a_reliable_level_are_resent() {
    let mut core = at_engine();
    core.words(send_at(EXPRESS, 1));
    core.words(send_all(&[(RELIABLE, 2), (RELIABLE, 3), (EXPRESS, 4)]));
    assert_eq!(core.words(Input::EngineGone), ["link lost 1"], "a message that was never sent is not in doubt");
    let resend = ["open known=false", "post reliable-nonpersistent [23]"];
    assert_eq!(core.words(at(8)), resend);
    assert_eq!(core.words(at(9)), resend, "they may have been taken, and go out again");
}

#[test]
fn a_refusal_keeps_the_order_and_leaves_nothing_in_doubt() {
    let mut core = at_engine();
    core.words(send_all(&[(EXPRESS, 1), (RELIABLE, 2)]));
    let busy = answer(&core, Ok(EngineReply::Error(EngineError::Busy)));
    assert_eq!(core.words(busy), ["wake 5 ms"]);
    let wake = Input::Wake(Wake::Posts { attempt: core.posts.attempt });
    assert_eq!(core.words(wake), ["post express-nonpersistent [1]"]);
    assert_eq!(core.words(posted(&core)), ["confirm ticket 1", "works", "post reliable-nonpersistent [2]"]);
}

#[test]
fn a_message_that_is_too_large_is_refused_and_the_others_go_on() {
    let mut core = at_engine();
    let large = Message::new(vec![0; 100]).with_reliability(RELIABLE);
    core.words(Input::SendAll(vec![message(RELIABLE, 1), (large, 2)]));
    let error = EngineError::MessageTooLarge { size: 100, limit: 50 };
    let told = core.words(answer(&core, Ok(EngineReply::Error(error))));
    assert_eq!(told, ["refuse 2: the message has 100 bytes; the limit is 50", "post reliable-nonpersistent [1]"]);
}

#[test]
fn an_old_message_ends_the_producer_and_all_are_handed_back() {
    let mut core = at_engine();
    core.words_at(5, send_at(RELIABLE, 1));
    core.words_at(6, send_at(RELIABLE, 2));
    assert_eq!(core.words_at(7, Input::CheckAge), ["age 8 s"]);
    let told = core.words_at(15, Input::CheckAge);
    assert_eq!(told, ["fail outcome unknown: a message was not confirmed within 10s: 1:true 2:false"]);
    assert!(core.posts.is_empty());
}

/// The first request may have been performed, the second one was not.
#[test]
fn a_message_in_doubt_stays_in_doubt_when_it_is_refused_later() {
    let mut core = at_engine();
    core.words(send_at(RELIABLE, 1));
    core.words(at(8));
    core.words(answer(&core, Ok(EngineReply::Error(EngineError::Busy))));
    let told = core.words_at(10, Input::CheckAge);
    assert!(told[0].starts_with("fail outcome unknown") && told[0].ends_with(": 1:true"), "{told:?}");
}
