//! Names and numbers that identify things, one type each, so that none passes for another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{PRIORITY_DEFAULT, random};

/// The longest server name, in bytes.
const SERVER_NAME_MAX: usize = 63;
/// The longest name of a transaction, in bytes.
const TRANSACTION_NAME_MAX: usize = 128;
/// The longest queue name, in bytes.
const QUEUE_NAME_MAX: usize = 255;

/// A name that breaks the rules of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} name {name:?} is not allowed: use 1 to {max} of the characters a-z A-Z 0-9 . _ -{extra}")]
pub struct NameError {
    kind: &'static str,
    name: String,
    max: usize,
    extra: &'static str,
}

fn checked(kind: &'static str, name: &str, max: usize, slash: bool) -> Result<String, NameError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') || (slash && c == '/');
    if name.is_empty() || name.len() > max || !name.chars().all(allowed) {
        let extra = if slash { " /" } else { "" };
        return Err(NameError { kind, name: name.to_owned(), max, extra });
    }
    Ok(name.to_owned())
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $max:expr, $slash:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks a name.
            ///
            /// # Errors
            /// [`NameError`] if it is empty, too long, or has a character that is not allowed.
            pub fn new(name: impl AsRef<str>) -> Result<Self, NameError> {
                checked($kind, name.as_ref(), $max, $slash).map(Self)
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(name: String) -> Result<Self, NameError> {
                Self::new(name)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(name: &str) -> Result<Self, NameError> {
                Self::new(name)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name_type!(
    /// The unique name of a server in its cluster.
    ServerName, "server", SERVER_NAME_MAX, false
);
name_type!(
    /// The name of a queue.
    QueueName, "queue", QUEUE_NAME_MAX, true
);

name_type!(
    /// An outside coordinator's name for a transaction.
    TransactionName, "transaction", TRANSACTION_NAME_MAX, true
);

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(#[serde(with = "serde_bytes")] pub [u8; 16]);

        impl $name {
            /// A new id, which the system draws.
            ///
            /// # Panics
            /// If the system provides no random bytes.
            #[must_use]
            pub fn random() -> Self {
                Self(random::bytes())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

random_id!(
    /// 128 random bits that `init` drew for a cluster.
    ClusterId
);
random_id!(
    /// 128 random bits that a producer drew for itself.
    ProducerId
);
random_id!(
    /// 128 random bits that a client drew for a session: transactions that it numbers.
    SessionId
);
random_id!(
    /// 128 random bits that a consumer drew for itself.
    ConsumerId
);
random_id!(
    /// 128 random bits that a client draws for each change of destinations or of the cluster: an attempt whose answer was
    /// lost is repeated under the same id, and is not applied twice.
    ChangeId
);

impl ProducerId {
    /// The id of a producer that has a name: the same whenever it comes back to that queue.
    #[must_use]
    pub fn named(queue: &QueueName, name: &str) -> Self {
        // No queue's name has a zero byte.
        let text = [queue.as_str().as_bytes(), &[0], name.as_bytes()].concat();
        Self(xxhash_rust::xxh3::xxh3_128(&text).to_be_bytes())
    }
}

/// One copy of the store. A wiped server comes back under a new one; none is ever used again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReplicaId(pub u64);

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A queue's number in the store; names can be used again, numbers cannot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct QueueId(pub u32);

/// The fencing token of one activation: where its entry stands in the log, under the cluster's generation.
/// Ordered by generation, then index.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Epoch {
    /// Grows when an operator recovers the cluster by force.
    pub generation: u32,
    /// The log index of the activation.
    pub index: u64,
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.generation, self.index)
    }
}

/// A message's place in the store: unique, and ordered as the messages were committed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MessageId {
    /// The cluster's generation when it was stored.
    pub generation: u32,
    /// The log index of the entry that stored it.
    pub index: u64,
    /// Its position among the messages that the entry stored, in the lower 27 bits, and its lane: see [`Self::lane`].
    pub position: u32,
}

/// In a position: the message is in the memory of an engine alone.
const NONPERSISTENT: u32 = 1 << 31;
/// How many bits of a position count messages.
const COUNT_BITS: u32 = 27;
/// The part of a position that counts messages.
const COUNT: u32 = (1 << COUNT_BITS) - 1;

/// What is stored under one priority: each queue has a lane for each. Numbered so that the default priority has lane 0,
/// and its messages plain positions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Lane(pub u8);

impl Lane {
    /// The lane of a priority.
    #[must_use]
    pub fn of_priority(priority: u8) -> Self {
        Self(priority ^ PRIORITY_DEFAULT)
    }

    /// The priority of the lane.
    #[must_use]
    pub fn priority(self) -> u8 {
        self.0 ^ PRIORITY_DEFAULT
    }

    /// The last id that can be given out in this lane by entries up to that one.
    #[must_use]
    pub fn end_of(self, generation: u32, index: u64) -> MessageId {
        MessageId { generation, index, position: self.bits() | COUNT }
    }

    /// The least id of this lane.
    #[must_use]
    pub fn start(self) -> MessageId {
        MessageId { generation: 0, index: 0, position: self.bits() }
    }

    fn bits(self) -> u32 {
        u32::from(self.0 & 0xf) << COUNT_BITS
    }
}

impl MessageId {
    /// The id's big-endian bytes, which sort as the ids do.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&self.generation.to_be_bytes());
        bytes[4..12].copy_from_slice(&self.index.to_be_bytes());
        bytes[12..].copy_from_slice(&self.position.to_be_bytes());
        bytes
    }

    /// Reads what [`Self::to_bytes`] wrote.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let [g0, g1, g2, g3, i0, i1, i2, i3, i4, i5, i6, i7, p0, p1, p2, p3] = bytes;
        Self {
            generation: u32::from_be_bytes([g0, g1, g2, g3]),
            index: u64::from_be_bytes([i0, i1, i2, i3, i4, i5, i6, i7]),
            position: u32::from_be_bytes([p0, p1, p2, p3]),
        }
    }

    /// The lane that the message is in.
    #[must_use]
    pub fn lane(self) -> Lane {
        Lane((self.position >> COUNT_BITS) as u8 & 0xf)
    }

    /// The same place, counted in another lane.
    #[must_use]
    pub fn in_lane(self, lane: Lane) -> Self {
        Self { position: lane.bits() | self.count(), ..self }
    }

    /// The id of a message that its entry stored so many messages after this one, in that lane.
    #[must_use]
    pub fn after(self, more: u32, lane: Lane) -> Self {
        Self { position: lane.bits() | ((self.count() + more) & COUNT), ..self }
    }

    /// How many messages its entry stored before it.
    #[must_use]
    pub fn count(self) -> u32 {
        self.position & COUNT
    }

    /// The id of a message that is in the memory of the engine of that epoch alone: the `count`-th one. Ordered by that
    /// within a lane. No engine since 134 million entries gave out the same.
    #[must_use]
    pub fn nonpersistent(epoch: Epoch, count: u64, lane: Lane) -> Self {
        let position = NONPERSISTENT | lane.bits() | (epoch.index as u32 & COUNT);
        Self { generation: epoch.generation, index: count, position }
    }

    /// Whether the message is in no store.
    #[must_use]
    pub fn is_nonpersistent(self) -> bool {
        self.position & NONPERSISTENT != 0
    }

    /// The least id that its entry can have given out in its lane.
    #[must_use]
    pub fn first_of_entry(self) -> Self {
        Self { position: self.lane().bits(), ..self }
    }

    /// The smallest id of the same lane that is greater than this one.
    #[must_use]
    pub fn next(self) -> Self {
        if self.count() < COUNT {
            Self { position: self.position + 1, ..self }
        } else {
            Self { index: self.index + 1, position: self.lane().bits(), ..self }
        }
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.generation, self.index, self.position)
    }
}

impl From<u64> for ReplicaId {
    fn from(id: u64) -> Self {
        Self(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_ids_sort_as_their_bytes_do() {
        let ids = [(0, 1, 0), (0, 1, 9), (0, 2, 0), (0, 300, 1), (1, 1, 0)]
            .map(|(generation, index, position)| MessageId { generation, index, position });
        for pair in ids.windows(2) {
            assert!(pair[0] < pair[1] && pair[0].to_bytes() < pair[1].to_bytes());
            assert_eq!(MessageId::from_bytes(pair[0].to_bytes()), pair[0]);
        }
    }

    #[test]
    fn ids_of_messages_in_memory_are_no_other_engines_and_no_stored_ones() {
        let epoch = |index| Epoch { generation: 1, index };
        let lane = Lane::of_priority(9);
        let id = MessageId::nonpersistent(epoch(70), 5, lane);
        assert!(id.is_nonpersistent() && id.lane() == lane && id < MessageId::nonpersistent(epoch(70), 6, lane));
        assert_ne!(id, MessageId::nonpersistent(epoch(71), 5, lane));
        assert!(!lane.end_of(1, 70).is_nonpersistent());
    }

    #[test]
    fn names_say_what_is_allowed() {
        assert!(ServerName::new("server1").is_ok());
        for bad in ["", "a b", "a/b", &"x".repeat(64)] {
            let error = ServerName::new(bad).expect_err(bad).to_string();
            assert!(error.contains("1 to 63"), "{error}");
        }
        assert!(QueueName::new("orders/new").is_ok());
    }
}
