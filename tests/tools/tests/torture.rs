//! A short torture with a seed of its own; `make torture` makes long ones with others.

use std::io::Write;

use baton_tools::torture::{Kind, Options, torture, why_not_here};

/// The faults that a server must survive every day, and that no loopback scenario can make.
const KINDS: [Kind; 9] = [
    Kind::KillHost,
    Kind::KillAtMove,
    Kind::FreezeHost,
    Kind::Isolate,
    Kind::Partition,
    Kind::OneWay,
    Kind::Resets,
    Kind::PowerLossAll,
    Kind::Wipe,
];

#[test]
fn a_short_torture_loses_nothing_and_no_two_engines_serve() {
    if let Some(why) = why_not_here() {
        // Not by a macro: the test harness would keep that to itself.
        let _ = writeln!(std::io::stderr(), "SKIPPED: the torture cannot be made here: {why}");
        return;
    }
    let options = Options { seed: 4, secs: 35, only: KINDS.to_vec(), tolerate_no_trace: false, keep: false };
    let run = torture(&options).unwrap_or_else(|why| panic!("the torture could not be made: {why}"));
    let words: Vec<String> = run.verdicts.iter().map(baton_tools::torture::check::Verdict::words).collect();
    assert!(!run.failed, "seed {}, files in {:?}:\n{}", run.seed, run.dir, words.join("\n"));
    assert!(run.history.confirmed() > 1_000, "so few messages prove nothing: {}", run.history.confirmed());
}
