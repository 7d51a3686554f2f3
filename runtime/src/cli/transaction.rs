//! `baton transaction list|resolve`: transactions that an outside coordinator prepared and did not decide.

use baton_actors::protocol::InDoubtStatus;
use baton_storage::clock::unix_ms;
use baton_storage::{QueueName, TransactionName};
use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::target::Targeted;
use super::{Failure, output, session};

#[derive(Debug, Clone, Subcommand)]
pub(super) enum Action {
    /// List the transactions in doubt
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Decide a transaction in doubt; its coordinator should agree
    Resolve {
        /// The coordinator's name for it
        name: TransactionName,
        /// All of it, or nothing
        decision: Decision,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Decision {
    Commit,
    Rollback,
}

pub(super) async fn run(args: Targeted<Action>) -> Result<(), Failure> {
    let client = session::connect(&args.target, session::FAIL_OVER).await?;
    match args.action {
        Action::List { json: true } => {
            output::print_json(&client.in_doubt().await?.iter().map(in_json).collect::<Vec<_>>())?;
        }
        Action::List { json: false } => output::print(&as_text(&client.in_doubt().await?, unix_ms()))?,
        Action::Resolve { name, decision, json } => {
            if !client.resolve(&name, decision == Decision::Commit).await? {
                let words = format!("no transaction {name} is in doubt: `baton transaction list` names those that are");
                return Err(Failure::new(words));
            }
            let done = if decision == Decision::Commit { "committed" } else { "rolled back" };
            if json {
                output::print_json(&json!({ "name": name, "outcome": done }))?;
            } else {
                output::print(&format!("{name} is {done}\n"))?;
            }
        }
    }
    client.close().await;
    Ok(())
}

fn in_json(transaction: &InDoubtStatus) -> Value {
    let counts = |counts: &[(QueueName, u64)]| -> Vec<Value> {
        counts.iter().map(|(queue, messages)| json!({ "queue": queue, "messages": messages })).collect()
    };
    json!({
        "name": transaction.name, "prepared_at_ms": transaction.at_ms,
        "sends": counts(&transaction.sends), "acknowledges": counts(&transaction.acknowledges),
    })
}

fn as_text(transactions: &[InDoubtStatus], now_ms: u64) -> String {
    let counts = |counts: &[(QueueName, u64)]| match counts {
        [] => "-".to_owned(),
        counts => counts.iter().map(|(queue, messages)| format!("{messages} {queue}")).collect::<Vec<_>>().join(", "),
    };
    let one = |transaction: &InDoubtStatus| {
        let seconds = now_ms.saturating_sub(transaction.at_ms) / 1_000;
        let name = transaction.name.to_string();
        vec![name, format!("{seconds} s"), counts(&transaction.acknowledges), counts(&transaction.sends)]
    };
    let rows: Vec<_> = transactions.iter().map(one).collect();
    output::table(&["TRANSACTION", ">SINCE", "ACKNOWLEDGES", "SENDS"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_shows_what_waits_for_how_long() {
        let queue = |name: &str| QueueName::new(name).unwrap();
        let transaction = InDoubtStatus {
            name: TransactionName::new("bank/17").unwrap(),
            at_ms: 5_000,
            sends: vec![(queue("bills"), 2), (queue("log"), 1)],
            acknowledges: vec![(queue("orders"), 1)],
        };
        let json = in_json(&transaction);
        assert_eq!((&json["name"], &json["acknowledges"][0]["queue"]), (&json!("bank/17"), &json!("orders")));
        let text = as_text(&[transaction], 65_500);
        assert_eq!(text.lines().nth(1), Some("bank/17       60 s  1 orders      2 bills, 1 log"), "{text}");
    }
}
