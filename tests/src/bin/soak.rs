//! `soak [--minutes 60] [--pause 50] [--seed N] [--json] [--write FILE]`: runs a cluster under load for long, with a fault
//! after each pause (in seconds), and says whether anything was lost and whether what the servers use levels off. Writes
//! the table between the markers of FILE, and a plot beside it. Exit code 1 if not, 3 if it could not be made.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use baton_tests::soak::{Plan, Report, picture, soak};
use baton_tests::{machine, print_report, write_beside, write_between};

const USAGE: &str = "usage: soak [--minutes 60] [--pause 50] [--seed N] [--json] [--write FILE]";
const MARKERS: (&str, &str) = ("<!-- soak:begin -->", "<!-- soak:end -->");
/// The plot's name, beside the file.
const PICTURE: &str = "soak.svg";
/// It could not be made.
const NOT_MADE: u8 = 3;

struct Options {
    plan: Plan,
    json: bool,
    write: Option<PathBuf>,
}

fn main() -> ExitCode {
    let options = match options(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(why) => {
            eprintln!("soak: {why}\n{USAGE}");
            return ExitCode::from(64);
        }
    };
    let report = match soak(options.plan) {
        Ok(report) => report,
        Err(why) => {
            eprintln!("soak: {why}");
            return ExitCode::from(NOT_MADE);
        }
    };
    print_report(&report, &report.table(), options.json);
    if let Some(Err(why)) = options.write.map(|file| write(&file, &report)) {
        eprintln!("soak: {why}");
        return ExitCode::from(NOT_MADE);
    }
    if report.good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn write(file: &Path, report: &Report) -> Result<(), String> {
    let table = format!("Machine: {}.\n\n{}", machine(), report.table());
    write_between(file, MARKERS, &table)?;
    write_beside(file, PICTURE, &picture(report))
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options { plan: Plan { seed: 1, minutes: 60, pause_secs: 50 }, json: false, write: None };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        let number = |value: String| value.parse().map_err(|_| format!("{argument} takes a number"));
        match argument.as_str() {
            "--json" => options.json = true,
            "--minutes" => options.plan.minutes = number(value()?)?,
            "--pause" => options.plan.pause_secs = number(value()?)?,
            "--seed" => options.plan.seed = number(value()?)?,
            "--write" => options.write = Some(value()?.into()),
            other => return Err(format!("{other} is unknown")),
        }
    }
    if options.plan.minutes == 0 { Err("--minutes takes a number from 1".to_owned()) } else { Ok(options) }
}
