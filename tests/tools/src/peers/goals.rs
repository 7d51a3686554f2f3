//! Baton's goals and whether it reaches them: by the medians of one run, never by figures from elsewhere.

use super::System;
use super::floor::Floor;
use super::report::Report;
use super::verdict::Verdict;
use super::workload::{Measure, Workload};
use crate::bound::{Bound, figure};

/// Replicas that share the disk.
const REPLICAS: f64 = 3.0;

/// The base of a goal.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Base {
    /// The same figure of a peer.
    Peer(System),
    /// The best confirm that disk and loopback allow.
    Floor,
    /// The disk's sync rate, divided by the replicas on it.
    Disk,
    /// Nothing: it counts as it is.
    Alone,
}

/// A goal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Goal {
    pub(super) workload: Workload,
    pub(super) measure: Measure,
    against: Base,
    bound: Bound,
}

const fn goal(workload: Workload, measure: Measure, against: Base, bound: Bound) -> Goal {
    Goal { workload, measure, against, bound }
}

/// All of them.
pub(super) const GOALS: [Goal; 6] = [
    goal(Workload::Produce, Measure::Produced, Base::Peer(System::Nats), Bound::AtLeast(5.0)),
    goal(Workload::Produce, Measure::Produced, Base::Peer(System::RabbitMq), Bound::AtLeast(12.0)),
    goal(Workload::OneAtATime, Measure::P50, Base::Floor, Bound::AtMost(1.5)),
    goal(Workload::Both, Measure::Consumed, Base::Alone, Bound::AtLeast(100_000.0)),
    goal(Workload::Consume, Measure::Consumed, Base::Peer(System::Nats), Bound::AtLeast(3.0)),
    goal(Workload::Produce1MiB, Measure::ProducedMb, Base::Disk, Bound::AtLeast(0.25)),
];

impl Goal {
    /// By the measurements.
    pub(super) fn verdict(&self, report: &Report) -> Verdict {
        let value = self.value(report);
        let reached = value.map(|value| self.bound.holds(value));
        let figure = format!("{}, {}", self.workload.name(), self.measure.unit());
        Verdict { figure, goal: self.words(), value, reached }
    }

    fn value(&self, report: &Report) -> Option<f64> {
        let median = |system| Some(report.spread(system, self.workload, self.measure)?.median);
        let floor = |part: fn(&Floor) -> f64| Some(report.floor(part)?.median);
        let base = match self.against {
            Base::Peer(peer) => median(peer)?,
            Base::Floor => floor(|floor| floor.confirm_p50_ms)?,
            Base::Disk => floor(|floor| floor.disk_mb_per_s)? / REPLICAS,
            Base::Alone => 1.0,
        };
        let ratio = median(System::Baton)? / base;
        ratio.is_finite().then_some(ratio)
    }

    fn words(&self) -> String {
        let (sign, bound) = self.bound.parts();
        match self.against {
            Base::Peer(peer) => format!("{sign} {bound} x {}", peer.name()),
            Base::Floor => format!("{sign} {bound} x floor"),
            Base::Disk => format!("{sign} {bound} x disk / {REPLICAS}"),
            Base::Alone => format!("{sign} {}", figure(bound)),
        }
    }
}

impl Report {
    /// Judges the goals by the samples so far.
    pub(super) fn judge(&mut self) {
        self.verdicts = GOALS.iter().map(|goal| goal.verdict(self)).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::{report, sample};
    use super::*;

    fn reached(report: &Report) -> Vec<Option<bool>> {
        GOALS.iter().map(|goal| goal.verdict(report).reached).collect()
    }

    #[test]
    fn each_goal_is_judged_by_its_own_bound() {
        // Baton, NATS, RabbitMQ: messages produced and consumed per second, p50; the floor is 1 ms, the disk syncs 300 MB/s.
        let good = report([(120_000.0, 1.5), (24_000.0, 1.0), (10_000.0, 9.0)]);
        let bad = report([(99_999.0, 1.51), (40_000.0, 1.0), (8_400.0, 9.0)]);
        // 1 MiB messages at 120,000 per second are more than any disk takes; at 20 per second, 21 MB/s of 100.
        assert_eq!(reached(&good), [Some(true); 6]);
        assert_eq!(reached(&bad), [false, false, false, false, false, true].map(Some));
        let mut slow = report([(120_000.0, 1.5), (24_000.0, 1.0), (10_000.0, 9.0)]);
        slow.cells.retain(|cell| cell.workload != Workload::Produce1MiB);
        slow.add(System::Baton, Workload::Produce1MiB, sample(20.0, 1.0));
        assert_eq!(reached(&slow)[5], Some(false));
    }

    #[test]
    fn a_goal_against_a_peer_that_did_not_run_is_not_measured() {
        let mut report = report([(1.0, 1.0), (1.0, 1.0), (1.0, 1.0)]);
        report.cells.retain(|cell| cell.system != System::Nats);
        let verdict = GOALS[0].verdict(&report);
        assert_eq!((verdict.value, verdict.reached), (None, None));
        assert_eq!(verdict.words(), "≥ 5 x NATS: not measured");
    }
}
