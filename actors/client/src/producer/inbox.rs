//! Messages from a handle that the producer's actor has not taken yet.

use std::sync::{Mutex, MutexGuard, PoisonError};

use baton_domain::Message;
use ractor::concurrency::OneshotSender;
use tokio::sync::OwnedSemaphorePermit;

use super::{Confirmed, SendError};

/// Room for one message in a producer's window.
#[derive(Debug)]
pub struct Permit {
    pub(super) _message: OwnedSemaphorePermit,
    pub(super) _bytes: OwnedSemaphorePermit,
}

/// A message in the inbox.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) message: Message,
    pub(super) permit: Permit,
    pub(super) reply: OneshotSender<Result<Confirmed, SendError>>,
}

/// Messages that the actor has not taken yet. The actor is notified once for all of them, not for each message.
#[derive(Debug, Default)]
pub struct Inbox(Mutex<Contents>);

#[derive(Debug, Default)]
struct Contents {
    waiting: Vec<Sending>,
    closed: bool,
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a message in, and calls `notify` if it is the first one. That happens under the lock, so that later
    /// messages of the sender to the actor arrive after this one. Hands the message back once the inbox is closed.
    pub(super) fn put(&self, sending: Sending, notify: impl FnOnce()) -> Result<(), Message> {
        let mut contents = self.lock();
        if contents.closed {
            return Err(sending.message);
        }
        contents.waiting.push(sending);
        if contents.waiting.len() == 1 {
            notify();
        }
        Ok(())
    }

    /// Takes all messages, in order.
    pub(super) fn take(&self) -> Vec<Sending> {
        std::mem::take(&mut self.lock().waiting)
    }

    /// Refuses further messages, and drops the waiting ones with their reply ports.
    pub(super) fn close(&self) {
        let mut contents = self.lock();
        contents.closed = true;
        let waiting = std::mem::take(&mut contents.waiting);
        drop(contents);
        drop(waiting);
    }
}
