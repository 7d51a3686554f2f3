//! `baton transfer FROM TO`: moves messages, each exactly once.

use std::time::Duration;

use baton_storage::QueueName;
use clap::Args;

use crate::client::{Client, Consumer, ConsumerOptions, Received, TransactionError, Transactions};

use super::signals::StopSignals;
use super::target::Target;
use super::{Failure, output, session};

/// The most messages of one transaction.
const AT_ONCE: usize = 100;
/// After so long without a message the queue is asked whether there is more.
const QUIET: Duration = Duration::from_millis(500);
/// How long to wait after a transaction that was rolled back.
const PAUSE: Duration = Duration::from_millis(200);

/// Options of `baton transfer`.
#[derive(Debug, Clone, Args)]
pub(super) struct TransferArgs {
    #[command(flatten)]
    target: Target,
    /// Where messages are taken: a queue or a subscription
    from: QueueName,
    /// Where they go
    to: QueueName,
    /// Go on until a signal stops it
    #[arg(long)]
    follow: bool,
    /// Print the result in JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: TransferArgs) -> Result<(), Failure> {
    let mut signals = StopSignals::listen()?;
    let client = session::connect(&args.target, session::FAIL_OVER).await?;
    // A message that cannot be sent would come back until it counts as poison.
    session::queue(&client, &args.to).await?;
    let options = ConsumerOptions { credit: 2 * AT_ONCE as u32, ..ConsumerOptions::default() };
    let consumer = client.consumer(&args.from, options).await?;
    let mut moved = 0;
    let outcome = tokio::select! {
        outcome = transfer(&client, &consumer, &args, &mut moved) => outcome,
        code = signals.next() => if args.follow { Ok(()) } else { Err(Failure::quiet(code)) },
    };
    // A transaction that was cut off leaves its messages with the consumer: they go back.
    let _ = tokio::time::timeout(session::SOON, consumer.close()).await;
    if args.json {
        output::print_json(&serde_json::json!({ "moved": moved }))?;
    } else {
        output::print(&format!("{} moved\n", output::counted(moved, "message")))?;
    }
    client.close().await;
    outcome
}

async fn transfer(client: &Client, consumer: &Consumer, args: &TransferArgs, moved: &mut u64) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::new(error.to_string());
    let mut transactions = client.transactions();
    loop {
        let first = match tokio::time::timeout(QUIET, consumer.recv()).await {
            Ok(first) => first.map_err(|error| failed(&error))?,
            Err(_) if args.follow => continue,
            Err(_) => {
                let from = session::queue(client, &args.from).await?;
                if from.depth <= from.in_flight {
                    return Ok(());
                }
                continue;
            }
        };
        let mut taken = vec![first];
        while taken.len() < AT_ONCE
            && let Some(next) = consumer.try_recv().map_err(|error| failed(&error))?
        {
            taken.push(next);
        }
        if commit(&mut transactions, consumer, &args.to, &taken).await {
            *moved += taken.len() as u64;
        }
    }
}

/// Moves these messages as one; false if none of them was moved.
async fn commit(transactions: &mut Transactions, consumer: &Consumer, to: &QueueName, taken: &[Received]) -> bool {
    let mut transaction = transactions.begin();
    for received in taken {
        transaction.send(to, received.message.clone());
        transaction.acknowledge(consumer, received.id);
    }
    loop {
        match transaction.commit().await {
            Ok(()) => return true,
            // Asked again, the engine says what became of it.
            Err(error @ TransactionError::InDoubt(_)) => output::say(&format!("baton: {error}")),
            Err(error @ TransactionError::RolledBack(_)) => {
                output::say(&format!("baton: {error}"));
                transaction.roll_back();
                tokio::time::sleep(PAUSE).await;
                return false;
            }
        }
    }
}
