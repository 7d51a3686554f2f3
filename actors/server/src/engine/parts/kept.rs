//! Dead letters that wait because no exception destination takes them.

use std::collections::BTreeMap;

use baton_domain::clock::BootTime;
use baton_domain::{MessageId, QueueId, Timer};

/// The reason why messages that stayed were to go to an exception destination.
pub(in crate::engine) enum WhyKept<'a> {
    /// Their time to live is over; these are their timers.
    Expired(&'a [Timer]),
    /// A consumer rejected them, for that reason.
    Rejected(String),
    /// Too many deliveries failed.
    Failed,
}

/// The next step of a message that has waited.
#[derive(Debug, Clone)]
pub(in crate::engine) enum Retry {
    /// It is delivered: its queue has no exception destination.
    Deliver,
    /// It expires.
    Fire(Timer),
    /// It goes to the exception destination, for that reason.
    Move(String),
}

#[derive(Debug, Default)]
pub(in crate::engine) struct KeptMessages(BTreeMap<(BootTime, QueueId, MessageId), Retry>);

impl KeptMessages {
    pub(in crate::engine) fn wait(&mut self, until: BootTime, queue: QueueId, message: MessageId, retry: Retry) {
        self.0.insert((until, queue, message), retry);
    }

    /// The next message that has waited long enough.
    pub(in crate::engine) fn next_due(&mut self, now: BootTime) -> Option<(QueueId, MessageId, Retry)> {
        let entry = self.0.first_entry().filter(|entry| entry.key().0 <= now)?;
        let ((_, queue, message), retry) = entry.remove_entry();
        Some((queue, message, retry))
    }

    pub(in crate::engine) fn deadline(&self) -> Option<BootTime> {
        self.0.first_key_value().map(|((until, ..), _)| *until)
    }
}
