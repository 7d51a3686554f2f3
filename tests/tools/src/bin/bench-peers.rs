//! `bench-peers [--rounds 3] [--secs 5] [--only baton,nats,rabbitmq] [--json] [--write FILE]`: measures Baton, NATS and
//! RabbitMQ in turn, three nodes of each on this machine. Prints a table (or JSON); writes the table between the
//! markers of FILE, and two pictures next to it. A peer that is not installed is skipped.

use std::path::Path;
use std::process::ExitCode;

use baton_tools::peers::{Plan, Report, System, latency, measure, throughput};
use baton_tools::{Options, measuring, number_up_to, print_report, write_beside, write_between};

const USAGE: &str = "usage: bench-peers [--rounds 3] [--secs 5] [--only baton,nats,rabbitmq] [--json] [--write FILE]";
const MARKERS: (&str, &str) = ("<!-- peers:begin -->", "<!-- peers:end -->");
/// Names of the pictures, next to the file.
const THROUGHPUT: &str = "peers-throughput.svg";
const LATENCY: &str = "peers-latency.svg";

fn main() -> ExitCode {
    measuring(("bench-peers", USAGE), options(std::env::args().skip(1)), 1, |options| {
        let report = measure(&options.plan)?;
        print_report(&report, &report.table(), options.json);
        options.write.as_ref().map_or(Ok(()), |file| write(file, &report))?;
        Ok(ExitCode::SUCCESS)
    })
}

fn write(file: &Path, report: &Report) -> Result<(), String> {
    write_between(file, MARKERS, &report.table())?;
    write_beside(file, THROUGHPUT, &throughput(report))?;
    write_beside(file, LATENCY, &latency(report))
}

fn options(arguments: impl Iterator<Item = String>) -> Result<Options<Plan>, String> {
    let plan = Plan { rounds: 3, secs: 5, systems: System::ALL.to_vec() };
    Options::read(arguments, plan, |plan, argument, value| {
        match argument {
            "--rounds" => plan.rounds = number_up_to(argument, &value()?, 3_600)? as usize,
            "--secs" => plan.secs = number_up_to(argument, &value()?, 3_600)?,
            "--only" => plan.systems = value()?.split(',').map(str::parse).collect::<Result<_, _>>()?,
            _ => return Ok(false),
        }
        Ok(true)
    })
}
