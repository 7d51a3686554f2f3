//! Messages that are read from the store into a window, and messages that are dropped from it because no consumer takes
//! them.

use std::collections::BTreeSet;

use baton_domain::{MessageId, StoredMessage};

use super::{Reading, Ready, Returned, Window};
use crate::engine::message::ReadId;

impl Window {
    /// A read of the store starts. Returns its first message.
    pub(in crate::engine) fn start_read(&mut self, read: ReadId, reserved_bytes: usize, forward: bool) -> MessageId {
        let returned = self.returned.keys().next().copied();
        let from = if forward { self.cursor } else { returned.unwrap_or(self.cursor) };
        self.reading =
            Some(Reading { read, from, reserved_bytes, newest: self.newest, forward, settled: BTreeSet::new() });
        from
    }

    /// A page arrived from the store. Returns the bytes added to memory.
    pub(in crate::engine) fn paged(&mut self, reading: &Reading, page: Vec<(MessageId, StoredMessage)>) -> usize {
        if reading.forward && reading.from > self.cursor {
            // The cursor moved back meanwhile: the next read starts there.
            return 0;
        }
        let last = page.last().map(|(id, _)| *id);
        let mut bytes = 0;
        if !reading.forward {
            // A returned message in the range of the page that the page lacks is gone. Messages stored after the read
            // started are outside of that range.
            let reach = last.map_or(reading.newest, |last| last.min(reading.newest));
            let within: BTreeSet<MessageId> = page.iter().map(|(id, _)| *id).collect();
            self.returned.retain(|id, _| *id < reading.from || *id > reach || within.contains(id));
        }
        for (id, stored) in page {
            let returned = self.returned.remove(&id);
            let new = reading.forward && id >= self.cursor && !reading.settled.contains(&id);
            if (returned.is_some() || new) && !self.held.contains_key(&id) && !self.ready.contains_key(&id) {
                let known = returned.unwrap_or(Returned { redelivered: false, redeliveries: 0 });
                // A read that started before the message was handed back has the older count.
                let redeliveries = stored.redeliveries.max(known.redeliveries);
                let redelivered = known.redelivered || id <= self.flagged_through || redeliveries > 0;
                let StoredMessage { message, expires_ms, .. } = stored;
                let ready = Ready { message, redeliveries, redelivered, expires_ms, may_be_dropped: false };
                bytes += self.put_ready(id, ready);
            }
        }
        if reading.forward {
            match last {
                Some(last) => {
                    self.cursor = self.cursor.max(last.next());
                    // No message lies between the end of the page and the next commit.
                    self.caught_up = last >= self.newest;
                }
                None if self.newest == reading.newest => {
                    self.cursor = self.cursor.max(self.newest.next());
                    self.caught_up = true;
                }
                // Messages were stored after the read.
                None => {}
            }
        }
        bytes
    }

    /// No consumer selects a ready message: it leaves memory until [`Self::look_again`]. Returns the bytes freed.
    pub(in crate::engine) fn skip(&mut self, id: MessageId) -> usize {
        let Some(ready) = self.take_ready(id) else { return 0 };
        self.skipped_from = Some(self.skipped_from.map_or(id, |first| first.min(id)));
        ready.bytes()
    }

    /// The consumers changed: messages that were left out are read again.
    pub(in crate::engine) fn look_again(&mut self) {
        if let Some(first) = self.skipped_from.take() {
            self.cursor = self.cursor.min(first);
            self.caught_up = false;
        }
    }
}
