//! The queues of the workload, and how messages come through them.

/// The use of a queue.
pub(super) struct QueueUse {
    pub(super) queue: &'static str,
    pub(super) producers: usize,
    pub(super) consumers: usize,
    /// Lines that a producer is fed at a time.
    pub(super) batch: u64,
    /// Its consumers come when all faults are over. Where consumers keep up, hardly a message that was confirmed is still
    /// in the store when a fault begins: only one that rests there shows that the store keeps it.
    pub(super) rests: bool,
    pub(super) way: Way,
}

/// Paths of messages from senders to receivers. The checks have one name for all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Through one queue.
    Queue,
    /// Through one queue, those of a producer in a group of their own: with one consumer at a time.
    Group,
    /// Through one queue whose consumers select all that comes: the engine chooses message by message.
    Select,
    /// Published in a topic space, and taken from a durable subscription.
    Topic,
    /// Rejected by every receiver, and received from the exception destination.
    SetAside,
    /// Moved to another queue by transactions.
    Transfer,
    /// Taken by clients that print each operation, see [`super::load`].
    Recorded,
}

/// The queues.
pub(super) const QUEUES: [QueueUse; 10] = [
    QueueUse { queue: "orders", producers: 2, consumers: 1, batch: 2, rests: false, way: Way::Queue },
    QueueUse { queue: "events", producers: 1, consumers: 2, batch: 3, rests: false, way: Way::Queue },
    QueueUse { queue: "audit", producers: 1, consumers: 1, batch: 10, rests: false, way: Way::Select },
    QueueUse { queue: "accounts", producers: 2, consumers: 2, batch: 2, rests: false, way: Way::Group },
    QueueUse { queue: "ledger", producers: 1, consumers: 1, batch: 2, rests: true, way: Way::Queue },
    QueueUse { queue: "news", producers: 1, consumers: 1, batch: 2, rests: false, way: Way::Topic },
    QueueUse { queue: "flawed", producers: 1, consumers: 1, batch: 1, rests: false, way: Way::SetAside },
    QueueUse { queue: "inbound", producers: 1, consumers: 1, batch: 2, rests: false, way: Way::Transfer },
    QueueUse { queue: "moves", producers: 1, consumers: 0, batch: 1, rests: false, way: Way::Recorded },
    QueueUse { queue: "prefetch", producers: 1, consumers: 0, batch: 1, rests: false, way: Way::Recorded },
];

/// Queues whose messages may overtake each other: messages that a transaction or a dead consumer did not get are
/// retried later, and delayed messages become due by the clocks of several servers.
pub(crate) const UNORDERED: [&str; 5] = ["inbound", "moves", "prefetch", "timed", "refused"];

/// Large messages, while there is a fault that sends them.
pub(crate) const LARGE: &str = "large";
/// Queues that get messages now and then: that there is none for a while says nothing.
pub(crate) const IRREGULAR: [&str; 2] = [LARGE, "refused"];

/// The queue of messages with a delay.
pub(crate) const DELAYED: &str = "timed";

/// Destinations to which movers send each message of `moves`.
pub(crate) const MOVED: [&str; 2] = ["moves.moved", "moves.copies"];
/// The exception destination of `prefetch`.
pub(crate) const SET_ASIDE: &str = "prefetch.aside";
/// Failed deliveries before a message goes there: the default.
pub(crate) const MAX_FAILED: usize = 10;
/// The destination of the messages of `timed` and `brief`.
pub(crate) const TIMED: &str = "timed.moved";
/// The same of `brief`.
pub(crate) const BRIEF: &str = "brief.moved";
/// Delay of messages of `timed`, in milliseconds.
pub(crate) const DELAY_MS: u64 = 2_500;
/// Time to live of messages of `brief`, in milliseconds.
pub(crate) const LIVE_MS: u64 = 3_000;
/// The exception destination of `refused`.
pub(crate) const DEAD: &str = "refused.dead";
/// Its maximum number of messages.
pub(crate) const DEAD_MOST: u64 = 50;

pub(super) fn way(queue: &str) -> Way {
    QUEUES.iter().find(|it| it.queue == queue).map_or(Way::Queue, |it| it.way)
}

/// The queue at which its messages arrive.
pub(super) fn comes_out(queue: &str) -> String {
    match way(queue) {
        Way::Queue | Way::Group | Way::Select | Way::Recorded => queue.to_owned(),
        Way::Topic => format!("{queue}.readers"),
        Way::SetAside => format!("{queue}.aside"),
        Way::Transfer => format!("{queue}.moved"),
    }
}
