//! An entry of a log, and the record of having applied it, as the state sees them.

use std::io;

use bytes::Bytes;

use crate::machine::{Sink, Tables};
use crate::skipped::SkippedEntry;

/// The record of the last applied entry. Part of the state, so that both are of the same instant.
pub(crate) trait Record: Clone + Default + Send + Sync + 'static {
    /// Reads the record; the default if nothing was applied.
    fn load(tables: &dyn Tables) -> io::Result<Self>;

    /// Writes it.
    fn save(&self, sink: &mut dyn Sink);

    /// True if the other one has applied less.
    fn is_ahead_of(&self, other: &Self) -> bool;
}

/// An entry of a log.
pub(crate) trait LoggedEntry {
    /// The record of having applied it.
    type Record: Record;

    /// Its name. The leader is replica 0 where the log does not record it.
    fn name(&self) -> SkippedEntry;

    /// Its bytes, where bytes are limited.
    fn bytes(&self) -> usize;

    /// Its command, encoded; `None` if it has none.
    fn command(&self) -> Option<&Bytes>;

    /// Notes that it is applied.
    fn note(&self, record: &mut Self::Record);
}
