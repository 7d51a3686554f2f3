//! Clusters of members over a simulated log in one process, in simulated time, under seeded faults: the real cores and
//! the real shell. Simulated are the log, the links between the servers, the state, and a clock for each server, which
//! runs at its own speed.

mod check;
mod links;
mod schedule;
mod server;
mod world;

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::seeded::{Bug, switch_on};
use schedule::Schedule;
use world::Report;

/// Seeds of an ordinary run, and when it ends at the latest.
const SEEDS: u64 = 400;
const TIME: Duration = Duration::from_secs(20);

/// Runs a schedule; a panic breaks a promise too.
fn attempt(schedule: &Schedule) -> Report {
    catch_unwind(AssertUnwindSafe(|| world::run(schedule))).unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().cloned();
        let words = words.or_else(|| panic.downcast_ref::<&str>().map(|words| (*words).to_owned()));
        Report { broken: vec![format!("a panic: {}", words.unwrap_or_default())], ..Report::default() }
    })
}

/// Leaves steps out while the schedule fails without them.
fn shrunk(mut schedule: Schedule) -> (Schedule, Vec<String>) {
    let mut broken = Vec::new();
    let mut at = 0;
    while at < schedule.steps.len() {
        let mut smaller = schedule.clone();
        smaller.steps.remove(at);
        let report = attempt(&smaller);
        if report.broken.is_empty() {
            at += 1;
        } else {
            (schedule, broken) = (smaller, report.broken);
        }
    }
    (schedule, broken)
}

fn run(seeds: Range<u64>, time: Option<Duration>) {
    let began = crate::clock::boot_time();
    let mut sum = Report::default();
    let mut count = 0;
    for seed in seeds {
        if time.is_some_and(|time| crate::clock::boot_time().since(began) > time) {
            break;
        }
        let schedule = Schedule::draw(seed);
        let report = attempt(&schedule);
        if !report.broken.is_empty() {
            let (smallest, words) = shrunk(schedule);
            panic!(
                "the schedule of seed {seed} breaks promises: {:#?}\nshrunk to {smallest:#?}\nwhich breaks {words:#?}\nto run \
                 it again: BATON_SEED={seed} cargo test --workspace --lib shared::simulation::schedules",
                report.broken
            );
        }
        sum.add(&report);
        count += 1;
    }
    eprintln!("{count} schedules in {:?}: {sum:?}", crate::clock::boot_time().since(began));
    // A run that does nothing checks nothing.
    assert!(sum.confirmed > 50 * count && sum.terms > count, "{count} schedules did {sum:?}");
}

fn seed_to_replay() -> Option<u64> {
    std::env::var("BATON_SEED").ok().map(|seed| seed.parse().expect("BATON_SEED is a number"))
}

/// One lease at a time, no confirmed entry lost or doubled, and somebody leads when all is whole again.
#[test]
fn schedules_of_faults_break_no_promise() {
    match seed_to_replay() {
        Some(seed) => run(seed..seed + 1, None),
        None => run(0..SEEDS, Some(TIME)),
    }
}

/// `BATON_SCHEDULES=n` of them, from `BATON_SEED` up.
#[test]
#[ignore = "takes as long as it is told to"]
fn thousands_of_schedules_break_no_promise() {
    let count: u64 = std::env::var("BATON_SCHEDULES").map_or(2_000, |count| count.parse().expect("a number"));
    let first = seed_to_replay().unwrap_or(1_000);
    run(first..first + count, None);
}

/// The checks find each defect, by what it breaks.
#[test]
fn each_seeded_bug_is_caught() {
    const TRIES: u64 = 400;
    // Beginning with seeds that are known to show them, so that this is short.
    for (bug, word, first) in [
        (Bug::LeaseFromTheAnswer, "have a lease", 1),
        (Bug::LeadBeforeTail, "leads without", 59),
        (Bug::ResendWithoutLooking, "twice", 8),
        (Bug::HealOff, "was confirmed", 1),
    ] {
        switch_on(Some(bug));
        let caught = (first..first + TRIES).find(|seed| {
            let report = attempt(&Schedule::draw(*seed));
            report.broken.iter().any(|broken| broken.contains(word))
        });
        switch_on(None);
        eprintln!("{bug:?}: caught by seed {caught:?}");
        let seed = caught.unwrap_or_else(|| panic!("{bug:?} is not caught by {TRIES} schedules"));
        let report = attempt(&Schedule::draw(seed));
        assert_eq!(report.broken, [""; 0], "without {bug:?}");
    }
}
