//! What may become of a message: five levels, by the names that WebSphere's service integration gave them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What may become of a message, from the least to the most. A message that is confirmed at a level is lost only in what
/// that level says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reliability {
    /// In the engine's memory alone; may be dropped for newer ones where there is no room, and is not sent again when the
    /// link breaks.
    BestEffortNonpersistent,
    /// In the engine's memory alone; not sent again when the link breaks.
    ExpressNonpersistent,
    /// In the engine's memory alone: lost when the engine stops or moves.
    ReliableNonpersistent,
    /// Stored, but confirmed before: lost if the engine's server fails in that moment.
    ReliablePersistent,
    /// Stored and confirmed after that: never lost.
    #[default]
    AssuredPersistent,
}

impl Reliability {
    /// All levels, from the least to the most.
    pub const ALL: [Self; 5] = [
        Self::BestEffortNonpersistent,
        Self::ExpressNonpersistent,
        Self::ReliableNonpersistent,
        Self::ReliablePersistent,
        Self::AssuredPersistent,
    ];

    /// Whether its messages are in the store.
    #[must_use]
    pub fn is_persistent(self) -> bool {
        self >= Self::ReliablePersistent
    }

    /// Whether a producer sends its messages again when it does not know what became of them.
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

/// A text that names no level.
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
