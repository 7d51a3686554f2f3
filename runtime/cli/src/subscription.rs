//! `baton subscription create|delete|list`: durable subscriptions.

use baton_client::protocol::{Kind, QueueStatus};
use baton_domain::QueueName;
use clap::Subcommand;
use serde_json::{Value, json};

use super::delete::{self, DeleteArgs};
use super::settings::SettingsArgs;
use super::target::Targeted;
use super::{Failure, output, requests};

#[derive(Debug, Clone, Subcommand)]
pub(super) enum Action {
    /// Create a durable subscription; receive from it with `baton receive NAME`; several consumers share it
    Create {
        /// Subscription name
        name: QueueName,
        /// Topic space
        #[arg(long, value_name = "SPACE")]
        space: QueueName,
        /// Topics; `*`: one level, `#`: any number of levels
        #[arg(long, value_name = "PATTERN", default_value = "#")]
        topic: String,
        /// Receive only matching messages, for example `kind = 'order' AND size > 10`
        #[arg(long, value_name = "SELECTOR", default_value = "", hide_default_value = true)]
        selector: String,
        #[command(flatten)]
        settings: Box<SettingsArgs>,
    },
    /// Delete a subscription and its messages
    Delete(DeleteArgs),
    /// List the subscriptions
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

pub(super) async fn run(args: Targeted<Action>) -> Result<(), Failure> {
    let client = requests::connect(&args.target, requests::FAIL_OVER).await?;
    match args.action {
        Action::Create { name, space, topic, selector, settings } => {
            let kind = Kind::Subscription { space, topic, selector };
            let created = client.create(&name, kind, settings.patch()).await?;
            output::print_created(&name, created)?;
        }
        Action::Delete(args) => {
            let kind = requests::queue(&client, args.name()).await?.kind;
            if !matches!(kind, Kind::Subscription { .. }) {
                return Err(Failure::new(format!("{} is not a subscription", args.name())));
            }
            delete::delete(&client, args).await?;
        }
        Action::List { json } => {
            let all = client.queues().await?;
            let subscriptions = all.iter().filter_map(|status| match &status.kind {
                Kind::Subscription { space, topic, selector } => Some(Subscription { status, space, topic, selector }),
                Kind::Queue | Kind::TopicSpace => None,
            });
            if json {
                output::print_json(&subscriptions.map(in_json).collect::<Vec<_>>())?;
            } else {
                let rows: Vec<_> = subscriptions.map(row).collect();
                let heading = ["SUBSCRIPTION", "TOPIC SPACE", "TOPIC", "SELECTOR", "DURABLE", ">DEPTH", ">CONSUMERS"];
                output::print(&output::table(&heading, &rows))?;
            }
        }
    }
    client.close().await;
    Ok(())
}

/// A subscription with its topics and selector.
struct Subscription<'a> {
    status: &'a QueueStatus,
    space: &'a QueueName,
    topic: &'a str,
    selector: &'a str,
}

fn in_json(Subscription { status, space, topic, selector }: Subscription<'_>) -> Value {
    json!({
        "name": status.name, "space": space, "topic": topic, "selector": selector, "durable": !status.temporary,
        "depth": status.depth, "in_flight": status.in_flight, "consumers": status.consumers,
        "slow_consumers": status.slow_consumers,
    })
}

fn row(Subscription { status, space, topic, selector }: Subscription<'_>) -> Vec<String> {
    let durable = if status.temporary { "no" } else { "yes" };
    let numbers = [status.depth, status.consumers].map(|number| number.to_string());
    let texts = [status.name.as_str(), space.as_str(), topic, selector, durable].map(str::to_owned);
    texts.into_iter().chain(numbers).collect()
}
