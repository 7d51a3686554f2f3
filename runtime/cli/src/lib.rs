//! The `baton` program: one module a command.
//!
//! Results go to stdout, everything else to stderr. A command that fails says why in one line, `baton: ...`, and
//! exits with 1 unless its own exit codes say more; wrong usage exits with 64, so that it is never taken for a
//! result.

mod account;
mod bench;
mod browse;
mod consumer;
mod delete;
mod demo;
mod exception;
mod failure;
mod gate;
mod held_up;
mod init;
mod lines;
mod member;
mod message;
mod output;
mod place;
mod policy;
mod queue;
mod rebuild;
mod receive;
mod recover;
mod send;
mod serve;
mod session;
mod settings;
mod signals;
mod status;
mod stderr;
mod subscription;
mod survival;
mod target;
mod topic;
mod transaction;
mod transfer;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use failure::Failure;
use target::Targeted;

/// Wrong usage, as in sysexits.h.
const EXIT_USAGE: u8 = 64;

/// A highly available messaging engine: one engine, always running on one server of the cluster.
#[derive(Debug, Parser)]
#[command(name = "baton", version = baton_domain::seeded::VERSION)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lay out a new cluster: configuration, secrets and empty stores
    Init(init::InitArgs),
    /// Run one server until SIGTERM
    Server(serve::ServeArgs),
    /// Show where the engine is, and how the servers are
    Status(status::StatusArgs),
    /// Show or change where the engine may run
    Policy(Targeted<policy::Action>),
    /// Move the engine to a server
    Move(place::MoveArgs),
    /// Create, change, delete and list queues
    Queue(Targeted<queue::Action>),
    /// Create, delete and list topic spaces
    Topic(Targeted<topic::Action>),
    /// List transactions that an outside coordinator has not decided, and decide them
    Transaction(Targeted<transaction::Action>),
    /// Create, delete and list durable subscriptions
    Subscription(Targeted<subscription::Action>),
    /// Show who consumes, and who is slow
    Consumer(Targeted<consumer::Action>),
    /// Look at the messages of a queue without taking them
    Browse(browse::BrowseArgs),
    /// Show messages that could not be delivered, or send them back
    Exception(Targeted<exception::Action>),
    /// Add a server to the cluster, or remove one
    Member(Targeted<member::Action>),
    /// Send lines from stdin, one message a line
    Send(send::SendArgs),
    /// Receive messages and print their bodies
    Receive(receive::ReceiveArgs),
    /// Move messages from a queue or subscription to another destination, each exactly once
    Transfer(transfer::TransferArgs),
    /// Measure throughput and latency on a queue of its own
    Bench(bench::BenchArgs),
    /// Compare the replicas of the store
    Verify(verify::VerifyArgs),
    /// Show fail over and fail back on real server processes
    Demo(demo::DemoArgs),
    /// Set a stopped server's damaged store aside, so that the others fill it anew
    Rebuild(rebuild::RebuildArgs),
    /// Begin a new generation from one store when the quorum is gone for good
    Recover(recover::RecoverArgs),
}

/// Runs the program with the process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    if let Some(warning) = baton_domain::seeded::warning() {
        stderr::say(&warning);
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::new(format!("the async runtime cannot start: {error}")).report(),
    };
    let outcome = runtime.block_on(Box::pin(run(cli.command)));
    // A thread that still reads stdin must not hold up the exit.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

async fn run(command: Command) -> Result<(), Failure> {
    if !matches!(command, Command::Server(_)) {
        // A command's result is its output; whoever looks into it sets RUST_LOG.
        serve::log_to_stderr(None)?;
    }
    match command {
        Command::Init(args) => init::run(&args),
        Command::Server(args) => Box::pin(serve::run(args)).await,
        Command::Status(args) => Box::pin(status::run(args)).await,
        Command::Policy(args) => Box::pin(policy::run(args)).await,
        Command::Move(args) => Box::pin(place::run(args)).await,
        Command::Queue(args) => Box::pin(queue::run(args)).await,
        Command::Topic(args) => Box::pin(topic::run(args)).await,
        Command::Transaction(args) => Box::pin(transaction::run(args)).await,
        Command::Subscription(args) => Box::pin(subscription::run(args)).await,
        Command::Consumer(args) => Box::pin(consumer::run(args)).await,
        Command::Browse(args) => Box::pin(browse::run(args)).await,
        Command::Exception(args) => Box::pin(exception::run(args)).await,
        Command::Member(args) => Box::pin(member::run(args)).await,
        Command::Send(args) => Box::pin(send::run(args)).await,
        Command::Receive(args) => Box::pin(receive::run(args)).await,
        Command::Transfer(args) => Box::pin(transfer::run(args)).await,
        Command::Bench(args) => Box::pin(bench::run(args)).await,
        Command::Verify(args) => Box::pin(verify::run(args)).await,
        Command::Demo(args) => Box::pin(demo::run(args)).await,
        Command::Rebuild(args) => Box::pin(rebuild::run(args)).await,
        Command::Recover(args) => recover::run(&args),
    }
}

/// Help goes to stdout as it is; an error becomes one line.
fn usage(error: &clap::Error) -> ExitCode {
    use clap::error::ErrorKind;
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let _ = error.print();
            ExitCode::SUCCESS
        }
        // A command without its subcommand: the help is the best answer.
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            ExitCode::from(EXIT_USAGE)
        }
        _ => Failure::with_code(usage_line(&error.to_string()), EXIT_USAGE).report(),
    }
}

/// clap's message without the usage and tips that follow it, in one line.
fn usage_line(message: &str) -> String {
    let told = message.split("\n\nUsage").next().unwrap_or(message).trim_start_matches("error: ");
    let line = told.split_whitespace().collect::<Vec<_>>().join(" ");
    format!("{line} (see `baton --help`)")
}

#[cfg(test)]
mod tests;
