//! The summary of several runs.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::check::{Outcome, activations, at_competitors, duplicates, lost, overlaps};
use super::history::{FaultRecord, History};
use super::kind::Kind;
use super::run::Run;

/// Time after a fault in which a silence is attributed to it, in milliseconds.
const AFTER_MS: u64 = 3_000;

/// One kind of fault.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The number of such faults.
    pub faults: usize,
    /// The longest time in which the consumers of a queue got nothing, in milliseconds.
    pub longest_silence_ms: u64,
}

/// All runs.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Runs made.
    pub runs: usize,
    /// Seeds of the runs that failed.
    pub failed_seeds: Vec<u64>,
    /// Messages confirmed.
    pub confirmed: u64,
    /// Of these, not received.
    pub lost: usize,
    /// Received twice by a consumer.
    pub duplicates: usize,
    /// Received by two consumers of a queue: redeliveries.
    pub at_competitors: usize,
    /// Times at which two engines served.
    pub double_activations: usize,
    /// Activations of the engine.
    pub activations: usize,
    /// Runs in which the servers wrote no trace, so that double activations are not known.
    pub without_trace: usize,
    /// The longest time until the cluster was healthy after an episode, in milliseconds.
    pub longest_recovery_ms: u64,
    /// Checks that failed, and in how many runs.
    pub violated: BTreeMap<String, usize>,
    /// Bytes that losses of power took from files that servers read again. Zero after such faults: they had no effect.
    pub lost_bytes: u64,
    /// By kind of fault.
    pub kinds: BTreeMap<&'static str, Row>,
}

impl Report {
    /// Adds a run.
    pub fn add(&mut self, run: &Run) {
        let history = &run.history;
        self.runs += 1;
        if run.failed {
            self.failed_seeds.push(run.seed);
        }
        self.confirmed += history.confirmed();
        self.lost += lost(history);
        self.duplicates += duplicates(history).len();
        self.at_competitors += at_competitors(history);
        self.double_activations += overlaps(&history.trace).len();
        self.activations += activations(history);
        self.without_trace += usize::from(history.trace.releases.is_empty());
        let unhealthy = history.ending.healthy_after_ms.is_none().then_some(u64::MAX);
        let slowest = history.recoveries.iter().copied().chain(unhealthy).max().unwrap_or(0);
        self.longest_recovery_ms = self.longest_recovery_ms.max(slowest);
        for verdict in &run.verdicts {
            if matches!(verdict.outcome, Outcome::Violated(_)) {
                *self.violated.entry(verdict.name.clone()).or_default() += 1;
            }
        }
        for done in &history.faults {
            self.lost_bytes += done.lost_bytes;
            let row = self.kinds.entry(done.fault.kind.name()).or_default();
            row.faults += 1;
            row.longest_silence_ms = row.longest_silence_ms.max(silence(history, done));
        }
    }

    /// A table for people.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = "| | |\n|---|---|\n".to_owned();
        let traced = self.runs - self.without_trace;
        let doubles = if traced == 0 {
            "no trace".to_owned()
        } else {
            format!("{}, in {traced} runs with traces", self.double_activations)
        };
        let failed: Vec<String> = self.failed_seeds.iter().map(u64::to_string).collect();
        let failed = if failed.is_empty() { "none".to_owned() } else { format!("seeds {}", failed.join(", ")) };
        let recovery = if self.longest_recovery_ms == u64::MAX {
            "too long".to_owned()
        } else {
            format!("{:.1} s", seconds(self.longest_recovery_ms))
        };
        let rows = [
            ("runs", self.runs.to_string()),
            ("runs that failed", failed),
            ("faults", self.kinds.values().map(|row| row.faults).sum::<usize>().to_string()),
            ("activations of the engine", self.activations.to_string()),
            ("double activations", doubles),
            ("messages confirmed", self.confirmed.to_string()),
            ("confirmed and lost", self.lost.to_string()),
            ("received twice by a consumer that lived", self.duplicates.to_string()),
            ("redelivered to another consumer", self.at_competitors.to_string()),
            ("bytes lost with power that a server reads again", self.lost_bytes.to_string()),
            ("longest time until healthy after a fault", recovery),
        ];
        // Writing to a String does not fail.
        for (what, value) in rows {
            let _ = writeln!(text, "| {what} | {value} |");
        }
        for (name, count) in &self.violated {
            let _ = writeln!(text, "| violated: {name} | in {count} runs |");
        }
        text.push_str("\n| fault | times | longest silence at a queue |\n|---|---|---|\n");
        for kind in Kind::ALL {
            if let Some(row) = self.kinds.get(kind.name()) {
                let _ =
                    writeln!(text, "| {} | {} | {:.1} s |", kind.name(), row.faults, seconds(row.longest_silence_ms));
            }
        }
        text
    }
}

/// The longest silence that overlaps a fault, or comes soon after it and before the next one.
fn silence(history: &History, done: &FaultRecord) -> u64 {
    let next = history.faults.iter().map(|it| it.began_ms).filter(|began_ms| *began_ms > done.ended_ms).min();
    let (begin, end) = (done.began_ms, next.unwrap_or(u64::MAX).min(done.ended_ms + AFTER_MS));
    let overlapping = history.silences(0).into_iter().filter(|(from, to)| *to > begin && *from < end);
    overlapping.map(|(from, to)| to - from).max().unwrap_or(0)
}

fn seconds(ms: u64) -> f64 {
    std::time::Duration::from_millis(ms).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torture::check::check;
    use crate::torture::history::{Consumer, Received};
    use crate::torture::schedule::{Fault, Victims};

    #[test]
    fn a_silence_is_put_down_to_the_fault_that_it_overlaps() {
        let received = [0, 900, 2_400, 9_000, 9_100].map(|at_ms| Received {
            at_ms,
            line: format!("p {at_ms}"),
            ..Received::default()
        });
        let fault = Fault { kind: Kind::KillHost, victims: Victims::Host, after_ms: 0, length_ms: 500, seed: 0 };
        let done = FaultRecord {
            fault,
            victims: Vec::new(),
            began_ms: 1_000,
            ended_ms: 1_500,
            notes: Vec::new(),
            lost_bytes: 0,
        };
        let history = History {
            consumers: vec![Consumer { received: received[..3].to_vec(), ..Consumer::default() }],
            faults: vec![done],
            ..History::default()
        };
        let run = Run { seed: 4, verdicts: check(&history), history, failed: true, dir: None };
        let mut report = Report::default();
        report.add(&run);
        assert_eq!(report.kinds["kill-host"], Row { faults: 1, longest_silence_ms: 1_500 });
        let table = report.table();
        assert!(table.contains("| kill-host | 1 | 1.5 s |") && table.contains("seeds 4"), "{table}");
        assert!(table.contains("| double activations | no trace |"), "{table}");
    }
}
