//! Damage that was found while a store was in use is recorded: a server that is started again, by a service manager
//! or by hand, must not serve from a replica that is known to be damaged until a bad block is read again.

use std::fs;
use std::io;
use std::path::Path;

use crate::disk::{Layout, write_atomically};
use crate::error::StoreError;
use crate::failure::Failure;
use crate::format::inspect;

/// Known damage of the store at `dir`; `None` if no damage is known, or if there is no store.
#[must_use]
pub fn damage(dir: &Path) -> Option<String> {
    match inspect(dir) {
        Err(StoreError::Damaged { why, .. }) => Some(why),
        Ok(Some(_)) => remembered(&Layout::new(dir)).or_else(|| older_copy(dir)),
        Ok(None) | Err(_) => None,
    }
}

/// The reason why the store at `dir` is known to be an older copy; `None` if it is not known to be one.
#[must_use]
pub fn older_copy(dir: &Path) -> Option<String> {
    let mark = Layout::new(dir).older_copy();
    mark.exists().then(|| fs::read_to_string(mark).unwrap_or_else(|_| "it lacks what it acknowledged".to_owned()))
}

/// The recorded damage.
pub(crate) fn remembered(layout: &Layout) -> Option<String> {
    // Any file of that name is a mark, whatever can be read of it.
    let mark = layout.damaged();
    if matches!(mark.try_exists(), Ok(false)) {
        return None;
    }
    let text = fs::read_to_string(mark).unwrap_or_else(|_| "damage was found in it".to_owned());
    Some(
        text.split_once('\n')
            .filter(|(first, _)| entry_line(first).is_some())
            .map_or(text.clone(), |(_, why)| why.to_owned()),
    )
}

/// The log entry at which the recorded damage was found, if it was found by applying one.
pub(crate) fn marked_entry(layout: &Layout) -> Option<u64> {
    entry_line(fs::read_to_string(layout.damaged()).ok()?.lines().next()?)
}

/// The first line of a mark that names an entry.
fn entry_line(line: &str) -> Option<u64> {
    line.strip_prefix("entry=")?.parse().ok()
}

/// The reason why a store that is open stopped: `why`, and the log entry that cannot be applied, if that is it. Damage is
/// recorded: it needs other steps than a disk that fails.
pub(crate) fn stopped(dir: &Path, why: &str, entry: Option<u64>, is_damage: bool) -> StoreError {
    match entry {
        Some(entry) if is_damage => {
            let why = format!("{why}; if every server stops at log entry {entry}, see `baton skip --help`");
            remember_at(entry, damaged_store(dir, &why))
        }
        Some(entry) => StoreError::CannotApply { dir: dir.to_owned(), entry, why: why.to_owned() },
        None if is_damage => remember(damaged_store(dir, why)),
        None => io_error(dir, &why),
    }
}

/// Records damage that was found by applying a log entry.
fn remember_at(entry: u64, error: StoreError) -> StoreError {
    remember_as(&format!("entry={entry}\n"), error)
}

/// Records an error that is damage or an older copy, and returns the error.
pub(crate) fn remember(error: StoreError) -> StoreError {
    remember_as("", error)
}

fn remember_as(head: &str, error: StoreError) -> StoreError {
    let (dir, mark, why) = match &error {
        StoreError::Damaged { dir, why } => (dir, Layout::new(dir).damaged(), why),
        StoreError::OlderCopy { dir, why } => (dir, Layout::new(dir).older_copy(), why),
        _ => return error,
    };
    // The first damage is the cause. Only next to a header: other directories get no mark.
    if Layout::new(dir).header().exists()
        && !mark.exists()
        && let Err(error) = write_atomically(&mark, format!("{head}{why}").as_bytes())
    {
        tracing::warn!(dir = %dir.display(), %error, "cannot record the damage of the store");
    }
    error
}

/// Damage in a store that is open: it serves no more, now and after a restart.
pub(crate) fn found(dir: &Path, why: &str, failure: &Failure) -> StoreError {
    let error = remember(StoreError::Damaged { dir: dir.to_owned(), why: why.to_owned() });
    failure.set(&error);
    error
}

pub(crate) fn io_error(dir: &Path, why: &dyn ToString) -> StoreError {
    StoreError::Io { dir: dir.to_owned(), why: why.to_string() }
}

pub(crate) fn damaged_store(dir: &Path, why: &str) -> StoreError {
    StoreError::Damaged { dir: dir.to_owned(), why: why.to_owned() }
}

/// Data that cannot be read is damage; a disk that fails is not.
pub(crate) fn from_io(dir: &Path, error: &io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::InvalidData => damaged_store(dir, &error.to_string()),
        _ => io_error(dir, error),
    }
}
