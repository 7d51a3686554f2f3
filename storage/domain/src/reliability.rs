//! Reliability levels of messages: five, named as in WebSphere's service integration.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Reliability level of a message, from the lowest to the highest. A confirmed message is lost only in the cases that
/// its level names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reliability {
    /// In the engine's memory only; may be dropped for newer ones if there is no room, and is not resent after a link
    /// failure.
    BestEffortNonpersistent,
    /// In the engine's memory only; not resent after a link failure.
    ExpressNonpersistent,
    /// In the engine's memory only: lost when the engine stops or moves.
    ReliableNonpersistent,
    /// Confirmed before it is stored: lost if the engine's server fails at that moment.
    ReliablePersistent,
    /// Confirmed after it is stored: never lost.
    #[default]
    AssuredPersistent,
}

impl Reliability {
    /// All levels, from the lowest to the highest.
    pub const ALL: [Self; 5] = [
        Self::BestEffortNonpersistent,
        Self::ExpressNonpersistent,
        Self::ReliableNonpersistent,
        Self::ReliablePersistent,
        Self::AssuredPersistent,
    ];

    /// True if its messages are in the store.
    #[must_use]
    pub fn is_persistent(self) -> bool {
        self >= Self::ReliablePersistent
    }

    /// True if a producer resends its messages after an unknown outcome.
    #[must_use]
    pub fn is_sent_again(self) -> bool {
        self >= Self::ReliableNonpersistent
    }

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BestEffortNonpersistent => "best-effort-nonpersistent",
            Self::ExpressNonpersistent => "express-nonpersistent",
            Self::ReliableNonpersistent => "reliable-nonpersistent",
            Self::ReliablePersistent => "reliable-persistent",
            Self::AssuredPersistent => "assured-persistent",
        }
    }
}

impl fmt::Display for Reliability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that is not a level.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a reliability level: use one of {names}", names = Reliability::ALL.map(Reliability::as_str).join(", "))]
pub struct ReliabilityError(String);

impl FromStr for Reliability {
    type Err = ReliabilityError;

    fn from_str(text: &str) -> Result<Self, ReliabilityError> {
        let named = Self::ALL.into_iter().find(|level| level.as_str() == text);
        named.ok_or_else(|| ReliabilityError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use serde::de::IntoDeserializer;
    use serde::de::value::StrDeserializer;

    use super::*;

    #[test]
    fn levels_are_read_by_the_names_that_they_are_written_by() {
        for level in Reliability::ALL {
            assert_eq!(level.to_string().parse(), Ok(level));
            let written: StrDeserializer<'_, serde::de::value::Error> = level.as_str().into_deserializer();
            assert_eq!(Reliability::deserialize(written), Ok(level));
        }
        let error = "express".parse::<Reliability>().expect_err("no level").to_string();
        assert!(error.contains("best-effort-nonpersistent, express-nonpersistent,"), "{error}");
    }
}
