//! Tests the torture test's checker: for each defect of `baton-seeded-bugs`, runs it until the checker reports the
//! invariant that the defect breaks.
//!
//! `torture-seeded PROGRAM [--seed N] [--runs 6] [--only BUG,..] [--json] [--write FILE] [--keep]`: at most this many
//! runs per defect, with seeds from N up, and one more without it. Prints a table, and writes it between the markers of
//! FILE. With `--keep` the directories of the runs stay. Exit code 1 if a defect was not caught, 3 if the runs could
//! not be made.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use baton_tests::now;
use baton_tools::torture::{Hunt, SEEDED_BUGS, SeededBug, SeededRun, seeded_table, why_not_here};
use baton_tools::{machine, write_between};

const MARKERS: (&str, &str) = ("<!-- torture-seeded:begin -->", "<!-- torture-seeded:end -->");
const USAGE: &str =
    "usage: torture-seeded PROGRAM [--seed N] [--runs 6] [--only BUG,..] [--json] [--write FILE] [--keep]";
/// It could not be made.
const NOT_MADE: u8 = 3;

struct Arguments {
    program: PathBuf,
    seed: u64,
    runs: usize,
    bugs: Vec<&'static SeededBug>,
    json: bool,
    write: Option<PathBuf>,
    keep: bool,
}

fn main() -> ExitCode {
    let arguments = match arguments(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(why) => {
            let bugs: Vec<&str> = SEEDED_BUGS.iter().map(|bug| bug.name).collect();
            eprintln!("torture-seeded: {why}\n{USAGE}\nbugs: {}", bugs.join(", "));
            return ExitCode::from(64);
        }
    };
    match hunt_all(&arguments) {
        Ok(hunts) if hunts.iter().all(Hunt::caught) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("torture-seeded: {why}");
            ExitCode::from(NOT_MADE)
        }
    }
}

fn hunt_all(arguments: &Arguments) -> Result<Vec<Hunt>, String> {
    if let Some(why) = why_not_here() {
        return Err(format!("not possible here: {why}"));
    }
    is_seeded(&arguments.program)?;
    // Runs that fail leave their directories, and here they are meant to fail.
    let temp = tempfile::Builder::new().prefix("baton-seeded-").tempdir().map_err(|error| error.to_string())?;
    let mut hunts = Vec::new();
    for bug in &arguments.bugs {
        hunts.push(hunt(bug, arguments, temp.path())?);
    }
    if arguments.keep {
        eprintln!("the runs' files are in {}", temp.keep().display());
    }
    said(arguments, &hunts)?;
    Ok(hunts)
}

/// Fails unless the program has seeded bugs: a sound one would be tortured for long and for nothing.
fn is_seeded(program: &Path) -> Result<(), String> {
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{}: {error}", program.display()))?;
    let version = String::from_utf8_lossy(&output.stdout).into_owned();
    let seeded = version.contains("seeded-bugs");
    if seeded { Ok(()) } else { Err(format!("{} has no seeded bugs: {}", program.display(), version.trim())) }
}

fn hunt(bug: &SeededBug, arguments: &Arguments, temp: &Path) -> Result<Hunt, String> {
    let mut hunt = Hunt::new(bug);
    for seed in bug.seeds(arguments.seed).take(arguments.runs) {
        hunt.runs.push(torture(bug, seed, true, &arguments.program, temp)?);
        if hunt.found() {
            hunt.without = Some(torture(bug, seed, false, &arguments.program, temp)?);
            break;
        }
    }
    Ok(hunt)
}

/// Makes one run, with the `torture` that was built next to this program.
fn torture(bug: &SeededBug, seed: u64, seeded: bool, program: &Path, temp: &Path) -> Result<SeededRun, String> {
    let beside = std::env::current_exe().map_err(|error| error.to_string())?.with_file_name("torture");
    let kinds: Vec<&str> = bug.only.iter().map(|kind| kind.name()).collect();
    let mut command = Command::new(&beside);
    command.args(["--seed", &seed.to_string(), "--secs", &bug.secs.to_string(), "--only", &kinds.join(","), "--json"]);
    command.env("BATON_BIN", program).env("BATON_SEEDED_BUG", if seeded { bug.name } else { "" }).env("TMPDIR", temp);
    eprintln!("{} {}:", if seeded { "with" } else { "without" }, bug.name);
    let begin = now();
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| format!("{}: {error}", beside.display()))?;
    let secs = begin.elapsed().as_secs_f64();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("the run of seed {seed} with {} made no report: {error}", bug.name))?;
    let violated = report["violated"].as_object().ok_or("the report of a run lacks what was violated")?;
    Ok(SeededRun { seed, secs, violated: violated.keys().cloned().collect() })
}

fn said(arguments: &Arguments, hunts: &[Hunt]) -> Result<(), String> {
    let table = seeded_table(hunts);
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(hunts).map_err(|error| error.to_string())?);
    } else {
        print!("{table}");
    }
    let Some(file) = &arguments.write else { return Ok(()) };
    let made = format!("Machine: {}. Seeds from {}.\n\n{table}", machine(), arguments.seed);
    write_between(file, MARKERS, &made)
}

fn arguments(mut given: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let program = given.next().filter(|program| !program.starts_with('-')).ok_or("PROGRAM is missing")?.into();
    let bugs = SEEDED_BUGS.iter().collect();
    let mut arguments = Arguments { program, seed: 1, runs: 6, bugs, json: false, write: None, keep: false };
    while let Some(argument) = given.next() {
        let mut value = || given.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--seed" => arguments.seed = value()?.parse().map_err(|_| "--seed takes a number")?,
            "--runs" => arguments.runs = value()?.parse().map_err(|_| "--runs takes a number")?,
            "--only" => arguments.bugs = value()?.split(',').map(named).collect::<Result<_, _>>()?,
            "--json" => arguments.json = true,
            "--write" => arguments.write = Some(value()?.into()),
            "--keep" => arguments.keep = true,
            other => return Err(format!("{other} is unknown")),
        }
    }
    if arguments.runs == 0 { Err("--runs takes a number from 1".to_owned()) } else { Ok(arguments) }
}

fn named(name: &str) -> Result<&'static SeededBug, String> {
    SEEDED_BUGS.iter().find(|bug| bug.name == name).ok_or_else(|| format!("{name} is no seeded bug"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read_and_wrong_ones_refused() {
        let read = |text: &str| arguments(text.split_whitespace().map(str::to_owned));
        let good = read("p --seed 5 --runs 2 --only fencing-off,confirm-before-sync --json").expect("it is good");
        assert_eq!((good.program, good.seed, good.runs, good.json), ("p".into(), 5, 2, true));
        assert_eq!(good.bugs.iter().map(|bug| bug.name).collect::<Vec<_>>(), ["fencing-off", "confirm-before-sync"]);
        assert_eq!(read("p").expect("it is good").bugs.len(), SEEDED_BUGS.len());
        for bad in ["", "--json", "p --seed", "p --seed x", "p --only tickle", "p --runs 0", "p --other"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_program_without_seeded_bugs_is_refused() {
        assert!(is_seeded(Path::new("/bin/true")).is_err_and(|why| why.contains("no seeded bugs")));
        assert!(is_seeded(Path::new("/nowhere/at/all")).is_err());
    }
}
