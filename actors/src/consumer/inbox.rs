//! Messages between a consumer's actor and code that is no actor.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use tokio::sync::Notify;

use super::{ConsumerFailure, Received};

/// Messages that were delivered and not taken yet. Bounded by the consumer's credit: the engine sends no more.
#[derive(Debug, Default)]
pub struct Inbox {
    inner: Mutex<Inner>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    messages: VecDeque<Received>,
    end: Option<ConsumerFailure>,
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Puts a message in.
    pub(crate) fn push(&self, message: Received) {
        self.lock().messages.push_back(message);
        self.arrived.notify_one();
    }

    /// Ends the inbox and returns what nobody took.
    pub(crate) fn end(&self, why: ConsumerFailure) -> Vec<Received> {
        let mut inner = self.lock();
        inner.end.get_or_insert(why);
        let left = inner.messages.drain(..).collect();
        drop(inner);
        self.arrived.notify_waiters();
        self.arrived.notify_one();
        left
    }

    /// Takes a message if one is there.
    ///
    /// # Errors
    /// [`ConsumerFailure`] once the consumer ended.
    pub fn try_take(&self) -> Result<Option<Received>, ConsumerFailure> {
        let mut inner = self.lock();
        match (inner.messages.pop_front(), &inner.end) {
            (Some(message), _) => Ok(Some(message)),
            (None, None) => Ok(None),
            (None, Some(why)) => Err(why.clone()),
        }
    }

    /// Takes the next message, when there is one. Dropped before it is done, it takes none.
    ///
    /// # Errors
    /// [`ConsumerFailure`] once the consumer ended.
    pub async fn take(&self) -> Result<Received, ConsumerFailure> {
        loop {
            let arrived = self.arrived.notified();
            if let Some(message) = self.try_take()? {
                // Several takers: one notification may stand for several messages.
                if !self.lock().messages.is_empty() {
                    self.arrived.notify_one();
                }
                return Ok(message);
            }
            arrived.await;
        }
    }
}
