//! `bench-peers [--rounds 3] [--secs 5] [--only baton,nats,rabbitmq] [--json] [--write FILE]`: measures Baton, NATS and
//! RabbitMQ in turn, three nodes of each on this machine. Prints a table (or JSON); writes the table between the markers
//! of FILE, and two pictures beside it. A peer that is not installed is skipped.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use baton_tests::peers::{Plan, Report, System, latency, measure, throughput};
use baton_tests::{print_report, write_beside, write_between};

const USAGE: &str = "usage: bench-peers [--rounds 3] [--secs 5] [--only baton,nats,rabbitmq] [--json] [--write FILE]";
const MARKERS: (&str, &str) = ("<!-- peers:begin -->", "<!-- peers:end -->");
/// The pictures' names, beside the file.
const THROUGHPUT: &str = "peers-throughput.svg";
const LATENCY: &str = "peers-latency.svg";

struct Options {
    plan: Plan,
    json: bool,
    write: Option<PathBuf>,
}

fn main() -> ExitCode {
    let options = match options(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(why) => {
            eprintln!("bench-peers: {why}\n{USAGE}");
            return ExitCode::from(64);
        }
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("bench-peers: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), String> {
    let report = measure(&options.plan)?;
    print_report(&report, &report.table(), options.json);
    options.write.as_ref().map_or(Ok(()), |file| write(file, &report))
}

fn write(file: &Path, report: &Report) -> Result<(), String> {
    write_between(file, MARKERS, &report.table())?;
    write_beside(file, THROUGHPUT, &throughput(report))?;
    write_beside(file, LATENCY, &latency(report))
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let plan = Plan { rounds: 3, secs: 5, systems: System::ALL.to_vec() };
    let mut options = Options { plan, json: false, write: None };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        let number = |value: String| match value.parse::<u32>() {
            Ok(number @ 1..=3_600) => Ok(number),
            _ => Err(format!("{argument} takes a number from 1 to 3600")),
        };
        match argument.as_str() {
            "--json" => options.json = true,
            "--rounds" => options.plan.rounds = number(value()?)? as usize,
            "--secs" => options.plan.secs = number(value()?)?.into(),
            "--only" => options.plan.systems = value()?.split(',').map(str::parse).collect::<Result<_, _>>()?,
            "--write" => options.write = Some(value()?.into()),
            other => return Err(format!("{other} is unknown")),
        }
    }
    Ok(options)
}
