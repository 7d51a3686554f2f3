//! Every default of Baton, in one place. The key in brackets sets another value in a server file.

/// How often a leader is heard, in milliseconds (`[timing] heartbeat_ms`). The same on all servers.
pub const HEARTBEAT_MS: u64 = 80;
/// The shortest election timeout, in milliseconds (`[timing] election_min_ms`).
pub const ELECTION_MIN_MS: u64 = 240;
/// The longest election timeout and the leader's lease, in milliseconds (`[timing] election_max_ms`). The same on all servers.
pub const ELECTION_MAX_MS: u64 = 340;
/// Taken off the lease for clocks that drift, in milliseconds (`[timing] lease_margin_ms`).
pub const LEASE_MARGIN_MS: u64 = 40;
/// How long a returned server must be up and caught up before the engine fails back to it, in milliseconds
/// (`[timing] fail_back_stability_ms`).
pub const FAIL_BACK_STABILITY_MS: u64 = 5_000;
/// How long a leader waits at a cluster's start for servers earlier in the list, in milliseconds
/// (`[timing] start_grace_ms`).
pub const START_GRACE_MS: u64 = 3_000;
/// After how long a voter that no server reaches loses its vote, in milliseconds (`[timing] dead_voter_removal_ms`).
pub const DEAD_VOTER_REMOVAL_MS: u64 = 10_000;
/// How long a new engine waits for former consumers before it delivers what they may hold, in milliseconds
/// (`[timing] reattach_grace_ms`).
pub const REATTACH_GRACE_MS: u64 = 1_000;
/// A consumer that settles nothing for longer, while it holds all its credit and messages wait, is reported as slow, in
/// milliseconds (`[timing] slow_consumer_ms`).
pub const SLOW_CONSUMER_MS: u64 = 10_000;

/// A prepared transaction that nobody decides for longer is rolled back, in milliseconds (`[timing] in_doubt_timeout_ms`); 0 is
/// never. The same on all servers.
pub const IN_DOUBT_TIMEOUT_MS: u64 = 0;

/// How often a server reads all of its store to find damage, in milliseconds (`[timing] scrub_interval_ms`); 0 is never.
pub const SCRUB_INTERVAL_MS: u64 = 24 * 3_600_000;

/// The largest message, headers and body, in bytes (`[limits] message_bytes`).
pub const MESSAGE_BYTES: u64 = 1024 * 1024;
/// Frames between processes are filled up to at least this size while there is more to send, in bytes
/// (`[limits] frame_min_bytes`).
pub const FRAME_MIN_BYTES: u64 = 64 * 1024;
/// Frames between processes hold no second message beyond this size, in bytes (`[limits] frame_max_bytes`).
pub const FRAME_MAX_BYTES: u64 = 256 * 1024;
/// The most bytes on their way to one peer unanswered (`[limits] link_credit_bytes`).
pub const LINK_CREDIT_BYTES: u64 = 1024 * 1024;
/// Write buffers and block cache of RocksDB together, in bytes (`[limits] store_memory_bytes`).
pub const STORE_MEMORY_BYTES: u64 = 192 * 1024 * 1024;
/// A snapshot is taken, and the log purged behind it, after so many bytes of log (`[limits] snapshot_log_bytes`).
pub const SNAPSHOT_LOG_BYTES: u64 = 64 * 1024 * 1024;
/// Free bytes that new messages may not use, kept for acknowledgements and deletes beside what the store needs to flush,
/// to compact and for what is being written (`[limits] reserve_bytes`).
pub const RESERVE_BYTES: u64 = 64 * 1024 * 1024;
/// The most bytes of messages that are in the engine's memory alone (`[limits] nonpersistent_bytes`).
pub const NONPERSISTENT_BYTES: u64 = 256 * 1024 * 1024;
/// The most messages that one consumer may hold unsettled (`[limits] consumer_credit`).
pub const CONSUMER_CREDIT: u32 = 10_000;
/// The most clients that are linked to one server (`[limits] max_connections`). Servers are not counted.
pub const MAX_CONNECTIONS: u64 = 1_024;
/// The most queues, topic spaces and subscriptions, temporary ones included (`[limits] max_queues`). The same on all servers.
pub const MAX_QUEUES: u64 = 10_000;
/// The most attached consumers (`[limits] max_consumers`). The same on all servers.
pub const MAX_CONSUMERS: u64 = 10_000;

/// The address for health, metrics and console (`http`).
pub const HTTP_ADDRESS: &str = "127.0.0.1:7200";
/// The first port that `init` gives out for servers and clients.
pub const BASE_PORT: u16 = 7100;
/// How far above a server's port `init` puts its HTTP port.
pub const HTTP_PORT_OFFSET: u16 = 100;
/// What a server logs unless `RUST_LOG` says otherwise.
pub const LOG_FILTER: &str = "info,ractor_cluster=error,ractor=warn,openraft=error";
