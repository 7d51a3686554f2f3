//! The only module that reads a clock.
//!
//! Leases are measured on `CLOCK_BOOTTIME`, which goes on while the machine is suspended; `CLOCK_MONOTONIC` (what
//! `std::time::Instant` reads) stands still then, and an engine that wakes up would believe in a lease long gone.

use std::ops::{Add, Sub};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// A point on the `CLOCK_BOOTTIME` of this machine, in nanoseconds; means nothing on another one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BootTime(pub u64);

impl BootTime {
    /// Now.
    #[must_use]
    pub fn now() -> Self {
        let now = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        let nanoseconds = u64::try_from(now.tv_nsec).unwrap_or(0);
        Self(seconds * 1_000_000_000 + nanoseconds)
    }

    /// How long after `earlier` this is; zero if it is before.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for BootTime {
    type Output = Self;
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for BootTime {
    type Output = Self;
    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// Both clocks at one moment: `CLOCK_BOOTTIME`, and `CLOCK_MONOTONIC`, which stands still while the machine is
/// suspended. How far they are apart is how long the machine was suspended since it booted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockSample {
    /// `CLOCK_BOOTTIME`.
    pub boot: BootTime,
    /// `CLOCK_MONOTONIC`, in nanoseconds.
    pub monotonic_ns: u64,
}

impl ClockSample {
    /// Now. The boot time is never too late against the monotonic time: it is read first. Of a few tries the one
    /// counts in which the thread lost the least time in between.
    #[must_use]
    pub fn now() -> Self {
        let read = || {
            let boot = BootTime::now();
            let now = clock_gettime(ClockId::Monotonic);
            let monotonic_ns = u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000;
            Self { boot, monotonic_ns: monotonic_ns + u64::try_from(now.tv_nsec).unwrap_or(0) }
        };
        let tries = [read(), read(), read()];
        tries.into_iter().max_by_key(Self::suspended_ns).unwrap_or_else(read)
    }

    /// How long the machine was suspended since it booted, in nanoseconds.
    #[must_use]
    pub fn suspended_ns(&self) -> u64 {
        self.boot.0.saturating_sub(self.monotonic_ns)
    }
}

/// The wall clock, in Unix milliseconds. For people and for `at_ms` in proposals; nothing is decided by it.
#[must_use]
pub fn unix_ms() -> u64 {
    let now = clock_gettime(ClockId::Realtime);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000
}
