//! Measured results as Markdown tables.

use std::fmt::Write as _;

use super::System;
use super::floor::Floor;
use super::goals::GOALS;
use super::report::Report;
use super::workload::{Measure, ROWS, Workload};
use crate::bound::figure;
use crate::spread::Spread;

impl Report {
    /// The tables, in Markdown.
    #[must_use]
    pub fn table(&self) -> String {
        let Self { machine, disk, clients, rounds, secs, .. } = self;
        let rounds = if *rounds == 1 { "One round".to_owned() } else { format!("{rounds} rounds") };
        let mut text = format!(
            "Machine: {machine}; {disk}. Clients: {clients}. {rounds}, {secs} s per measurement; the median of the \
             rounds, with minimum and maximum in brackets.\n\n"
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
mod tests {
    use super::super::report::tests::{report, sample};
    use super::*;

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
}
