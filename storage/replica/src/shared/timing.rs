//! Durations by which servers share a log.

use std::time::Duration;

/// The durations; the lease and the margin are the same on all servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharedTiming {
    /// Duration of a lease.
    pub lease: Duration,
    /// The holder's lease ends this much earlier, and a candidate waits this much longer: their clocks may run at
    /// different speeds.
    pub margin: Duration,
    /// Interval at which the holder renews its lease.
    pub renew: Duration,
    /// Interval at which the other servers look at the lease row.
    pub look: Duration,
    /// A request to the log that is unanswered for this long is suspect: the holder offers to step down if another server
    /// reaches the log.
    pub suspect: Duration,
}

impl Default for SharedTiming {
    fn default() -> Self {
        let ms = Duration::from_millis;
        Self { lease: ms(2_000), margin: ms(100), renew: ms(250), look: ms(100), suspect: ms(300) }
    }
}

impl SharedTiming {
    /// Duration for which a holder leads after a renewal was sent that was answered.
    pub(super) fn held(&self) -> Duration {
        self.lease.saturating_sub(self.margin)
    }

    /// Duration for which a candidate sees no change before the holder's lease has certainly ended.
    pub(super) fn silence(&self) -> Duration {
        self.lease + self.margin
    }
}
