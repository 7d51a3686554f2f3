//! Making a store, and looking at one without opening it.

use std::path::Path;

use crate::disk::{Layout, LogFiles, MemoryBudget, StateDb, read_header, sync_dir, write_header};
use crate::error::StoreError;
use crate::header::StoreHeader;

/// Enough to make an empty database.
const MEMORY_BYTES: u64 = 16 * 1024 * 1024;

/// Formats an empty directory (made if it is absent).
///
/// # Errors
/// [`StoreError::Exists`] if there is a store already.
pub fn format(dir: &Path, header: &StoreHeader) -> Result<(), StoreError> {
    let io_error = |why: &dyn ToString| StoreError::Io { dir: dir.to_owned(), why: why.to_string() };
    match inspect(dir) {
        Ok(None) => {}
        Ok(Some(_)) => return Err(StoreError::Exists { dir: dir.to_owned() }),
        Err(error) => return Err(error),
    }
    let layout = Layout::new(dir);
    layout.create_dir().map_err(|error| io_error(&error))?;
    let _lock = layout.lock()?;
    let memory = MemoryBudget::new(MEMORY_BYTES);
    // All pieces are made here, so that a piece that is missing later is known to be missing.
    LogFiles::create(&layout.log()).map_err(|error| io_error(&error))?;
    let state = layout.new_state();
    StateDb::open(&state, &memory, true).map_err(|error| io_error(&error))?;
    layout.set_current_state(&state).map_err(|error| io_error(&error))?;
    // Last: without a header there is no store, whatever else lies there.
    write_header(&layout.header(), header).map_err(|error| io_error(&error))?;
    match dir.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Ok(()),
        Some(parent) => sync_dir(parent).map_err(|error| io_error(&error)),
        None => Ok(()),
    }
}

/// Reads a store's header; `None` if the directory is absent or empty but for stores that were set aside.
///
/// # Errors
/// [`StoreError`] if what is there is damaged, newer, or not a store.
pub fn inspect(dir: &Path) -> Result<Option<StoreHeader>, StoreError> {
    let layout = Layout::new(dir);
    if let Some(header) = read_header(dir, &layout.header())? {
        return Ok(Some(header));
    }
    let io_error = |error: std::io::Error| StoreError::Io { dir: dir.to_owned(), why: error.to_string() };
    let foreign = layout.foreign().map_err(io_error)?;
    if foreign.is_empty() {
        return Ok(None);
    }
    if layout.pieces().map_err(io_error)?.is_empty() {
        return Err(StoreError::Foreign { dir: dir.to_owned(), files: foreign.join(", ") });
    }
    Err(StoreError::Damaged { dir: dir.to_owned(), why: "its header, which says what it is, is missing".into() })
}
