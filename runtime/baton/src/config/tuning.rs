//! `[timing]` and `[limits]` of a server file, and the same values set in code.

use serde::Deserialize;
use toml::Spanned;

use super::defaults;
use super::error::ValueError;

const HOUR_MS: u64 = 3_600_000;
const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;

/// Declares a table of numbers: the values, the table as written in a file, and the range of each value. One list, so that
/// a file and code cannot differ in what they allow.
macro_rules! table {
    (
        $(#[$about:meta])*
        $name:ident, $raw:ident, $table:literal {
            $($key:ident = $default:ident, $range:expr;)*
        }
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct $name {
            $(
                #[doc = concat!("[`defaults::", stringify!($default), "`].")]
                pub $key: u64,
            )*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($key: defaults::$default,)* }
            }
        }

        impl $name {
            $(
                #[doc = concat!("Sets `", stringify!($key), "`.")]
                #[must_use]
                pub fn $key(self, $key: u64) -> Self {
                    Self { $key, ..self }
                }
            )*

            /// Checks each value by itself.
            fn check_ranges(&self) -> Result<(), ValueError> {
                $(
                    let (value, range) = (self.$key, $range);
                    if !range.contains(&value) {
                        let (key, least, most) = (stringify!($key), range.start(), range.end());
                        let why = format!("{key} = {value} is out of range: use {least} to {most}");
                        return Err(ValueError::new(&[stringify!($key)], why));
                    }
                )*
                Ok(())
            }
        }

        #[doc = concat!("`[", $table, "]` as written.")]
        #[derive(Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub(super) struct $raw {
            $($key: Option<Spanned<u64>>,)*
        }

        impl $raw {
            /// The values, those not written with their defaults. They are not checked.
            pub(super) fn values(&self) -> $name {
                $name { $($key: self.$key.as_ref().map_or(defaults::$default, |written| *written.get_ref()),)* }
            }

            /// The place of a value, if it is written.
            pub(super) fn place(&self, key: &str) -> Option<std::ops::Range<usize>> {
                $(
                    if key == stringify!($key) {
                        return self.$key.as_ref().map(Spanned::span);
                    }
                )*
                None
            }
        }
    };
}

table! {
    /// Times, in milliseconds. Heartbeat and election times must be the same on all servers.
    Timing, RawTiming, "timing" {
        heartbeat_ms = HEARTBEAT_MS, 10..=10_000;
        election_min_ms = ELECTION_MIN_MS, 20..=60_000;
        election_max_ms = ELECTION_MAX_MS, 30..=120_000;
        lease_margin_ms = LEASE_MARGIN_MS, 1..=60_000;
        fail_back_stability_ms = FAIL_BACK_STABILITY_MS, 0..=HOUR_MS;
        start_grace_ms = START_GRACE_MS, 0..=HOUR_MS;
        dead_voter_removal_ms = DEAD_VOTER_REMOVAL_MS, 1_000..=24 * HOUR_MS;
        reattach_grace_ms = REATTACH_GRACE_MS, 0..=60_000;
        slow_consumer_ms = SLOW_CONSUMER_MS, 1..=24 * HOUR_MS;
        scrub_interval_ms = SCRUB_INTERVAL_MS, 0..=90 * 24 * HOUR_MS;
        in_doubt_timeout_ms = IN_DOUBT_TIMEOUT_MS, 0..=365 * 24 * HOUR_MS;
    }
}

table! {
    /// Sizes, in bytes, and counts.
    Limits, RawLimits, "limits" {
        // ractor_cluster drops a connection on a frame above 16 MiB.
        message_bytes = MESSAGE_BYTES, KIB..=8 * MIB;
        frame_min_bytes = FRAME_MIN_BYTES, 4 * KIB..=MIB;
        frame_max_bytes = FRAME_MAX_BYTES, 4 * KIB..=4 * MIB;
        link_credit_bytes = LINK_CREDIT_BYTES, 64 * KIB..=16 * MIB;
        store_memory_bytes = STORE_MEMORY_BYTES, 16 * MIB..=64 * GIB;
        snapshot_log_bytes = SNAPSHOT_LOG_BYTES, MIB..=16 * GIB;
        reserve_bytes = RESERVE_BYTES, MIB..=1024 * GIB;
        nonpersistent_bytes = NONPERSISTENT_BYTES, MIB..=64 * GIB;
        // At least the credit of `baton receive`, at most what the engine settles at once.
        consumer_credit = CONSUMER_CREDIT, 1_000..=262_144;
        max_connections = MAX_CONNECTIONS, 1..=1_000_000;
        // The list of all of them is one frame, and a link carries 64 MiB.
        max_queues = MAX_QUEUES, 100..=100_000;
        max_consumers = MAX_CONSUMERS, 100..=100_000;
    }
}

impl Timing {
    /// Checks the times one by one and against each other.
    pub(super) fn check(&self) -> Result<(), ValueError> {
        self.check_ranges()?;
        let Self { heartbeat_ms, election_min_ms, election_max_ms, lease_margin_ms, .. } = *self;
        if election_min_ms < 2 * heartbeat_ms {
            let why = format!(
                "election_min_ms = {election_min_ms} is too short for heartbeat_ms = {heartbeat_ms}: it must be at least \
                 twice as long"
            );
            return Err(ValueError::new(&["election_min_ms", "heartbeat_ms"], why));
        }
        if election_max_ms <= election_min_ms {
            let why =
                format!("election_max_ms = {election_max_ms} must be longer than election_min_ms = {election_min_ms}");
            return Err(ValueError::new(&["election_max_ms", "election_min_ms"], why));
        }
        if lease_margin_ms + heartbeat_ms >= election_max_ms {
            let why = format!(
                "lease_margin_ms = {lease_margin_ms} leaves no lease: together with heartbeat_ms = {heartbeat_ms} it must \
                 be below election_max_ms = {election_max_ms}"
            );
            return Err(ValueError::new(&["lease_margin_ms", "election_max_ms"], why));
        }
        Ok(())
    }
}

impl Limits {
    /// Checks the sizes one by one and against each other.
    pub(super) fn check(&self) -> Result<(), ValueError> {
        self.check_ranges()?;
        let Self { frame_min_bytes, frame_max_bytes, .. } = *self;
        if frame_max_bytes < frame_min_bytes {
            let why = format!(
                "frame_max_bytes = {frame_max_bytes} must not be less than frame_min_bytes = {frame_min_bytes}"
            );
            return Err(ValueError::new(&["frame_max_bytes", "frame_min_bytes"], why));
        }
        Ok(())
    }
}
