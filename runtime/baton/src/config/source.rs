//! A TOML file with its text, so that errors can name the line.

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::ConfigError;
use super::error::ValueError;

/// The content of a file.
pub(super) struct Source {
    file: PathBuf,
    text: String,
}

impl Source {
    /// Reads a file.
    pub(super) fn read(file: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(file)
            .map_err(|error| ConfigError::Unreadable { file: file.to_owned(), why: error.to_string() })?;
        Ok(Self { file: file.to_owned(), text })
    }

    /// Its name, as given.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// Parses the whole file as a `T`.
    pub(super) fn parse<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        toml::from_str(&self.text)
            .map_err(|error| self.error(&error.span().unwrap_or_default(), error.message().to_owned()))
    }

    /// An error at a place in the file.
    pub(super) fn error(&self, span: &Range<usize>, why: impl ToString) -> ConfigError {
        // Parser messages can have several lines; an error has one.
        let why =
            why.to_string().split('\n').map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(", ");
        let before = &self.text.as_bytes()[..span.start.min(self.text.len())];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        ConfigError::Invalid { file: self.file.clone(), line, why }
    }

    /// An error for a value that is not allowed, at the first of its keys that is written.
    pub(super) fn reject(&self, error: ValueError, place: impl Fn(&str) -> Option<Range<usize>>) -> ConfigError {
        let span = error.keys.iter().find_map(|key| place(key)).unwrap_or_default();
        self.error(&span, error.why)
    }

    /// A path in the file: relative to the file.
    pub(super) fn path(&self, relative: &str) -> PathBuf {
        self.file.parent().unwrap_or(Path::new("")).join(relative)
    }
}
