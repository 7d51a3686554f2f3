//! The cost of many producers, many queues, or many messages, and latency at half load: loads in turn on one cluster,
//! each compared with a smaller one of the same round.

mod loads;
mod report;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use loads::Load;
pub use report::Report;

use baton_tests::cluster::Cluster;
use baton_tests::program::run;

use crate::peers::Sample;
use crate::report_file::machine;
use loads::{SHORT, Scale};

/// Time that a load may take beyond its seconds and its messages.
const SPARE: Duration = Duration::from_secs(60);
/// And for each message that it sends first and drains, at the slowest.
const SLOWEST: Duration = Duration::from_micros(100);
/// Rest of the servers after a long queue was deleted: they remove its files, which is no part of a load.
const SETTLE: Duration = Duration::from_secs(15);
/// Interval of samples of the servers' memory.
const LOOK: Duration = Duration::from_millis(200);

/// Measurements, and their number.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Number of rounds.
    pub rounds: usize,
    /// Seconds of a load without an end of its own.
    pub secs: u64,
    /// Messages of the long queue.
    pub long: u64,
}

/// Measures, and reports its progress on standard error.
///
/// # Errors
/// If a load fails.
///
/// # Panics
/// If the cluster does not start: then there is nothing to measure.
pub fn measure(plan: Plan) -> Result<Report, String> {
    let cluster = Cluster::start(3, 0);
    let mut scale = Scale { secs: plan.secs, long: plan.long, half: 0 };
    // The first load finds everything cold, and is slower.
    one(&cluster, Load::OneAtATime, scale)?;
    scale.half = rounded(one(&cluster, Load::Produce, scale)? / 2.0);
    let mut rounds = Vec::new();
    let mut resident_mib = 0.0;
    for number in 0..plan.rounds {
        if number > 0 {
            std::thread::sleep(SETTLE);
        }
        eprintln!("round {} of {}", number + 1, plan.rounds);
        let mut round = Round { cluster: &cluster, scale, figures: BTreeMap::new(), resident_mib: 0.0 };
        round.measure(number % 2 == 1)?;
        resident_mib = round.resident_mib.max(resident_mib);
        rounds.push(round.means());
    }
    let Scale { secs, long, half } = scale;
    let program = run(&["--version"], "", SPARE).text();
    Ok(Report { machine: machine(), program, secs, long, half, rounds, resident_mib })
}

/// Rounded to thousands, for a readable rate.
fn rounded(rate: f64) -> u64 {
    (rate / 1_000.0).round().max(1.0) as u64 * 1_000
}

fn one(cluster: &Cluster, load: Load, scale: Scale) -> Result<f64, String> {
    let messages = u32::try_from(scale.long.max(SHORT)).unwrap_or(u32::MAX);
    let limit = SPARE + Duration::from_secs(scale.secs) + SLOWEST * messages;
    // No load is to pay for bytes that were written before it and are not on disk yet.
    rustix::fs::sync();
    let sample: Sample = cluster.bench(&load.arguments(scale), limit)?;
    let figure = load.figure(&sample);
    eprintln!("{}: {figure:.2} {}", load.name(scale), load.unit());
    Ok(figure)
}

/// A round under way.
struct Round<'a> {
    cluster: &'a Cluster,
    scale: Scale,
    figures: BTreeMap<Load, Vec<f64>>,
    resident_mib: f64,
}

impl Round<'_> {
    fn measure(&mut self, backwards: bool) -> Result<(), String> {
        let mut steady: Vec<Load> = Load::ALL.into_iter().filter(|load| load.takes_turns()).collect();
        if backwards {
            steady.reverse();
        }
        self.each(&steady)?;
        // Short loads before and after: files and page cache of a long one affect the loads after it.
        self.each(&[Load::DrainShort, Load::DrainShort, Load::Both])?;
        self.watched(Load::DrainLong)?;
        self.each(&[Load::BothAfterLong, Load::DrainShort, Load::DrainShort, Load::Produce])?;
        self.watched(Load::ProduceBesideLong)
    }

    fn each(&mut self, loads: &[Load]) -> Result<(), String> {
        for load in loads {
            let figure = one(self.cluster, *load, self.scale)?;
            self.figures.entry(*load).or_default().push(figure);
        }
        Ok(())
    }

    /// The same, while the servers' memory is looked at.
    fn watched(&mut self, load: Load) -> Result<(), String> {
        let done = AtomicBool::new(false);
        let cluster = self.cluster;
        let (outcome, most) = std::thread::scope(|scope| {
            let watcher = scope.spawn(|| {
                let mut most = 0.0_f64;
                while !done.load(Ordering::Relaxed) {
                    most = cluster.most_resident_mib().max(most);
                    std::thread::sleep(LOOK);
                }
                most
            });
            let outcome = self.each(&[load]);
            done.store(true, Ordering::Relaxed);
            (outcome, watcher.join())
        });
        self.resident_mib = self.resident_mib.max(most.map_err(|_| "the memory could not be watched".to_owned())?);
        outcome
    }

    fn means(self) -> BTreeMap<Load, f64> {
        let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len() as f64;
        self.figures.into_iter().map(|(load, values)| (load, mean(values))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_load_is_told_in_thousands_and_never_nothing() {
        assert_eq!([187_499.0, 187_500.0, 12.0].map(rounded), [187_000, 188_000, 1_000]);
    }
}
