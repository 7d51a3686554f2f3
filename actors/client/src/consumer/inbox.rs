//! Messages from the consumer's actor to a handle, and settlements from the handle to the actor.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use baton_domain::MessageId;
use tokio::sync::Notify;

use super::{ConsumerFailure, Received};

/// Messages that were delivered and not taken yet. The consumer's credit bounds them: the engine sends no more.
#[derive(Debug, Default)]
pub struct Inbox {
    inner: Mutex<Inner>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    messages: VecDeque<Received>,
    end: Option<ConsumerFailure>,
    /// Acknowledged (true) or requeued, in the user's order. The actor was notified of the first one.
    settled: Vec<(MessageId, bool)>,
    /// The last message that the user took.
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
        // The taker of the first of several messages wakes the next taker.
        if inner.messages.len() == 1 {
            self.arrived.notify_one();
        }
    }

    /// Adds a settlement, and calls `notify` if it is the first one. That happens under the lock, so that later
    /// messages of the user to the actor arrive after this one. False if the actor could not be notified.
    pub(super) fn settle(&self, id: MessageId, acknowledged: bool, notify: impl FnOnce() -> bool) -> bool {
        let mut inner = self.lock();
        let is_notified = !inner.settled.is_empty() || notify();
        if is_notified {
            inner.settled.push((id, acknowledged));
        }
        is_notified
    }

    /// Takes all settlements, in order.
    pub(super) fn take_settled(&self) -> Vec<(MessageId, bool)> {
        std::mem::take(&mut self.lock().settled)
    }

    /// The last message that the user took.
    pub(super) fn received(&self) -> Option<MessageId> {
        self.lock().received
    }

    /// The messages that nobody took yet, in order.
    pub(super) fn waiting(&self) -> Vec<MessageId> {
        self.lock().messages.iter().map(|message| message.id).collect()
    }

    /// Ends the inbox; returns the messages that nobody took.
    pub(crate) fn end(&self, why: ConsumerFailure) -> Vec<Received> {
        let mut inner = self.lock();
        inner.end.get_or_insert(why);
        let left = inner.messages.drain(..).collect();
        drop(inner);
        self.arrived.notify_waiters();
        self.arrived.notify_one();
        left
    }

    /// Takes the next message, if one has arrived.
    ///
    /// # Errors
    /// [`ConsumerFailure`] once the consumer has ended.
    pub fn try_take(&self) -> Result<Option<Received>, ConsumerFailure> {
        Ok(self.pop()?.map(|(message, _)| message))
    }

    /// The next message, and true if there are more.
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

    /// Waits for the next message and takes it. A call that is dropped before it returns takes none.
    ///
    /// # Errors
    /// [`ConsumerFailure`] once the consumer has ended.
    pub async fn take(&self) -> Result<Received, ConsumerFailure> {
        let mut waited = false;
        loop {
            if let Some((message, more)) = self.pop()? {
                // With several takers, one notification may stand for several messages.
                if waited && more {
                    self.arrived.notify_one();
                }
                return Ok(message);
            }
            // A message that arrived meanwhile left its notification.
            self.arrived.notified().await;
            waited = true;
        }
    }
}
