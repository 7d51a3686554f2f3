//! A client of the torture test: consumes, moves, produces or changes settings until SIGTERM, and prints each operation when it
//! asks and when it is answered (`baton_tools::torture::Event`).
//!
//! `torture-client CLUSTER consume QUEUE CREDIT HOLD_MS`,
//! `torture-client CLUSTER move NAME FROM TO COPIES`,
//! `torture-client CLUSTER produce QUEUE NAME EVERY_MS AT_ONCE SIZE [DELAY_MS] [LIVE_MS]`,
//! `torture-client CLUSTER settings QUEUE NAME SEED` and `torture-client CLUSTER policy NAME SEED`.

mod consume;
mod produce;
mod registers;
mod transact;

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use baton::config::ClusterConfig;
use baton::{Client, ClientConfig};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The reason for a client's end, in words.
type Failure = Box<dyn Error + Send + Sync>;

/// Deadline of one request: longer than any outage that the torture test tolerates.
const DEADLINE: Duration = Duration::from_secs(90);

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("torture-client {}: {why}", arguments.join(" "));
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &[String]) -> Result<(), Failure> {
    let mut end = signal(SignalKind::terminate())?;
    let [cluster, what, arguments @ ..] = arguments else { return Err("CLUSTER and what to do are missing".into()) };
    let mut config = ClientConfig::from(ClusterConfig::load(Path::new(cluster))?);
    config.deadline = DEADLINE;
    let client = Client::connect(config).await?;
    match what.as_str() {
        "consume" => consume::run(&client, arguments, &mut end).await?,
        "move" => transact::run(&client, arguments, &mut end).await?,
        "produce" => produce::run(&client, arguments, &mut end).await?,
        "settings" => registers::settings(&client, arguments, &mut end).await?,
        "policy" => registers::policy(&client, arguments, &mut end).await?,
        other => return Err(format!("{other} is unknown").into()),
    }
    client.close().await;
    Ok(())
}

/// The argument at that place.
fn argument(arguments: &[String], at: usize) -> Result<&str, Failure> {
    arguments.get(at).map(String::as_str).ok_or_else(|| format!("argument {at} is missing").into())
}

/// The number at that place.
fn number<T: std::str::FromStr>(arguments: &[String], at: usize) -> Result<T, Failure> {
    argument(arguments, at)?.parse().map_err(|_| format!("argument {at} is no number").into())
}

/// Waits for SIGTERM.
async fn ended(end: &mut Signal) {
    // `None` only when the runtime ends, too.
    let _ = end.recv().await;
}
