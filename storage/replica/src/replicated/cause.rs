//! The cause for which consensus stopped. It carries errors of the store, and must not lose which of them are damage.

use std::error::Error;
use std::path::Path;
use std::{fmt, io};

use openraft::error::ErrorSource;
use serde::{Deserialize, Serialize};

use crate::damage::stopped;
use crate::error::StoreError;
use crate::state::ApplyError;

/// The cause of an error that consensus carries. Boxed: it is part of many results.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cause(Box<Words>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Words {
    is_damage: bool,
    words: String,
    /// The log entry that cannot be applied.
    #[serde(skip)]
    entry: Option<u64>,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.words)
    }
}

impl Error for Cause {}

impl ErrorSource for Cause {
    fn from_error<E: Error + 'static>(error: &E) -> Self {
        Self(Box::new(Words { is_damage: is_damage(error), words: error.to_string(), entry: entry_of(error) }))
    }

    fn from_string(words: impl ToString) -> Self {
        Self(Box::new(Words { is_damage: false, words: words.to_string(), entry: None }))
    }
}

/// True if the error, or what caused it, is damage of the store: [`io::ErrorKind::InvalidData`].
fn is_damage(error: &(dyn Error + 'static)) -> bool {
    if let Some(cause) = error.downcast_ref::<Cause>() {
        return cause.0.is_damage;
    }
    let read = error.downcast_ref::<io::Error>();
    // The source of an I/O error that wraps another one is the source of that.
    let wrapped = read.and_then(io::Error::get_ref).is_some_and(|error| is_damage(error));
    let damaged = read.is_some_and(|error| error.kind() == io::ErrorKind::InvalidData);
    damaged || wrapped || error.source().is_some_and(is_damage)
}

/// Index of the log entry that cannot be applied, if that is the error or its cause.
fn entry_of(error: &(dyn Error + 'static)) -> Option<u64> {
    if let Some(cause) = error.downcast_ref::<Cause>() {
        return cause.0.entry;
    }
    if let Some(failed) = error.downcast_ref::<ApplyError>() {
        return Some(failed.index);
    }
    let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    wrapped.and_then(|error| entry_of(error)).or_else(|| error.source().and_then(entry_of))
}

/// The reason why consensus stopped.
pub(crate) fn of_fatal(dir: &Path, fatal: &(dyn Error + 'static)) -> StoreError {
    stopped(dir, &fatal.to_string(), entry_of(fatal), is_damage(fatal))
}

#[cfg(test)]
mod tests {
    use openraft::StorageError;
    use openraft::error::Fatal;

    use super::*;
    use crate::replicated::RaftConfig;

    #[test]
    fn damage_is_known_as_such_whatever_it_is_called() {
        let of = |kind| {
            let error = io::Error::new(kind, "some words");
            Fatal::from(StorageError::<RaftConfig>::read_logs(Cause::from_error(&error)))
        };
        let damage = of(io::ErrorKind::InvalidData);
        assert!(is_damage(&damage));
        assert!(damage.to_string().contains("some words"));
        assert!(!is_damage(&of(io::ErrorKind::StorageFull)));
        let wrapped = io::Error::other(io::Error::from(io::ErrorKind::InvalidData));
        assert!(Cause::from_error(&wrapped).0.is_damage);
        assert!(!is_damage(&Fatal::<RaftConfig>::Panicked));
    }

    #[test]
    fn an_entry_that_cannot_be_applied_is_named_with_the_way_past_it() {
        let dir = Path::new("store");
        let of = |error: io::Error| {
            of_fatal(dir, &Fatal::from(StorageError::<RaftConfig>::read_logs(Cause::from_error(&error))))
        };
        let failed = |kind| of(ApplyError::of(7, io::Error::new(kind, "some words")));
        let panicked = of(ApplyError::of_panic(7, &"some words"));
        for (error, damage) in
            [(failed(io::ErrorKind::InvalidData), true), (failed(io::ErrorKind::Unsupported), false), (panicked, false)]
        {
            assert_eq!(matches!(error, StoreError::Damaged { .. }), damage, "{error}");
            assert_eq!(matches!(error, StoreError::CannotApply { entry: 7, .. }), !damage, "{error}");
            let words = error.to_string();
            assert!(["some words", "log entry 7", "`baton skip"].iter().all(|part| words.contains(part)), "{words}");
        }
        assert!(matches!(failed(io::ErrorKind::StorageFull), StoreError::Io { .. }), "that is the disk's fault");
    }
}
