//! The result of a soak test: losses and growth.

use std::fmt::Write as _;

use serde::Serialize;

use super::{Plan, ResourceUse, Sample};
use crate::torture::History;
use crate::torture::check::{Verdict, check, duplicates, lost};

/// Something that is measured.
struct Measure {
    what: &'static str,
    unit: &'static str,
    /// Growth up to this counts as none.
    slack: f64,
    read: fn(&ResourceUse) -> f64,
}

const MEASURES: [Measure; 4] = [
    Measure { what: "resident memory", unit: "MiB", slack: 24.0, read: |used| used.memory_mib },
    Measure { what: "file descriptors", unit: "", slack: 16.0, read: |used| used.descriptors },
    Measure { what: "store on disk", unit: "MiB", slack: 64.0, read: |used| used.store_mib },
    Measure { what: "log of consensus", unit: "MiB", slack: 64.0, read: |used| used.log_mib },
];
/// By how much the median of the last quarter may exceed that of the second.
const MORE: f64 = 1.15;

/// One measure, of the member with the highest value.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Growth {
    /// The measure.
    pub what: String,
    /// Its unit.
    pub unit: String,
    /// The median of the second quarter of the time.
    pub second_quarter: f64,
    /// The median of the last quarter.
    pub last_quarter: f64,
    /// The most of all.
    pub most: f64,
    /// True if it stopped growing.
    pub levels_off: bool,
}

/// A measure over time.
pub(super) struct Panel {
    pub(super) what: &'static str,
    pub(super) unit: &'static str,
    pub(super) lines: Vec<Line>,
}

/// The same of one member: seconds and values.
pub(super) struct Line {
    pub(super) member: String,
    pub(super) points: Vec<(u64, f64)>,
}

/// The result.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Planned duration.
    pub minutes: u64,
    /// Faults, and how many of each kind.
    pub faults: Vec<(String, usize)>,
    /// Messages confirmed.
    pub confirmed: u64,
    /// Confirmed and not received.
    pub lost: usize,
    /// Received twice by a consumer that lived.
    pub twice: usize,
    /// The checks that failed, in words.
    pub violations: Vec<String>,
    /// Growth of the measures.
    pub growth: Vec<Growth>,
    /// Times of the faults, in seconds.
    pub fault_times_s: Vec<u64>,
    /// All that was measured.
    pub samples: Vec<Sample>,
    /// True if nothing was lost and everything levels off.
    pub good: bool,
}

impl Report {
    pub(super) fn new(plan: Plan, history: &History, samples: Vec<Sample>) -> Self {
        let mut faults: Vec<(String, usize)> = Vec::new();
        for done in &history.faults {
            let name = done.fault.kind.name();
            match faults.iter_mut().find(|(known, _)| known == name) {
                Some((_, count)) => *count += 1,
                None => faults.push((name.to_owned(), 1)),
            }
        }
        // Servers write no traces here: an hour of them would be the largest thing on the disk.
        let failed: Vec<Verdict> = check(history).into_iter().filter(|verdict| verdict.fails(true)).collect();
        let violations: Vec<String> = failed.iter().map(Verdict::words).collect();
        let growth: Vec<Growth> = MEASURES.iter().map(|measure| growth(measure, &samples)).collect();
        let good = violations.is_empty() && growth.iter().all(|growth| growth.levels_off);
        Self {
            minutes: plan.minutes,
            faults,
            confirmed: history.confirmed(),
            lost: lost(history),
            twice: duplicates(history).len(),
            violations,
            growth,
            fault_times_s: history.faults.iter().map(|done| done.began_ms / 1_000).collect(),
            samples,
            good,
        }
    }

    /// The measures over time.
    pub(super) fn panels(&self) -> Vec<Panel> {
        let lines = |read: fn(&ResourceUse) -> f64| {
            let mut lines: Vec<Line> = Vec::new();
            for sample in &self.samples {
                for (name, used) in &sample.members {
                    let point = (sample.at_s, read(used));
                    match lines.iter_mut().find(|line| line.member == *name) {
                        Some(line) => line.points.push(point),
                        None => lines.push(Line { member: name.clone(), points: vec![point] }),
                    }
                }
            }
            lines
        };
        MEASURES.iter().map(|&Measure { what, unit, read, .. }| Panel { what, unit, lines: lines(read) }).collect()
    }

    /// The tables, in Markdown.
    #[must_use]
    pub fn table(&self) -> String {
        let kinds: Vec<String> = self.faults.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        let mut text = String::from("| | |\n|---|---|\n");
        // Writing to a String does not fail.
        let _ = writeln!(text, "| length | {} min |", self.minutes);
        let _ = writeln!(text, "| faults | {} ({}) |", self.fault_times_s.len(), kinds.join(", "));
        let _ = writeln!(text, "| messages confirmed | {} |", self.confirmed);
        let _ = writeln!(text, "| confirmed and lost | {} |", self.lost);
        let _ = writeln!(text, "| received twice by a consumer that lived | {} |", self.twice);
        let _ = writeln!(text, "| checks that failed | {} |", self.violations.len());
        text.push_str(
            "\n| highest value of a member | median of the second quarter | median of the last quarter | maximum | |\n",
        );
        text.push_str("|---|---|---|---|---|\n");
        for Growth { what, unit, second_quarter, last_quarter, most, levels_off } in &self.growth {
            let verdict = if *levels_off { "levels off" } else { "GROWS" };
            let _ = writeln!(
                text,
                "| {what} | {second_quarter:.0} {unit} | {last_quarter:.0} {unit} | {most:.0} {unit} | {verdict} |"
            );
        }
        for violation in &self.violations {
            let _ = writeln!(text, "\n{violation}");
        }
        text
    }
}

fn growth(&Measure { what, unit, slack, read }: &Measure, samples: &[Sample]) -> Growth {
    let end_s = samples.last().map_or(0, |sample| sample.at_s);
    let most = |sample: &Sample| sample.members.iter().map(|(_, used)| read(used)).fold(0.0, f64::max);
    let median = |from: u64, to: u64| {
        let within = samples.iter().filter(|sample| (end_s * from / 4..=end_s * to / 4).contains(&sample.at_s));
        let mut values: Vec<f64> = within.map(most).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    };
    let (second_quarter, last_quarter) = (median(1, 2), median(3, 4));
    Growth {
        what: what.to_owned(),
        unit: unit.to_owned(),
        second_quarter,
        last_quarter,
        most: samples.iter().map(most).fold(0.0, f64::max),
        levels_off: last_quarter <= second_quarter * MORE + slack,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(memory: impl Fn(u64) -> f64) -> Vec<Sample> {
        let used = |at_s| ResourceUse { memory_mib: memory(at_s), descriptors: 50.0, store_mib: 10.0, log_mib: 5.0 };
        (0..400).map(|at| Sample { at_s: at * 10, members: vec![("server1".to_owned(), used(at * 10))] }).collect()
    }

    #[test]
    fn what_grows_on_is_told_from_what_levels_off() {
        let levels = growth(&MEASURES[0], &samples(|at_s| 200.0 + (at_s as f64).min(600.0)));
        assert!(levels.levels_off, "{levels:?}");
        let grows = growth(&MEASURES[0], &samples(|at_s| 200.0 + at_s as f64 / 10.0));
        assert!(!grows.levels_off, "{grows:?}");
        assert!(!growth(&MEASURES[0], &[]).levels_off, "nothing measured is no good measure");
    }
}
