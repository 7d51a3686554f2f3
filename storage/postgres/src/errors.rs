//! What an error of PostgreSQL means for the call that got it: decided by severity and SQLSTATE, never by the text.

use std::error::Error as _;
use std::io;

use baton_replica::shared::LogError;
use tokio_postgres::Error;
use tokio_postgres::error::{DbError, Severity, SqlState};
use tokio_rustls::rustls;

/// What may have happened in the database when a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing: it was not sent, or it only reads.
    None,
    /// Its change, unless the database says otherwise.
    Possible,
}

/// The error of a call.
pub(crate) fn log_error(error: &Error, effect: Effect) -> LogError {
    let broken = |text| match effect {
        Effect::None => LogError::Unreachable(text),
        Effect::Possible => LogError::Unknown(text),
    };
    match error.as_db_error() {
        Some(database) if database.parsed_severity() == Some(Severity::Error) => refusal(database),
        // The session ends. While a commit waits for its standby, it may be done all the same.
        Some(database) => match (effect, refusal(database)) {
            (Effect::None, refusal) => refusal,
            (Effect::Possible, _) => broken(text(database)),
        },
        None if certificate_refused(error) => LogError::Refused(reasons(error)),
        None => broken(reasons(error)),
    }
}

/// A notice that makes an answer doubtful: a commit whose wait for the standby was cancelled is reported as done, with
/// a warning.
pub(crate) fn is_warning(notice: &DbError) -> bool {
    match notice.parsed_severity() {
        Some(Severity::Notice | Severity::Debug | Severity::Info | Severity::Log) => false,
        Some(Severity::Warning | Severity::Error | Severity::Fatal | Severity::Panic) | None => true,
    }
}

/// The words of the database, with the code.
pub(crate) fn text(error: &DbError) -> String {
    format!("{} (SQLSTATE {})", error.message(), error.code().code())
}

/// True if an object is not there, or may not be used.
pub(crate) fn is_missing(error: &Error) -> bool {
    error.code().is_some_and(|code| {
        [SqlState::UNDEFINED_TABLE, SqlState::INVALID_SCHEMA_NAME, SqlState::UNDEFINED_FUNCTION].contains(code)
    })
}

/// True if the role has no right to do it.
pub(crate) fn is_forbidden(error: &Error) -> bool {
    error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE)
}

/// True if a row with that key is there already.
pub(crate) fn is_duplicate(error: &Error) -> bool {
    error.code() == Some(&SqlState::UNIQUE_VIOLATION)
        && error.as_db_error().and_then(DbError::parsed_severity) == Some(Severity::Error)
}

/// The error of a call that the database says it did not do.
fn refusal(error: &DbError) -> LogError {
    let code = error.code().code();
    let (class, text) = (code.get(..2).unwrap_or_default(), text(error));
    match (class, code) {
        // Read-only transaction: a standby, or a primary that its operators closed.
        (_, "25006") => LogError::NotPrimary(text),
        // Deadlock, serialization, cancelled, a lock that is not free.
        ("40", _) | (_, "57014" | "55P03" | "55006" | "23505") => LogError::Again(text),
        // Disk, memory, connections.
        ("53", _) => LogError::NoRoom(text),
        // Corrupted data or index.
        (_, "XX001" | "XX002") => LogError::Damaged(text),
        // Role, password, database, schema, privilege, a statement that the server does not know.
        ("28" | "42" | "3D" | "3F" | "0A" | "22", _) => LogError::Refused(text),
        // Starting up, shutting down, and everything else: connect again.
        _ => LogError::Unreachable(text),
    }
}

fn certificate_refused(error: &Error) -> bool {
    let mut source = error.source();
    while let Some(error) = source {
        let inner = error.downcast_ref::<io::Error>().and_then(|error| error.get_ref());
        let found = error.downcast_ref().or_else(|| inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()));
        if matches!(found, Some(rustls::Error::InvalidCertificate(_))) {
            return true;
        }
        source = error.source();
    }
    false
}

/// The words of an error and its sources.
fn reasons(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = error.source();
    }
    text
}
