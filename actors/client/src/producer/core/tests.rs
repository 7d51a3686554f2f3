use baton_domain::Epoch;

use super::*;
use crate::protocol::{EngineError, EngineReply, Limits};

pub(super) fn queue() -> QueueName {
    QueueName::new("q").unwrap()
}

pub(super) fn epoch(index: u64) -> Epoch {
    Epoch { generation: 0, index }
}

pub(super) fn new_core() -> ProducerCore<u64> {
    let bounds = Bounds { window_messages: 4, window_bytes: 10_000, give_up: Some(Duration::from_secs(10)) };
    ProducerCore::new(queue(), bounds, None)
}

pub(super) fn send(ticket: u64, size: usize) -> Input<u64> {
    Input::Send { message: Message::new(vec![0; size]), ticket }
}

/// A message of that level, with its ticket as its body.
pub(super) fn message(level: Reliability, ticket: u64) -> (Message, u64) {
    (Message::new(ticket.to_string()).with_reliability(level), ticket)
}

pub(super) fn send_at(level: Reliability, ticket: u64) -> Input<u64> {
    let (message, ticket) = message(level, ticket);
    Input::Send { message, ticket }
}

pub(super) fn at(index: u64) -> Input<u64> {
    Input::EngineAt { epoch: epoch(index), link: index }
}

/// The producer is registered, and has messages up to `next` in the store.
pub(super) fn opened(core: &ProducerCore<u64>, next: u64, message_bytes: u64) -> Input<u64> {
    let limits = Limits { message_bytes, consumer_credit: 1, frame_min_bytes: 64 << 10, frame_max_bytes: 256 << 10 };
    Input::Opened { attempt: core.numbered.attempt(), answer: Ok(EngineReply::new_producer(epoch(1), next, limits)) }
}

/// The same for a destination whose messages have that level.
pub(super) fn opened_with(core: &ProducerCore<u64>, level: Reliability) -> Input<u64> {
    let mut input = opened(core, 1, 5_000);
    if let Input::Opened { answer: Ok(EngineReply::Producer { reliability, .. }), .. } = &mut input {
        *reliability = level;
    }
    input
}

fn bodies(messages: &[Message]) -> String {
    messages.iter().map(|message| String::from_utf8_lossy(&message.body).into_owned()).collect()
}

/// A word or two for each effect.
fn words(effects: Vec<Effect<u64>>) -> Vec<String> {
    let word = |effect| match effect {
        Effect::PumpSoon => "pump".to_owned(),
        Effect::Open { known, .. } => format!("open known={known}"),
        Effect::Renew => "renew".to_owned(),
        Effect::Send { first, messages, .. } => format!("send {first}+{}", messages.len()),
        Effect::Post { level, messages, .. } => format!("post {level} [{}]", bodies(&messages)),
        Effect::CloseProducer => "close".to_owned(),
        Effect::Confirm { number: Some(number), .. } => format!("confirm {number}"),
        Effect::Confirm { number: None, ticket } => format!("confirm ticket {ticket}"),
        Effect::Flushed { ticket, outcome: Ok(()) } => format!("flushed {ticket}"),
        Effect::Flushed { ticket, outcome: Err(_) } => format!("not flushed {ticket}"),
        Effect::Refuse { ticket, why, .. } => format!("refuse {ticket}: {why}"),
        Effect::LinkLost { ticket, .. } => format!("link lost {ticket}"),
        Effect::Fail { why, unconfirmed } => {
            let doubts = unconfirmed.iter().map(|(back, ticket)| format!(" {ticket}:{}", back.in_doubt));
            format!("fail {why}:{}", doubts.collect::<String>())
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

impl ProducerCore<u64> {
    pub(super) fn words(&mut self, input: Input<u64>) -> Vec<String> {
        self.words_at(0, input)
    }

    pub(super) fn words_at(&mut self, seconds: u64, input: Input<u64>) -> Vec<String> {
        words(self.step(input, BootTime(seconds * 1_000_000_000)))
    }
}

const ASSURED: Reliability = Reliability::AssuredPersistent;
const RELIABLE: Reliability = Reliability::ReliableNonpersistent;
const EXPRESS: Reliability = Reliability::ExpressNonpersistent;

fn posted(core: &ProducerCore<u64>) -> Input<u64> {
    Input::Posted { attempt: core.posts.attempt(), answer: Ok(EngineReply::Posted) }
}

fn sent(core: &ProducerCore<u64>, request: u64, through: u64) -> Input<u64> {
    Input::Sent { attempt: core.numbered.attempt(), request, answer: Ok(EngineReply::Sent { through }) }
}

#[test]
fn a_message_without_a_level_waits_for_that_of_its_destination_and_later_ones_wait_behind_it() {
    let mut core = new_core();
    core.words(at(1));
    core.words(send(1, 1));
    for (level, ticket) in [(ASSURED, 2), (EXPRESS, 3)] {
        assert_eq!(core.words(send_at(level, ticket)), [""; 0]);
    }
    assert_eq!(
        core.words(opened(&core, 1, 5_000)),
        ["works", "connected", "send 1+2", "post express-nonpersistent [3]"]
    );

    let mut core = new_core();
    core.words(at(1));
    let (plain, ticket) = (Message::new("1"), 1);
    core.words(Input::Send { message: plain, ticket });
    core.words(send_at(RELIABLE, 2));
    let told = core.words(opened_with(&core, RELIABLE));
    assert_eq!(told, ["works", "connected", "post reliable-nonpersistent [12]"]);
    assert_eq!(core.words(send(3, 0)), [""; 0], "the level is known: it waits for the request in flight alone");
    assert_eq!(core.words(posted(&core))[..2], ["confirm ticket 1", "confirm ticket 2"]);
}

#[test]
fn messages_without_a_level_are_bounded_by_the_window() {
    let mut core = new_core();
    for ticket in 1..=4 {
        core.words(send(ticket, 1));
    }
    assert_eq!(core.words(send(5, 1)), ["refuse 5: the producer's window is full: wait for confirms"]);
}

#[test]
fn a_flush_waits_for_messages_of_all_levels() {
    let mut core = new_core();
    core.words(at(1));
    core.words(send(1, 1));
    core.words(send_at(EXPRESS, 2));
    assert_eq!(core.words(Input::Flush { ticket: 7 }), [""; 0], "the level of the first one is unknown");
    let told = core.words(opened(&core, 1, 5_000));
    assert_eq!(told, ["works", "connected", "send 1+1", "post express-nonpersistent [2]"]);
    assert_eq!(core.words(posted(&core)), ["confirm ticket 2", "works"]);
    assert_eq!(core.words(sent(&core, 0, 1)), ["confirm 1", "through 1", "flushed 7"]);
    assert_eq!(core.words(Input::Flush { ticket: 8 }), ["flushed 8"]);
}

#[test]
fn a_flush_of_express_messages_ends_with_their_link() {
    let mut core = new_core();
    core.words(at(1));
    core.words(send_at(EXPRESS, 1));
    assert_eq!(core.words(Input::Flush { ticket: 7 }), [""; 0]);
    assert_eq!(core.words(Input::EngineGone), ["link lost 1", "flushed 7"]);
}

#[test]
fn a_message_whose_level_is_unknown_is_given_up_like_any_other() {
    let mut core = new_core();
    assert_eq!(core.words_at(1, send(1, 1)), ["age 10 s"]);
    assert_eq!(core.words_at(5, Input::Flush { ticket: 7 }), [""; 0]);
    assert_eq!(core.words_at(10, Input::CheckAge), ["age 1 s"]);
    let why = "outcome unknown: a message was not confirmed within 10s";
    let told = core.words_at(11, Input::CheckAge);
    assert_eq!(told, [format!("fail {why}:"), format!("refuse 1: {why}"), "not flushed 7".to_owned()]);
}

#[test]
fn a_failure_ends_messages_of_all_levels() {
    let error = |error| Ok(EngineReply::Error(error));
    for by_post in [true, false] {
        let mut core = new_core();
        core.words(at(1));
        core.words(opened(&core, 1, 5_000));
        for (level, ticket) in [(ASSURED, 1), (EXPRESS, 2), (EXPRESS, 3)] {
            core.words(send_at(level, ticket));
        }
        core.words(Input::Pump);
        core.words(Input::Flush { ticket: 7 });
        let answer = error(EngineError::NoSuchQueue(queue()));
        let told = core.words(match by_post {
            true => Input::Posted { attempt: core.posts.attempt(), answer },
            false => Input::Sent { attempt: core.numbered.attempt(), request: 0, answer },
        });
        assert!(told[0].starts_with("fail there is no queue q"), "{told:?}");
        assert!(told[0].ends_with(": 1:true 2:true 3:false"), "{told:?}");
        assert_eq!(told[1..], ["not flushed 7"]);
        assert!(core.words(send_at(EXPRESS, 4))[0].starts_with("refuse 4: there is no queue q"));
        assert_eq!(core.words(Input::Flush { ticket: 8 }), ["not flushed 8"]);
        assert_eq!(core.words(at(2)), [""; 0]);
        assert_eq!(core.words(Input::Close), ["stop"]);
    }
}

#[test]
fn a_closed_producer_waits_for_messages_of_all_levels() {
    let mut core = new_core();
    core.words(at(1));
    core.words(send(1, 1));
    core.words(send_at(EXPRESS, 2));
    assert_eq!(core.words(Input::Close), [""; 0]);
    assert_eq!(core.words(send(3, 1)), ["refuse 3: the producer is closed"]);
    let told = core.words(opened(&core, 1, 5_000));
    assert_eq!(told, ["works", "connected", "send 1+1", "post express-nonpersistent [2]"], "sent before the close");
    assert_eq!(core.words(sent(&core, 0, 1)), ["confirm 1", "through 1"]);
    assert_eq!(core.words(posted(&core)), ["confirm ticket 2", "works", "close"]);
    assert_eq!(core.words(Input::Closed), ["stop"]);
}
