//! The condition that a server waits for before it can open its store: space, or admission by the others. A server that
//! was removed waits for its operator.

use std::sync::{Arc, Mutex, PoisonError};

/// The condition as text; `None` once it no longer waits. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Waiting(Arc<Mutex<Option<String>>>);

impl Waiting {
    /// Sets the condition.
    pub(super) fn waits_for(&self, what: &str) {
        self.set(Some(what.to_owned()));
    }

    /// Ends the wait.
    pub(super) fn over(&self) {
        self.set(None);
    }

    /// The condition.
    pub(super) fn why(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, what: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = what;
    }
}
