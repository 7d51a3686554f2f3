//! Failures of commands: one line for people, one exit code for scripts.

use std::error::Error;
use std::process::ExitCode;

use baton::client::ClientError;
use baton::config::{ConfigError, InvalidAddress};
use baton::layout::LayoutError;

use super::stderr::{printable, say};

/// The failure of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// One line, or `None` if the output already says it all.
    message: Option<String>,
    code: u8,
}

impl Failure {
    /// Exit code: no message arrived within the given time.
    pub(super) const WAITED: u8 = 3;
    /// Exit code: a queue has messages and delivers none, because it is paused or they are for other consumers.
    pub(super) const HELD_UP: u8 = 4;
    /// Exit code: only a part was done, and the rest is unchanged.
    pub(super) const PARTLY: u8 = 5;

    /// A failure with the general exit code, 1.
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self::with_code(message, 1)
    }

    /// A failure with an exit code of its own.
    pub(super) fn with_code(message: impl Into<String>, code: u8) -> Self {
        Self { message: Some(message.into()), code }
    }

    /// An exit code without a message: the output already says it all.
    pub(super) fn quiet(code: u8) -> Self {
        Self { message: None, code }
    }

    /// The exit code.
    pub(super) fn code(&self) -> u8 {
        self.code
    }

    /// Prints it to stderr.
    pub(super) fn say(&self) {
        if let Some(message) = &self.message {
            let line =
                message.split('\n').map(str::trim).filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ");
            say(&format!("baton: {}", printable(&line)));
        }
    }

    /// Prints it to stderr, and becomes the exit code.
    pub(super) fn report(self) -> ExitCode {
        self.say();
        ExitCode::from(self.code)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.message.as_deref().unwrap_or_default())
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(error.to_string())
    }
}

impl From<InvalidAddress> for Failure {
    fn from(error: InvalidAddress) -> Self {
        Self::new(error.to_string())
    }
}

impl From<LayoutError> for Failure {
    fn from(error: LayoutError) -> Self {
        Self::new(with_causes(&error))
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::new(with_causes(&error))
    }
}

/// An error and its causes in one line.
pub(super) fn with_causes(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line += &format!(": {error}");
        cause = error.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use baton::client::{RollBackReason, TransactionError};
    use baton_client::protocol::EngineError;

    use super::*;

    #[test]
    fn each_cause_of_an_error_is_named_once() {
        let error = TransactionError::RolledBack(RollBackReason::NotSent(ClientError::Engine(EngineError::Busy)));
        let expected = "the transaction was rolled back: the engine is busy: retry in a moment";
        assert_eq!(with_causes(&error), expected);
    }
}
