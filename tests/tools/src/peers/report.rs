//! What was measured, as a table and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::System;
use super::floor::Floor;
use super::goals::{GOALS, Verdict};
use super::workload::{Measure, ROWS, Sample, Workload};
use crate::bound::figure;
use crate::spread::Spread;

/// The samples of a system under a load, one a round.
#[derive(Debug, Clone, Serialize)]
pub struct Cell {
    /// Which system.
    pub system: System,
    /// Which load.
    pub workload: Workload,
    /// What it did.
    pub samples: Vec<Sample>,
}

/// Everything.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Processor and kernel.
    pub machine: String,
    /// What the servers' files lie on.
    pub disk: String,
    /// The crates that are the peers' clients.
    pub clients: String,
    /// Rounds that were asked for.
    pub rounds: usize,
    /// Seconds of each measurement.
    pub secs: u64,
    /// What each system says of itself.
    pub versions: BTreeMap<System, String>,
    /// What the systems did.
    pub cells: Vec<Cell>,
    /// What disk and loopback did, one a round.
    pub floors: Vec<Floor>,
    /// What could not be measured, and why.
    pub notes: Vec<String>,
    /// How the goals came out.
    pub verdicts: Vec<Verdict>,
}

impl Report {
    /// Takes in a measurement.
    pub(super) fn add(&mut self, system: System, workload: Workload, sample: Sample) {
        match self.cells.iter_mut().find(|cell| (cell.system, cell.workload) == (system, workload)) {
            Some(cell) => cell.samples.push(sample),
            None => self.cells.push(Cell { system, workload, samples: vec![sample] }),
        }
    }

    /// Takes in what could not be measured; what is the same in every round once.
    pub(super) fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Judges the goals by what was taken in so far.
    pub(super) fn judge(&mut self) {
        self.verdicts = GOALS.iter().map(|goal| goal.verdict(self)).collect();
    }

    /// A figure over the rounds; `None` if it was not measured.
    #[must_use]
    pub fn spread(&self, system: System, workload: Workload, measure: Measure) -> Option<Spread> {
        // Beside a variant of NATS, Baton's one figure.
        let workload = if system == System::Baton { workload.variant_of() } else { workload };
        let cell = self.cells.iter().find(|cell| (cell.system, cell.workload) == (system, workload))?;
        let load = workload.load(self.secs);
        Spread::of(cell.samples.iter().map(|sample| measure.of(sample, &load)))
    }

    /// A part of the floor over the rounds.
    #[must_use]
    pub fn floor(&self, part: fn(&Floor) -> f64) -> Option<Spread> {
        Spread::of(self.floors.iter().map(part))
    }

    /// The tables, in Markdown.
    #[must_use]
    pub fn table(&self) -> String {
        let Self { machine, disk, clients, rounds, secs, .. } = self;
        let rounds = if *rounds == 1 { "One round".to_owned() } else { format!("{rounds} rounds") };
        let mut text = format!(
            "Machine: {machine}; {disk}. Clients: {clients}. {rounds}, {secs} s each measurement; the median of the \
             rounds, and in brackets the least and the most.\n\n"
        );
        text.push_str("| | Baton | NATS | RabbitMQ | Baton / NATS | Baton / RabbitMQ | goal |\n");
        text.push_str("|---|---|---|---|---|---|---|\n");
        // Writing to a String does not fail.
        for (workload, measure) in ROWS {
            let _ = writeln!(text, "{}", self.row(workload, measure));
        }
        text.push_str("\n| system | version | a confirmed message |\n|---|---|---|\n");
        for (system, version) in &self.versions {
            let _ = writeln!(text, "| {} | {version} | {} |", system.name(), system.confirm());
        }
        text.push_str(&self.floor_words());
        for note in &self.notes {
            let _ = writeln!(text, "\n{note}");
        }
        text
    }

    fn row(&self, workload: Workload, measure: Measure) -> String {
        let found = System::ALL.map(|system| self.spread(system, workload, measure));
        let mut row = format!("| {}, {} |", workload.name(), measure.unit());
        for spread in found {
            let _ = write!(row, " {} |", spread.map_or("–".to_owned(), words));
        }
        let [baton, peers @ ..] = found;
        for peer in peers {
            let ratio = baton.zip(peer).map(|(baton, peer)| baton.median / peer.median);
            let _ = write!(row, " {} |", ratio.filter(|ratio| ratio.is_finite()).map_or("–".to_owned(), figure));
        }
        let goals = GOALS.iter().filter(|goal| (goal.workload, goal.measure) == (workload, measure));
        let verdicts: Vec<String> = goals.map(|goal| goal.verdict(self).words()).collect();
        let _ = write!(row, " {} |", verdicts.join("; "));
        row
    }

    fn floor_words(&self) -> String {
        let part = |part: fn(&Floor) -> f64| self.floor(part).map_or("–".to_owned(), words);
        format!(
            "\nThe floor of a confirm: {} ms (p50; until a majority has synced, {} ms). The disk syncs {} MB/s.\n",
            part(|floor| floor.confirm_p50_ms),
            part(|floor| floor.majority_p50_ms),
            part(|floor| floor.disk_mb_per_s)
        )
    }
}

fn words(spread: Spread) -> String {
    let Spread { median, min, max } = spread;
    if min == max { figure(median) } else { format!("{} ({}–{})", figure(median), figure(min), figure(max)) }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What was done that often a second, with such a p50.
    pub(in crate::peers) fn sample(per_s: f64, p50: f64) -> Sample {
        Sample { produced_per_s: per_s, consumed_per_s: per_s, confirm_p50_ms: p50, confirm_p99_ms: 2.0 * p50 }
    }

    /// Each system did the same under every load.
    pub(in crate::peers) fn report(each: [(f64, f64); 3]) -> Report {
        let floor = Floor { confirm_p50_ms: 1.0, confirm_p99_ms: 2.0, majority_p50_ms: 0.9, disk_mb_per_s: 300.0 };
        let mut report = Report {
            machine: "a machine".to_owned(),
            disk: "a disk".to_owned(),
            clients: "some crates".to_owned(),
            rounds: 1,
            secs: 5,
            versions: System::ALL.map(|system| (system, "1.0".to_owned())).into(),
            cells: Vec::new(),
            floors: vec![floor],
            notes: Vec::new(),
            verdicts: Vec::new(),
        };
        for (system, (per_s, p50)) in System::ALL.into_iter().zip(each) {
            for workload in Workload::ALL.into_iter().filter(|workload| workload.is_for(system)) {
                report.add(system, workload, sample(per_s, p50));
            }
        }
        report
    }

    #[test]
    fn a_row_has_medians_ratios_and_goals() {
        let mut report = report([(60_000.0, 1.0), (20_000.0, 2.0), (4_000.0, 8.0)]);
        report.add(System::Nats, Workload::Produce, sample(10_000.0, 2.0));
        let row = report.row(Workload::Produce, Measure::Produced);
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        assert_eq!(
            cells[2..8],
            [
                "60,000",
                "15,000 (10,000–20,000)",
                "4,000",
                "4.00",
                "15.0",
                "≥ 5 x NATS: **missed** (4.00); ≥ 12 x RabbitMQ: reached (15.0)"
            ]
        );
    }

    #[test]
    fn all_rows_have_as_many_cells_as_the_head_and_what_is_missing_is_a_dash() {
        let mut report = report([(1.0, 1.0); 3]);
        report.cells.retain(|cell| cell.system != System::RabbitMq);
        report.versions.remove(&System::RabbitMq);
        report.note("SKIPPED rabbitmq: no apt-get".to_owned());
        report.note("SKIPPED rabbitmq: no apt-get".to_owned());
        let table = report.table();
        let rows: Vec<&str> = table.lines().filter(|line| line.starts_with('|')).take(ROWS.len() + 2).collect();
        for row in &rows {
            assert_eq!(row.matches('|').count(), 8, "{row}");
        }
        assert_eq!(rows[2].matches("| – ").count(), 2, "the figure and the ratio: {}", rows[2]);
        assert!(!table.contains("| RabbitMQ | 1.0 |"));
        assert_eq!(table.matches("SKIPPED").count(), 1);
    }

    #[test]
    fn batons_one_figure_stands_beside_each_variant_of_nats() {
        let report = report([(9.0, 1.0), (3.0, 1.0), (1.0, 1.0)]);
        let of = |system| report.spread(system, Workload::ConsumeConfirmed, Measure::Consumed);
        assert_eq!(of(System::Baton).unwrap().median, 9.0);
        assert_eq!((of(System::Nats).unwrap().median, of(System::RabbitMq)), (3.0, None));
    }
}
