//! The failure to apply a log entry.

use std::any::Any;
use std::error::Error;
use std::{fmt, io};

/// A log entry that cannot be applied. What fails here probably fails on every replica, at the same entry, at each
/// start.
#[derive(Debug)]
pub(crate) struct ApplyError {
    pub(crate) index: u64,
    why: String,
}

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "log entry {} cannot be applied: {}", self.index, self.why)
    }
}

impl Error for ApplyError {}

impl ApplyError {
    /// Adds the entry to an error, which keeps its kind. A disk that fails has nothing to do with the entry.
    pub(crate) fn of(index: u64, error: io::Error) -> io::Error {
        match error.kind() {
            kind @ (io::ErrorKind::InvalidData | io::ErrorKind::Unsupported) => {
                io::Error::new(kind, Self { index, why: error.to_string() })
            }
            _ => error,
        }
    }

    /// Makes an error of a panic.
    pub(crate) fn of_panic(index: u64, panic: &(dyn Any + Send)) -> io::Error {
        let words =
            panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        io::Error::other(Self { index, why: format!("panic: {}", words.unwrap_or("without words")) })
    }
}
