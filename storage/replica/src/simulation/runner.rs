//! Runs schedules by their seeds, a few at once, and shrinks the first that fails.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::schedule::{Schedule, schedule};
use super::world::{self, Report};

/// How often a smaller schedule is tried.
const SHRINKS: u32 = 150;

/// The schedule that a seed draws, and how it can be made smaller.
fn drawn(seed: u64) -> impl ValueTree<Value = Schedule> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    let dice = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    schedule().new_tree(&mut TestRunner::new_with_rng(Config::default(), dice)).unwrap()
}

/// Runs a schedule; a panic breaks a promise too.
fn attempt(schedule: &Schedule) -> Report {
    catch_unwind(AssertUnwindSafe(|| world::run(schedule))).unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().cloned();
        let words = words.or_else(|| panic.downcast_ref::<&str>().map(|words| (*words).to_owned()));
        Report { broken: vec![format!("a panic: {}", words.unwrap_or_default())], ..Report::default() }
    })
}

/// Makes a schedule that fails as small as it gets while it fails.
fn shrunk(mut tree: impl ValueTree<Value = Schedule>) -> (Schedule, Vec<String>) {
    let mut smallest = (tree.current(), Vec::new());
    let mut smaller = tree.simplify();
    for _ in 0..SHRINKS {
        if !smaller {
            break;
        }
        let schedule = tree.current();
        let broken = attempt(&schedule).broken;
        if broken.is_empty() {
            smaller = tree.complicate();
        } else {
            smallest = (schedule, broken);
            smaller = tree.simplify();
        }
    }
    smallest
}

/// Runs the schedules of all seeds, or as many as `time` allows; fails with the first that breaks a promise.
pub(super) fn run(seeds: Range<u64>, time: Option<Duration>) {
    let began = crate::clock::boot_time();
    let next = AtomicU64::new(seeds.start);
    let failed = AtomicBool::new(false);
    let sums = Mutex::new((0_u64, Report::default()));
    let failure = Mutex::new(None);
    let in_time = || time.is_none_or(|time| crate::clock::boot_time().since(began) < time);
    let work = || {
        while !failed.load(Ordering::Relaxed) && in_time() {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            let report = attempt(&drawn(seed).current());
            if !report.broken.is_empty() && !failed.swap(true, Ordering::Relaxed) {
                *failure.lock().unwrap() = Some((seed, report.broken));
                return;
            }
            let mut sums = sums.lock().unwrap();
            sums.0 += 1;
            sums.1.add(&report);
        }
    };
    let threads = std::thread::available_parallelism().map_or(2, |cores| cores.get().min(4));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let (count, sum) = sums.into_inner().unwrap();
    eprintln!("{count} schedules in {:?}: {sum:?}", crate::clock::boot_time().since(began));
    if let Some((seed, broken)) = failure.into_inner().unwrap() {
        eprintln!("seed {seed} fails: {broken:#?}\n{:#?}\nshrinking ...", drawn(seed).current());
        let (smallest, words) = shrunk(drawn(seed));
        panic!(
            "the schedule of seed {seed} breaks promises: {broken:#?}\nshrunk to {smallest:#?}\nwhich breaks {words:#?}\n\
             to run it again: BATON_SEED={seed} cargo nextest run --release --workspace -E 'test(schedules_of_faults)'"
        );
    }
    // A run that does nothing checks nothing.
    assert!(count > 0 && sum.confirmed > 10 * count && sum.activations >= count, "{count} schedules did {sum:?}");
}
