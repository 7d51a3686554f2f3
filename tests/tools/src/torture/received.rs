//! A message as a consumer printed it.

use serde::{Deserialize, Serialize};

use super::trace::Epoch;

/// A message that a consumer printed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Received {
    /// Time.
    pub at_ms: u64,
    /// The epoch of the engine that delivered it; `None` if the output cannot be read.
    pub epoch: Option<Epoch>,
    /// The line that was sent, or the unreadable output.
    pub line: String,
    /// The message's id.
    #[serde(default)]
    pub id: String,
    /// The tag of the transaction that sent it.
    #[serde(default)]
    pub tag: String,
}

/// A message as `baton receive --json` prints it.
#[derive(Debug, Deserialize)]
struct PrintedMessage {
    #[serde(default)]
    id: String,
    epoch: String,
    body: String,
}

impl Received {
    /// The messages that a consumer printed at that time.
    #[must_use]
    pub(crate) fn printed(at_ms: u64, text: String) -> Self {
        let read = serde_json::from_str::<PrintedMessage>(&text).ok();
        match read.and_then(|printed| Some((printed.id, Epoch::parse(&printed.epoch)?, printed.body))) {
            Some((id, epoch, body)) => Self::taken(at_ms, id, Some(epoch), &body),
            None => Self { at_ms, line: text, ..Self::default() },
        }
    }

    /// A message with that body.
    #[must_use]
    pub(crate) fn taken(at_ms: u64, id: String, epoch: Option<Epoch>, body: &str) -> Self {
        // A producer's name and number, and behind them the tag of a transaction.
        let tag = body.match_indices(' ').nth(1).map(|(at, _)| at);
        let (line, tag) = tag.map_or((body, ""), |at| (&body[..at], body[at..].trim()));
        Self { at_ms, epoch, line: line.to_owned(), id, tag: tag.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_consumer_prints_is_read_and_kept_as_it_is_if_it_cannot_be() {
        let text = r#"{"id":"0.42.3","epoch":"1.17","redelivered":false,"body":"p 00000007"}"#;
        let (id, line) = ("0.42.3".to_owned(), "p 00000007".to_owned());
        let read = Received { at_ms: 5, epoch: Some(Epoch(1, 17)), line, id, tag: String::new() };
        assert_eq!(Received::printed(5, text.to_owned()), read);
        for text in ["p 00000007", r#"{"epoch":"x","body":"p 1"}"#, r#"{"body":"p 1"}"#] {
            let kept = Received { at_ms: 5, line: text.to_owned(), ..Received::default() };
            assert_eq!(Received::printed(5, text.to_owned()), kept);
        }
    }
}
