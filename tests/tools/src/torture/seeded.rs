//! The test of the checker: runs with a program that has one defect, until the checker says which invariant it breaks.
//!
//! Each defect has the faults that bring it to light, and the invariants that it breaks. It is caught once each of them
//! was reported as violated. Then the same run is made again without the defect: there they must hold, or the checker
//! only complains of everything.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::Serialize;

use super::kind::Kind;
use super::schedule::{Episode, Schedule, schedule};

/// A defect of the program `baton-seeded-bugs`.
#[derive(Debug)]
pub struct SeededBug {
    /// Its name in `BATON_SEEDED_BUG`.
    pub name: &'static str,
    /// The faults that bring it to light.
    pub only: &'static [Kind],
    /// For how many seconds there are faults.
    pub secs: u64,
    /// The numbers of the invariants that it breaks, as the checks have them.
    pub breaks: &'static [u8],
    /// True if a schedule can expose it.
    shows: fn(&Schedule) -> bool,
}

/// All of them.
pub const SEEDED_BUGS: [SeededBug; 11] = [
    SeededBug {
        name: "fencing-off",
        // The engine of an old epoch goes on, and writes again where leadership comes back.
        only: &[Kind::FreezeHost, Kind::Partition, Kind::Moves],
        secs: 25,
        breaks: &[1, 2],
        shows: |_| true,
    },
    SeededBug { name: "confirm-before-sync", only: &[Kind::RestartAll], secs: 12, breaks: &[3], shows: |_| true },
    SeededBug {
        name: "duplicate-window-off",
        only: &[Kind::KillHost, Kind::Partition],
        secs: 25,
        breaks: &[4],
        shows: |_| true,
    },
    SeededBug {
        name: "failback-without-catch-up",
        only: &[Kind::FailBack, Kind::KillHost],
        secs: 25,
        breaks: &[6],
        shows: |schedule| schedule.episodes.iter().any(host_returns_while_it_fails_back),
    },
    SeededBug {
        name: "acknowledge-before-commit",
        // Slow disks: many acknowledgements are answered and not committed when the host is killed.
        only: &[Kind::KillHost, Kind::PowerLossAll],
        secs: 30,
        breaks: &[11],
        shows: |_| true,
    },
    SeededBug { name: "half-transaction", only: &[Kind::KillConsumer], secs: 8, breaks: &[12], shows: |_| true },
    SeededBug {
        name: "transaction-twice",
        // A transaction is committed, and its answer is lost.
        only: &[Kind::Partition, Kind::KillHost],
        secs: 30,
        breaks: &[12],
        shows: |_| true,
    },
    SeededBug { name: "settings-lost", only: &[Kind::KillHost], secs: 12, breaks: &[13], shows: |_| true },
    SeededBug { name: "number-too-low", only: &[Kind::KillConsumer], secs: 12, breaks: &[14], shows: |_| true },
    SeededBug {
        name: "failures-count-too-much",
        only: &[Kind::KillConsumer],
        secs: 20,
        breaks: &[15],
        shows: |_| true,
    },
    SeededBug { name: "delay-ignored", only: &[Kind::KillConsumer], secs: 8, breaks: &[16], shows: |_| true },
];

/// True if the host is killed after the policy began to fail back, and returns well before it ends.
fn host_returns_while_it_fails_back(episode: &Episode) -> bool {
    const MOVED_MS: u64 = 1_500;
    const BACK_MS: u64 = 2_000;
    let [first, second] = &episode.faults[..] else { return false };
    first.kind == Kind::FailBack
        && second.kind == Kind::KillHost
        && second.after_ms >= MOVED_MS
        && second.after_ms + second.length_ms + BACK_MS <= first.length_ms
}

impl SeededBug {
    /// The seeds from `first` up whose schedules can bring it to light.
    pub fn seeds(&self, first: u64) -> impl Iterator<Item = u64> {
        (first..).filter(|seed| (self.shows)(&schedule(*seed, self.secs, self.only)))
    }
}

/// A run: its seed, how long it took, and the checks that failed.
#[derive(Debug, Clone, Serialize)]
pub struct SeededRun {
    /// Its seed.
    pub seed: u64,
    /// Duration in seconds.
    pub secs: f64,
    /// The names of the checks that failed.
    pub violated: Vec<String>,
}

/// The findings about a defect.
#[derive(Debug, Serialize)]
pub struct Hunt {
    /// The defect's name.
    pub bug: &'static str,
    /// The faults that were made.
    pub faults: Vec<&'static str>,
    breaks: BTreeSet<u8>,
    /// The runs with the defect, in order.
    pub runs: Vec<SeededRun>,
    /// The last of them again, without it.
    pub without: Option<SeededRun>,
}

/// The number that a check's name begins with.
fn number(check: &str) -> Option<u8> {
    check.split(' ').next()?.parse().ok()
}

impl SeededRun {
    fn broken(&self) -> impl Iterator<Item = u8> {
        self.violated.iter().filter_map(|name| number(name))
    }
}

impl Hunt {
    /// Begins.
    #[must_use]
    pub fn new(bug: &SeededBug) -> Self {
        let faults = bug.only.iter().map(|kind| kind.name()).collect();
        let breaks = bug.breaks.iter().copied().collect();
        Self { bug: bug.name, faults, breaks, runs: Vec::new(), without: None }
    }

    /// True if every invariant that the defect breaks was reported.
    #[must_use]
    pub fn found(&self) -> bool {
        let found: BTreeSet<u8> = self.runs.iter().flat_map(SeededRun::broken).collect();
        self.breaks.is_subset(&found)
    }

    /// True if it was caught: also, none of these invariants was reported in the run without the defect.
    #[must_use]
    pub fn caught(&self) -> bool {
        let held = |run: &SeededRun| run.broken().all(|number| !self.breaks.contains(&number));
        self.found() && self.without.as_ref().is_some_and(held)
    }

    /// The names of the checks that found it, with the number of the run in which each first did.
    fn by(&self) -> BTreeMap<&str, usize> {
        let mut by = BTreeMap::new();
        for (at, run) in (1..).zip(&self.runs) {
            for name in &run.violated {
                if number(name).is_some_and(|number| self.breaks.contains(&number)) {
                    by.entry(name.as_str()).or_insert(at);
                }
            }
        }
        by
    }

    fn row(&self) -> String {
        let by: Vec<String> = self.by().into_iter().map(|(name, run)| format!("{name} (run {run})")).collect();
        let by = if by.is_empty() { "nothing".to_owned() } else { by.join("; ") };
        let secs: f64 = self.runs.iter().map(|run| run.secs).sum();
        let without = match (&self.without, self.caught()) {
            (None, _) => "not made",
            (Some(_), true) => "held",
            (Some(_), false) => "VIOLATED",
        };
        let (bug, faults, runs) = (self.bug, self.faults.join(", "), self.runs.len());
        format!("| {bug} | {faults} | {by} | {runs} | {secs:.0} | {without} |\n")
    }
}

/// The hunts as a table for people.
#[must_use]
pub fn seeded_table(hunts: &[Hunt]) -> String {
    let mut text = "| seeded bug | faults | caught by | runs | seconds | the last run's seed without the bug |\n\
                    |---|---|---|---|---|---|\n"
        .to_owned();
    hunts.iter().for_each(|hunt| text.push_str(&hunt.row()));
    let caught = hunts.iter().filter(|hunt| hunt.caught()).count();
    // Writing to a String does not fail.
    let _ = writeln!(text, "\n{caught} of {} caught", hunts.len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torture::check::check;
    use crate::torture::history::History;

    fn run(violated: &[&str]) -> SeededRun {
        SeededRun { seed: 1, secs: 2.0, violated: violated.iter().map(|&name| name.to_owned()).collect() }
    }

    fn hunt(runs: &[&[&str]], without: Option<&[&str]>) -> Hunt {
        let runs = runs.iter().map(|violated| run(violated)).collect();
        Hunt { runs, without: without.map(run), ..Hunt::new(&SEEDED_BUGS[0]) }
    }

    #[test]
    fn a_bug_is_caught_by_all_that_it_breaks_and_only_if_these_hold_without_it() {
        let caught = hunt(&[&["8 healthy"], &["2 engines"], &["1 fencing", "2 engines"]], Some(&["9 words"]));
        assert!(caught.caught());
        let table = seeded_table(&[caught]);
        assert!(table.contains("| 1 fencing (run 3); 2 engines (run 2) | 3 | 6 | held |"), "{table}");
        assert!(table.ends_with("\n1 of 1 caught\n"), "{table}");
        for missed in [
            hunt(&[], Some(&[])),
            hunt(&[&["1 fencing", "8 healthy"]], Some(&[])),
            hunt(&[&["1 fencing", "2 engines"]], None),
            hunt(&[&["1 fencing", "2 engines"]], Some(&["2 engines"])),
        ] {
            assert!(!missed.caught(), "{missed:?}");
            assert!(seeded_table(&[missed]).ends_with("\n0 of 1 caught\n"));
        }
    }

    #[test]
    fn each_bug_breaks_something_that_is_checked() {
        let checks: BTreeSet<u8> = check(&History::default()).iter().filter_map(|it| number(&it.name)).collect();
        for bug in &SEEDED_BUGS {
            assert!(!bug.breaks.is_empty() && bug.breaks.iter().all(|number| checks.contains(number)), "{bug:?}");
        }
    }

    #[test]
    fn every_seed_that_is_taken_brings_the_bug_to_light() {
        let bug = SEEDED_BUGS.iter().find(|bug| bug.name == "failback-without-catch-up").expect("it is there");
        let seeds: Vec<u64> = bug.seeds(1).take(5).collect();
        assert_eq!(seeds.len(), 5);
        for seed in seeds {
            let episodes = schedule(seed, bug.secs, bug.only).episodes;
            assert!(episodes.iter().any(host_returns_while_it_fails_back), "{seed}: {episodes:?}");
        }
    }
}
