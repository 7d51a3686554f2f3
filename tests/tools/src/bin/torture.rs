//! Runs a cluster of real server processes under faults, and checks that nothing was lost and that no two engines
//! served.
//!
//! `torture [--seed N] [--secs 60] [--runs 1] [--only KIND,..] [--json] [--write FILE] [--keep] [--no-trace-is-good]`:
//! run K has the seed N + K. Prints the schedule of each run, the findings of each check, and a table of all; writes
//! the table between the markers of FILE. A failed run leaves its directory behind. Exit code 1 if a check failed, 3 if
//! the test could not run.

use std::path::PathBuf;
use std::process::ExitCode;

use baton_tests::boot_ns;
use baton_tools::torture::{Kind, Options, Report, torture, why_not_here};
use baton_tools::{machine, print_report, write_between};

const MARKERS: (&str, &str) = ("<!-- torture:begin -->", "<!-- torture:end -->");
const USAGE: &str = "usage: torture [--seed N] [--secs 60] [--runs 1] [--only KIND,..] [--json] [--write FILE] [--keep] \
    [--no-trace-is-good]";
/// It could not be made.
const NOT_MADE: u8 = 3;

struct Arguments {
    options: Options,
    runs: u64,
    json: bool,
    write: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = match arguments(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(why) => {
            let kinds: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
            eprintln!("torture: {why}\n{USAGE}\nkinds: {}", kinds.join(", "));
            return ExitCode::from(64);
        }
    };
    if let Some(why) = why_not_here() {
        eprintln!("torture: not possible here: {why}");
        return ExitCode::from(NOT_MADE);
    }
    let mut report = Report::default();
    for run in 0..arguments.runs {
        let options = Options { seed: arguments.options.seed.wrapping_add(run), ..arguments.options.clone() };
        match torture(&options) {
            Ok(run) => {
                for verdict in &run.verdicts {
                    eprintln!("  {}", verdict.words());
                }
                if let Some(dir) = &run.dir {
                    eprintln!("  the run's files are in {}", dir.display());
                }
                report.add(&run);
            }
            Err(why) => {
                eprintln!("torture: seed {}: {why}", options.seed);
                return ExitCode::from(NOT_MADE);
            }
        }
    }
    said(&arguments, &report)
}

fn said(arguments: &Arguments, report: &Report) -> ExitCode {
    let table = report.table();
    print_report(report, &table, arguments.json);
    if let Some(file) = &arguments.write {
        let (seed, runs, secs) = (arguments.options.seed, arguments.runs, arguments.options.secs);
        let made =
            format!("Machine: {}. Seeds from {seed}, {runs} runs of {secs} s of faults each.\n\n{table}", machine());
        if let Err(why) = write_between(file, MARKERS, &made) {
            eprintln!("torture: {why}");
            return ExitCode::from(NOT_MADE);
        }
    }
    if report.failed_seeds.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn arguments(mut given: impl Iterator<Item = String>) -> Result<Arguments, String> {
    // Another one each time, unless it is given; small enough to be typed again.
    let seed = boot_ns() / 1_000 % 1_000_000;
    let options = Options { seed, secs: 60, only: Kind::ALL.to_vec(), tolerate_no_trace: false, keep: false };
    let mut arguments = Arguments { options, runs: 1, json: false, write: None };
    while let Some(argument) = given.next() {
        let mut value = || given.next().ok_or_else(|| format!("{argument} needs a value"));
        let number = |text: String| text.parse().map_err(|_| format!("{argument} takes a number"));
        match argument.as_str() {
            "--seed" => arguments.options.seed = number(value()?)?,
            "--secs" => arguments.options.secs = number(value()?)?,
            "--runs" => arguments.runs = number(value()?)?,
            "--only" => arguments.options.only = kinds(&value()?)?,
            "--json" => arguments.json = true,
            "--write" => arguments.write = Some(value()?.into()),
            "--keep" => arguments.options.keep = true,
            "--no-trace-is-good" => arguments.options.tolerate_no_trace = true,
            other => return Err(format!("{other} is unknown")),
        }
    }
    if arguments.runs == 0 { Err("--runs takes a number from 1".to_owned()) } else { Ok(arguments) }
}

fn kinds(names: &str) -> Result<Vec<Kind>, String> {
    names.split(',').map(|name| Kind::named(name).ok_or_else(|| format!("{name} is no kind of fault"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read_and_wrong_ones_refused() {
        let read = |text: &str| arguments(text.split_whitespace().map(str::to_owned));
        let good = read("--seed 5 --secs 9 --runs 2 --only kill-host,moves --keep").expect("it is good");
        assert_eq!((good.options.seed, good.options.secs, good.runs), (5, 9, 2));
        assert_eq!(good.options.only, [Kind::KillHost, Kind::Moves]);
        for bad in ["--seed", "--seed x", "--only tickle", "--runs 0", "--other"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
