//! `baton exception list|replay`: dead letters, the messages that could not be delivered.

use baton_client::protocol::Delivery;
use baton_domain::{QueueName, SYSTEM_EXCEPTION_QUEUE, exception_header};
use clap::Subcommand;

use super::browse::{Messages, shown};
use super::message::{MessageInJson, body_to_show};
use super::target::Targeted;
use super::{Failure, output, requests};

/// Messages moved back per request.
const PART: usize = 200;

#[derive(Debug, Clone, Subcommand)]
pub(super) enum Action {
    /// List dead letters with their reason and their source queue
    List {
        /// Exception destination
        #[arg(default_value = SYSTEM_EXCEPTION_QUEUE)]
        queue: QueueName,
        /// Only dead letters from this queue
        #[arg(long, value_name = "QUEUE")]
        from: Option<QueueName>,
        /// Print one JSON object per message
        #[arg(long)]
        json: bool,
    },
    /// Move dead letters back to the queues they came from
    Replay {
        /// Exception destination
        #[arg(default_value = SYSTEM_EXCEPTION_QUEUE)]
        queue: QueueName,
        /// Only dead letters from this queue
        #[arg(long, value_name = "QUEUE")]
        from: Option<QueueName>,
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
}

pub(super) async fn run(args: Targeted<Action>) -> Result<(), Failure> {
    let client = requests::connect(&args.target, requests::FAIL_OVER).await?;
    let mut outcome = Ok(());
    let (Action::List { queue, .. } | Action::Replay { queue, .. }) = &args.action;
    // The system's exception queue is created on first use: until then there are no dead letters.
    let none =
        queue.as_str() == SYSTEM_EXCEPTION_QUEUE && !client.queues().await?.iter().any(|status| status.name == *queue);
    match &args.action {
        Action::List { json, .. } | Action::Replay { json, .. } if none => {
            if !json {
                output::print("there are no dead letters\n")?;
            }
        }
        Action::List { queue, from, json } => {
            let mut rows = Vec::new();
            let mut messages = Messages::of(&client, queue);
            while let Some(part) = messages.next(PART).await? {
                for message in part.iter().filter(|message| came_from(message, from.as_ref())) {
                    if *json {
                        output::print_json(&MessageInJson::of_delivery(message))?;
                    } else {
                        rows.push(row(message));
                    }
                }
            }
            if !json {
                output::print(&output::table(&["ID", "FROM", "AT", "REASON", "BODY"], &rows))?;
            }
        }
        Action::Replay { queue, from, json } => {
            let (mut replayed, mut stayed) = (0, 0);
            // Messages that are rejected again meanwhile are not moved back again.
            let mut messages = Messages::there_now(&client, queue);
            while let Some(part) = messages.next(PART).await? {
                let chosen = part.iter().filter(|message| came_from(message, from.as_ref()));
                let chosen: Vec<_> = chosen.map(|message| message.id).collect();
                let asked = chosen.len() as u64;
                let moved = if asked == 0 { 0 } else { client.replay(queue, chosen).await? };
                replayed += moved;
                stayed += asked.saturating_sub(moved);
            }
            if *json {
                output::print_json(&serde_json::json!({ "replayed": replayed, "stayed": stayed }))?;
            } else {
                output::print(&format!("{} moved back\n", output::counted(replayed, "message")))?;
            }
            if stayed > 0 {
                let words = format!("{stayed} stayed: a consumer holds them, or their queue is gone, paused or full");
                outcome = Err(Failure::with_code(words, Failure::PARTLY));
            }
        }
    }
    client.close().await;
    outcome
}

fn came_from(message: &Delivery, queue: Option<&QueueName>) -> bool {
    queue.is_none_or(|queue| message.message.header(exception_header::FROM) == Some(queue.as_str()))
}

fn row(delivery: &Delivery) -> Vec<String> {
    let header = |name| delivery.message.header(name).unwrap_or("-").to_owned();
    let at_ms = header(exception_header::AT_MS).parse().map_or_else(|_| "-".to_owned(), output::utc);
    let reason = header(exception_header::REASON);
    vec![
        delivery.id.to_string(),
        header(exception_header::FROM),
        at_ms,
        reason,
        shown(&body_to_show(&delivery.message)),
    ]
}
