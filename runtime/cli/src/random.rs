//! A random number, for names and ports that must be unique.

use super::Failure;

/// A random number from the system.
pub(super) fn random() -> Result<u64, Failure> {
    getrandom::u64().map_err(|error| Failure::new(format!("cannot read random bytes: {error}")))
}
