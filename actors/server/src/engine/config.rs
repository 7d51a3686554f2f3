//! What can be set about an engine. Every bound of the core stands here.

/// The bounds and times of an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineConfig {
    /// The largest message, headers and body, in bytes (1 MiB). Larger ones: `MessageTooLarge`.
    pub message_bytes: u64,
    /// The most messages that one consumer may hold unsettled (10,000). A larger wish is cut down to it.
    pub consumer_credit: u32,
    /// The most queues and subscriptions (10,000). More: `Refused`.
    pub queues: usize,
    /// The most attached consumers (10,000). More: `BadRequest`.
    pub consumers: usize,
    /// The most requests that wait for an answer (16,384). More: `Busy`.
    pub pending_requests: usize,
    /// The most bytes of messages that wait to be proposed (16 MiB). More: `Busy`.
    pub pending_bytes: usize,
    /// The most message ids of settlements that wait to be proposed (262,144). More: `Busy`.
    pub pending_settles: usize,
    /// The most entries on their way through the log (16). Requests wait then, and entries grow.
    pub entries_in_flight: usize,
    /// The most bytes on their way through the log (4 MiB); a larger single entry goes alone.
    pub bytes_in_flight: usize,
    /// What an entry may grow to (256 KiB); one larger request is an entry of its own.
    pub entry_bytes: usize,
    /// The most messages that a queue holds in memory, ready for delivery (4,096). The others wait in the store.
    pub ready_messages: usize,
    /// The most bytes that a queue holds in memory, ready for delivery (8 MiB).
    pub ready_bytes: usize,
    /// The most bytes that all queues hold in memory together (64 MiB). When it is full, queues whose consumers take
    /// nothing give theirs back to the store.
    pub ready_total_bytes: usize,
    /// The most messages of one read from the store (1,024).
    pub page_messages: usize,
    /// The most bytes of one read from the store (1 MiB); one larger message is read alone.
    pub page_bytes: usize,
    /// The most transactions that are prepared and not decided (1,000). More: `Refused`.
    pub in_doubt: usize,
    /// How long a prepared transaction waits for its decision before it is rolled back, in milliseconds (0: for ever). Each
    /// engine counts from when it prepared it or found it: a failover starts the time again, and no jump of a wall clock
    /// ends it.
    pub in_doubt_timeout_ms: u64,
    /// The most bytes of messages that are in no store, of all queues together (256 MiB). More: `Busy`, and best-effort
    /// ones are dropped.
    pub nonpersistent_bytes: usize,
    /// How many messages ahead of delivery are recorded as delivered (512): what the next engine has to treat as
    /// possibly delivered.
    pub dispatch_ahead: usize,
    /// The most messages of one delivery (256).
    pub deliver_messages: usize,
    /// The most bytes of one delivery (128 KiB); one larger message goes alone.
    pub deliver_bytes: usize,
    /// The most deliveries to one consumer that it has not answered (4).
    pub deliver_calls: u32,
    /// The most bytes of unanswered deliveries to all consumers (64 MiB). Deliveries wait then.
    pub deliver_total_bytes: usize,
    /// What producers fill their requests up to at least, while there is more to send, in bytes (64 KiB).
    pub frame_min_bytes: u64,
    /// What producers fill their requests up to at most, in bytes (256 KiB).
    pub frame_max_bytes: u64,
    /// How long a consumer that lost its link, or that the engine before knew, may take to attach again, in
    /// milliseconds (1,000). Then what it held goes to others.
    pub reattach_grace_ms: u64,
    /// A consumer that settles nothing for longer, while it holds all its credit and messages wait, is reported as slow, in
    /// milliseconds (10,000).
    pub slow_consumer_ms: u64,
    /// How long the engine holds back while its lease does not hold, in milliseconds (1,000). Then it stops.
    pub lease_wait_ms: u64,
    /// What was decided so long ago leaves only under a lease that was renewed since, in milliseconds (200): the
    /// process may have been paused.
    pub pause_ms: u64,
    /// How long a planned stop waits for commits on their way, in milliseconds (2,000). Then their outcome is unknown.
    pub drain_ms: u64,
    /// What stays free at every replica for acknowledgements and deletes, in bytes (64 MiB). Below: `StoreFull`.
    pub reserve_bytes: u64,
    /// After so long without a message a producer is forgotten, in milliseconds (24 hours).
    pub producer_idle_ms: u64,
    /// How often idle producers are looked for, in milliseconds (a minute).
    pub producer_check_ms: u64,
    /// How many producers are forgotten at a time (1,000).
    pub producer_check_limit: usize,
    /// How many producers' queues are remembered (100,000). Then it starts anew: it only saves work.
    pub producers_remembered: usize,
}

impl Default for EngineConfig {
    fn default() -> Self {
        const KIB: usize = 1024;
        const MIB: usize = 1024 * KIB;
        Self {
            message_bytes: 1024 * 1024,
            consumer_credit: 10_000,
            queues: 10_000,
            consumers: 10_000,
            pending_requests: 16_384,
            pending_bytes: 16 * MIB,
            pending_settles: 262_144,
            entries_in_flight: 16,
            bytes_in_flight: 4 * MIB,
            entry_bytes: 256 * KIB,
            ready_messages: 4_096,
            ready_bytes: 8 * MIB,
            ready_total_bytes: 64 * MIB,
            page_messages: 1_024,
            page_bytes: MIB,
            in_doubt: 1_000,
            in_doubt_timeout_ms: 0,
            nonpersistent_bytes: 256 * MIB,
            dispatch_ahead: 512,
            deliver_messages: 256,
            deliver_bytes: 128 * KIB,
            deliver_calls: 4,
            deliver_total_bytes: 64 * MIB,
            frame_min_bytes: 64 * KIB as u64,
            frame_max_bytes: 256 * KIB as u64,
            reattach_grace_ms: 1_000,
            slow_consumer_ms: 10_000,
            lease_wait_ms: 1_000,
            pause_ms: 200,
            drain_ms: 2_000,
            reserve_bytes: 64 * 1024 * 1024,
            producer_idle_ms: 24 * 60 * 60 * 1_000,
            producer_check_ms: 60_000,
            producer_check_limit: 1_000,
            producers_remembered: 100_000,
        }
    }
}
