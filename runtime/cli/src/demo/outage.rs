//! Time without a confirm from any producer.

use std::time::Duration;

use baton_domain::clock::BootTime;

/// The longest time without a confirm since the last [`Silence::begin`].
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Silence {
    last: BootTime,
    longest: Duration,
}

impl Silence {
    /// Starts a measurement: silence counts from here.
    pub(super) fn begin(&mut self, now: BootTime) {
        *self = Self { last: now, longest: Duration::ZERO };
    }

    /// Records a confirm of any producer.
    pub(super) fn confirmed(&mut self, now: BootTime) {
        self.longest = self.longest.max(now.since(self.last));
        self.last = self.last.max(now);
    }

    /// Time of the last confirm.
    pub(super) fn last(&self) -> BootTime {
        self.last
    }

    /// The longest silence so far, in milliseconds to a tenth.
    pub(super) fn longest_ms(&self, now: BootTime) -> f64 {
        let longest = self.longest.max(now.since(self.last));
        (longest.as_secs_f64() * 10_000.0).round() / 10.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_the_longest_silence_since_its_cause() {
        let at = |ms: u64| BootTime(1_000_000_000) + Duration::from_millis(ms);
        let mut silence = Silence::default();
        silence.begin(at(0));
        silence.confirmed(at(900));
        silence.begin(at(1_000));
        // Confirms that were on their way when the host was killed do not end the outage.
        for ms in [1_001, 1_002, 1_402, 1_403] {
            silence.confirmed(at(ms));
        }
        assert_eq!(silence.longest_ms(at(1_403)), 400.0);
        assert_eq!(silence.longest_ms(at(2_403)), 1_000.0, "silent until now");
        assert_eq!(silence.last(), at(1_403));
    }
}
