//! Random histories. A failure prints the shrunk history, and proptest writes its seed to `proptest-regressions`;
//! `PROPTEST_CASES` sets how many are tried.

use proptest::prelude::*;

use super::world::{Action, End, World};

fn action() -> impl Strategy<Value = Action> {
    let end = prop_oneof![
        Just(End::Drain),
        Just(End::AtOnce),
        Just(End::Crash),
        Just(End::Unknown),
        Just(End::NotLeader),
        Just(End::Fenced),
    ];
    prop_oneof![
        12 => (0..3_usize, 1..6_u8).prop_map(|(producer, count)| Action::Send { producer, count }),
        10 => (0..4_usize, 1..4_u8).prop_map(|(consumer, most)| Action::Acknowledge { consumer, most }),
        3 => (0..4_usize).prop_map(|consumer| Action::Refuse { consumer }),
        2 => (0..4_usize, any::<bool>()).prop_map(|(consumer, untouched)| Action::Detach { consumer, untouched }),
        1 => (0..4_usize).prop_map(|consumer| Action::Die { consumer }),
        3 => (0..4_usize, any::<bool>()).prop_map(|(consumer, late)| Action::DropLink { consumer, late }),
        8 => (0..4_usize).prop_map(|consumer| Action::Attach { consumer }),
        2 => (0..4_usize, 0..6_u32).prop_map(|(consumer, credit)| Action::Credit { consumer, credit }),
        14 => Just(Action::Flush),
        12 => Just(Action::Apply),
        12 => Just(Action::Report),
        8 => Just(Action::Read),
        8 => Just(Action::Page),
        16 => (0..4_usize).prop_map(|consumer| Action::Frame { consumer }),
        2 => Just(Action::News),
        2 => prop_oneof![1 => Just(false), 2 => Just(true)].prop_map(|holds| Action::Lease { holds }),
        1 => any::<bool>().prop_map(|full| Action::Space { full }),
        5 => (1..500_u64).prop_map(|ms| Action::Advance { ms }),
        2 => (end, 0..4_usize, any::<bool>()).prop_map(|(how, applied, late)| Action::End { how, applied, late }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    /// Invariants 2 to 5, and with them: no delivery beyond what is committed as dispatched, no head above a live
    /// message, every request answered once, memory and credit within bounds and counted right.
    #[test]
    fn whatever_happens_nothing_is_lost_doubled_reordered_or_released_too_late(
        actions in proptest::collection::vec(action(), 1..400),
    ) {
        let mut world = World::new();
        for action in &actions {
            world.act(action);
        }
        world.come_to_rest();
    }
}
