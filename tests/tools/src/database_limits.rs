//! What PostgreSQL itself can do on this machine: the limits of a log in it, without servers of Baton.

mod loads;

use std::collections::BTreeMap;
use std::fmt::Write;

use baton_test_postgres::Postgres;
use serde::Serialize;

use crate::report_file::machine;
use crate::spread::Spread;
use loads::{Figures, LOADS, Session};

/// Measurements, and their number.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Number of rounds; each has all loads in turn.
    pub rounds: u64,
    /// Seconds of a load.
    pub secs: u64,
}

/// The figures of a load: medians of all rounds.
#[derive(Debug, Serialize)]
pub struct Limit {
    name: &'static str,
    /// MB of bodies per second.
    mb_per_second: Spread,
    /// Time from a statement's sending to its answer.
    p50_us: Spread,
    p99_us: Spread,
    /// Processor time of the statements' process in PostgreSQL.
    cpu_ms_per_mb: Spread,
    /// Bytes of WAL for a byte of bodies.
    wal: Spread,
}

/// The limits of PostgreSQL on this machine.
#[derive(Debug, Serialize)]
pub struct Report {
    machine: String,
    postgres: String,
    limits: Vec<Limit>,
}

/// Measures, and reports its progress on standard error.
///
/// # Errors
/// If a statement fails, or PostgreSQL is not installed.
pub fn measure(plan: Plan) -> Result<Report, String> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    let server = Postgres::start().ok_or("PostgreSQL is not installed: `make setup` installs it")?;
    server.sql(loads::TABLES);
    let mut figures: BTreeMap<usize, Vec<Figures>> = BTreeMap::new();
    for round in 0..plan.rounds {
        eprintln!("round {} of {}", round + 1, plan.rounds);
        for (at, load) in LOADS.iter().enumerate() {
            // No load pays for what an earlier one left.
            server.sql("TRUNCATE entries, parts, small_parts, bare; CHECKPOINT");
            let url = if load.tcp { server.tcp_url() } else { server.socket_url() };
            let measured = runtime.block_on(async {
                let session = Session::open(&url).await?;
                session.run(load, plan.secs).await
            });
            figures.entry(at).or_default().push(measured.map_err(|error| format!("{}: {error:?}", load.name))?);
        }
    }
    let limits = figures.into_iter().filter_map(|(at, figures)| Limit::of(LOADS.get(at)?.name, &figures)).collect();
    Ok(Report { machine: machine(), postgres: server.sql("SHOW server_version"), limits })
}

impl Limit {
    fn of(name: &'static str, figures: &[Figures]) -> Option<Self> {
        let spread = |value: fn(&Figures) -> f64| Spread::of(figures.iter().map(value));
        Some(Self {
            name,
            mb_per_second: spread(|figures| figures.mb_per_second)?,
            p50_us: spread(|figures| figures.p50_us)?,
            p99_us: spread(|figures| figures.p99_us)?,
            cpu_ms_per_mb: spread(|figures| figures.cpu_ms_per_mb)?,
            wal: spread(|figures| figures.wal)?,
        })
    }
}

impl Report {
    /// A table in Markdown.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = format!(
            "PostgreSQL {} on {}; medians.\n\n\
             | statement | MB/s | p50 µs | p99 µs | CPU ms per MB | WAL bytes per byte |\n|---|---|---|---|---|---|\n",
            self.postgres, self.machine
        );
        for limit in &self.limits {
            let _ = writeln!(
                table,
                "| {} | {:.1} | {:.0} | {:.0} | {:.2} | {:.2} |",
                limit.name,
                limit.mb_per_second.median,
                limit.p50_us.median,
                limit.p99_us.median,
                limit.cpu_ms_per_mb.median,
                limit.wal.median
            );
        }
        table
    }
}
