//! The soak test: the torture test's cluster and load for an hour or more, with faults at a steady pace, while the
//! servers' resource use is measured. Nothing may be lost, and nothing may grow without end.

mod meter;
mod picture;
mod report;

use std::time::Duration;

use crate::torture::{Kind, Schedule, Tuning, perform, schedule, why_not_here};

pub use meter::{ResourceUse, Sample};
pub use picture::picture;
pub use report::{Growth, Report};

/// The faults: those after which a cluster has everything again.
const KINDS: [Kind; 10] = [
    Kind::KillHost,
    Kind::KillMembers,
    Kind::FreezeHost,
    Kind::Partition,
    Kind::OneWay,
    Kind::Terminate,
    Kind::Moves,
    Kind::RestartAll,
    Kind::SlowDisk,
    Kind::KillConsumer,
];
/// Interval of the samples.
const EVERY: Duration = Duration::from_secs(10);

/// Duration, and interval of faults.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// For the choice of faults.
    pub seed: u64,
    /// Duration in minutes.
    pub minutes: u64,
    /// The pause before each fault, in seconds.
    pub pause_secs: u64,
}

/// Makes the soak.
///
/// # Errors
/// The reason why it could not run.
pub fn soak(plan: Plan) -> Result<Report, String> {
    if let Some(why) = why_not_here() {
        return Err(format!("not possible here: {why}"));
    }
    let faults = faults(plan);
    eprintln!("{faults}");
    let temp = tempfile::Builder::new().prefix("baton-soak-").tempdir().map_err(|error| error.to_string())?;
    let dir = temp.path().join("cluster");
    let meter = meter::Meter::start(dir.clone(), EVERY);
    let history = perform(&dir, &faults, Tuning::PLAIN);
    let samples = meter.stop();
    let report = Report::new(plan, &history?, samples);
    if !report.good {
        eprintln!("the servers' files are in {}", temp.keep().display());
    }
    Ok(report)
}

/// A fault after each pause, for as long as is planned.
fn faults(plan: Plan) -> Schedule {
    let length_ms = plan.minutes * 60_000;
    let mut faults = schedule(plan.seed, plan.minutes * 60, &KINDS);
    let mut at_ms = 0;
    for episode in &mut faults.episodes {
        (episode.pause_ms, episode.caught_up) = (plan.pause_secs * 1_000, true);
    }
    faults.episodes.retain(|episode| {
        at_ms += episode.pause_ms + episode.length_ms();
        at_ms <= length_ms
    });
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_come_at_a_steady_pace_for_as_long_as_is_planned() {
        let plan = Plan { seed: 3, minutes: 60, pause_secs: 50 };
        let faults = faults(plan);
        assert!(faults.episodes.iter().all(|episode| episode.pause_ms == 50_000));
        let total: u64 = faults.episodes.iter().map(|episode| episode.pause_ms + episode.length_ms()).sum();
        assert!((3_300_000..=3_600_000).contains(&total), "{total} ms");
    }
}
