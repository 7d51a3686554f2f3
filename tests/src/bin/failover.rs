//! Measures how long a producer waits when the engine moves: after kill -9 of its host, and on a planned move; and what
//! an idle server costs.
//!
//! `failover [--runs 20] [--json] [--write FILE]`: prints a table (or JSON), and writes the table between the markers
//! of FILE. The client is `baton bench` with one producer and one message outstanding, so that the longest time without
//! a confirm that it reports is the time from the kill (at most one confirm's latency earlier) to the next confirm.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use baton_tests::{Background, Cluster, Deadline, LIMIT, Stdout, cpu_time, machine, replace_between};
use serde::{Deserialize, Serialize};

const BEGIN: &str = "<!-- failover:begin -->";
const END: &str = "<!-- failover:end -->";
/// How long idle servers are watched.
const IDLE: Duration = Duration::from_secs(20);
/// Seconds that the client runs: long enough for the outage to begin and to end.
const FAILOVER_SECS: &str = "5";
const MOVE_SECS: &str = "3";

/// What `baton bench --json` says, as far as it is of use here.
#[derive(Debug, Deserialize)]
struct Bench {
    produced_per_s: f64,
    longest_silence_ms: f64,
}

/// The figures of one kind of move, in milliseconds.
#[derive(Debug, Serialize)]
struct Figures {
    runs: usize,
    min_ms: f64,
    median_ms: f64,
    p90_ms: f64,
    max_ms: f64,
    all_ms: Vec<f64>,
}

/// An idle server's share of one core.
#[derive(Debug, Serialize)]
struct Idle {
    server: String,
    cpu_percent: f64,
}

#[derive(Debug, Serialize)]
struct Report {
    machine: String,
    program: String,
    undisturbed: Figures,
    kill: Figures,
    planned_move: Figures,
    idle: Vec<Idle>,
}

struct Options {
    runs: usize,
    json: bool,
    write: Option<PathBuf>,
}

fn main() -> ExitCode {
    let options = match options(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(why) => {
            eprintln!("failover: {why}\nusage: failover [--runs 20] [--json] [--write FILE]");
            return ExitCode::from(64);
        }
    };
    let report = measure(options.runs);
    let table = report.table();
    match serde_json::to_string_pretty(&report) {
        Ok(json) if options.json => println!("{json}"),
        Ok(_) | Err(_) => print!("{table}"),
    }
    let Some(file) = options.write else { return ExitCode::SUCCESS };
    let written = std::fs::read_to_string(&file)
        .map_err(|error| error.to_string())
        .and_then(|text| replace_between(&text, (BEGIN, END), &table))
        .and_then(|text| std::fs::write(&file, text).map_err(|error| error.to_string()));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("failover: {}: {why}", file.display());
            ExitCode::FAILURE
        }
    }
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options { runs: 20, json: false, write: None };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--json" => options.json = true,
            "--runs" => options.runs = value()?.parse().map_err(|_| "--runs takes a number".to_owned())?,
            "--write" => options.write = Some(value()?.into()),
            other => return Err(format!("{other} is unknown")),
        }
    }
    if options.runs == 0 { Err("--runs takes a number from 1".to_owned()) } else { Ok(options) }
}

fn measure(runs: usize) -> Report {
    let mut cluster = Cluster::start(3, 2);
    eprintln!("idle servers, for {IDLE:?}");
    let idle = idle(&cluster);
    eprintln!("{} runs without a disturbance", runs.div_ceil(4));
    let undisturbed = figures((0..runs.div_ceil(4)).map(|_| finished(bench(&cluster, MOVE_SECS))).collect());
    eprintln!("{runs} planned moves");
    let planned_move = figures((0..runs).map(|_| planned_move(&cluster)).collect());
    eprintln!("{runs} times kill -9");
    let kill = figures((0..runs).map(|_| kill(&mut cluster)).collect());
    Report { machine: machine(), program: version(), undisturbed, kill, planned_move, idle }
}

/// Kills the engine's host; answers the longest silence at the client, in milliseconds.
fn kill(cluster: &mut Cluster) -> f64 {
    let (client, host, epoch) = client_at_work(cluster, FAILOVER_SECS);
    cluster.kill(&host);
    let silence = finished(client);
    let after = cluster.wait_engine_away_from(&host).epoch();
    assert!(after > epoch, "the engine was to be activated elsewhere: {epoch:?}, {after:?}");
    cluster.restart(&host);
    cluster.wait("all members up again", |status| status.all_caught_up());
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
    // Its queue fills, because nobody consumes.
    let works = Deadline::within(LIMIT)
        .poll(Duration::from_millis(20), || cluster.queues().iter().any(|queue| queue.depth > 0));
    assert!(works && client.runs(), "the client gets no confirms: {}", client.stderr());
    (client, status.host().unwrap_or_default().to_owned(), status.epoch())
}

fn bench(cluster: &Cluster, secs: &str) -> Background {
    let options = ["--producers", "1", "--consumers", "0", "--window", "1", "--size", "256", "--secs", secs, "--json"];
    cluster.spawn(&[&["bench"], &options[..]].concat(), Stdout::Collect)
}

/// Waits for the client's end; answers its longest silence.
fn finished(client: Background) -> f64 {
    let output = client.wait(LIMIT);
    assert_eq!(output.code, Some(0), "baton bench: {}", output.stderr);
    let bench: Bench = serde_json::from_str(&output.text()).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    assert!(bench.produced_per_s > 0.0, "the client got no confirms: {bench:?}");
    bench.longest_silence_ms
}

fn idle(cluster: &Cluster) -> Vec<Idle> {
    let used = || -> Vec<Duration> { cluster.names().iter().map(|name| cpu_time(cluster.pid(name))).collect() };
    let before = used();
    std::thread::sleep(IDLE);
    let shares = used().into_iter().zip(before).map(|(after, before)| (after - before).as_secs_f64());
    let percent = shares.map(|seconds| 100.0 * seconds / IDLE.as_secs_f64());
    cluster.names().into_iter().zip(percent).map(|(server, cpu_percent)| Idle { server, cpu_percent }).collect()
}

/// Sorts and sums up. The median of an even number is the mean of the middle two; the 90th percentile is a run's value.
fn figures(all: Vec<f64>) -> Figures {
    let mut sorted = all.clone();
    sorted.sort_by(f64::total_cmp);
    let count = sorted.len();
    let at = |position: usize| sorted.get(position).copied().unwrap_or(f64::NAN);
    Figures {
        runs: count,
        min_ms: at(0),
        median_ms: f64::midpoint(at((count.max(1) - 1) / 2), at(count / 2)),
        p90_ms: at((count * 9).div_ceil(10).max(1) - 1),
        max_ms: at(count.max(1) - 1),
        all_ms: all,
    }
}

impl Report {
    fn table(&self) -> String {
        let mut text = format!("Machine: {}. Program: {}.\n\n", self.machine, self.program);
        text.push_str(
            "| longest time without a confirm | runs | min | median | p90 | max |\n|---|---|---|---|---|---|\n",
        );
        let rows = [
            ("kill -9 of the host", &self.kill),
            ("planned move", &self.planned_move),
            ("undisturbed", &self.undisturbed),
        ];
        // Writing to a String does not fail.
        for (what, Figures { runs, min_ms, median_ms, p90_ms, max_ms, .. }) in rows {
            let _ = writeln!(
                text,
                "| {what} | {runs} | {min_ms:.1} ms | {median_ms:.1} ms | {p90_ms:.1} ms | {max_ms:.1} ms |"
            );
        }
        text.push_str("\n| idle server | share of one core |\n|---|---|\n");
        for Idle { server, cpu_percent } in &self.idle {
            let _ = writeln!(text, "| {server} | {cpu_percent:.2} % |");
        }
        text
    }
}

fn version() -> String {
    baton_tests::run(&["--version"], "", LIMIT).text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_sorted_and_the_median_is_in_the_middle() {
        let table: [(&[f64], f64, f64, f64, f64); 3] = [
            // values, min, median, p90, max
            (&[7.0], 7.0, 7.0, 7.0, 7.0),
            (&[3.0, 1.0], 1.0, 2.0, 3.0, 3.0),
            (&[10.0, 9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0], 1.0, 5.5, 9.0, 10.0),
        ];
        for (values, min, median, p90, max) in table {
            let found = figures(values.to_vec());
            assert_eq!(
                (found.min_ms, found.median_ms, found.p90_ms, found.max_ms),
                (min, median, p90, max),
                "{values:?}"
            );
        }
    }
}
