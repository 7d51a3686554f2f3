//! `bench-growth [--rounds 3] [--secs 3] [--backlog 10000000] [--json] [--write FILE]`: measures what many producers, many
//! queues and many messages cost, on three servers of this machine. Prints a table (or JSON); writes the table between the
//! markers of FILE.

use std::path::PathBuf;
use std::process::ExitCode;

use baton_tests::growth::{Plan, measure};
use baton_tests::{print_report, write_between};

const USAGE: &str = "usage: bench-growth [--rounds 3] [--secs 3] [--backlog 10000000] [--json] [--write FILE]";
const MARKERS: (&str, &str) = ("<!-- growth:begin -->", "<!-- growth:end -->");

struct Options {
    plan: Plan,
    json: bool,
    write: Option<PathBuf>,
}

fn main() -> ExitCode {
    let options = match options(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(why) => {
            eprintln!("bench-growth: {why}\n{USAGE}");
            return ExitCode::from(64);
        }
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("bench-growth: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), String> {
    let report = measure(options.plan)?;
    print_report(&report, &report.table(), options.json);
    options.write.as_ref().map_or(Ok(()), |file| write_between(file, MARKERS, &report.table()))
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options { plan: Plan { rounds: 3, secs: 3, long: 10_000_000 }, json: false, write: None };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        let number = |value: String, most: u64| match value.parse::<u64>() {
            Ok(number) if (1..=most).contains(&number) => Ok(number),
            _ => Err(format!("{argument} takes a number from 1 to {most}")),
        };
        match argument.as_str() {
            "--json" => options.json = true,
            "--rounds" => options.plan.rounds = number(value()?, 100)? as usize,
            "--secs" => options.plan.secs = number(value()?, 600)?,
            "--backlog" => options.plan.long = number(value()?, 1_000_000_000)?,
            "--write" => options.write = Some(value()?.into()),
            other => return Err(format!("{other} is unknown")),
        }
    }
    Ok(options)
}
