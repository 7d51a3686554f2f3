//! Whole clusters of policies and engine instances, the real cores of both, over a store that is told in few words
//! ([`store`]), in simulated time: leaders are lost, leases run out, processes sleep through their lease, die and come
//! back, links are cut, operators change their minds.
//!
//! A failure prints the shrunk schedule, and proptest writes its seed to `proptest-regressions`; `PROPTEST_CASES` sets
//! how many are tried.

mod server;
mod store;
mod world;

use baton_domain::{Assistance, Policy, ServerName};
use proptest::prelude::*;

use world::World;

/// Something that happens, and how long it lasts before the next thing does. Servers are taken modulo how many there
/// are.
#[derive(Debug, Clone)]
struct Step {
    fault: Fault,
    then_ms: u64,
}

#[derive(Debug, Clone)]
enum Fault {
    Calm,
    Kill(usize),
    KillHost,
    Restart,
    /// A process is frozen, clock and all others go on.
    Freeze(usize, u64),
    FreezeHost(u64),
    Cut(usize, usize),
    CutOneWay(usize, usize),
    Isolate(usize),
    IsolateHost,
    Heal,
    /// An engine instance cannot start for a while.
    Break(usize, u64),
    Leave(usize),
    SetPolicy(Policy),
    Move(usize),
}

fn name(number: usize) -> ServerName {
    ServerName::new(format!("server{number}")).unwrap()
}

fn policies() -> impl Strategy<Value = Policy> {
    let list = Just((0..3).collect::<Vec<usize>>()).prop_shuffle();
    (0..3_u8, list, 1..=3_usize, any::<[bool; 3]>()).prop_map(|(assisted, order, length, flags)| {
        let [fail_back, preferred_only, manual] = flags;
        if assisted == 0 {
            return Policy { manual, ..Policy::default() };
        }
        let preferred = order[..length].iter().map(|number| name(*number)).collect();
        Policy { assistance: Assistance::None, preferred, fail_back, preferred_only, manual: manual && assisted == 1 }
    })
}

fn step() -> impl Strategy<Value = Step> {
    let server = || 0..5_usize;
    // Around the lease of 300 ms, and far beyond it.
    let frozen = || prop_oneof![100..700_u64, 700..6_000_u64];
    let fault = prop_oneof![
        2 => Just(Fault::Calm),
        2 => server().prop_map(Fault::Kill),
        3 => Just(Fault::KillHost),
        5 => Just(Fault::Restart),
        2 => (server(), frozen()).prop_map(|(server, ms)| Fault::Freeze(server, ms)),
        4 => frozen().prop_map(Fault::FreezeHost),
        2 => (server(), server()).prop_map(|(one, other)| Fault::Cut(one, other)),
        2 => (server(), server()).prop_map(|(from, to)| Fault::CutOneWay(from, to)),
        1 => server().prop_map(Fault::Isolate),
        3 => Just(Fault::IsolateHost),
        5 => Just(Fault::Heal),
        1 => (server(), 100..9_000_u64).prop_map(|(server, ms)| Fault::Break(server, ms)),
        1 => server().prop_map(Fault::Leave),
        3 => policies().prop_map(Fault::SetPolicy),
        2 => (0..3_usize).prop_map(Fault::Move),
    ];
    (fault, prop_oneof![10..400_u64, 400..3_000_u64]).prop_map(|(fault, then_ms)| Step { fault, then_ms })
}

/// The first server of a list that fails back dies a second after each activation, and is started again at once.
#[test]
fn a_host_that_keeps_dying_costs_ever_fewer_moves() {
    let mut world = World::new(3, 0, 7);
    world.run(2_000);
    let preferred = vec![name(0), name(1)];
    let policy = Policy { assistance: Assistance::None, preferred, fail_back: true, ..Policy::default() };
    world.fault(&Fault::SetPolicy(policy));
    let mut moves = Vec::new();
    for _ in 0..3 {
        let before = world.activations();
        for _ in 0..300 {
            world.run(1_000);
            if world.hosts_on(0) {
                world.fault(&Fault::Kill(0));
                // Long enough for another one to take over.
                world.run(1_000);
                world.fault(&Fault::Restart);
            }
        }
        moves.push(world.activations() - before);
    }
    // There and back each time; without the pause it would be some 90 within five minutes.
    assert!(moves[0] <= 16 && moves[1] <= 4 && moves[2] <= 4, "{moves:?}");
    world.come_to_rest();
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    /// Invariants 2 and 6 together: nothing leaves an engine once anything left a newer one, no two hold an open gate at
    /// one moment, and when all is whole again the engine is where the policy says, and stays.
    #[test]
    fn whatever_happens_one_engine_serves_and_ends_where_the_policy_says(
        hosts in 2..=3_usize, witnesses in 0..=2_usize, dice in any::<u64>(),
        steps in prop::collection::vec(step(), 0..25),
    ) {
        let witnesses = if hosts + witnesses < 3 { 1 } else { witnesses };
        let mut world = World::new(hosts, witnesses, dice);
        for Step { fault, then_ms } in &steps {
            world.fault(fault);
            world.run(*then_ms);
        }
        world.come_to_rest();
    }
}
