//! `baton topic create|delete|list`: topic spaces.

use baton_client::protocol::{Kind, QueueStatus};
use baton_domain::QueueName;
use clap::Subcommand;
use serde_json::json;

use super::settings::SettingsArgs;
use super::target::Targeted;
use super::{Failure, output, requests};

#[derive(Debug, Clone, Subcommand)]
pub(super) enum Action {
    /// Create a topic space; succeeds if it already exists and the named settings are the same
    Create {
        /// Name of the topic space
        space: QueueName,
        #[command(flatten)]
        settings: SettingsArgs,
    },
    /// Delete a topic space that has no subscriptions
    Delete {
        /// Name of the topic space
        space: QueueName,
    },
    /// List the topic spaces
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

pub(super) async fn run(args: Targeted<Action>) -> Result<(), Failure> {
    let client = requests::connect(&args.target, requests::FAIL_OVER).await?;
    match args.action {
        Action::Create { space, settings } => {
            let created = client.create(&space, Kind::TopicSpace, settings.patch()).await?;
            output::print_created(&space, created)?;
        }
        Action::Delete { space } => {
            let kind = requests::queue(&client, &space).await?.kind;
            if kind != Kind::TopicSpace {
                let words = format!(
                    "{space} is not a topic space: use `baton {} delete {space}`",
                    super::queue::kind_word(&kind)
                );
                return Err(Failure::new(words));
            }
            client.delete_queue(&space).await?;
            output::print(&format!("{space} deleted\n"))?;
        }
        Action::List { json } => {
            let all = client.queues().await?;
            let spaces = all.iter().filter(|status| status.kind == Kind::TopicSpace);
            let spaces = spaces.map(|space| (space, all.iter().filter(|other| is_of(other, &space.name)).count()));
            if json {
                let one = |(space, subscriptions): (&QueueStatus, usize)| json!({ "name": space.name, "stored": space.depth, "subscriptions": subscriptions });
                output::print_json(&spaces.map(one).collect::<Vec<_>>())?;
            } else {
                let one = |(space, subscriptions): (&QueueStatus, usize)| {
                    vec![space.name.to_string(), space.depth.to_string(), subscriptions.to_string()]
                };
                let rows: Vec<_> = spaces.map(one).collect();
                output::print(&output::table(&["TOPIC SPACE", ">STORED", ">SUBSCRIPTIONS"], &rows))?;
            }
        }
    }
    client.close().await;
    Ok(())
}

fn is_of(status: &QueueStatus, name: &QueueName) -> bool {
    matches!(&status.kind, Kind::Subscription { space, .. } if space == name)
}
