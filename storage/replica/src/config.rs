//! Options of a store.

use std::path::PathBuf;

/// Configuration of a store.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// Its directory.
    pub dir: PathBuf,
    /// Interval of a leader's heartbeats, in milliseconds.
    pub heartbeat_ms: u64,
    /// The shortest election timeout of this server, in milliseconds; shorter the more preferred it is.
    pub election_min_ms: u64,
    /// The longest election timeout, in milliseconds: the lease. The same on all servers.
    pub election_max_ms: u64,
    /// Taken off the lease for clocks that drift, in milliseconds.
    pub lease_margin_ms: u64,
    /// Maximum bytes of entries in a request to another replica; a larger entry travels alone.
    pub frame_bytes: usize,
    /// Maximum bytes of entries in flight to another replica.
    pub in_flight_bytes: usize,
    /// Write buffers and block cache of RocksDB together, in bytes.
    pub memory_budget_bytes: u64,
    /// Maximum files that the database keeps open.
    pub open_files: u32,
    /// Bytes of log after which a snapshot is taken and the log is purged behind it.
    pub snapshot_log_bytes: u64,
    /// New messages are refused when this many bytes or less are free, without those that the store needs for its own
    /// work: space is taken back before that.
    pub reserve_bytes: u64,
    /// All that lies on disk is read this often to find damage, in milliseconds; zero: never.
    pub scrub_interval_ms: u64,
}
