//! What a server waits for before it can open its store: space, or the others that take it in. One that was removed from
//! the cluster waits for its operator.

use std::sync::{Arc, Mutex, PoisonError};

/// In words; nothing once it waits no more. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Waiting(Arc<Mutex<Option<String>>>);

impl Waiting {
    /// From now on it waits for that.
    pub(super) fn waits_for(&self, what: &str) {
        self.set(Some(what.to_owned()));
    }

    /// It waits no more.
    pub(super) fn over(&self) {
        self.set(None);
    }

    /// What it waits for.
    pub(super) fn why(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, what: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = what;
    }
}
