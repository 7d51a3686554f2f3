//! Between a consumer's actor and code that is no actor: messages one way, what became of them the other.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use baton_domain::MessageId;
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
    /// Acknowledged (true) or refused, in the user's order; the actor was told that they are here.
    settled: Vec<(MessageId, bool)>,
    /// The last message that was taken.
    received: Option<MessageId>,
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Puts a message in.
    pub(crate) fn push(&self, message: Received) {
        let mut inner = self.lock();
        inner.messages.push_back(message);
        // Whoever takes the first of several wakes the next taker.
        if inner.messages.len() == 1 {
            self.arrived.notify_one();
        }
    }

    /// Notes what became of a message and has the actor told, once for all that is noted here. Under the lock: whatever
    /// the user tells the actor next comes after that. False if it could not be told.
    pub(super) fn settle(&self, id: MessageId, acknowledged: bool, tell: impl FnOnce() -> bool) -> bool {
        let mut inner = self.lock();
        let told = !inner.settled.is_empty() || tell();
        if told {
            inner.settled.push((id, acknowledged));
        }
        told
    }

    /// What was settled since this was last asked.
    pub(super) fn take_settled(&self) -> Vec<(MessageId, bool)> {
        std::mem::take(&mut self.lock().settled)
    }

    /// The last message that was taken.
    pub(super) fn received(&self) -> Option<MessageId> {
        self.lock().received
    }

    /// What nobody took yet, in order.
    pub(super) fn waiting(&self) -> Vec<MessageId> {
        self.lock().messages.iter().map(|message| message.id).collect()
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
        Ok(self.pop()?.map(|(message, _)| message))
    }

    /// The next message, and whether there are more.
    fn pop(&self) -> Result<Option<(Received, bool)>, ConsumerFailure> {
        let mut inner = self.lock();
        match (inner.messages.pop_front(), &inner.end) {
            (Some(message), _) => {
                inner.received = Some(message.id);
                Ok(Some((message, !inner.messages.is_empty())))
            }
            (None, None) => Ok(None),
            (None, Some(why)) => Err(why.clone()),
        }
    }

    /// Takes the next message, when there is one. Dropped before it is done, it takes none.
    ///
    /// # Errors
    /// [`ConsumerFailure`] once the consumer ended.
    pub async fn take(&self) -> Result<Received, ConsumerFailure> {
        let mut waited = false;
        loop {
            if let Some((message, more)) = self.pop()? {
                // Several takers: one notification may stand for several messages.
                if waited && more {
                    self.arrived.notify_one();
                }
                return Ok(message);
            }
            // A message that came since left its notification.
            self.arrived.notified().await;
            waited = true;
        }
    }
}
