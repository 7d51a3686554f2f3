//! The tables that the state machine reads and writes, on disk or in memory.

use std::io;

use super::records::MessageKey;

/// A table of the state. The numbers go into the running hash: never renumber.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub(crate) enum Family {
    /// Single records: the cluster, counters, the running hash, the applied position.
    Meta = 0,
    /// Messages by queue and id; a pack by those of its first message.
    Messages = 1,
    /// Redelivery counts of the messages that were handed back, by queue and id.
    Redeliveries = 2,
    /// Queues by number.
    Queues = 3,
    /// Producers by id.
    Producers = 4,
    /// Consumers by id.
    Consumers = 5,
    /// Recorded hashes by log index.
    Markers = 6,
    /// Settings of queues that differ from the defaults, by number.
    Settings = 7,
    /// Timers, by time; the timer of a delayed message holds the message.
    Timers = 8,
    /// Number of subscriptions that share a message, by topic space and id; absent if it is one.
    Shares = 9,
    /// Transactions in doubt, by name.
    InDoubt = 10,
    /// Remainders of packs, by the pack's key: enough to settle messages without reading the pack.
    Packs = 11,
    /// The latest changes of clients and their answers: a ring, by slot.
    Changes = 12,
}

impl Family {
    /// All of them, in the order of their numbers.
    pub(crate) const ALL: [Self; 13] = [
        Self::Meta,
        Self::Messages,
        Self::Redeliveries,
        Self::Queues,
        Self::Producers,
        Self::Consumers,
        Self::Markers,
        Self::Settings,
        Self::Timers,
        Self::Shares,
        Self::InDoubt,
        Self::Packs,
        Self::Changes,
    ];

    /// Its name on disk.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Messages => "messages",
            Self::Redeliveries => "redeliveries",
            Self::Queues => "queues",
            Self::Producers => "producers",
            Self::Consumers => "consumers",
            Self::Markers => "markers",
            Self::Settings => "settings",
            Self::Timers => "timers",
            Self::Shares => "shares",
            Self::InDoubt => "in_doubt",
            Self::Packs => "packs",
            Self::Changes => "changes",
        }
    }
}

/// Takes the key and the value of each record.
pub(crate) type RecordVisitor<'a> = &'a mut dyn FnMut(MessageKey, &[u8]) -> io::Result<()>;

/// Takes the key and the remainder of each pack, and returns the key of the pack's last message.
pub(crate) type PackVisitor<'a> = &'a mut dyn FnMut(MessageKey, &[u8]) -> io::Result<MessageKey>;

/// Reads the state as the last written batch left it.
pub(crate) trait Tables {
    /// One value.
    fn get(&self, family: Family, key: &[u8]) -> io::Result<Option<Vec<u8>>>;

    /// Visits the values of those `keys` that exist. The keys are sorted.
    fn get_each(&self, family: Family, keys: &[MessageKey], visit: RecordVisitor<'_>) -> io::Result<()>;

    /// Visits the packs that may hold the messages of `keys`, which are sorted: for each key the last pack of the same
    /// entry and lane that does not begin after it. Keys up to the last message that `visit` returned are not looked
    /// up. Some other packs may be visited, too.
    fn packs(&self, keys: &[MessageKey], visit: PackVisitor<'_>) -> io::Result<()>;

    /// The keys from `from` up to but without `to`, in order, at most `limit`.
    fn keys(&self, family: Family, from: &[u8], to: &[u8], limit: usize) -> io::Result<Vec<Vec<u8>>>;

    /// A whole family, in key order. For small ones only.
    fn scan(&self, family: Family) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>>;
}

/// Takes the writes of a batch, in order.
pub(crate) trait Sink {
    /// Sets a value.
    fn put(&mut self, family: Family, key: &[u8], value: &[u8]);

    /// Removes a value.
    fn delete(&mut self, family: Family, key: &[u8]);

    /// Removes all values from `from` up to but without `to`.
    fn delete_range(&mut self, family: Family, from: &[u8], to: &[u8]);
}
