//! The failure that stopped a store.

use std::sync::{Arc, OnceLock};

/// The reason why the store stopped; set once.
#[derive(Debug, Clone, Default)]
pub(crate) struct Failure(Arc<OnceLock<String>>);

impl Failure {
    /// Records the first reason.
    pub(crate) fn set(&self, why: impl ToString) {
        let _ = self.0.set(why.to_string());
    }

    /// The reason, if there is one.
    pub(crate) fn get(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }
}
