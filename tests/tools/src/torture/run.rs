//! One run: the cluster, the workload, the nemesis, and the result.

use std::path::{Path, PathBuf};
use std::time::Duration;

use baton_tests::clock::Deadline;
use baton_tests::status::Status;

use super::access::Access;
use super::check::{Verdict, check};
use super::history::{Ending, History, RunClock};
use super::kind::Kind;
use super::lab::{Lab, Tuning, members};
use super::leftovers::sweep;
use super::load::Load;
use super::nemesis::{HEALTHY_WITHIN, Nemesis};
use super::picture::picture;
use super::sampler::Sampler;
use super::schedule::{Schedule, schedule};
use super::trace::Trace;

/// Deadline of the first start.
const START: Duration = Duration::from_secs(60);
/// Deadline for draining the queues at the end: it is short, because consumers keep up.
const DRAIN: Duration = Duration::from_secs(60);
/// Deadline of the failback at the end: a server whose engine failed is left alone for 30 s; then 5 s of stability, and
/// the move.
const FAIL_BACK: Duration = Duration::from_secs(45);
const COMMAND: Duration = Duration::from_secs(40);
const PAUSE: Duration = Duration::from_millis(200);

/// The plan of a run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The seed.
    pub seed: u64,
    /// For how many seconds there are faults.
    pub secs: u64,
    /// The kinds of faults; not empty.
    pub only: Vec<Kind>,
    /// True if a run without server traces is good.
    pub tolerate_no_trace: bool,
    /// Keeps the directory of a good run, too.
    pub keep: bool,
}

/// The result of a run.
#[derive(Debug)]
pub struct Run {
    /// Its seed.
    pub seed: u64,
    /// The history.
    pub history: History,
    /// The verdicts of the checker.
    pub verdicts: Vec<Verdict>,
    /// True if it failed.
    pub failed: bool,
    /// Directory of its files, if they are kept.
    pub dir: Option<PathBuf>,
}

/// Performs a run.
///
/// # Errors
/// If it could not be made: that says nothing of the cluster under torture.
pub fn torture(options: &Options) -> Result<Run, String> {
    let plan = schedule(options.seed, options.secs, &options.only);
    eprintln!("seed {}; replay: {}\n{plan}", options.seed, replay(options));
    sweep();
    let temp = tempfile::Builder::new().prefix("baton-torture-").tempdir().map_err(|error| error.to_string())?;
    let cluster = temp.path().join("cluster");
    let history = perform(&cluster, &plan, Tuning::TORTURE)?;
    let verdicts = check(&history);
    let failed = verdicts.iter().any(|verdict| verdict.fails(options.tolerate_no_trace));
    let mut run = Run { seed: options.seed, history, verdicts, failed, dir: None };
    if failed || options.keep {
        let dir = temp.keep();
        keep(&dir, &run)?;
        run.dir = Some(dir);
    }
    Ok(run)
}

/// The command that makes this run again.
fn replay(options: &Options) -> String {
    let mut command = format!("torture --seed {} --secs {}", options.seed, options.secs);
    if options.only != Kind::ALL {
        let names: Vec<&str> = options.only.iter().map(|kind| kind.name()).collect();
        command.push_str(&format!(" --only {}", names.join(",")));
    }
    command
}

/// Performs a schedule on a new cluster whose files are in `dir`.
///
/// # Errors
/// If it could not be made.
pub(crate) fn perform(dir: &Path, plan: &Schedule, tuning: Tuning) -> Result<History, String> {
    let mut lab = Lab::start(dir, &plan.small_disk, tuning)?;
    let access = lab.access();
    started(&access)?;
    let clock = RunClock::start();
    let mut load = Load::start(&access, clock, tuning.whole)?;
    if !Deadline::within(START).poll(PAUSE, || load.received() > 0) {
        return Err("no message came through before the first fault".to_owned());
    }
    let sampler = Sampler::start(access.clone(), clock);

    let mut nemesis = Nemesis::new(&mut lab, &mut load, clock);
    nemesis.perform(plan);
    let mut ending = Ending { last_fault_ms: clock.ms(), list: plan.last_list.clone(), ..Ending::default() };
    match nemesis.wait_healthy(true) {
        Ok(()) => ending.healthy_after_ms = Some(clock.ms() - ending.last_fault_ms),
        Err(why) => nemesis.unhealthy.push(format!("at the end, after {HEALTHY_WITHIN:?}: {why}")),
    }
    let (faults, unhealthy) = (std::mem::take(&mut nemesis.done), std::mem::take(&mut nemesis.unhealthy));
    let recoveries = std::mem::take(&mut nemesis.recoveries);
    let deaths = std::mem::take(&mut nemesis.deaths);
    fail_back(&access, clock, &mut ending);
    let account = load.finish(DRAIN);
    let verify = access.run(&["verify"], COMMAND);
    ending.drained = account.drained;
    ending.left = account.left;
    ending.dead = account.dead;
    ending.verify_code = verify.code;
    ending.verify_said = format!("{}\n{}", verify.text(), verify.stderr);
    let status = sampler.stop();

    let mut trace = Trace::default();
    for name in members() {
        let log = std::fs::read(lab.log(&name)).map_err(|error| format!("the log of {name}: {error}"))?;
        trace.read(&name, &String::from_utf8_lossy(&log));
    }
    Ok(History {
        start_boot_ns: clock.boot_ns(),
        schedule: Some(plan.clone()),
        faults,
        recoveries,
        unhealthy,
        deaths,
        producers: account.producers,
        consumers: account.consumers,
        others: account.others,
        operations: account.operations,
        status,
        trace,
        ending,
    })
}

fn started(access: &Access) -> Result<(), String> {
    let is_started = |status: &Status| status.host().is_some() && status.all_caught_up();
    access.wait(START, is_started).map(drop).map_err(|last| format!("the cluster did not start: {last}"))
}

/// Sets the policy of the end, and waits until the engine is where the policy wants it.
fn fail_back(access: &Access, clock: RunClock, ending: &mut Ending) {
    let list = ending.list.join(",");
    let set = ["policy", "set", "--assistance", "none", "--preferred", &list, "--fail-back", "true"];
    if let Err(why) = access.ok(&set, COMMAND) {
        eprintln!("  the policy of the end was not set: {why}");
    }
    let set_ms = clock.ms();
    let back = Deadline::within(FAIL_BACK).poll(PAUSE, || {
        let status = access.status().ok();
        ending.host = status.and_then(|status| status.host().map(str::to_owned));
        ending.host.as_ref() == ending.list.first()
    });
    ending.back_after_ms = back.then(|| clock.ms() - set_ms);
}

/// Writes the history and the picture next to the logs.
fn keep(dir: &Path, run: &Run) -> Result<(), String> {
    let write = |name: &str, text: String| {
        let path = dir.join(name);
        std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
    };
    write("history.json", serde_json::to_string(&run.history).map_err(|error| error.to_string())?)?;
    let verdicts: Vec<String> = run.verdicts.iter().map(|verdict| verdict.words() + "\n").collect();
    write("verdicts.txt", verdicts.concat())?;
    write("timeline.svg", picture(&run.history))
}
