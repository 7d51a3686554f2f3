//! Time for deadlines.

use std::time::{Duration, Instant};

/// Now.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the scenarios share no code with the program, its clock neither")]
pub fn now() -> Instant {
    Instant::now()
}

/// CLOCK_BOOTTIME in nanoseconds: one clock for all processes of the machine, and the servers' traces use it.
#[must_use]
pub fn boot_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    u64::try_from(i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)).unwrap_or(0)
}

/// The moment at which waiting becomes a failure.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(Instant);

impl Deadline {
    /// `within` from now.
    #[must_use]
    pub fn within(within: Duration) -> Self {
        Self(now() + within)
    }

    /// True if it has passed.
    #[must_use]
    pub fn passed(self) -> bool {
        now() >= self.0
    }

    /// Looks every `pause` until `condition` holds; false if it did not hold in time.
    pub fn poll(self, pause: Duration, mut condition: impl FnMut() -> bool) -> bool {
        loop {
            if condition() {
                return true;
            }
            if self.passed() {
                return false;
            }
            std::thread::sleep(pause);
        }
    }
}
