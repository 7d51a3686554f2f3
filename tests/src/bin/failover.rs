//! `failover [--runs 20] [--backlog MESSAGES] [--json] [--write FILE]`: measures how long a producer waits when the
//! engine moves. Prints a table (or JSON); writes the table between the markers of FILE, and a picture beside it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use baton_tests::failover::{Plan, Report, measure, picture};
use baton_tests::{print_report, write_beside, write_between};

const USAGE: &str = "usage: failover [--runs 20] [--backlog MESSAGES] [--json] [--write FILE]";
const MARKERS: (&str, &str) = ("<!-- failover:begin -->", "<!-- failover:end -->");
/// The picture's name, beside the file.
const PICTURE: &str = "failover.svg";

struct Options {
    plan: Plan,
    json: bool,
    write: Option<PathBuf>,
}

fn main() -> ExitCode {
    let options = match options(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(why) => {
            eprintln!("failover: {why}\n{USAGE}");
            return ExitCode::from(64);
        }
    };
    let report = measure(options.plan);
    print_report(&report, &report.table(), options.json);
    match options.write.map_or(Ok(()), |file| write(&file, &report)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("failover: {why}");
            ExitCode::FAILURE
        }
    }
}

fn write(file: &Path, report: &Report) -> Result<(), String> {
    write_between(file, MARKERS, &report.table())?;
    write_beside(file, PICTURE, &picture(report))
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options { plan: Plan { runs: 20, backlog: 0 }, json: false, write: None };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        let number = |value: String| value.parse().map_err(|_| format!("{argument} takes a number"));
        match argument.as_str() {
            "--json" => options.json = true,
            "--runs" => options.plan.runs = number(value()?)?,
            "--backlog" => options.plan.backlog = number(value()?)?,
            "--write" => options.write = Some(value()?.into()),
            other => return Err(format!("{other} is unknown")),
        }
    }
    if options.plan.runs == 0 { Err("--runs takes a number from 1".to_owned()) } else { Ok(options) }
}
