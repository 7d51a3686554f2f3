//! Damage that was found while a store was in use is remembered: a server that is started again, by a service manager
//! or by hand, must not serve from a replica that is known to be damaged until somebody reads the bad block again.

use std::fs;
use std::path::Path;

use super::{StoreError, inspect};
use crate::disk::{Layout, write_atomically};
use crate::raft::Failure;

/// What damage the store at `dir` is known to have; `None` if it is sound as far as is known, or if there is none.
#[must_use]
pub fn damage(dir: &Path) -> Option<String> {
    match inspect(dir) {
        Err(StoreError::Damaged { why, .. }) => Some(why),
        Ok(Some(_)) => remembered(&Layout::new(dir)),
        Ok(None) | Err(_) => None,
    }
}

/// What is remembered.
pub(super) fn remembered(layout: &Layout) -> Option<String> {
    // Any file of that name is a mark, whatever can be read of it.
    let mark = layout.damaged();
    mark.exists().then(|| fs::read_to_string(mark).unwrap_or_else(|_| "damage was found in it".to_owned()))
}

/// Remembers it, if the error is damage, and passes the error on.
pub(super) fn remember(error: StoreError) -> StoreError {
    if let StoreError::Damaged { dir, why } = &error {
        let layout = Layout::new(dir);
        // The first is the cause. Beside a header only: other people's files get no mark of ours.
        if layout.header().exists()
            && !layout.damaged().exists()
            && let Err(error) = write_atomically(&layout.damaged(), why.as_bytes())
        {
            tracing::warn!(dir = %dir.display(), %error, "the damage could not be noted down");
        }
    }
    error
}

/// Damage in a store that is open: it serves no more, now and after a restart.
pub(super) fn found(dir: &Path, why: &str, failure: &Failure) -> StoreError {
    let error = remember(StoreError::Damaged { dir: dir.to_owned(), why: why.to_owned() });
    failure.set(&error);
    error
}
