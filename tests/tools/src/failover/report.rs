//! The results, as a table and as JSON.

use std::fmt::Write as _;

use serde::Serialize;

use super::Figures;

/// An idle server's share of one core.
#[derive(Debug, Serialize)]
pub struct IdleServer {
    /// Which.
    pub server: String,
    /// User and system time.
    pub cpu_percent: f64,
}

/// The same with messages in the store.
#[derive(Debug, Serialize)]
pub struct Backlog {
    /// Number of messages.
    pub messages: usize,
    /// kill -9 of the host.
    pub kill: Figures,
    /// `baton move`.
    pub planned_move: Figures,
    /// The resident memory of the server that has most, once the messages were sent.
    pub resident_before_mib: f64,
    /// The same after the engine moved as often as was measured.
    pub resident_after_mib: f64,
}

/// Everything.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Processor and kernel.
    pub machine: String,
    /// The program's version.
    pub program: String,
    /// Nothing happened.
    pub undisturbed: Figures,
    /// kill -9 of the host.
    pub kill: Figures,
    /// `baton move`.
    pub planned_move: Figures,
    /// No packet comes from the host any more; `None` if it could not be measured.
    pub host_loss: Option<Figures>,
    /// With a backlog; `None` if none was wanted.
    pub backlog: Option<Backlog>,
    /// Without clients.
    pub idle: Vec<IdleServer>,
}

impl Report {
    /// The kinds of moves that were measured, and their figures.
    #[must_use]
    pub fn rows(&self) -> Vec<(String, &Figures)> {
        let mut rows = vec![
            ("kill -9 of the host".to_owned(), &self.kill),
            ("planned move".to_owned(), &self.planned_move),
            ("undisturbed".to_owned(), &self.undisturbed),
        ];
        if let Some(host_loss) = &self.host_loss {
            rows.insert(1, ("host lost to the network".to_owned(), host_loss));
        }
        if let Some(Backlog { messages, kill, planned_move, .. }) = &self.backlog {
            rows.push((format!("kill -9, backlog of {messages} messages"), kill));
            rows.push((format!("planned move, backlog of {messages} messages"), planned_move));
        }
        rows
    }

    /// The tables, in Markdown.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = format!("Machine: {}. Program: {}.\n\n", self.machine, self.program);
        text.push_str("| longest time without a confirm | runs | min | median | p90 | p99 | max |\n");
        text.push_str("|---|---|---|---|---|---|---|\n");
        // Writing to a String does not fail.
        for (what, Figures { runs, min_ms, median_ms, p90_ms, p99_ms, max_ms, .. }) in self.rows() {
            let _ = write!(text, "| {what} | {runs} |");
            for value in [min_ms, median_ms, p90_ms, p99_ms, max_ms] {
                let _ = write!(text, " {value:.1} ms |");
            }
            text.push('\n');
        }
        if self.host_loss.is_none() {
            text.push_str("\nHost loss was not measured: it needs root and network namespaces.\n");
        }
        if let Some(backlog) = &self.backlog {
            let _ = writeln!(
                text,
                "\nResident memory of the largest server with the backlog: {:.0} MiB, and {:.0} MiB after {} failovers \
                 and moves.",
                backlog.resident_before_mib,
                backlog.resident_after_mib,
                backlog.kill.runs + backlog.planned_move.runs
            );
        }
        text.push_str("\n| idle server | share of one core |\n|---|---|\n");
        for IdleServer { server, cpu_percent } in &self.idle {
            let _ = writeln!(text, "| {server} | {cpu_percent:.2} % |");
        }
        text
    }
}
