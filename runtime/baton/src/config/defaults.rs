//! The defaults of all settings. Each key in brackets is the name in a server file.

/// Heartbeat interval of the leader, in milliseconds (`[timing] heartbeat_ms`). The same on all servers.
pub const HEARTBEAT_MS: u64 = 80;
/// Shortest election timeout, in milliseconds (`[timing] election_min_ms`).
pub const ELECTION_MIN_MS: u64 = 240;
/// Longest election timeout and the leader's lease, in milliseconds (`[timing] election_max_ms`). The same on all servers.
pub const ELECTION_MAX_MS: u64 = 340;
/// Safety margin of the lease for clock drift, in milliseconds (`[timing] lease_margin_ms`).
pub const LEASE_MARGIN_MS: u64 = 40;
/// Time for which a returned server must be up and caught up before the engine fails back to it, in milliseconds
/// (`[timing] fail_back_stability_ms`).
pub const FAIL_BACK_STABILITY_MS: u64 = 5_000;
/// Time for which a leader waits at cluster start for more preferred servers, in milliseconds
/// (`[timing] start_grace_ms`).
pub const START_GRACE_MS: u64 = 3_000;
/// Time after which an unreachable voter loses its vote, in milliseconds (`[timing] dead_voter_removal_ms`).
pub const DEAD_VOTER_REMOVAL_MS: u64 = 10_000;
/// Time for which a new engine waits for former consumers before it redelivers messages they may hold, in milliseconds
/// (`[timing] reattach_grace_ms`).
pub const REATTACH_GRACE_MS: u64 = 1_000;
/// Time without a settlement after which a consumer that has used up its credit while messages wait counts as slow, in
/// milliseconds (`[timing] slow_consumer_ms`).
pub const SLOW_CONSUMER_MS: u64 = 10_000;

/// Time after which an undecided prepared transaction is rolled back, in milliseconds (`[timing] in_doubt_timeout_ms`);
/// 0 = never. The same on all servers.
pub const IN_DOUBT_TIMEOUT_MS: u64 = 0;

/// Interval of the scrub, which reads the whole store to find damage, in milliseconds (`[timing] scrub_interval_ms`);
/// 0 = never.
pub const SCRUB_INTERVAL_MS: u64 = 24 * 3_600_000;

/// Maximum size of a message, headers and body, in bytes (`[limits] message_bytes`).
pub const MESSAGE_BYTES: u64 = 1024 * 1024;
/// Target size of a frame between processes while there is more to send, in bytes (`[limits] frame_min_bytes`).
pub const FRAME_MIN_BYTES: u64 = 64 * 1024;
/// Maximum size of a frame between processes, in bytes; a larger single message travels alone
/// (`[limits] frame_max_bytes`).
pub const FRAME_MAX_BYTES: u64 = 256 * 1024;
/// Maximum bytes in flight to one peer (`[limits] link_credit_bytes`).
pub const LINK_CREDIT_BYTES: u64 = 1024 * 1024;
/// Memory of RocksDB for write buffers and block cache together, in bytes (`[limits] store_memory_bytes`).
pub const STORE_MEMORY_BYTES: u64 = 192 * 1024 * 1024;
/// Bytes of log after which a snapshot is taken and the log behind it purged (`[limits] snapshot_log_bytes`).
pub const SNAPSHOT_LOG_BYTES: u64 = 64 * 1024 * 1024;
/// Disk space that new messages may not use, in bytes. It is reserved for acknowledgements and deletes, on top of the
/// space that the store needs for flushes, compactions and writes in progress (`[limits] reserve_bytes`).
pub const RESERVE_BYTES: u64 = 64 * 1024 * 1024;
/// Maximum bytes of non-persistent messages in the engine's memory (`[limits] nonpersistent_bytes`).
pub const NONPERSISTENT_BYTES: u64 = 256 * 1024 * 1024;
/// Maximum unsettled messages (prefetch) of one consumer (`[limits] consumer_credit`).
pub const CONSUMER_CREDIT: u64 = 10_000;
/// Maximum clients linked to one server (`[limits] max_connections`). Servers are not counted.
pub const MAX_CONNECTIONS: u64 = 1_024;
/// Maximum queues, topic spaces and subscriptions, temporary ones included (`[limits] max_queues`). The same on all
/// servers.
pub const MAX_QUEUES: u64 = 10_000;
/// Maximum attached consumers (`[limits] max_consumers`). The same on all servers.
pub const MAX_CONSUMERS: u64 = 10_000;

/// Defaults of `[database]`. Times must be the same on all servers.
pub mod database {
    /// The schema of the cluster's tables (`schema`).
    pub const SCHEMA: &str = "baton";
    /// Time after which a silent holder of the lease may be succeeded, in milliseconds (`lease_ms`).
    pub const LEASE_MS: u64 = 2_000;
    /// Interval of renewals, in milliseconds (`renew_ms`).
    pub const RENEW_MS: u64 = 250;
    /// Safety margin of the lease for clock drift, in milliseconds (`margin_ms`).
    pub const MARGIN_MS: u64 = 100;
    /// Time without an answer after which the host lets a server take over that reaches the database, in milliseconds
    /// (`suspect_ms`).
    pub const SUSPECT_MS: u64 = 300;
    /// Time for which the engine waits for the database before it stops, in milliseconds (`patience_ms`).
    pub const PATIENCE_MS: u64 = 10_000;
    /// Maximum bytes of the cluster's tables; 0 = unlimited (`max_bytes`).
    pub const MAX_BYTES: u64 = 0;
}

/// HTTP address for health, metrics and the status page (`http`).
pub const HTTP_ADDRESS: &str = "127.0.0.1:7200";
/// First port that `init` assigns to servers and clients.
pub const BASE_PORT: u16 = 7100;
/// Offset of the HTTP port that `init` assigns, from the server's port.
pub const HTTP_PORT_OFFSET: u16 = 100;
/// Log filter of a server, unless `RUST_LOG` is set.
pub const LOG_FILTER: &str = "info,ractor_cluster=error,ractor=warn,openraft=error";
