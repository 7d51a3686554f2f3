//! `baton browse`: messages of a queue, without consuming them.

use baton::client::Client;
use baton_client::protocol::Delivery;
use baton_domain::{Lane, MessageId, QueueName};
use clap::Args;

use super::message::{MessageInJson, body_to_show};
use super::target::Target;
use super::{Failure, output, requests};

/// Messages per request.
const PART: u32 = 500;
/// Characters of a body that a line shows.
const SHOWN: usize = 60;

/// Options of `baton browse`.
#[derive(Debug, Clone, Args)]
pub(super) struct BrowseArgs {
    #[command(flatten)]
    target: Target,
    /// Queue or subscription
    queue: QueueName,
    /// Maximum number of messages to show
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
    /// Print one JSON object per message
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: BrowseArgs) -> Result<(), Failure> {
    let client = requests::connect(&args.target, requests::FAIL_OVER).await?;
    let mut messages = Messages::of(&client, &args.queue);
    let mut left = args.limit;
    let mut rows = Vec::new();
    while left > 0
        && let Some(mut part) = messages.next(left).await?
    {
        part.truncate(left);
        left -= part.len();
        for message in &part {
            if args.json {
                output::print_json(&MessageInJson::of_delivery(message))?;
            } else {
                rows.push(row(message));
            }
        }
    }
    if !args.json {
        output::print(&output::table(&["ID", ">PRIORITY", ">REDELIVERIES", ">BYTES", "BODY"], &rows))?;
    }
    client.close().await;
    Ok(())
}

fn row(delivery: &Delivery) -> Vec<String> {
    let message = &delivery.message;
    vec![
        delivery.id.to_string(),
        message.priority().to_string(),
        delivery.redeliveries.to_string(),
        message.size().to_string(),
        shown(&body_to_show(message)),
    ]
}

/// The beginning of a body, on one line.
pub(super) fn shown(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SHOWN).collect();
    if text.chars().count() > SHOWN { format!("{line}...") } else { line }
}

/// The messages of a queue, page by page.
pub(super) struct Messages<'a> {
    client: &'a Client,
    queue: &'a QueueName,
    /// Start of the next page; `None` after the end.
    from: Option<Option<MessageId>>,
    /// Only messages that were there when the first page was requested.
    fixed_end: bool,
    /// The newest message at that time, regardless of its lane.
    newest: Option<MessageId>,
}

impl<'a> Messages<'a> {
    pub(super) fn of(client: &'a Client, queue: &'a QueueName) -> Self {
        Self { client, queue, from: Some(None), fixed_end: false, newest: None }
    }

    /// Only the messages that are there when the first page is requested.
    pub(super) fn there_now(client: &'a Client, queue: &'a QueueName) -> Self {
        Self { fixed_end: true, ..Self::of(client, queue) }
    }

    /// The next page, of about this many messages; `None` after the last one.
    pub(super) async fn next(&mut self, about: usize) -> Result<Option<Vec<Delivery>>, Failure> {
        let Some(from) = self.from else { return Ok(None) };
        let limit = u32::try_from(about).unwrap_or(PART).clamp(1, PART);
        let page = self.client.browse_page(self.queue, from, limit).await?;
        let newest = *self.newest.get_or_insert(page.newest);
        self.from = page.next.map(Some);
        let mut messages = page.messages;
        if self.fixed_end {
            let later = |id: MessageId| !id.is_nonpersistent() && id.in_lane(Lane::default()) > newest;
            if let Some(first) = messages.iter().map(|message| message.id).find(|id| later(*id)) {
                messages.retain(|message| !later(message.id));
                // All that follows of this priority is later, too.
                let lower = first.lane().priority().checked_sub(1);
                self.from = lower.map(|priority| Some(Lane::of_priority(priority).start()));
            }
        }
        Ok(Some(messages))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_shown_on_one_line() {
        assert_eq!(shown(b"a\nb"), "a b");
        assert_eq!(shown(&[b'x'; 100]).len(), SHOWN + 3);
        assert_eq!(shown("\u{fc}".repeat(SHOWN).as_bytes()), "\u{fc}".repeat(SHOWN));
    }
}
