//! Deletion of destinations and messages: on a terminal the command says what would be lost, and asks.

use std::io::{IsTerminal, Write, stderr, stdin};

use baton::client::{Client, DeleteOnly, Deleted};
use baton_client::protocol::QueueStatus;
use baton_domain::QueueName;
use clap::Args;
use serde_json::json;

use super::{Failure, output, requests};

/// Options of `delete`.
#[derive(Debug, Clone, Args)]
pub(super) struct DeleteArgs {
    /// Name
    name: QueueName,
    /// Delete only if there are no messages, delayed ones included
    #[arg(long)]
    if_empty: bool,
    /// Delete only if there are no consumers
    #[arg(long)]
    if_unused: bool,
    /// Do not ask for confirmation (asked on a terminal only)
    #[arg(long)]
    yes: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl DeleteArgs {
    pub(super) fn name(&self) -> &QueueName {
        &self.name
    }
}

/// Options of `purge`.
#[derive(Debug, Clone, Args)]
pub(super) struct PurgeArgs {
    /// Name
    queue: QueueName,
    /// Do not ask for confirmation (asked on a terminal only)
    #[arg(long)]
    yes: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Deletes a queue or a subscription.
pub(super) async fn delete(client: &Client, args: DeleteArgs) -> Result<(), Failure> {
    let DeleteArgs { name, if_empty, if_unused, yes, json } = args;
    let only = DeleteOnly::default().if_empty(if_empty).if_unused(if_unused);
    ask(client, &name, yes, |status| deletion(status, only)).await?;
    let deleted = client.delete(&name, only).await?;
    if json {
        let (messages, consumers) = (deleted.messages, deleted.consumers);
        output::print_json(&json!({ "deleted": name, "messages": messages, "consumers": consumers }))
    } else {
        output::print(&format!("{name} deleted{}\n", with_it(deleted)))
    }
}

/// Deletes the messages of a queue.
pub(super) async fn purge(client: &Client, args: PurgeArgs) -> Result<(), Failure> {
    let PurgeArgs { queue, yes, json } = args;
    ask(client, &queue, yes, purge_question).await?;
    let purged = client.purge(&queue).await?;
    if json {
        output::print_json(&json!({ "purged": purged }))
    } else {
        output::print(&format!("{} deleted\n", output::counted(purged, "message")))
    }
}

/// Asks for confirmation, if there is a terminal and something to lose.
async fn ask(
    client: &Client,
    name: &QueueName,
    yes: bool,
    question: impl FnOnce(&QueueStatus) -> Option<String>,
) -> Result<(), Failure> {
    if yes || !stdin().is_terminal() || !stderr().is_terminal() {
        return Ok(());
    }
    let Some(question) = question(&requests::queue(client, name).await?) else { return Ok(()) };
    let answer = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        // If the question cannot be written, nobody agrees.
        let _ = write!(stderr().lock(), "{question} [y/N] ");
        stdin().read_line(&mut line).map(|_| line)
    });
    match answer.await {
        Ok(Ok(line)) if agrees(&line) => Ok(()),
        Ok(_) | Err(_) => Err(Failure::new("nothing was deleted")),
    }
}

fn agrees(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

/// The question before a destination is deleted; `None` if nothing would be lost, or if the engine would refuse.
fn deletion(status: &QueueStatus, only: DeleteOnly) -> Option<String> {
    let messages = if only.if_empty { 0 } else { status.depth + status.delayed };
    let consumers = if only.if_unused { 0 } else { status.consumers };
    (messages + consumers > 0).then(|| {
        format!(
            "delete {} with {} and {}?",
            status.name,
            output::counted(messages, "message"),
            output::counted(consumers, "consumer")
        )
    })
}

/// The question before messages are deleted; `None` if there are none.
fn purge_question(status: &QueueStatus) -> Option<String> {
    let held = match status.in_flight {
        0 => String::new(),
        held => format!(", {} of them with consumers", output::thousands(held)),
    };
    (status.depth > 0).then(|| format!("delete {} of {}{held}?", output::counted(status.depth, "message"), status.name))
}

/// The messages that were deleted with it, as text.
fn with_it(deleted: Deleted) -> String {
    match deleted.messages {
        0 => String::new(),
        messages => format!(", and {} with it", output::counted(messages, "message")),
    }
}

#[cfg(test)]
mod tests {
    use baton_client::protocol::Kind;
    use baton_domain::Settings;

    use super::*;

    fn status(depth: u64, delayed: u64, consumers: u64) -> QueueStatus {
        QueueStatus {
            name: QueueName::new("orders").unwrap(),
            depth,
            nonpersistent: 0,
            dropped: 0,
            in_flight: 3,
            delayed,
            kept: 0,
            version: 0,
            consumers,
            slow_consumers: 0,
            kind: Kind::Queue,
            settings: Settings::default(),
            temporary: false,
        }
    }

    #[test]
    fn what_would_go_is_asked_for_and_nothing_else() {
        let asked = |status, if_empty, if_unused| {
            deletion(&status, DeleteOnly::default().if_empty(if_empty).if_unused(if_unused))
        };
        assert_eq!(asked(status(0, 0, 0), false, false), None);
        assert_eq!(asked(status(9, 9, 0), true, false), None, "the engine refuses");
        assert_eq!(
            asked(status(9_999, 1, 1), false, false).as_deref(),
            Some("delete orders with 10,000 messages and 1 consumer?")
        );
        assert_eq!(purge_question(&status(0, 1, 1)), None, "delayed messages stay");
        assert_eq!(
            purge_question(&status(5, 0, 2)).as_deref(),
            Some("delete 5 messages of orders, 3 of them with consumers?")
        );
        assert!(["y", "Yes\n", " YES "].into_iter().all(agrees));
        assert!(["", "n\n", "yep"].into_iter().all(|answer| !agrees(answer)));
        assert_eq!(with_it(Deleted { messages: 101, consumers: 2 }), ", and 101 messages with it");
        assert_eq!(with_it(Deleted { messages: 0, consumers: 2 }), "");
    }
}
