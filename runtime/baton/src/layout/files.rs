//! New files, secret ones included.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::LayoutError;

pub(super) fn io(path: &Path) -> impl Fn(std::io::Error) -> LayoutError {
    move |source| LayoutError::Io { path: path.to_owned(), source }
}

/// Writes a new file; a secret file is never readable by others, not even for a moment.
///
/// # Errors
/// [`LayoutError::Io`], also if the file exists.
pub fn file(path: &Path, mode: u32, text: &str) -> Result<(), LayoutError> {
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .map_err(io(path))
}
