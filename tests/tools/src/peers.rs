//! Baton compared with its peers, NATS and RabbitMQ: three nodes of each in turn on the same machine and disk, under
//! the same loads, with clients in the same language.
//!
//! A round starts each system afresh, puts every load on it, and stops it before the next one starts; the next round
//! begins with another one. The figures of a round are compared only with the same run, and the floor is measured
//! within it.

mod baton;
mod daemon;
mod floor;
mod goals;
mod load;
mod nats;
mod picture;
mod rabbitmq;
mod report;
mod stop;
mod system;
mod table;
mod verdict;
mod workload;

use std::collections::BTreeMap;
use std::path::Path;

pub use crate::spread::Spread;
pub use floor::Floor;
pub use picture::{latency, throughput};
pub use report::{Cell, Report};
pub use system::System;
pub use verdict::Verdict;
pub use workload::{Load, Measure, Sample, Workload};

use crate::report_file::machine;

/// Measurements, and their number.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Number of rounds.
    pub rounds: usize,
    /// Seconds of each measurement.
    pub secs: u64,
    /// Of which systems.
    pub systems: Vec<System>,
}

/// A cluster that runs; dropped, it ends.
trait RunningSystem {
    /// The version that it prints.
    fn version(&self) -> Result<String, String>;

    /// Puts a load on a new queue.
    fn measure(&self, load: &Load) -> Result<Sample, String>;
}

/// Measures, and reports its progress on standard error; a load that cannot be measured is a note in the report.
///
/// # Errors
/// If the disk cannot be measured: then nothing else can, either. If a signal says to stop.
///
/// # Panics
/// If Baton does not start.
pub fn measure(plan: &Plan) -> Result<Report, String> {
    stop::listen().map_err(|error| error.to_string())?;
    let mut report = empty(plan);
    for round in 0..plan.rounds {
        let say = |what: &str| eprintln!("round {} of {}: {what}", round + 1, plan.rounds);
        let temp = tempfile::Builder::new().prefix("baton-floor-").tempdir().map_err(|error| error.to_string())?;
        rustix::fs::sync();
        let floor = floor::measure(temp.path())?;
        say(&format!("floor: {:.2} ms, disk: {:.0} MB/s", floor.confirm_p50_ms, floor.disk_mb_per_s));
        report.floors.push(floor);
        for system in in_turn(&plan.systems, round) {
            measure_one(system, plan, &say, &mut report);
            if stop::stopped() {
                return Err(stop::WHY.to_owned());
            }
        }
    }
    report.judge();
    Ok(report)
}

fn empty(plan: &Plan) -> Report {
    Report {
        machine: machine(),
        disk: disk(&std::fs::read_to_string("/proc/mounts").unwrap_or_default(), &std::env::temp_dir()),
        clients: ["async-nats", "lapin"].map(|name| format!("{name} {}", locked(LOCK, name))).join(", "),
        rounds: plan.rounds,
        secs: plan.secs,
        versions: BTreeMap::new(),
        cells: Vec::new(),
        floors: Vec::new(),
        notes: Vec::new(),
        verdicts: Vec::new(),
    }
}

/// Each round begins with another one, so that none always has the disk as the same one left it.
fn in_turn(systems: &[System], round: usize) -> Vec<System> {
    let mut systems = systems.to_vec();
    let by = round % systems.len().max(1);
    systems.rotate_left(by);
    systems
}

fn start(system: System) -> Result<Box<dyn RunningSystem>, String> {
    Ok(match system {
        System::Baton => Box::new(baton::Baton::start()),
        System::Nats => Box::new(nats::Nats::start()?),
        System::RabbitMq => Box::new(rabbitmq::RabbitMq::start()?),
    })
}

fn measure_one(system: System, plan: &Plan, say: &dyn Fn(&str), report: &mut Report) {
    let key = system.key();
    let started = start(system).and_then(|running| Ok((running.version()?, running)));
    let (version, running) = match started {
        Ok(started) => started,
        Err(why) => {
            let note = format!("SKIPPED {key}: {}", first_line(&why));
            eprintln!("SKIPPED {key}: {why}");
            report.note(note);
            return;
        }
    };
    report.versions.insert(system, version);
    for workload in Workload::ALL.into_iter().filter(|workload| workload.is_for(system)) {
        if stop::stopped() {
            return;
        }
        // No load is to pay for bytes that were written before it and are not on disk yet.
        rustix::fs::sync();
        let name = workload.name();
        match running.measure(&workload.load(plan.secs)) {
            Ok(sample) => {
                let Sample { produced_per_s, consumed_per_s, confirm_p50_ms, confirm_p99_ms } = sample;
                say(&format!(
                    "{key}: {name}: {produced_per_s:.0} produced/s, {consumed_per_s:.0} consumed/s, confirms p50 \
                     {confirm_p50_ms:.2} ms, p99 {confirm_p99_ms:.2} ms"
                ));
                report.add(system, workload, sample);
            }
            Err(why) => {
                say(&format!("{key}: {name}: FAILED: {why}"));
                report.note(format!("FAILED {key}: {name}: {}", first_line(&why)));
            }
        }
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// The versions that the clients are built from.
const LOCK: &str = include_str!("../../../Cargo.lock");

fn locked<'lock>(lock: &'lock str, name: &str) -> &'lock str {
    let entry =
        lock.split("[[package]]").find_map(|entry| entry.strip_prefix(&format!("\nname = \"{name}\"\nversion = \"")));
    entry.and_then(|entry| entry.split('"').next()).unwrap_or("of an unknown version")
}

/// The file system of a directory, by the lines of /proc/mounts.
fn disk(mounts: &str, dir: &Path) -> String {
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let holds = fields.filter_map(|fields| match fields[..] {
        [device, point, kind, ..] if dir.starts_with(point) => Some((point.len(), format!("{kind} on {device}"))),
        _ => None,
    });
    // Of mounts at the same place the last one counts.
    holds.max_by_key(|(length, _)| *length).map_or("an unknown disk".to_owned(), |(_, words)| words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_round_begins_with_another_system() {
        let all = System::ALL.to_vec();
        let first: Vec<System> = (0..4).map(|round| in_turn(&all, round)[0]).collect();
        assert_eq!(first, [System::Baton, System::Nats, System::RabbitMq, System::Baton]);
        assert_eq!(in_turn(&all, 2), [System::RabbitMq, System::Baton, System::Nats]);
        assert!(in_turn(&[], 1).is_empty());
    }

    #[test]
    fn a_version_is_that_of_the_lock_file() {
        let lock =
            "[[package]]\nname = \"lapin-x\"\nversion = \"9\"\n\n[[package]]\nname = \"lapin\"\nversion = \"2.5.0\"\n";
        assert_eq!(locked(lock, "lapin"), "2.5.0");
        assert_eq!(locked(lock, "none"), "of an unknown version");
        assert_ne!(locked(LOCK, "async-nats"), "of an unknown version");
    }

    #[test]
    fn the_disk_is_that_of_the_nearest_mount() {
        let mounts = "/dev/vda / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/vdb /tm xfs rw 0 0\n";
        assert_eq!(disk(mounts, Path::new("/tmp/x")), "tmpfs on tmpfs");
        assert_eq!(disk(mounts, Path::new("/var")), "ext4 on /dev/vda");
        assert_eq!(disk("", Path::new("/")), "an unknown disk");
    }
}
