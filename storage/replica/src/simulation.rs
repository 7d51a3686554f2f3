//! Whole clusters of replicas in one process under seeded faults: real consensus, real stores, real frames; simulated are
//! the time, the network, how long a sync takes, and what a loss of power leaves on disk.
//!
//! Time is tokio's paused clock, which jumps to the next timer when nobody has anything to do; `clock` shows it to our
//! own code. All tasks of a cluster run on one thread and draw from one seed, so a seed gives the same run again
//! (but for the order in which threads of RocksDB and of blocking work end). A schedule is a list of steps that
//! proptest draws, and shrinks when it fails.

pub(crate) mod clock;
pub(crate) mod disk;

mod check;
mod clients;
pub(crate) mod dice;
mod network;
mod runner;
mod schedule;
mod trace;
mod world;

use std::time::Duration;

/// Seeds of an ordinary run, and when it ends at the latest.
const SEEDS: u64 = 300;
const TIME: Duration = Duration::from_secs(20);

/// `BATON_SEED=n`: the schedule of that seed alone.
fn seed_to_replay() -> Option<u64> {
    std::env::var("BATON_SEED").ok().map(|seed| seed.parse().expect("BATON_SEED is a number"))
}

/// Invariants 1, 3, 4, 5 and 7, and of 2 the lease's part, whatever happens to the replicas.
#[test]
fn schedules_of_faults_break_no_promise() {
    match seed_to_replay() {
        Some(seed) => runner::run(seed..seed + 1, None),
        None => runner::run(0..SEEDS, Some(TIME)),
    }
}

/// `BATON_SCHEDULES=n` of them, from `BATON_SEED` up.
#[test]
#[ignore = "takes as long as it is told to"]
fn thousands_of_schedules_break_no_promise() {
    let count: u64 = std::env::var("BATON_SCHEDULES").map_or(2_000, |count| count.parse().expect("a number"));
    let first = seed_to_replay().unwrap_or(1_000);
    runner::run(first..first + count, None);
}
