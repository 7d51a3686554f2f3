//! `baton bench`: throughput and latency, on temporary queues that it creates and deletes.
//!
//! The load generator shares the machine with what it measures, so it has to be cheap: each producer and consumer has
//! its own meter, and the path of a message neither locks nor allocates more than the message itself. Reading order:
//! [`produce`] (as fast as the window allows) and [`pace`] (at a steady rate), [`consume`], [`backlog`]; then [`meter`]
//! and [`figures`].

mod backlog;
mod consume;
mod figures;
mod meter;
mod pace;
mod plot;
mod produce;
mod progress;
mod queues;
mod schedule;
mod sender;

use std::path::PathBuf;
use std::time::Duration;

use baton::client::Client;
use clap::Args;
use tokio::task::JoinSet;

use super::signals::StopSignals;
use super::target::Target;
use super::{EXIT_USAGE, Failure, output, requests};

use figures::Measured;
use queues::Queues;

/// Time without progress after which the bench gives up: longer than any failover.
const GIVE_UP: Duration = Duration::from_secs(30);

/// Options of `baton bench`.
#[derive(Debug, Clone, Args)]
pub(super) struct BenchArgs {
    #[command(flatten)]
    target: Target,
    /// Number of producers; 0: consumers drain a --backlog
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(0..=1_000))]
    producers: u32,
    /// Number of consumers
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1_000))]
    consumers: u32,
    /// Number of queues; producers and consumers are spread over them
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    queues: u32,
    /// Max unconfirmed messages per producer
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    window: u32,
    /// Message size in bytes
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(0..=8_388_608))]
    size: u32,
    /// Duration of sending, in seconds
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    secs: u64,
    /// Total messages per second, sent on a fixed schedule; latency counts from the scheduled time
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    rate: Option<u64>,
    /// Messages to send before the measurement: they stay queued below the producers, or are what consumers drain
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000_000_000))]
    backlog: Option<u64>,
    /// Write an SVG plot of latency and rate to this file
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl BenchArgs {
    /// Refuses options that measure nothing.
    fn check(&self) -> Result<(), Failure> {
        let wrong = match (self.producers, self.consumers, self.backlog) {
            (0, 0, _) => Some("--producers 0 --consumers 0 measures nothing: give one of them a number above 0"),
            (0, _, None) => Some("--producers 0 leaves --consumers nothing to receive: add --backlog N"),
            (0, ..) if self.rate.is_some() => Some("--rate needs --producers above 0"),
            (1.., 1.., Some(_)) => Some(
                "--consumers would drain the --backlog while --producers are measured: use --consumers 0 to measure \
                 producers on top of it, or --producers 0 to measure consumers",
            ),
            (1.., ..) if self.producers < self.queues => {
                Some("some of the --queues would have no producer: use at least as many --producers")
            }
            (_, 1.., _) if self.consumers < self.queues => {
                Some("some of the --queues would have no consumer: use at least as many --consumers, or none")
            }
            (..) => None,
        };
        wrong.map_or(Ok(()), |wrong| Err(Failure::with_code(wrong, EXIT_USAGE)))
    }

    /// True if messages carry their send time: consumers run at the same time, and the body has room for it.
    fn stamped(&self) -> bool {
        self.producers > 0 && self.consumers > 0 && self.size as usize >= sender::STAMP_BYTES
    }
}

pub(super) async fn run(args: BenchArgs) -> Result<(), Failure> {
    args.check()?;
    let mut signals = StopSignals::listen()?;
    let client = requests::connect(&args.target, requests::FAIL_OVER).await?;
    let queues = Queues::draw(args.queues)?;
    let measured = tokio::select! {
        measured = Box::pin(measure(&client, &queues, &args)) => measured,
        code = signals.next() => Err(Failure::quiet(code)),
    };
    // Deleted on success and on failure: no other run uses these queues.
    let deleted = queues.delete(&client).await;
    client.close().await;
    let measured = measured?;
    let figures = measured.figures();
    if args.json {
        output::print_json(&figures.as_json())?;
    } else {
        output::print(&figures.as_text())?;
    }
    if let Some(file) = &args.plot {
        std::fs::write(file, plot::picture(&measured))
            .map_err(|error| Failure::new(format!("{} cannot be written: {error}", file.display())))?;
    }
    deleted
}

async fn measure(client: &Client, queues: &Queues, args: &BenchArgs) -> Result<Measured, Failure> {
    queues.create(client).await?;
    if let Some(backlog) = args.backlog {
        Box::pin(backlog::send(client, queues, args.size as usize, backlog)).await?;
    }
    match args.backlog {
        Some(backlog) if args.producers == 0 => Box::pin(backlog::drain(client, queues, args, backlog)).await,
        Some(_) | None => Box::pin(produce::measure(client, queues, args)).await,
    }
}

/// The results of all tasks, or the first failure.
async fn all<T: 'static>(mut tasks: JoinSet<Result<T, Failure>>) -> Result<Vec<T>, Failure> {
    let mut found = Vec::with_capacity(tasks.len());
    while let Some(ended) = tasks.join_next().await {
        found.push(ended.map_err(|error| Failure::new(format!("a bench task ended unexpectedly: {error}")))??);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(options: &str) -> Result<(), String> {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            bench: BenchArgs,
        }
        let words = format!("bench --cluster c {options}");
        let line: Line = clap::Parser::try_parse_from(words.split_whitespace()).unwrap();
        line.bench.check().map_err(|failure| {
            assert_eq!(failure.code(), EXIT_USAGE);
            failure.to_string()
        })
    }

    #[test]
    fn what_measures_nothing_is_refused_with_what_to_do() {
        for (options, word) in [
            ("--producers 0", "measures nothing"),
            ("--producers 0 --backlog 5", "measures nothing"),
            ("--producers 0 --consumers 1", "add --backlog N"),
            ("--producers 0 --consumers 1 --backlog 5 --rate 9", "--rate needs --producers"),
            ("--producers 1 --consumers 1 --backlog 5", "use --consumers 0"),
            ("--producers 4 --queues 5", "at least as many --producers"),
            ("--producers 5 --queues 5 --consumers 4", "at least as many --consumers"),
            ("--producers 0 --queues 5 --consumers 4 --backlog 9", "at least as many --consumers"),
        ] {
            let refused = check(options).expect_err(options);
            assert!(refused.contains(word), "{options}: {refused}");
        }
        for options in [
            "",
            "--producers 0 --consumers 2 --backlog 5",
            "--producers 2 --backlog 5",
            "--producers 2 --consumers 2 --queues 2 --rate 100",
            "--producers 2 --queues 2 --plot p.svg",
        ] {
            assert_eq!(check(options), Ok(()), "{options}");
        }
    }
}
