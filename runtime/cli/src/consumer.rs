//! `baton consumer list`: attached consumers, and slow ones.

use baton_client::protocol::ConsumerStatus;
use baton_domain::QueueName;
use clap::Subcommand;
use serde_json::{Value, json};

use super::target::Targeted;
use super::{Failure, output, requests};

#[derive(Debug, Clone, Subcommand)]
pub(super) enum Action {
    /// List attached consumers by queue, in the order of attachment
    List {
        /// Only consumers of this queue or subscription
        queue: Option<QueueName>,
        /// Only slow consumers: they have used up their credit and settle nothing, while messages wait
        #[arg(long)]
        slow: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

pub(super) async fn run(args: Targeted<Action>) -> Result<(), Failure> {
    let client = requests::connect(&args.target, requests::FAIL_OVER).await?;
    match args.action {
        Action::List { queue, slow, json } => {
            let mut consumers = client.consumers(queue.as_ref()).await?;
            consumers.retain(|consumer| consumer.slow || !slow);
            if json {
                output::print_json(&as_json(&consumers))?;
            } else {
                output::print(&as_text(&consumers))?;
            }
        }
    }
    client.close().await;
    Ok(())
}

/// The JSON output: a contract for scripts, an array by queue.
fn as_json(consumers: &[ConsumerStatus]) -> Value {
    let one = |consumer: &ConsumerStatus| {
        json!({
            "consumer": consumer.consumer.to_string(), "queue": consumer.queue, "client": consumer.client,
            "credit": consumer.credit, "held": consumer.held, "acknowledged": consumer.acknowledged,
            "unsettled_ms": consumer.unsettled_ms, "lost": consumer.lost, "slow": consumer.slow,
        })
    };
    consumers.iter().map(one).collect()
}

fn as_text(consumers: &[ConsumerStatus]) -> String {
    let one = |consumer: &ConsumerStatus| {
        let state = match (consumer.lost, consumer.slow) {
            (true, _) => "lost",
            (false, true) => "slow",
            (false, false) => "",
        };
        let texts = [consumer.consumer.to_string(), consumer.queue.to_string(), consumer.client.clone()];
        let numbers = [consumer.credit.into(), consumer.held.into(), consumer.acknowledged].map(output::thousands);
        let last = [output::age(consumer.unsettled_ms), state.to_owned()];
        texts.into_iter().chain(numbers).chain(last).collect()
    };
    let rows: Vec<Vec<String>> = consumers.iter().map(one).collect();
    let heading = ["CONSUMER", "QUEUE", "CLIENT", ">CREDIT", ">HELD", ">ACKNOWLEDGED", ">NOTHING SETTLED FOR", "STATE"];
    output::table(&heading, &rows)
}

#[cfg(test)]
mod tests {
    use baton_domain::ConsumerId;

    use super::*;

    #[test]
    fn a_consumer_is_shown_with_what_it_holds_and_whether_it_is_slow() {
        let slow = ConsumerStatus {
            consumer: ConsumerId([0xab; 16]),
            queue: QueueName::new("orders").unwrap(),
            client: "client-1".to_owned(),
            credit: 1_000,
            held: 1_000,
            acknowledged: 7,
            unsettled_ms: 12_345,
            lost: false,
            slow: true,
        };
        let lost = ConsumerStatus { lost: true, ..slow.clone() };
        let text = as_text(&[slow.clone(), lost]);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("CONSUMER") && lines[0].ends_with("NOTHING SETTLED FOR  STATE"), "{text}");
        assert!(lines[1].starts_with("abab") && lines[1].ends_with("12 s  slow") && lines[1].contains(" 1,000 "));
        assert!(lines[2].ends_with("12 s  lost"), "{text}");
        let json = as_json(&[slow]);
        assert_eq!((&json[0]["queue"], &json[0]["slow"]), (&json!("orders"), &json!(true)));
        assert_eq!((&json[0]["held"], &json[0]["unsettled_ms"]), (&json!(1_000), &json!(12_345)));
        assert_eq!(as_json(&[]), json!([]));
    }
}
