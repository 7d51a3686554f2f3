//! Skipping a log entry that no replica can apply: an operator's last resort, at a store that is not open.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use baton_domain::{Command, EngineOp, ServerName};

use super::applied::AppliedRecord;
use super::open::{Opened, open_databases};
use super::types::{Entry, EntryPayload};
use crate::damage::{io_error, marked_entry, remembered};
use crate::disk::{Layout, MemoryBudget, Skips, sync_dir};
use crate::error::StoreError;
use crate::skipped::SkippedEntry;
use crate::state::{Record, StoreFiles};

/// Enough to open a state.
const MEMORY_BYTES: u64 = 64 * 1024 * 1024;

/// A log entry that may be skipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkipReport {
    /// Server that holds the store.
    pub server: ServerName,
    /// The entry.
    pub entry: SkippedEntry,
    /// Content of the entry in words: what is lost.
    pub content: String,
    /// Damage that the store is known to have. It is forgotten when the entry is skipped, so that the server starts;
    /// what is really damaged is found again.
    pub damage: Option<String>,
}

/// Error of [`entry_to_skip`] and [`skip_entry`]. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SkipError {
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// This replica has applied the entry.
    #[error("this replica has applied entry {entry} already, and all others up to {applied}: there is nothing to skip")]
    Applied {
        /// The entry's index.
        entry: u64,
        /// Index of the last entry that it applied.
        applied: u64,
    },
    /// The log does not hold the entry.
    #[error("the log of this replica ends at entry {last}: skip entry {entry} once this server stops at it")]
    NotInLog {
        /// The entry's index.
        entry: u64,
        /// Index of the last entry of the log.
        last: u64,
    },
    /// The entry is consensus' own.
    #[error("entry {entry} is no command but one of consensus itself, which cannot be skipped")]
    NotACommand {
        /// The entry's index.
        entry: u64,
    },
}

/// Looks at the entry at `index` of the store at `dir`, and changes nothing. No process may have the store open.
///
/// # Errors
/// [`SkipError`] if it cannot be skipped.
pub fn entry_to_skip(dir: &Path, index: u64) -> Result<SkipReport, SkipError> {
    look(dir, index).map(|(report, _)| report)
}

/// Skips the entry at `index` of the store at `dir`: it is answered as refused and changes nothing. No process may have
/// the store open.
///
/// A replica that applies the entry differs from those that skip it: skip it on every server.
///
/// # Errors
/// [`SkipError`] if it cannot be skipped.
pub fn skip_entry(dir: &Path, index: u64) -> Result<SkipReport, SkipError> {
    let (report, Opened { files: StoreFiles { layout, lock, .. }, .. }) = look(dir, index)?;
    let record = || {
        let mut skips = Skips::read(&layout.skips())?;
        skips.add(report.entry);
        skips.write(&layout.skips())?;
        if report.damage.is_some() {
            fs::remove_file(layout.damaged())?;
            sync_dir(layout.dir())?;
        }
        Ok(())
    };
    record().map_err(|error: std::io::Error| io_error(dir, &error))?;
    drop(lock);
    Ok(report)
}

/// The entries that the store at `dir` skips.
///
/// # Errors
/// [`StoreError`] if the list cannot be read.
pub fn skipped_entries(dir: &Path) -> Result<Vec<SkippedEntry>, StoreError> {
    let skips = Skips::read(&Layout::new(dir).skips()).map_err(|error| io_error(dir, &error))?;
    Ok(skips.entries().copied().collect())
}

/// Takes the entry at `index` off the list; false if it is not on it. No process may have the store open.
///
/// # Errors
/// [`StoreError`] if the store is in use, or the list cannot be read or written.
pub fn stop_skipping(dir: &Path, index: u64) -> Result<bool, StoreError> {
    let layout = Layout::new(dir);
    let _lock = layout.lock()?;
    let remove = || {
        let mut skips = Skips::read(&layout.skips())?;
        if !skips.remove(index) {
            return Ok(false);
        }
        skips.write(&layout.skips()).map(|()| true)
    };
    remove().map_err(|error: std::io::Error| io_error(dir, &error))
}

fn look(dir: &Path, index: u64) -> Result<(SkipReport, Opened), SkipError> {
    // As for a recovery: damage that is known does not forbid it, nor a recovery that stopped at this very entry.
    let opened = open_databases(dir, MemoryBudget::new(MEMORY_BYTES), true)?;
    let applied = opened.state.db().and_then(|db| AppliedRecord::load(&*db)).map_err(|error| io_error(dir, &error))?;
    let applied = applied.applied.map_or(0, |applied| applied.index);
    if index <= applied {
        return Err(SkipError::Applied { entry: index, applied });
    }
    let found = opened.log.read(index, index.saturating_add(1), usize::MAX).map_err(|error| io_error(dir, &error))?;
    let Some(entry) = found.first().filter(|entry| entry.log_id.index == index) else {
        let last = opened.log.bounds().last.map_or(0, |last| last.index);
        return Err(SkipError::NotInLog { entry: index, last });
    };
    let report = SkipReport {
        server: opened.files.header.server.clone(),
        entry: entry.log_id.into(),
        content: content(entry).ok_or(SkipError::NotACommand { entry: index })?,
        // Other damage stays: the store is to be rebuilt.
        damage: remembered(&opened.files.layout).filter(|_| marked_entry(&opened.files.layout) == Some(index)),
    };
    Ok((report, opened))
}

/// The content of an entry in words; `None` if it is no command.
fn content(entry: &Entry) -> Option<String> {
    let EntryPayload::Normal(encoded) = &entry.payload else { return None };
    Some(match encoded.decode() {
        Ok(Command::Engine { epoch, ops, .. }) => {
            let mut counts = BTreeMap::<String, u64>::new();
            for op in &ops {
                *counts.entry(name_of(op)).or_default() += 1;
            }
            let ops_in_words: Vec<String> = counts.iter().map(|(name, count)| format!("{count} {name}")).collect();
            let messages: usize = ops.iter().map(messages_of).sum();
            format!("writes of the engine of epoch {epoch}: {}; {messages} new messages", ops_in_words.join(", "))
        }
        Ok(command) => name_of(&command),
        Err(error) => format!("{} bytes that this program cannot decode: {error}", encoded.0.len()),
    })
}

/// The name of a variant.
fn name_of(value: &impl std::fmt::Debug) -> String {
    let debug = format!("{value:?}");
    debug.split(|letter: char| !letter.is_alphanumeric()).next().unwrap_or_default().to_owned()
}

/// Number of messages that a write would add.
fn messages_of(op: &EngineOp) -> usize {
    match op {
        EngineOp::Send { messages, .. } | EngineOp::Post { messages, .. } | EngineOp::SetAside { messages, .. } => {
            messages.len()
        }
        EngineOp::Transact { sends, .. } | EngineOp::Prepare { sends, .. } => {
            sends.iter().map(|send| send.messages.len()).sum()
        }
        _ => 0,
    }
}
