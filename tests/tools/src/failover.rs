//! Measures the outage of a producer when the engine moves: after kill -9 of its host, after its host was lost to the
//! network, and on a planned move; with an empty store and with a backlog; and the cost of an idle server.
//!
//! The client is `baton bench` with one producer and one message outstanding, so that the longest time without a
//! confirm that it reports is the time from the fault (at most one confirm's latency earlier) to the next confirm.

mod figures;
mod picture;
mod report;

use std::io::Write as _;
use std::time::Duration;

use baton_tests::clock::Deadline;
use baton_tests::cluster::{Cluster, LIMIT};
use baton_tests::kept_dir::KeptDir;
use baton_tests::process::cpu_time;
use baton_tests::program::{Background, Stdout, run};
use baton_tests::status::{Queue, Status};
use serde::Deserialize;

pub use figures::Figures;
pub use picture::picture;
pub use report::{Backlog, IdleServer, Report};

use crate::report_file::machine;
use crate::torture::{Access, Lab, Tuning, why_not_here};

/// Time of watching idle servers.
const IDLE: Duration = Duration::from_secs(20);
/// Seconds that the client runs: long enough for the outage to begin and to end.
const KILL_SECS: &str = "3";
const LOSS_SECS: &str = "5";
const MOVE_SECS: &str = "2";
/// Longest time per message of sending the backlog.
const SLOWEST: Duration = Duration::from_micros(200);
/// Bytes of a message of the backlog.
const BACKLOG_BYTES: usize = 100;

/// Measurements, and their number.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Runs of each kind.
    pub runs: usize,
    /// Messages of the backlog; 0: none.
    pub backlog: usize,
}

/// Measures, and reports its progress on standard error.
///
/// # Panics
/// If a cluster does not behave as expected: then there is nothing to measure.
#[must_use]
pub fn measure(plan: Plan) -> Report {
    let Plan { runs, backlog } = plan;
    let mut cluster = Cluster::start(3, 2);
    eprintln!("idle servers, for {IDLE:?}");
    let idle = idle(&cluster);
    let few = runs.div_ceil(4);
    let undisturbed = figures("without a disturbance", few, || finished(bench(&cluster, MOVE_SECS)));
    let planned_move = figures("planned moves", runs, || planned_move(&cluster));
    let kill = figures("kill -9 of the host", runs, || kill(&mut cluster));
    let backlog = (backlog > 0).then(|| with_backlog(&mut cluster, backlog, few));
    drop(cluster);
    let host_loss = host_loss(few);
    let program = run(&["--version"], "", LIMIT).text();
    Report { machine: machine(), program, undisturbed, kill, planned_move, host_loss, backlog, idle }
}

fn figures(what: &str, runs: usize, mut one: impl FnMut() -> f64) -> Figures {
    let values = (1..=runs).map(|number| {
        let value = one();
        eprintln!("{what}: {number} of {runs}: {value:.1} ms");
        value
    });
    Figures::new(values.collect())
}

/// Kills the engine's host; answers the longest silence at the client, in milliseconds.
fn kill(cluster: &mut Cluster) -> f64 {
    let (client, host, epoch) = client_at_work(cluster, KILL_SECS);
    cluster.kill(&host);
    let silence = finished(client);
    let after = cluster.wait_engine_away_from(&host).epoch();
    assert!(after > epoch, "the engine was to be activated elsewhere: {epoch:?}, {after:?}");
    cluster.restart(&host);
    cluster.wait("all members up again", Status::all_caught_up);
    silence
}

/// Moves the engine to the next server; answers the longest silence at the client, in milliseconds.
fn planned_move(cluster: &Cluster) -> f64 {
    let (client, host, _) = client_at_work(cluster, MOVE_SECS);
    let target = if host == "server1" { "server2" } else { "server1" };
    cluster.ok(&["move", target]);
    let silence = finished(client);
    assert!(cluster.status().started_on(target), "the engine was to be on {target}");
    silence
}

/// Starts a client and waits until it has got confirms; answers it, the engine's host and its epoch.
fn client_at_work(cluster: &Cluster, secs: &str) -> (Background, String, Option<(u64, u64)>) {
    let status = cluster.wait("a started engine", |status| status.host().is_some());
    let mut client = bench(cluster, secs);
    until_at_work(&mut client, || cluster.queues());
    (client, status.host().unwrap_or_default().to_owned(), status.epoch())
}

/// Waits until the client's queue fills, because nobody consumes.
fn until_at_work(client: &mut Background, queues: impl Fn() -> Vec<Queue>) {
    let fills = || queues().iter().any(|queue| queue.name.starts_with("baton-bench-") && queue.depth > 0);
    let works = Deadline::within(LIMIT).poll(Duration::from_millis(20), fills);
    assert!(works && client.runs(), "the client gets no confirms: {}", client.stderr());
}

fn bench_arguments(secs: &str) -> Vec<&str> {
    let load = ["--producers", "1", "--consumers", "0", "--window", "1", "--size", "256"];
    ["bench"].into_iter().chain(load).chain(["--secs", secs, "--json"]).collect()
}

fn bench(cluster: &Cluster, secs: &str) -> Background {
    cluster.spawn(&bench_arguments(secs), Stdout::Collect)
}

/// The fields of `baton bench --json` that are used here.
#[derive(Debug, Deserialize)]
struct Bench {
    produced_per_s: f64,
    longest_silence_ms: f64,
}

/// Waits for the client's end; answers its longest silence.
fn finished(client: Background) -> f64 {
    let output = client.wait(LIMIT);
    assert_eq!(output.code, Some(0), "baton bench: {}", output.stderr);
    let bench: Bench = serde_json::from_str(&output.text()).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    assert!(bench.produced_per_s > 0.0, "the client got no confirms: {bench:?}");
    bench.longest_silence_ms
}

fn idle(cluster: &Cluster) -> Vec<IdleServer> {
    let used = || -> Vec<Duration> { cluster.names().iter().map(|name| cpu_time(cluster.pid(name))).collect() };
    let before = used();
    std::thread::sleep(IDLE);
    let shares = used().into_iter().zip(before).map(|(after, before)| (after - before).as_secs_f64());
    let percent = shares.map(|seconds| 100.0 * seconds / IDLE.as_secs_f64());
    cluster.names().into_iter().zip(percent).map(|(server, cpu_percent)| IdleServer { server, cpu_percent }).collect()
}

/// The same with messages that are not consumed.
fn with_backlog(cluster: &mut Cluster, messages: usize, runs: usize) -> Backlog {
    eprintln!("sending a backlog of {messages} messages of {BACKLOG_BYTES} bytes");
    cluster.create_queue("backlog");
    let mut sender = cluster.spawn(&["send", "backlog", "--timeout", "60"], Stdout::Collect);
    let mut input = sender.stdin();
    let writer = std::thread::spawn(move || {
        let mut input = std::io::BufWriter::new(&mut input);
        (0..messages).try_for_each(|number| writeln!(input, "{number:0BACKLOG_BYTES$}"))
    });
    let sent = sender.wait(LIMIT + SLOWEST * u32::try_from(messages).unwrap_or(u32::MAX));
    assert_eq!(sent.code, Some(0), "baton send: {}", sent.stderr);
    writer.join().expect("the writer does not panic").expect("all lines were read");
    assert_eq!(cluster.queue("backlog").depth, messages as u64);
    let resident_before_mib = cluster.most_resident_mib();
    let planned_move = figures("planned moves with a backlog", runs, || planned_move(cluster));
    let kill = figures("kill -9 of the host with a backlog", runs, || kill(cluster));
    Backlog { messages, kill, planned_move, resident_before_mib, resident_after_mib: cluster.most_resident_mib() }
}

/// Cuts the host of the engine off the network, each in a namespace of its own: no packet comes back. `None` where that
/// is not possible.
fn host_loss(runs: usize) -> Option<Figures> {
    if let Some(why) = why_not_here() {
        eprintln!("host loss: SKIPPED: {why}");
        return None;
    }
    let temp = KeptDir::new("baton-failover-");
    let lab = Lab::start(&temp.path().join("cluster"), "witness2", Tuning::PLAIN).unwrap_or_else(|why| panic!("{why}"));
    let access = lab.access();
    wait(&access, "all members up", |status| status.host().is_some() && status.all_caught_up());
    Some(figures("host loss", runs, || lose_host(&lab, &access)))
}

fn lose_host(lab: &Lab, access: &Access) -> f64 {
    let host = wait(access, "a started engine", |status| status.host().is_some());
    let host = host.host().unwrap_or_default();
    let mut client = access.spawn(&bench_arguments(LOSS_SECS));
    until_at_work(&mut client, || access.queues().unwrap_or_default());
    let plug = |up| lab.network.plug(host, up).unwrap_or_else(|why| panic!("{why}"));
    plug(false);
    let silence = finished(client);
    plug(true);
    wait(access, "all members up again", Status::all_caught_up);
    silence
}

fn wait(access: &Access, what: &str, fits: impl Fn(&Status) -> bool) -> Status {
    access.wait(LIMIT, fits).unwrap_or_else(|last| panic!("waited in vain for {what}: {last}"))
}
