//! `baton transaction list|resolve`: transactions that an external coordinator prepared and has not decided.

use baton_client::protocol::InDoubtStatus;
use baton_domain::clock::unix_ms;
use baton_domain::{QueueName, TransactionName};
use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::target::Targeted;
use super::{Failure, output, requests};

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
        /// Name given by the coordinator
        name: TransactionName,
        /// Commit all of it or roll it back
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
    let client = requests::connect(&args.target, requests::FAIL_OVER).await?;
    match args.action {
        Action::List { json } => {
            let mut transactions = client.in_doubt().await?;
            // The oldest first.
            transactions.sort_by_key(|transaction| transaction.at_ms);
            let now_ms = unix_ms();
            if json {
                let one = |transaction| in_json(transaction, now_ms);
                output::print_json(&transactions.iter().map(one).collect::<Vec<_>>())?;
            } else {
                output::print(&as_text(&transactions, now_ms))?;
            }
        }
        Action::Resolve { name, decision, json } => {
            if !client.resolve(&name, decision == Decision::Commit).await? {
                let words =
                    format!("transaction {name} is not in doubt: `baton transaction list` shows those that are");
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

fn age_ms(transaction: &InDoubtStatus, now_ms: u64) -> u64 {
    now_ms.saturating_sub(transaction.at_ms)
}

fn in_json(transaction: &InDoubtStatus, now_ms: u64) -> Value {
    let counts = |counts: &[(QueueName, u64)]| -> Vec<Value> {
        counts.iter().map(|(queue, messages)| json!({ "queue": queue, "messages": messages })).collect()
    };
    json!({
        "name": transaction.name, "prepared_at_ms": transaction.at_ms, "age_ms": age_ms(transaction, now_ms),
        "sends": counts(&transaction.sends), "acknowledges": counts(&transaction.acknowledges),
    })
}

fn as_text(transactions: &[InDoubtStatus], now_ms: u64) -> String {
    let counts = |counts: &[(QueueName, u64)]| match counts {
        [] => "-".to_owned(),
        counts => counts.iter().map(|(queue, messages)| format!("{messages} {queue}")).collect::<Vec<_>>().join(", "),
    };
    let one = |transaction: &InDoubtStatus| {
        let age = output::age(age_ms(transaction, now_ms));
        vec![transaction.name.to_string(), age, counts(&transaction.acknowledges), counts(&transaction.sends)]
    };
    let rows: Vec<_> = transactions.iter().map(one).collect();
    output::table(&["TRANSACTION", ">AGE", "ACKNOWLEDGES", "SENDS"], &rows)
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
        let json = in_json(&transaction, 65_500);
        assert_eq!((&json["name"], &json["acknowledges"][0]["queue"]), (&json!("bank/17"), &json!("orders")));
        assert_eq!(json["age_ms"], 60_500);
        let text = as_text(std::slice::from_ref(&transaction), 3 * 3_600_000);
        assert!(text.contains("2 h"), "{text}");
        let text = as_text(&[transaction], 65_500);
        assert_eq!(text.lines().nth(1), Some("bank/17      60 s  1 orders      2 bills, 1 log"), "{text}");
    }
}
