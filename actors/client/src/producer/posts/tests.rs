use super::*;

const EXPRESS: Reliability = Reliability::ExpressNonpersistent;
const RELIABLE: Reliability = Reliability::ReliableNonpersistent;

fn posts() -> Posts<u32> {
    let bounds = Bounds { window_messages: 4, window_bytes: 1 << 20, give_up: Some(Duration::from_secs(9)) };
    let mut posts = Posts::new(bounds);
    assert_eq!(posts.step(Input::EngineAt { epoch: Epoch { generation: 1, index: 7 }, link: 1 }), []);
    posts
}

fn post(posts: &mut Posts<u32>, level: Reliability, ticket: u32) -> Vec<Effect<u32>> {
    let message = Message::new(format!("{ticket}"));
    posts.step(Input::Post { message, level, ticket, now: BootTime(5) })
}

/// The request among effects: its level and its bodies, one after the other.
fn request(effects: &[Effect<u32>]) -> Option<(Reliability, String)> {
    let text = |messages: &[Message]| messages.iter().map(|m| String::from_utf8_lossy(&m.body).into_owned()).collect();
    effects.iter().find_map(|effect| match effect {
        Effect::Post { level, messages, .. } => Some((*level, text(messages))),
        _ => None,
    })
}

fn answer(posts: &mut Posts<u32>, answer: Answer) -> Vec<Effect<u32>> {
    posts.step(Input::Posted { attempt: posts.attempt, answer })
}

#[test]
fn a_request_has_one_level_and_the_order_of_the_calls() {
    let mut posts = posts();
    for (level, ticket) in [(EXPRESS, 1), (EXPRESS, 2), (RELIABLE, 3), (EXPRESS, 4)] {
        assert_eq!(post(&mut posts, level, ticket), []);
    }
    assert!(matches!(post(&mut posts, EXPRESS, 5)[..], [Effect::Refuse { ticket: 5, why: Refusal::WindowFull, .. }]));
    assert_eq!(request(&posts.step(Input::Pump)), Some((EXPRESS, "12".to_owned())));
    assert_eq!(posts.step(Input::Pump), [], "one request at a time");
    let next = answer(&mut posts, Ok(EngineReply::Posted));
    assert!(matches!(next[..2], [Effect::Confirm { ticket: 1 }, Effect::Confirm { ticket: 2 }]));
    assert_eq!(request(&next), Some((RELIABLE, "3".to_owned())));
    assert_eq!(request(&answer(&mut posts, Ok(EngineReply::Posted))), Some((EXPRESS, "4".to_owned())));
    assert!(!posts.is_empty());
    answer(&mut posts, Ok(EngineReply::Posted));
    assert!(posts.is_empty());
}

#[test]
fn after_a_lost_link_only_what_is_reliable_goes_out_again() {
    let mut posts = posts();
    post(&mut posts, EXPRESS, 1);
    posts.step(Input::Pump);
    for (level, ticket) in [(RELIABLE, 2), (RELIABLE, 3), (EXPRESS, 4)] {
        post(&mut posts, level, ticket);
    }
    let lost = posts.step(Input::EngineGone);
    let [Effect::HandBack { unconfirmed, ticket: 1, why: ProducerFailure::LinkLost }] = &lost[..] else {
        panic!("{lost:?}");
    };
    assert!(unconfirmed.in_doubt);
    let at = |index| Input::EngineAt { epoch: Epoch { generation: 1, index }, link: 2 };
    let reliable = Some((RELIABLE, "23".to_owned()));
    assert_eq!(request(&posts.step(at(8))), reliable, "what was never sent is not in doubt");
    assert_eq!(request(&posts.step(at(9))), reliable, "what may have been taken goes out again");
}

#[test]
fn a_refusal_keeps_the_order_and_leaves_nothing_in_doubt() {
    let mut posts = posts();
    for (level, ticket) in [(EXPRESS, 1), (RELIABLE, 2)] {
        post(&mut posts, level, ticket);
    }
    posts.step(Input::Pump);
    let refused = answer(&mut posts, Ok(EngineReply::Error(EngineError::Busy)));
    assert!(matches!(refused[..], [Effect::WakeAfter { .. }]), "nothing is in doubt: {refused:?}");
    let attempt = posts.attempt;
    assert_eq!(request(&posts.step(Input::Wake { attempt })), Some((EXPRESS, "1".to_owned())));
    assert_eq!(request(&answer(&mut posts, Ok(EngineReply::Posted))), Some((RELIABLE, "2".to_owned())));
}

#[test]
fn too_large_a_message_is_refused_and_the_others_go_on() {
    let mut posts = posts();
    post(&mut posts, RELIABLE, 1);
    let message = Message::new(vec![0; 100]);
    posts.step(Input::Post { message, level: RELIABLE, ticket: 2, now: BootTime(5) });
    posts.step(Input::Pump);
    let error = EngineError::MessageTooLarge { size: 100, limit: 50 };
    let effects = answer(&mut posts, Ok(EngineReply::Error(error)));
    let too_large = Refusal::MessageTooLarge { size: 100, limit: 50 };
    assert!(matches!(&effects[0], Effect::Refuse { ticket: 2, why, .. } if *why == too_large));
    assert_eq!(request(&effects), Some((RELIABLE, "1".to_owned())));
}

#[test]
fn what_is_too_old_ends_the_producer_and_everything_is_handed_back() {
    let mut posts = posts();
    post(&mut posts, RELIABLE, 1);
    posts.step(Input::Pump);
    post(&mut posts, RELIABLE, 2);
    assert_eq!(posts.step(Input::CheckAge { now: BootTime(6) }), []);
    let now = BootTime(5) + Duration::from_secs(9);
    let why = ProducerFailure::GaveUp { within: Duration::from_secs(9), held_up: None };
    assert_eq!(posts.step(Input::CheckAge { now }), [Effect::Fail { why: why.clone() }]);
    let back = posts.step(Input::End { why });
    let doubts = back.iter().filter_map(|effect| match effect {
        Effect::HandBack { unconfirmed, ticket, .. } => Some((*ticket, unconfirmed.in_doubt)),
        _ => None,
    });
    assert_eq!(doubts.collect::<Vec<_>>(), [(1, true), (2, false)]);
    assert!(posts.is_empty());
}
