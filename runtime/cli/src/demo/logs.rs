//! The logs of the demo's processes.

use std::path::Path;

/// The last words of a process.
pub(super) fn last_line(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no output").to_owned()
}
