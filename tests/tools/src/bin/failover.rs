//! `failover [--runs 20] [--backlog MESSAGES] [--json] [--write FILE]`: measures the outage of a producer when the
//! engine moves. Prints a table (or JSON); writes the table between the markers of FILE, and a picture next to it.

use std::path::Path;
use std::process::ExitCode;

use baton_tools::failover::{Plan, Report, measure, picture};
use baton_tools::{Options, measuring, number, print_report, write_beside, write_between};

const USAGE: &str = "usage: failover [--runs 20] [--backlog MESSAGES] [--json] [--write FILE]";
const MARKERS: (&str, &str) = ("<!-- failover:begin -->", "<!-- failover:end -->");
/// Name of the picture, next to the file.
const PICTURE: &str = "failover.svg";

fn main() -> ExitCode {
    measuring(("failover", USAGE), options(std::env::args().skip(1)), 1, |options| {
        let report = measure(options.plan);
        print_report(&report, &report.table(), options.json);
        options.write.as_ref().map_or(Ok(()), |file| write(file, &report))?;
        Ok(ExitCode::SUCCESS)
    })
}

fn write(file: &Path, report: &Report) -> Result<(), String> {
    write_between(file, MARKERS, &report.table())?;
    write_beside(file, PICTURE, &picture(report))
}

fn options(arguments: impl Iterator<Item = String>) -> Result<Options<Plan>, String> {
    let options = Options::read(arguments, Plan { runs: 20, backlog: 0 }, |plan, argument, value| {
        match argument {
            "--runs" => plan.runs = number(argument, &value()?)?,
            "--backlog" => plan.backlog = number(argument, &value()?)?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    if options.plan.runs == 0 { Err("--runs takes a number from 1".to_owned()) } else { Ok(options) }
}
