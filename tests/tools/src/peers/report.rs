//! Measured results.

use std::collections::BTreeMap;

use serde::Serialize;

use super::System;
use super::floor::Floor;
use super::verdict::Verdict;
use super::workload::{Measure, Sample, Workload};
use crate::spread::Spread;

/// The samples of a system under a load, one per round.
#[derive(Debug, Clone, Serialize)]
pub struct Cell {
    /// Which system.
    pub system: System,
    /// Which load.
    pub workload: Workload,
    /// Its samples.
    pub samples: Vec<Sample>,
}

/// Everything.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Processor and kernel.
    pub machine: String,
    /// The device of the servers' files.
    pub disk: String,
    /// The crates that are the peers' clients.
    pub clients: String,
    /// Rounds that were asked for.
    pub rounds: usize,
    /// Seconds of each measurement.
    pub secs: u64,
    /// The version of each system.
    pub versions: BTreeMap<System, String>,
    /// The results of the systems.
    pub cells: Vec<Cell>,
    /// The results of disk and loopback, one per round.
    pub floors: Vec<Floor>,
    /// Loads that could not be measured, with the reasons.
    pub notes: Vec<String>,
    /// The verdicts on the goals.
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

    /// Adds a load that could not be measured; a note that is the same in every round is kept once.
    pub(super) fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
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
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A sample with this rate and this p50.
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
    fn batons_one_figure_stands_beside_each_variant_of_nats() {
        let report = report([(9.0, 1.0), (3.0, 1.0), (1.0, 1.0)]);
        let of = |system| report.spread(system, Workload::ConsumeConfirmed, Measure::Consumed);
        assert_eq!(of(System::Baton).unwrap().median, 9.0);
        assert_eq!((of(System::Nats).unwrap().median, of(System::RabbitMq)), (3.0, None));
    }
}
