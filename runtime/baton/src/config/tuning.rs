//! `[timing]` and `[limits]` of a server file.

use serde::Deserialize;
use toml::Spanned;

use super::source::Source;
use super::{ConfigError, defaults};

/// Times, in milliseconds. Heartbeat and election times must be the same on all servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// [`defaults::HEARTBEAT_MS`].
    pub heartbeat_ms: u64,
    /// [`defaults::ELECTION_MIN_MS`].
    pub election_min_ms: u64,
    /// [`defaults::ELECTION_MAX_MS`].
    pub election_max_ms: u64,
    /// [`defaults::LEASE_MARGIN_MS`].
    pub lease_margin_ms: u64,
    /// [`defaults::FAIL_BACK_STABILITY_MS`].
    pub fail_back_stability_ms: u64,
    /// [`defaults::START_GRACE_MS`].
    pub start_grace_ms: u64,
    /// [`defaults::DEAD_VOTER_REMOVAL_MS`].
    pub dead_voter_removal_ms: u64,
    /// [`defaults::REATTACH_GRACE_MS`].
    pub reattach_grace_ms: u64,
    /// [`defaults::SLOW_CONSUMER_MS`].
    pub slow_consumer_ms: u64,
    /// [`defaults::SCRUB_INTERVAL_MS`].
    pub scrub_interval_ms: u64,
    /// [`defaults::IN_DOUBT_TIMEOUT_MS`].
    pub in_doubt_timeout_ms: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat_ms: defaults::HEARTBEAT_MS,
            election_min_ms: defaults::ELECTION_MIN_MS,
            election_max_ms: defaults::ELECTION_MAX_MS,
            lease_margin_ms: defaults::LEASE_MARGIN_MS,
            fail_back_stability_ms: defaults::FAIL_BACK_STABILITY_MS,
            start_grace_ms: defaults::START_GRACE_MS,
            dead_voter_removal_ms: defaults::DEAD_VOTER_REMOVAL_MS,
            reattach_grace_ms: defaults::REATTACH_GRACE_MS,
            slow_consumer_ms: defaults::SLOW_CONSUMER_MS,
            scrub_interval_ms: defaults::SCRUB_INTERVAL_MS,
            in_doubt_timeout_ms: defaults::IN_DOUBT_TIMEOUT_MS,
        }
    }
}

/// Sizes, in bytes, and counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// [`defaults::MESSAGE_BYTES`].
    pub message_bytes: u64,
    /// [`defaults::FRAME_MIN_BYTES`].
    pub frame_min_bytes: u64,
    /// [`defaults::FRAME_MAX_BYTES`].
    pub frame_max_bytes: u64,
    /// [`defaults::LINK_CREDIT_BYTES`].
    pub link_credit_bytes: u64,
    /// [`defaults::STORE_MEMORY_BYTES`].
    pub store_memory_bytes: u64,
    /// [`defaults::SNAPSHOT_LOG_BYTES`].
    pub snapshot_log_bytes: u64,
    /// [`defaults::RESERVE_BYTES`].
    pub reserve_bytes: u64,
    /// [`defaults::NONPERSISTENT_BYTES`].
    pub nonpersistent_bytes: u64,
    /// [`defaults::CONSUMER_CREDIT`].
    pub consumer_credit: u32,
    /// [`defaults::MAX_CONNECTIONS`].
    pub max_connections: u64,
    /// [`defaults::MAX_QUEUES`].
    pub max_queues: u64,
    /// [`defaults::MAX_CONSUMERS`].
    pub max_consumers: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: defaults::MESSAGE_BYTES,
            frame_min_bytes: defaults::FRAME_MIN_BYTES,
            frame_max_bytes: defaults::FRAME_MAX_BYTES,
            link_credit_bytes: defaults::LINK_CREDIT_BYTES,
            store_memory_bytes: defaults::STORE_MEMORY_BYTES,
            snapshot_log_bytes: defaults::SNAPSHOT_LOG_BYTES,
            reserve_bytes: defaults::RESERVE_BYTES,
            nonpersistent_bytes: defaults::NONPERSISTENT_BYTES,
            consumer_credit: defaults::CONSUMER_CREDIT,
            max_connections: defaults::MAX_CONNECTIONS,
            max_queues: defaults::MAX_QUEUES,
            max_consumers: defaults::MAX_CONSUMERS,
        }
    }
}

/// `[timing]` as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawTiming {
    heartbeat_ms: Option<Spanned<u64>>,
    election_min_ms: Option<Spanned<u64>>,
    election_max_ms: Option<Spanned<u64>>,
    lease_margin_ms: Option<Spanned<u64>>,
    fail_back_stability_ms: Option<Spanned<u64>>,
    start_grace_ms: Option<Spanned<u64>>,
    dead_voter_removal_ms: Option<Spanned<u64>>,
    reattach_grace_ms: Option<Spanned<u64>>,
    slow_consumer_ms: Option<Spanned<u64>>,
    scrub_interval_ms: Option<Spanned<u64>>,
    in_doubt_timeout_ms: Option<Spanned<u64>>,
}

/// `[limits]` as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawLimits {
    message_bytes: Option<Spanned<u64>>,
    frame_min_bytes: Option<Spanned<u64>>,
    frame_max_bytes: Option<Spanned<u64>>,
    link_credit_bytes: Option<Spanned<u64>>,
    store_memory_bytes: Option<Spanned<u64>>,
    snapshot_log_bytes: Option<Spanned<u64>>,
    reserve_bytes: Option<Spanned<u64>>,
    nonpersistent_bytes: Option<Spanned<u64>>,
    consumer_credit: Option<Spanned<u64>>,
    max_connections: Option<Spanned<u64>>,
    max_queues: Option<Spanned<u64>>,
    max_consumers: Option<Spanned<u64>>,
}

/// A number in its range, or the default.
fn pick(
    source: &Source,
    key: &str,
    written: Option<&Spanned<u64>>,
    default: u64,
    range: std::ops::RangeInclusive<u64>,
) -> Result<u64, ConfigError> {
    let Some(written) = written else { return Ok(default) };
    let value = *written.get_ref();
    if range.contains(&value) {
        return Ok(value);
    }
    let why = format!("{key} = {value} is out of range: use {} to {}", range.start(), range.end());
    Err(source.error(&written.span(), why))
}

impl RawTiming {
    /// The times, checked one by one and against each other.
    pub(super) fn check(&self, source: &Source) -> Result<Timing, ConfigError> {
        const HOUR_MS: u64 = 3_600_000;
        let default = Timing::default();
        macro_rules! take {
            ($key:ident, $range:expr) => {
                pick(source, stringify!($key), self.$key.as_ref(), default.$key, $range)?
            };
        }
        let timing = Timing {
            heartbeat_ms: take!(heartbeat_ms, 10..=10_000),
            election_min_ms: take!(election_min_ms, 20..=60_000),
            election_max_ms: take!(election_max_ms, 30..=120_000),
            lease_margin_ms: take!(lease_margin_ms, 1..=60_000),
            fail_back_stability_ms: take!(fail_back_stability_ms, 0..=HOUR_MS),
            start_grace_ms: take!(start_grace_ms, 0..=HOUR_MS),
            dead_voter_removal_ms: take!(dead_voter_removal_ms, 1_000..=24 * HOUR_MS),
            reattach_grace_ms: take!(reattach_grace_ms, 0..=60_000),
            slow_consumer_ms: take!(slow_consumer_ms, 1..=24 * HOUR_MS),
            scrub_interval_ms: take!(scrub_interval_ms, 0..=90 * 24 * HOUR_MS),
            in_doubt_timeout_ms: take!(in_doubt_timeout_ms, 0..=365 * 24 * HOUR_MS),
        };
        let at = |written: &[&Option<Spanned<u64>>]| {
            written.iter().find_map(|written| written.as_ref()).map_or(0..0, Spanned::span)
        };
        if timing.election_min_ms < 2 * timing.heartbeat_ms {
            let why = format!(
                "election_min_ms = {} is too short for heartbeat_ms = {}: it must be at least twice as long",
                timing.election_min_ms, timing.heartbeat_ms
            );
            return Err(source.error(&at(&[&self.election_min_ms, &self.heartbeat_ms]), why));
        }
        if timing.election_max_ms <= timing.election_min_ms {
            let why = format!(
                "election_max_ms = {} must be longer than election_min_ms = {}",
                timing.election_max_ms, timing.election_min_ms
            );
            return Err(source.error(&at(&[&self.election_max_ms, &self.election_min_ms]), why));
        }
        if timing.lease_margin_ms + timing.heartbeat_ms >= timing.election_max_ms {
            let why = format!(
                "lease_margin_ms = {} leaves no lease: together with heartbeat_ms = {} it must be below election_max_ms = {}",
                timing.lease_margin_ms, timing.heartbeat_ms, timing.election_max_ms
            );
            return Err(source.error(&at(&[&self.lease_margin_ms, &self.election_max_ms]), why));
        }
        Ok(timing)
    }
}

impl RawLimits {
    /// The sizes, checked one by one and against each other.
    pub(super) fn check(&self, source: &Source) -> Result<Limits, ConfigError> {
        const KIB: u64 = 1024;
        const MIB: u64 = 1024 * KIB;
        const GIB: u64 = 1024 * MIB;
        let default = Limits::default();
        macro_rules! take {
            ($key:ident, $range:expr) => {
                pick(source, stringify!($key), self.$key.as_ref(), default.$key, $range)?
            };
        }
        let credit = pick(
            source,
            "consumer_credit",
            self.consumer_credit.as_ref(),
            default.consumer_credit.into(),
            // At least the credit of `baton receive`, at most what the engine settles at once.
            1_000..=262_144,
        )?;
        let limits = Limits {
            // ractor_cluster drops a connection on a frame above 16 MiB.
            message_bytes: take!(message_bytes, KIB..=8 * MIB),
            frame_min_bytes: take!(frame_min_bytes, 4 * KIB..=MIB),
            frame_max_bytes: take!(frame_max_bytes, 4 * KIB..=4 * MIB),
            link_credit_bytes: take!(link_credit_bytes, 64 * KIB..=16 * MIB),
            store_memory_bytes: take!(store_memory_bytes, 16 * MIB..=64 * GIB),
            snapshot_log_bytes: take!(snapshot_log_bytes, MIB..=16 * GIB),
            reserve_bytes: take!(reserve_bytes, MIB..=1024 * GIB),
            nonpersistent_bytes: take!(nonpersistent_bytes, MIB..=64 * GIB),
            consumer_credit: u32::try_from(credit).unwrap_or(u32::MAX),
            max_connections: take!(max_connections, 1..=1_000_000),
            // The list of all of them is one frame, and a link carries 64 MiB.
            max_queues: take!(max_queues, 100..=100_000),
            max_consumers: take!(max_consumers, 100..=100_000),
        };
        if limits.frame_max_bytes < limits.frame_min_bytes {
            let why = format!(
                "frame_max_bytes = {} must not be less than frame_min_bytes = {}",
                limits.frame_max_bytes, limits.frame_min_bytes
            );
            let at = self.frame_max_bytes.as_ref().or(self.frame_min_bytes.as_ref()).map_or(0..0, Spanned::span);
            return Err(source.error(&at, why));
        }
        Ok(limits)
    }
}
