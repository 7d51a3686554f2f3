//! Configuration of consensus.

use std::time::Duration;

use openraft::{Config, SnapshotPolicy};

use crate::config::StoreConfig;
use crate::error::StoreError;

/// Timeouts of the network and of the watcher.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    pub(crate) election_max: Duration,
    pub(crate) lease_margin: Duration,
    /// For an append that is no heartbeat: the other side syncs its disk before it answers.
    pub(crate) append: Duration,
    /// For one chunk of a snapshot: with the last one of a file the other side syncs it.
    pub(crate) chunk: Duration,
}

/// Minimum rate to one replica: a quarter of the minimum bandwidth of a server's link, which others share.
const LEAST_BYTES_PER_SECOND: u64 = 256 * 1024;

impl Timing {
    pub(crate) fn new(config: &StoreConfig) -> Self {
        let election_max = Duration::from_millis(config.election_max_ms);
        Self {
            election_max,
            lease_margin: Duration::from_millis(config.lease_margin_ms),
            append: (2 * election_max).max(Duration::from_millis(500)),
            chunk: Duration::from_secs(15),
        }
    }

    /// For a request that takes `base` where it is small, with `bytes` on their way that go before its last one. An
    /// entry that takes longer than its time would be sent again and again.
    pub(crate) fn carrying(base: Duration, bytes: usize) -> Duration {
        base + Duration::from_millis(bytes as u64 * 1_000 / LEAST_BYTES_PER_SECOND)
    }

    /// Timeout for the end of a snapshot of `bytes` bytes: the other side reads all of it before it installs it.
    pub(crate) fn install(bytes: u64) -> Duration {
        const SLOWEST_BYTES_PER_SECOND: u64 = 8 * 1024 * 1024;
        Duration::from_secs(60 + bytes / SLOWEST_BYTES_PER_SECOND)
    }
}

/// openraft's configuration.
pub(crate) fn settings(config: &StoreConfig, elect: bool) -> Result<Config, StoreError> {
    let settings = Config {
        cluster_name: "baton".to_owned(),
        heartbeat_interval: config.heartbeat_ms,
        election_timeout_min: config.election_min_ms,
        election_timeout_max: config.election_max_ms,
        // Cut by bytes where the log is read.
        max_payload_entries: 4096,
        // Small, so that "caught up" means it.
        replication_lag_threshold: 64,
        // We say when, by bytes of log, and what is purged.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        // A replica that could not win must not raise the term.
        enable_pre_vote: Some(true),
        // A restarted leader must not keep its term: its lease and its engine are gone.
        enable_leader_restore: Some(false),
        enable_elect: elect,
        // A leader that reaches some and not a majority falls silent, so that the others can elect.
        quorum_loss_probe_interval: Some(2 * config.election_max_ms),
        backoff: "20ms 40ms 80ms ...200ms".to_owned(),
        ..Config::default()
    };
    settings.validate().map_err(|error| StoreError::Io {
        dir: config.dir.clone(),
        why: format!("inconsistent election times: {error}"),
    })
}
