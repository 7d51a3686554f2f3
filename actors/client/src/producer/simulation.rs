//! The producer's core against a store that judges numbers as `apply` does, over links that lose, delay and repeat.
//!
//! Messages have several levels, and some have that of their destination, which the engine tells late. Shows invariant
//! 4 (a resend makes no second message and hides no first one), invariant 5 (messages are stored in the order in which
//! they were sent) and the producer's part of invariant 3 (a confirmed message is stored); of lower levels, that a
//! message is resent only if its level allows that; and of all, that each message and each flush gets one outcome.

mod engine;
mod world;

use baton_domain::Reliability;
use proptest::prelude::*;

use self::world::World;
use super::core::Input;
use crate::simulation::{Action, actions};

fn levels() -> impl Strategy<Value = Reliability> {
    prop_oneof![
        Just(Reliability::AssuredPersistent),
        Just(Reliability::ReliableNonpersistent),
        Just(Reliability::ExpressNonpersistent),
    ]
}

fn run(level: Reliability, actions: Vec<Action>) -> World {
    let mut world = World::new(level);
    for action in actions {
        world.act(action);
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_024, ..ProptestConfig::default() })]

    #[test]
    fn whatever_fails_each_message_is_stored_once_in_order_and_confirmed(level in levels(), actions in actions()) {
        let mut world = run(level, actions);
        world.calm();
        prop_assert_eq!(world.confirmed(), world.numbered(), "not all is confirmed");
        prop_assert!(world.nobody_waits(), "an outcome is missing");
        world.step(Input::Close);
        world.calm();
        prop_assert!(world.has_stopped(), "a closed producer does not stop");
    }

    #[test]
    fn a_producer_that_is_closed_at_any_time_confirms_all_before_and_refuses_all_after(
        level in levels(), before in actions(), after in actions(),
    ) {
        let mut world = run(level, before);
        world.close();
        for action in after {
            world.act(action);
        }
        world.calm();
        prop_assert_eq!(world.confirmed(), world.numbered(), "not all is confirmed");
        prop_assert!(world.nobody_waits(), "an outcome is missing");
        prop_assert!(world.has_stopped(), "a closed producer does not stop");
    }

    #[test]
    fn a_producer_that_fails_hands_back_all_that_is_unconfirmed(
        level in levels(), before in actions(), after in actions(),
    ) {
        let mut world = run(level, before);
        world.delete_queue();
        for action in after {
            world.act(action);
        }
        world.send();
        world.calm();
        prop_assert!(world.has_failed(), "a producer goes on without its queue");
        prop_assert!(world.nobody_waits(), "an outcome is missing");
        world.step(Input::Close);
        prop_assert!(world.has_stopped(), "a closed producer does not stop");
    }
}
