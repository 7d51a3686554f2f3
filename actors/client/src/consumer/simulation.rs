//! The consumer's core against an engine that loses, repeats and delays, fails over, and has another consumer.
//!
//! Shows invariant 3's consumer part (an acknowledgement that was reported committed is, and every message is settled
//! in the end) and that no failover brings the user a message twice while the consumer lives; and, of invariant 5, that
//! messages are given in the order in which the engine delivers them.

mod engine;
mod world;

use proptest::prelude::*;

use self::engine::CREDIT;
use self::world::World;
use super::state::Input;
use crate::simulation::{Action, actions};

fn run(refuses: bool, actions: Vec<Action>) -> World {
    let mut world = World::new(refuses);
    for action in actions {
        world.act(action);
        let held = world.holding().len();
        assert!(held <= 2 * CREDIT as usize, "the user holds {held}");
    }
    world
}

fn settles_all(mut world: World) -> Result<(), TestCaseError> {
    world.step(Input::Pause(false));
    world.calm();
    world.step(Input::KeepAlive);
    world.step(Input::KeepAlive);
    world.calm();
    prop_assert!(world.store().is_empty(), "never settled: {:?}", world.store());
    prop_assert!(world.nobody_waits(), "a flush never ended");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_024, ..ProptestConfig::default() })]

    #[test]
    fn whatever_fails_each_message_is_given_once_and_settled(actions in actions()) {
        settles_all(run(false, actions))?;
    }

    #[test]
    fn a_refused_message_comes_again_and_no_other_does(actions in actions()) {
        settles_all(run(true, actions))?;
    }

    #[test]
    fn a_consumer_that_goes_away_commits_what_was_settled_and_hands_back_the_rest(
        actions in actions(), untouched in 0..4_usize, after in actions(),
    ) {
        let mut world = run(false, actions);
        let untouched: Vec<_> = world.holding().iter().rev().take(untouched).copied().collect();
        world.close(untouched.clone());
        for action in after {
            world.act(action);
        }
        world.calm();
        prop_assert!(world.has_stopped(), "a closed consumer does not stop");
        for id in world.acknowledged() {
            prop_assert!(!world.store().contains_key(id), "{id} was acknowledged and is there again");
        }
        for id in untouched {
            prop_assert_eq!(world.store().get(&id), Some(&0), "untouched: no redelivery is counted");
        }
    }
}
