//! The arithmetic of the lease, apart from clocks and consensus.
//!
//! A follower that heard a heartbeat elects nobody for `election_max` from then on. So a leader whose heartbeat, sent
//! at `t`, was acknowledged by a majority is the only leader until `t + election_max`, less a margin for clocks that
//! run at different speeds.

use std::time::Duration;

use baton_domain::clock::{BootTime, ClockSample};

/// A jump of this much between the clocks is a suspension; less is the time between reading one and the other, and
/// the lease's margin covers it.
const SUSPENDED_NS: u64 = 2_000_000;

/// Turns monotonic times, which consensus uses, into boot times, which leases use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct BootClock {
    /// Distance between the clocks ...
    suspended_ns: u64,
    /// ... since this monotonic time at the latest.
    since_ns: u64,
}

impl BootClock {
    /// Takes note of a suspension.
    pub(crate) fn observe(&mut self, sample: ClockSample) {
        let suspended = sample.suspended_ns();
        if suspended > self.suspended_ns + SUSPENDED_NS {
            // It happened some time before now. Nothing that was sent before now counts.
            self.since_ns = sample.monotonic_ns;
            self.suspended_ns = suspended;
        }
    }

    /// The boot time of a monotonic time; `None` if the machine was, or may have been, suspended since then.
    pub(crate) fn boot_time(&self, monotonic_ns: u64) -> Option<BootTime> {
        (monotonic_ns >= self.since_ns).then(|| BootTime(monotonic_ns + self.suspended_ns))
    }
}

/// The facts that a lease follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Leading {
    /// This replica leads, as far as it knows.
    pub(crate) leads: bool,
    /// It votes: a leader that was voted out is about to hand over.
    pub(crate) votes: bool,
    /// It is the only voter: nobody else can be elected.
    pub(crate) alone: bool,
    /// Its own first entry is committed: it is known to be ahead of all leaders before it.
    pub(crate) own_entry_committed: bool,
    /// Leadership of this term was given away.
    pub(crate) given_away: bool,
    /// Time at which the last heartbeat was sent that a majority acknowledged.
    pub(crate) quorum_acked: Option<BootTime>,
}

/// Time until which no other replica leads; the beginning of time if it is unknown.
pub(crate) fn lease_until(leading: Leading, now: BootTime, election_max: Duration, margin: Duration) -> BootTime {
    if !leading.leads || !leading.votes || !leading.own_entry_committed || leading.given_away {
        return BootTime(0);
    }
    let acked = if leading.alone { Some(now) } else { leading.quorum_acked };
    match acked {
        Some(acked) => acked + election_max.saturating_sub(margin),
        None => BootTime(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    const LEADING: Leading = Leading {
        leads: true,
        votes: true,
        alone: false,
        own_entry_committed: true,
        given_away: false,
        quorum_acked: Some(BootTime(1_000 * MS)),
    };

    /// Invariant 2, the leader's part: the lease is measured from the sending of an acknowledged heartbeat, less the
    /// margin, and there is none without a committed entry of the leader's own.
    #[test]
    fn a_lease_runs_from_the_sending_of_the_acknowledged_heartbeat_less_the_margin() {
        let until =
            |leading| lease_until(leading, BootTime(1_500 * MS), Duration::from_millis(340), Duration::from_millis(40));
        let none = BootTime(0);
        for (what, leading, expected) in [
            ("an acknowledged heartbeat", LEADING, BootTime(1_300 * MS)),
            ("the only voter", Leading { alone: true, quorum_acked: None, ..LEADING }, BootTime(1_800 * MS)),
            ("no acknowledgement yet", Leading { quorum_acked: None, ..LEADING }, none),
            ("a follower", Leading { leads: false, ..LEADING }, none),
            ("a leader that was voted out", Leading { votes: false, ..LEADING }, none),
            ("nothing of its own committed", Leading { own_entry_committed: false, ..LEADING }, none),
            ("leadership given away", Leading { given_away: true, ..LEADING }, none),
            ("given away by the only voter", Leading { given_away: true, alone: true, ..LEADING }, none),
        ] {
            assert_eq!(until(leading), expected, "{what}");
        }
        let wide = lease_until(LEADING, BootTime(0), Duration::from_millis(10), Duration::from_millis(40));
        assert_eq!(wide, BootTime(1_000 * MS), "a margin wider than the lease leaves none");
    }

    /// Invariant 2, suspension: an acknowledgement from before the machine was suspended renews nothing afterwards.
    #[test]
    fn acknowledgements_from_before_a_suspension_do_not_count() {
        let sample = |boot_ms: u64, monotonic_ms: u64| ClockSample {
            boot: BootTime(boot_ms * MS),
            monotonic_ns: monotonic_ms * MS,
        };
        let mut clock = BootClock::default();
        clock.observe(sample(5_100, 5_000));
        assert_eq!(clock.boot_time(4_999 * MS), None, "before the first sample nothing is known");
        assert_eq!(clock.boot_time(5_001 * MS), Some(BootTime(5_101 * MS)));
        clock.observe(sample(5_201, 5_100));
        assert_eq!(clock.boot_time(5_001 * MS), Some(BootTime(5_101 * MS)), "a millisecond of jitter is none");
        // A minute of sleep.
        clock.observe(sample(65_210, 5_110));
        assert_eq!(clock.boot_time(5_105 * MS), None);
        assert_eq!(clock.boot_time(5_110 * MS), Some(BootTime(65_210 * MS)));
        clock.observe(sample(65_300, 5_200));
        assert_eq!(clock.boot_time(5_150 * MS), Some(BootTime(65_250 * MS)));
    }
}
