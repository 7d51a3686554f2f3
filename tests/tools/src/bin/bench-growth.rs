//! `bench-growth [--rounds 3] [--secs 3] [--backlog 10000000] [--json] [--write FILE]`: measures the cost of many
//! producers, many queues and many messages, on three servers of this machine. Prints a table (or JSON); writes the
//! table between the markers of FILE.

use std::process::ExitCode;

use baton_tools::growth::{Plan, measure};
use baton_tools::{Options, measuring, number_up_to, print_report, write_between};

const USAGE: &str = "usage: bench-growth [--rounds 3] [--secs 3] [--backlog 10000000] [--json] [--write FILE]";
const MARKERS: (&str, &str) = ("<!-- growth:begin -->", "<!-- growth:end -->");

fn main() -> ExitCode {
    measuring(("bench-growth", USAGE), options(std::env::args().skip(1)), 1, |options| {
        let report = measure(options.plan)?;
        print_report(&report, &report.table(), options.json);
        options.write.as_ref().map_or(Ok(()), |file| write_between(file, MARKERS, &report.table()))?;
        Ok(ExitCode::SUCCESS)
    })
}

fn options(arguments: impl Iterator<Item = String>) -> Result<Options<Plan>, String> {
    Options::read(arguments, Plan { rounds: 3, secs: 3, long: 10_000_000 }, |plan, argument, value| {
        match argument {
            "--rounds" => plan.rounds = number_up_to(argument, &value()?, 100)? as usize,
            "--secs" => plan.secs = number_up_to(argument, &value()?, 600)?,
            "--backlog" => plan.long = number_up_to(argument, &value()?, 1_000_000_000)?,
            _ => return Ok(false),
        }
        Ok(true)
    })
}
