//! The results, as a table and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::loads::{Comparison, Load, Scale};
use crate::bound::{Bound, figure, outcome};
use crate::spread::Spread;

/// MiB that a server may use while there is a long queue.
const RESIDENT: Bound = Bound::AtMost(512.0);

/// Everything.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Processor and kernel.
    pub machine: String,
    /// The program's version.
    pub program: String,
    /// Seconds of a load without an end of its own.
    pub secs: u64,
    /// Messages of the long queue.
    pub long: u64,
    /// Messages per second at half load.
    pub half: u64,
    /// Of each round, each load's figure; the mean of those of which the round has several.
    pub rounds: Vec<BTreeMap<Load, f64>>,
    /// The memory of the server that had most while there was a long queue, in MiB.
    pub resident_mib: f64,
}

impl Report {
    fn scale(&self) -> Scale {
        Scale { secs: self.secs, long: self.long, half: self.half }
    }

    /// A load's figure over the rounds.
    fn spread(&self, load: Load) -> Option<Spread> {
        Spread::of(self.rounds.iter().filter_map(|round| round.get(&load).copied()))
    }

    /// A load's figure, divided by that of another in the same round: the machine is not always as fast.
    fn ratio(&self, load: Load, to: Load) -> Option<Spread> {
        Spread::of(self.rounds.iter().filter_map(|round| Some(round.get(&load)? / round.get(&to)?)))
    }

    /// The tables, in Markdown.
    #[must_use]
    pub fn table(&self) -> String {
        let Self { machine, program, rounds, secs, resident_mib, .. } = self;
        let mut text = format!(
            "Machine: {machine}. Program: {program}. {} rounds, {secs} s per load without an end of its own; \
             medians of the rounds and of the rounds' ratios, with minimum and maximum in brackets.\n\n",
            rounds.len()
        );
        text.push_str("| load | | goal |\n|---|---|---|\n");
        // Writing to a String does not fail.
        for load in Load::ALL {
            let _ = writeln!(text, "{}", self.row(load));
        }
        let outcome = outcome(RESIDENT.holds(*resident_mib));
        let (sign, most) = RESIDENT.parts();
        let _ = writeln!(
            text,
            "\nResident memory of the largest server while there was a long queue: {resident_mib:.0} MiB ({sign} {most}: \
             {outcome})."
        );
        text
    }

    fn row(&self, load: Load) -> String {
        let own = self.spread(load).map_or("–".to_owned(), |Spread { median, min, max }| {
            format!("{} {} ({}–{})", figure(median), load.unit(), figure(min), figure(max))
        });
        let goals: Vec<String> = load.beside().into_iter().map(|beside| self.goal(load, beside)).collect();
        format!("| {} | {own} | {} |", load.name(self.scale()), goals.join("; "))
    }

    fn goal(&self, load: Load, Comparison { load: other, bound }: Comparison) -> String {
        let (sign, value) = bound.parts();
        let words = self.ratio(load, other).map_or("not measured".to_owned(), |Spread { median, min, max }| {
            format!("{}, {median:.2} ({min:.2}–{max:.2})", outcome(bound.holds(median)))
        });
        format!("{sign} {value} x {}: {words}", other.short_name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(rounds: Vec<BTreeMap<Load, f64>>) -> Report {
        let (machine, program) = (String::new(), String::new());
        Report { machine, program, secs: 3, long: 10_000_000, half: 150_000, rounds, resident_mib: 400.0 }
    }

    #[test]
    fn a_ratio_is_of_one_round_and_judged_by_its_median() {
        let round = |few, many| BTreeMap::from([(Load::Produce, few), (Load::ManyProducers, many)]);
        let report = report(vec![round(100.0, 70.0), round(1_000.0, 900.0), round(10.0, 8.5)]);
        assert_eq!(
            report.row(Load::ManyProducers),
            "| 1,000 producers x 16 | 70.0 messages/s (8.50–900) | ≥ 0.8 x 4 producers: reached, 0.85 (0.70–0.90) |"
        );
        assert_eq!(report.row(Load::ManyWaiting), "| 1,000 producers x 1 | – | ≥ 0.8 x 4 producers: not measured |");
    }

    #[test]
    fn a_latency_is_to_be_low_and_memory_too() {
        let mut report = report(vec![BTreeMap::from([(Load::OneAtATime, 0.5), (Load::Half, 1.6)])]);
        let alone = |report: &Report| report.goal(Load::Half, Load::Half.beside()[0]);
        assert_eq!(alone(&report), "≤ 3 x 1 producer x 1: **missed**, 3.20 (3.20–3.20)");
        report.rounds[0].insert(Load::Half, 1.5);
        assert_eq!(alone(&report), "≤ 3 x 1 producer x 1: reached, 3.00 (3.00–3.00)");
        assert!(report.table().contains("400 MiB (≤ 512: reached)"));
        report.resident_mib = 513.0;
        assert!(report.table().contains("513 MiB (≤ 512: **missed**)"));
    }
}
