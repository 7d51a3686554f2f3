//! Between a producer's actor and code that is no actor: what was sent and the actor has not taken yet.

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

/// A message on its way from the handle to the actor.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) message: Message,
    pub(super) permit: Permit,
    pub(super) reply: OneshotSender<Result<Confirmed, SendError>>,
}

/// Messages that the actor has not taken yet. The actor is told once for all of them, not for each message.
#[derive(Debug, Default)]
pub struct Inbox(Mutex<Sent>);

#[derive(Debug, Default)]
struct Sent {
    waiting: Vec<Sending>,
    closed: bool,
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, Sent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a message in and has the actor told if it does not know yet, before anybody else can put one in: whatever
    /// the sender tells the actor next comes after that. Hands the message back once the actor takes no more.
    pub(super) fn put(&self, sending: Sending, tell: impl FnOnce()) -> Result<(), Message> {
        let mut sent = self.lock();
        if sent.closed {
            return Err(sending.message);
        }
        sent.waiting.push(sending);
        if sent.waiting.len() == 1 {
            tell();
        }
        Ok(())
    }

    /// All that lies here, in order.
    pub(super) fn take(&self) -> Vec<Sending> {
        std::mem::take(&mut self.lock().waiting)
    }

    /// The actor takes no more; who waits hears it by the sender that is dropped.
    pub(super) fn close(&self) {
        let mut sent = self.lock();
        sent.closed = true;
        let waiting = std::mem::take(&mut sent.waiting);
        drop(sent);
        drop(waiting);
    }
}
