//! `pg-limit [--rounds 3] [--secs 3] [--json]`: measures what PostgreSQL itself can do on this machine with the statements
//! of a log: appends, copies, parts of snapshots. Prints a table, or JSON.

use std::process::ExitCode;

use baton_tools::database_limits::{Plan, measure};
use baton_tools::{Options, measuring, number_up_to, print_report};

const USAGE: &str = "usage: pg-limit [--rounds 3] [--secs 3] [--json]";

fn main() -> ExitCode {
    measuring(("pg-limit", USAGE), options(std::env::args().skip(1)), 1, |options| {
        let report = measure(options.plan)?;
        print_report(&report, &report.table(), options.json);
        Ok(ExitCode::SUCCESS)
    })
}

fn options(arguments: impl Iterator<Item = String>) -> Result<Options<Plan>, String> {
    Options::read(arguments, Plan { rounds: 3, secs: 3 }, |plan, argument, value| {
        match argument {
            "--rounds" => plan.rounds = number_up_to(argument, &value()?, 100)?,
            "--secs" => plan.secs = number_up_to(argument, &value()?, 600)?,
            _ => return Ok(false),
        }
        Ok(true)
    })
}
