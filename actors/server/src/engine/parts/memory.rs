//! The messages of all queues that are in no store: their number, their bytes, and what becomes of them at a time.

use std::collections::BTreeMap;
use std::time::Duration;

use baton_domain::clock::BootTime;
use baton_domain::{Epoch, Lane, MessageId, QueueId};

use super::ready::Ready;
use crate::engine::message::Now;

/// The event at a message's time.
#[derive(Debug)]
pub(in crate::engine) enum Later {
    Expire(QueueId),
    Enter(QueueId, Box<Ready>),
}

#[derive(Debug, Default)]
pub(in crate::engine) struct Memory {
    /// Number of messages that came so far.
    count: u64,
    /// Bytes of all of them.
    bytes: usize,
    /// By the time at which it is due, in Unix milliseconds.
    later: BTreeMap<(u64, MessageId), Later>,
    due: Option<BootTime>,
}

impl Memory {
    pub(in crate::engine) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(in crate::engine) fn deadline(&self) -> Option<BootTime> {
        self.due
    }

    /// A new message; its id.
    pub(in crate::engine) fn add(&mut self, ready: &Ready, epoch: Epoch, lane: Lane) -> MessageId {
        self.count += 1;
        self.bytes += ready.bytes();
        MessageId::nonpersistent(epoch, self.count, lane)
    }

    /// A message is gone.
    pub(in crate::engine) fn forget(&mut self, id: MessageId, ready: &Ready) {
        self.bytes -= ready.bytes();
        if ready.expires_ms != 0 {
            self.later.remove(&(ready.expires_ms, id));
        }
    }

    pub(in crate::engine) fn schedule(&mut self, due_ms: u64, id: MessageId, later: Later, now: Now) {
        self.later.insert((due_ms, id), later);
        self.wake_at(due_ms, now);
    }

    fn wake_at(&mut self, due_ms: u64, now: Now) {
        let due = now.boot + Duration::from_millis(due_ms.saturating_sub(now.unix_ms));
        self.due = Some(self.due.map_or(due, |known| known.min(due)));
    }

    /// The next event that is due. Ask until there is none.
    pub(in crate::engine) fn next_due(&mut self, now: Now) -> Option<(MessageId, Later)> {
        if self.due.is_none_or(|due| due > now.boot) {
            return None;
        }
        let Some(((due_ms, _), _)) = self.later.first_key_value() else {
            self.due = None;
            return None;
        };
        if *due_ms > now.unix_ms {
            let due_ms = *due_ms;
            self.due = None;
            self.wake_at(due_ms, now);
            return None;
        }
        self.later.pop_first().map(|((_, id), later)| (id, later))
    }

    /// A queue goes, with the messages that wait for their time to enter it: their number.
    pub(in crate::engine) fn forget_queue(&mut self, queue: QueueId) -> u64 {
        let mut dropped = 0;
        let bytes = &mut self.bytes;
        self.later.retain(|_, later| match later {
            Later::Expire(of) => *of != queue,
            Later::Enter(of, _) if *of != queue => true,
            Later::Enter(_, ready) => {
                *bytes -= ready.bytes();
                dropped += 1;
                false
            }
        });
        dropped
    }

    /// Bytes of the messages that wait for their time to enter a queue.
    #[cfg(test)]
    pub(in crate::engine) fn delayed_bytes(&self) -> usize {
        let entering = self.later.values().filter_map(|later| match later {
            Later::Enter(_, ready) => Some(ready.bytes()),
            Later::Expire(_) => None,
        });
        entering.sum()
    }
}
