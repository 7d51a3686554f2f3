//! The `baton` program: one module per command.
//!
//! Results go to stdout, everything else to stderr. A command that fails prints the reason in one line, `baton: ...`,
//! and exits with 1 or an exit code of its own; a usage error exits with 64, so that it is never taken for a result.

mod account;
mod ack_limit;
mod bench;
mod browse;
mod consumer;
mod delete;
mod demo;
mod exception;
mod failure;
mod held_up;
mod init;
mod lines;
mod member;
mod message;
mod move_engine;
mod output;
mod policy;
mod queue;
mod rebuild;
mod receive;
mod recover;
mod requests;
mod send;
mod serve;
mod settings;
mod signals;
mod skip;
mod status;
mod stderr;
mod subscription;
mod survival;
mod target;
mod topic;
mod transaction;
mod transfer;
mod usage;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use failure::Failure;
use target::Targeted;

/// Usage error, as in sysexits.h.
const EXIT_USAGE: u8 = 64;

/// A highly available messaging engine: one engine per cluster, always running on exactly one server.
#[derive(Debug, Parser)]
#[command(name = "baton", version = baton_domain::seeded::VERSION)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create the files of a new cluster: configuration, secrets and empty stores
    Init(init::InitArgs),
    /// Run one server until SIGTERM
    Server(serve::ServeArgs),
    /// Show the engine's host and the state of the servers
    Status(status::StatusArgs),
    /// Show or change the placement policy of the engine
    Policy(Targeted<policy::Action>),
    /// Move the engine to a server
    Move(move_engine::MoveArgs),
    /// Create, change, delete and list queues
    Queue(Targeted<queue::Action>),
    /// Create, delete and list topic spaces
    Topic(Targeted<topic::Action>),
    /// List and decide transactions in doubt
    Transaction(Targeted<transaction::Action>),
    /// Create, delete and list durable subscriptions
    Subscription(Targeted<subscription::Action>),
    /// List attached consumers, and slow ones
    Consumer(Targeted<consumer::Action>),
    /// Show messages of a queue without consuming them
    Browse(browse::BrowseArgs),
    /// List dead letters, or move them back to their queues
    Exception(Targeted<exception::Action>),
    /// Add or remove a server, or change its address
    Member(Targeted<member::Action>),
    /// Send lines from stdin, one message per line
    Send(send::SendArgs),
    /// Receive messages and print their bodies
    Receive(receive::ReceiveArgs),
    /// Move messages to another destination, each exactly once
    Transfer(transfer::TransferArgs),
    /// Measure throughput and latency on temporary queues
    Bench(bench::BenchArgs),
    /// Compare the replicas of the store
    Verify(verify::VerifyArgs),
    /// Demonstrate failover and failback with real server processes
    Demo(demo::DemoArgs),
    /// Set aside the damaged store of a stopped server and restore it from its peers
    Rebuild(rebuild::RebuildArgs),
    /// Start a new generation from one store after the quorum is lost for good
    Recover(recover::RecoverArgs),
    /// Go on without a log entry at which every server stops; a last resort
    ///
    /// Run it with the same index for every server: a replica that applies the entry differs from those that skip it,
    /// and fails `baton verify`. Nothing of the entry is done. What it was to do may be lost: messages and
    /// acknowledgements that were not confirmed, or an administrator's change.
    Skip(skip::SkipArgs),
}

/// Runs the program with the process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    if let Some(warning) = baton_domain::seeded::warning() {
        stderr::say(&warning);
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage::report(error),
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
        // The result of a command is its output; set RUST_LOG to get logs, too.
        serve::log_to_stderr(None)?;
    }
    match command {
        Command::Init(args) => Box::pin(init::run(args)).await,
        Command::Server(args) => Box::pin(serve::run(args)).await,
        Command::Status(args) => Box::pin(status::run(args)).await,
        Command::Policy(args) => Box::pin(policy::run(args)).await,
        Command::Move(args) => Box::pin(move_engine::run(args)).await,
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
        Command::Skip(args) => Box::pin(skip::run(args)).await,
    }
}

#[cfg(test)]
mod tests;
