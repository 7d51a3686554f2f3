//! The clock as the replica reads it: simulated in the crate's own simulation.

use baton_domain::clock::{BootTime, ClockSample};

/// Now.
pub(crate) fn boot_time() -> BootTime {
    #[cfg(test)]
    if let Some(now) = crate::simulation::clock::now() {
        return now;
    }
    BootTime::now()
}

/// Both clocks now.
pub(crate) fn sample() -> ClockSample {
    #[cfg(test)]
    if let Some(boot) = crate::simulation::clock::now() {
        return ClockSample { boot, monotonic_ns: boot.0 };
    }
    ClockSample::now()
}
