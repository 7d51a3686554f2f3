//! What was written under a producer's name, so that whoever takes the name over can see whether it is theirs.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The messages that were stored under a producer's name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// How many: the number of the last one.
    pub last: u64,
    /// Over the bodies of all of them, in order.
    pub digest: u64,
}

impl Written {
    /// With one more message.
    #[must_use]
    pub fn and(self, body: &[u8]) -> Self {
        Self { last: self.last.saturating_add(1), digest: xxh3_64_with_seed(body, self.digest) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_their_order_and_where_one_ends_make_the_digest() {
        let of = |bodies: &[&str]| bodies.iter().fold(Written::default(), |before, body| before.and(body.as_bytes()));
        assert_eq!(of(&["a", "b"]), of(&["a", "b"]));
        for other in [&["b", "a"][..], &["ab"], &["a", "b", ""], &["a"], &[]] {
            assert_ne!(of(&["a", "b"]), of(other), "{other:?}");
        }
    }
}
