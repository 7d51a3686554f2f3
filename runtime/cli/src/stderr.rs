//! Lines for people, apart from a command's output.

use std::io::Write;

/// Writes a line to stderr. If nobody can read it, there is nobody to tell.
pub(super) fn say(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// A text that somebody else wrote, fit for a terminal: nothing in it steers one.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
