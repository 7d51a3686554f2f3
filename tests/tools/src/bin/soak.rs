//! `soak [--minutes 60] [--pause 50] [--seed N] [--json] [--write FILE]`: runs a cluster under load for a long time,
//! with a fault after each pause (in seconds), and reports whether anything was lost and whether the servers' resource
//! use levels off. Writes the table between the markers of FILE, and a plot next to it. Exit code 1 if not, 3 if it
//! could not run.

use std::path::Path;
use std::process::ExitCode;

use baton_tools::soak::{Plan, Report, picture, soak};
use baton_tools::{Options, machine, measuring, number, print_report, write_beside, write_between};

const USAGE: &str = "usage: soak [--minutes 60] [--pause 50] [--seed N] [--json] [--write FILE]";
const MARKERS: (&str, &str) = ("<!-- soak:begin -->", "<!-- soak:end -->");
/// Name of the plot, next to the file.
const PICTURE: &str = "soak.svg";
/// It could not be made.
const NOT_MADE: u8 = 3;

fn main() -> ExitCode {
    measuring(("soak", USAGE), options(std::env::args().skip(1)), NOT_MADE, |options| {
        let report = soak(options.plan)?;
        print_report(&report, &report.table(), options.json);
        options.write.as_ref().map_or(Ok(()), |file| write(file, &report))?;
        Ok(if report.good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

fn write(file: &Path, report: &Report) -> Result<(), String> {
    let table = format!("Machine: {}.\n\n{}", machine(), report.table());
    write_between(file, MARKERS, &table)?;
    write_beside(file, PICTURE, &picture(report))
}

fn options(arguments: impl Iterator<Item = String>) -> Result<Options<Plan>, String> {
    let plan = Plan { seed: 1, minutes: 60, pause_secs: 50 };
    let options = Options::read(arguments, plan, |plan, argument, value| {
        match argument {
            "--minutes" => plan.minutes = number(argument, &value()?)?,
            "--pause" => plan.pause_secs = number(argument, &value()?)?,
            "--seed" => plan.seed = number(argument, &value()?)?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    if options.plan.minutes == 0 { Err("--minutes takes a number from 1".to_owned()) } else { Ok(options) }
}
