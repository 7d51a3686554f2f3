//! `baton queue`: create, change, show, purge and delete queues.

use baton_client::protocol::{Kind, QueueStatus};
use baton_domain::{QueueName, SettingsPatch};
use clap::Subcommand;
use serde_json::{Value, json};

use super::delete::{self, DeleteArgs, PurgeArgs};
use super::settings::{self, SettingsArgs};
use super::target::Targeted;
use super::{Failure, output, requests};

#[derive(Debug, Clone, Subcommand)]
pub(super) enum Action {
    /// Create a queue; succeeds if it already exists and the named settings are the same
    Create {
        /// Queue name
        queue: QueueName,
        #[command(flatten)]
        settings: SettingsArgs,
    },
    /// Change settings of a queue, effective at once; settings that are not named stay
    Set {
        /// Queue name
        queue: QueueName,
        #[command(flatten)]
        settings: SettingsArgs,
        /// Change only if the settings are at this version (see `queue show`)
        #[arg(long, value_name = "N")]
        if_version: Option<u64>,
    },
    /// Show the state and the settings of a queue
    Show {
        /// Queue name
        queue: QueueName,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Pause a queue for producers, for consumers, or (without options) for both
    Pause {
        /// Queue name
        queue: QueueName,
        /// Accept no messages from producers
        #[arg(long)]
        send: bool,
        /// Deliver no messages to consumers
        #[arg(long)]
        receive: bool,
    },
    /// Resume a paused queue
    Resume {
        /// Queue name
        queue: QueueName,
    },
    /// Delete all messages of a queue, those in flight included
    Purge(PurgeArgs),
    /// Delete a queue and its messages
    Delete(DeleteArgs),
    /// List queues, topic spaces and subscriptions
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

pub(super) async fn run(args: Targeted<Action>) -> Result<(), Failure> {
    let client = requests::connect(&args.target, requests::FAIL_OVER).await?;
    match args.action {
        Action::Create { queue, settings } => {
            let created = client.create(&queue, Kind::Queue, settings.patch()).await?;
            output::print_created(&queue, created)?;
        }
        Action::Set { queue, settings, if_version } => {
            client.configure(&queue, settings.patch(), if_version).await?;
            output::print(&format!("{queue} changed\n"))?;
        }
        Action::Show { queue, json } => {
            let known = requests::queue(&client, &queue).await?;
            if json {
                output::print_json(&in_json(&known))?;
            } else {
                output::print(&in_text(&known))?;
            }
        }
        Action::Pause { queue, send, receive } => {
            let both = send == receive;
            let paused = |asked: bool| (asked || both).then_some(true);
            let mut patch = SettingsPatch::default();
            (patch.send_paused, patch.receive_paused) = (paused(send), paused(receive));
            client.configure(&queue, patch, None).await?;
            output::print(&format!("paused {queue}\n"))?;
        }
        Action::Resume { queue } => {
            let patch = SettingsPatch::default().send_paused(false).receive_paused(false);
            client.configure(&queue, patch, None).await?;
            output::print(&format!("resumed {queue}\n"))?;
        }
        Action::Purge(args) => delete::purge(&client, args).await?,
        Action::Delete(args) => delete::delete(&client, args).await?,
        Action::List { json: true } => output::print_json(&as_json(&client.queues().await?))?,
        Action::List { json: false } => output::print(&as_text(&client.queues().await?))?,
    }
    client.close().await;
    Ok(())
}

/// The JSON output: a contract for scripts, an array by name.
fn as_json(queues: &[QueueStatus]) -> Value {
    queues.iter().map(in_json).collect()
}

fn in_json(queue: &QueueStatus) -> Value {
    json!({
        "name": queue.name, "depth": queue.depth, "in_flight": queue.in_flight, "delayed": queue.delayed, "kept": queue.kept,
        "version": queue.version,
        "nonpersistent": queue.nonpersistent, "dropped": queue.dropped,
        "consumers": queue.consumers, "slow_consumers": queue.slow_consumers, "kind": kind_word(&queue.kind), "temporary": queue.temporary,
        "settings": settings::as_json(&queue.settings),
    })
}

/// The kind of the destination, in one word.
pub(super) fn kind_word(kind: &Kind) -> &'static str {
    match kind {
        Kind::Queue => "queue",
        Kind::TopicSpace => "topic-space",
        Kind::Subscription { .. } => "subscription",
    }
}

/// The text output: one row per line.
fn in_text(queue: &QueueStatus) -> String {
    let mut rows = vec![
        (kind_word(&queue.kind).to_owned(), queue.name.to_string()),
        ("depth".to_owned(), queue.depth.to_string()),
        ("nonpersistent".to_owned(), queue.nonpersistent.to_string()),
        ("dropped".to_owned(), queue.dropped.to_string()),
        ("in flight".to_owned(), queue.in_flight.to_string()),
        ("delayed".to_owned(), queue.delayed.to_string()),
        ("kept".to_owned(), queue.kept.to_string()),
        ("consumers".to_owned(), queue.consumers.to_string()),
        ("slow consumers".to_owned(), queue.slow_consumers.to_string()),
        ("version".to_owned(), queue.version.to_string()),
    ];
    if let Value::Object(settings) = settings::as_json(&queue.settings) {
        rows.extend(settings.into_iter().map(|(name, value)| (name.replace('_', " "), plain(&value))));
    }
    rows.into_iter().map(|(name, value)| format!("{name:<24}{value}\n")).collect()
}

/// A setting as its option takes it.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(all) if all.is_empty() => "none".to_owned(),
        Value::Array(all) => all.iter().map(plain).collect::<Vec<_>>().join(","),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

fn as_text(queues: &[QueueStatus]) -> String {
    let one = |queue: &QueueStatus| {
        let numbers =
            [queue.depth, queue.in_flight, queue.consumers, queue.slow_consumers].map(|number| number.to_string());
        [queue.name.to_string(), kind_word(&queue.kind).to_owned()].into_iter().chain(numbers).collect()
    };
    let rows: Vec<Vec<String>> = queues.iter().map(one).collect();
    output::table(&["NAME", "KIND", ">DEPTH", ">IN FLIGHT", ">CONSUMERS", ">SLOW"], &rows)
}

#[cfg(test)]
mod tests {
    use baton_domain::Settings;

    use super::*;

    #[test]
    fn the_list_shows_depth_in_flight_and_consumers() {
        let queue = QueueStatus {
            nonpersistent: 4,
            dropped: 5,
            name: QueueName::new("orders").unwrap(),
            depth: 1200,
            in_flight: 3,
            delayed: 2,
            kept: 6,
            version: 7,
            consumers: 2,
            slow_consumers: 1,
            kind: Kind::Queue,
            settings: Settings::default(),
            temporary: false,
        };
        let json = as_json(std::slice::from_ref(&queue));
        for (name, value) in [
            ("depth", 1200),
            ("in_flight", 3),
            ("delayed", 2),
            ("nonpersistent", 4),
            ("dropped", 5),
            ("kept", 6),
            ("version", 7),
            ("consumers", 2),
            ("slow_consumers", 1),
        ] {
            assert_eq!(json[0][name], value);
        }
        assert_eq!((&json[0]["name"], &json[0]["settings"]["max_failed"]), (&json!("orders"), &json!(10)));
        let text = in_text(&queue);
        assert!(
            text.contains("max failed              10\n") && text.contains("forward to              none\n"),
            "{text}"
        );
        let settings = Settings {
            forward_to: ["a", "b"].map(|name| QueueName::new(name).unwrap()).to_vec(),
            ..Settings::default()
        };
        let text = in_text(&QueueStatus { settings, ..queue.clone() });
        assert!(text.contains("forward to              a,b\n"), "{text}");
        assert_eq!(
            as_text(&[queue]),
            "NAME    KIND   DEPTH  IN FLIGHT  CONSUMERS  SLOW\norders  queue   1200          3          2     1\n"
        );
        assert_eq!(as_json(&[]), json!([]));
    }
}
