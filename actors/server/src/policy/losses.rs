//! Consecutive losses of a server soon after the engine was activated there, and the pause before the engine fails back
//! to it. Pure. The losses are counted from the history of activations, which is replicated: every storage leader has the
//! same count.

use std::time::Duration;

use baton_domain::{ActivationReason, Epoch, Placement, ServerName};

use super::view::PolicyTiming;

/// The losses of one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Losses {
    /// Consecutive losses; hosting the engine for long enough resets the count.
    pub(super) count: u32,
    /// The activation after the last loss.
    pub(super) epoch: Epoch,
    /// The time of that activation, in Unix milliseconds.
    pub(super) at_ms: u64,
}

/// True if an activation for that reason, on another server, means that the previous host was lost.
fn follows_a_loss(reason: ActivationReason) -> bool {
    match reason {
        ActivationReason::FailOver | ActivationReason::EngineFailed => true,
        ActivationReason::Start
        | ActivationReason::FailBack
        | ActivationReason::Move
        | ActivationReason::PolicyChange
        | ActivationReason::HandOver => false,
    }
}

impl Losses {
    /// Counts the losses of `host` in the activations after `since`.
    pub(super) fn of(host: &ServerName, history: &[Placement], since: Epoch, timing: &PolicyTiming) -> Self {
        let mut losses = Self::default();
        for (placed, next) in history.iter().zip(history.iter().skip(1)) {
            if placed.host != *host || next.epoch <= since {
                continue;
            }
            if Duration::from_millis(next.at_ms.saturating_sub(placed.at_ms)) >= timing.hosted_well {
                losses = Self::default();
            } else if next.host != *host && follows_a_loss(next.reason) {
                losses = Self { count: losses.count + 1, epoch: next.epoch, at_ms: next.at_ms };
            }
        }
        losses
    }

    /// The pause of failback after the last loss. A single loss makes none.
    pub(super) fn pause(&self, timing: &PolicyTiming) -> Duration {
        let Some(repeated) = self.count.checked_sub(2) else { return Duration::ZERO };
        (timing.loss_pause * 2_u32.pow(repeated.min(16))).min(timing.loss_pause_max)
    }

    /// The rest of the pause at `unix_ms`. Never longer than the pause, even if clocks differ.
    pub(super) fn left(&self, unix_ms: u64, timing: &PolicyTiming) -> Duration {
        let pause = self.pause(timing);
        let end_ms = u128::from(self.at_ms) + pause.as_millis();
        let left_ms = u64::try_from(end_ms.saturating_sub(u128::from(unix_ms))).unwrap_or(u64::MAX);
        Duration::from_millis(left_ms).min(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: u64) -> ServerName {
        ServerName::new(format!("server{number}")).unwrap()
    }

    /// Activations: host, seconds, reason.
    fn history(entries: &[(u64, u64, ActivationReason)]) -> Vec<Placement> {
        let placement = |(index, (host, at_s, reason)): (u64, &(u64, u64, ActivationReason))| Placement {
            host: name(*host),
            epoch: Epoch { generation: 0, index },
            reason: *reason,
            at_ms: at_s * 1000,
        };
        (1..).zip(entries).map(placement).collect()
    }

    fn count(entries: &[(u64, u64, ActivationReason)]) -> u32 {
        Losses::of(&name(1), &history(entries), Epoch::default(), &PolicyTiming::default()).count
    }

    #[test]
    fn a_loss_is_an_activation_elsewhere_that_nobody_asked_for() {
        use ActivationReason::{EngineFailed, FailBack, FailOver, HandOver, Move, PolicyChange, Start};
        for (reason, lost) in
            [(FailOver, 1), (EngineFailed, 1), (Start, 0), (FailBack, 0), (Move, 0), (PolicyChange, 0), (HandOver, 0)]
        {
            assert_eq!(count(&[(1, 0, Start), (2, 9, reason)]), lost, "{reason:?}");
            assert_eq!(count(&[(1, 0, Start), (1, 9, reason)]), 0, "{reason:?}: it hosts on");
            assert_eq!(count(&[(2, 0, Start), (3, 9, reason)]), 0, "{reason:?}: another server's");
        }
    }

    #[test]
    fn losses_add_up_until_the_server_hosted_well() {
        use ActivationReason::{FailBack, FailOver, Move, Start};
        let flapping = [
            (1, 0, Start),
            (2, 9, FailOver),
            (1, 20, FailBack),
            (2, 29, FailOver),
            (1, 50, FailBack),
            (2, 59, FailOver),
        ];
        assert_eq!(count(&flapping), 3);
        let moved =
            [&flapping[..], &[(1, 70, FailBack), (2, 90, Move), (1, 100, FailBack), (2, 105, FailOver)]].concat();
        assert_eq!(count(&moved), 4, "an operator's move in between says nothing");
        let well = [&flapping[..], &[(1, 100, FailBack), (2, 700, FailOver)]].concat();
        assert_eq!(count(&well), 0);
        let again = [&well[..], &[(1, 800, FailBack), (2, 801, FailOver)]].concat();
        assert_eq!(count(&again), 1);
    }

    #[test]
    fn what_came_before_a_change_of_the_policy_does_not_count() {
        use ActivationReason::{FailBack, FailOver, Start};
        let entries = history(&[(1, 0, Start), (2, 9, FailOver), (1, 20, FailBack), (2, 29, FailOver)]);
        let since =
            |index| Losses::of(&name(1), &entries, Epoch { generation: 0, index }, &PolicyTiming::default()).count;
        assert_eq!([since(0), since(2), since(4)], [2, 1, 0]);
    }

    #[test]
    fn the_pause_doubles_up_to_five_minutes() {
        let timing = PolicyTiming::default();
        let pauses = (0..9).map(|count| Losses { count, ..Losses::default() }.pause(&timing).as_secs());
        assert_eq!(pauses.collect::<Vec<_>>(), [0, 0, 10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn a_pause_is_never_longer_than_it_is_whatever_the_clocks_say() {
        let timing = PolicyTiming::default();
        let losses = Losses { count: 3, epoch: Epoch::default(), at_ms: 1_000_000 };
        for (unix_ms, left_ms) in [(1_000_000, 20_000), (1_015_000, 5_000), (1_020_000, 0), (9_000_000, 0), (0, 20_000)]
        {
            assert_eq!(losses.left(unix_ms, &timing), Duration::from_millis(left_ms), "at {unix_ms}");
        }
    }
}
