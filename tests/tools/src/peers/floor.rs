//! The best that this machine's disk and loopback allow: the floor of a confirm, and the rate of synced writes.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Barrier, mpsc};
use std::time::{Duration, Instant};

use baton_tests::clock::{Deadline, now};
use serde::Serialize;

use crate::spread::percentile;

/// Synced at once, each on a file of its own.
const REPLICAS: usize = 3;
const ROUNDS: usize = 500;
/// A message of 256 bytes with its overhead, on disk and on the wire.
const RECORD: [u8; 512] = [b'x'; 512];
const FRAME: [u8; 300] = [b'x'; 300];
/// Client to leader and back, leader to follower and back.
const ROUND_TRIPS: usize = 2;
/// Time of writing to the disk for its rate.
const RATE: Duration = Duration::from_secs(3);
const BLOCK: usize = 1 << 20;
/// A round trip on the loopback that takes longer is a failure.
const LOST: Duration = Duration::from_secs(10);

/// The results.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Floor {
    /// Median of: three files are appended to and synced at the same moment, until the last is done; two round trips.
    pub confirm_p50_ms: f64,
    /// The 99th percentile of the same.
    pub confirm_p99_ms: f64,
    /// Median of the same until two of the three are done: a majority.
    pub majority_p50_ms: f64,
    /// Megabytes (10^6 bytes) per second that are written in blocks of 1 MiB, each of which is synced.
    pub disk_mb_per_s: f64,
}

/// Measures, with files in `dir`.
///
/// # Errors
/// If they cannot be written, or the loopback does not answer.
pub(super) fn measure(dir: &Path) -> Result<Floor, String> {
    let measured = confirms(dir).and_then(|(all_ms, majority_ms)| {
        Ok(Floor {
            confirm_p50_ms: percentile(&all_ms, 50),
            confirm_p99_ms: percentile(&all_ms, 99),
            majority_p50_ms: percentile(&majority_ms, 50),
            disk_mb_per_s: disk_rate(dir)?,
        })
    });
    measured.map_err(|error| format!("the floor: {error}"))
}

/// For each round the time until all are done, and until a majority is; sorted, in milliseconds.
fn confirms(dir: &Path) -> std::io::Result<(Vec<f64>, Vec<f64>)> {
    let names: Vec<_> = (1..=REPLICAS).map(|replica| dir.join(format!("floor{replica}"))).collect();
    let files = names.iter().map(File::create).collect::<Result<Vec<_>, _>>()?;
    let mut line = echo()?;
    let together = Barrier::new(REPLICAS + 1);
    let (done, synced) = mpsc::channel();
    let (mut all, mut majority, mut failed) = (Vec::new(), Vec::new(), None);
    std::thread::scope(|scope| {
        for mut file in files {
            let (together, done) = (&together, done.clone());
            scope.spawn(move || {
                for _ in 0..ROUNDS {
                    together.wait();
                    let began = now();
                    let synced = file.write_all(&RECORD).and_then(|()| file.sync_data());
                    // The receiver is dropped after this scope.
                    let _ = done.send(synced.map(|()| (began, now())));
                }
            });
        }
        // Also after an error: every thread waits at the barrier in every round.
        for _ in 0..ROUNDS {
            together.wait();
            let times: std::io::Result<Vec<_>> = synced.iter().take(REPLICAS).collect();
            match times.and_then(|times| Ok((times, round_trips(&mut line)?))) {
                Ok((times, trips)) => {
                    let (whole, most) = took(&times);
                    all.push((whole + trips).as_secs_f64() * 1e3);
                    majority.push((most + trips).as_secs_f64() * 1e3);
                }
                Err(error) => failed = Some(error),
            }
        }
    });
    names.iter().try_for_each(std::fs::remove_file)?;
    all.sort_by(f64::total_cmp);
    majority.sort_by(f64::total_cmp);
    failed.map_or(Ok((all, majority)), Err)
}

/// From the first start to the last end, and to the end of the one that completes a majority.
fn took(times: &[(Instant, Instant)]) -> (Duration, Duration) {
    let mut ends: Vec<Instant> = times.iter().map(|(_, end)| *end).collect();
    ends.sort();
    let began = times.iter().map(|(began, _)| *began).min();
    let until = |position: usize| match (began, ends.get(position)) {
        (Some(began), Some(end)) => end.saturating_duration_since(began),
        _ => Duration::ZERO,
    };
    (until(ends.len().saturating_sub(1)), until(ends.len() / 2))
}

/// A connection over the loopback to a thread that echoes, until it is dropped.
fn echo() -> std::io::Result<TcpStream> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let line = TcpStream::connect(listener.local_addr()?)?;
    let (mut other, _) = listener.accept()?;
    for end in [&line, &other] {
        end.set_nodelay(true)?;
    }
    line.set_read_timeout(Some(LOST))?;
    std::thread::spawn(move || {
        let mut frame = FRAME;
        while other.read_exact(&mut frame).and_then(|()| other.write_all(&frame)).is_ok() {}
    });
    Ok(line)
}

fn round_trips(line: &mut TcpStream) -> std::io::Result<Duration> {
    let began = now();
    let mut frame = FRAME;
    for _ in 0..ROUND_TRIPS {
        line.write_all(&frame)?;
        line.read_exact(&mut frame)?;
    }
    Ok(now() - began)
}

fn disk_rate(dir: &Path) -> std::io::Result<f64> {
    let name = dir.join("rate");
    let (mut file, block) = (File::create(&name)?, vec![b'x'; BLOCK]);
    let (began, end, mut written) = (now(), Deadline::within(RATE), 0);
    while !end.passed() {
        file.write_all(&block)?;
        file.sync_data()?;
        written += BLOCK;
    }
    let rate = written as f64 / 1e6 / (now() - began).as_secs_f64();
    std::fs::remove_file(name)?;
    Ok(rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_majority_is_two_of_three_and_all_are_done_with_the_last() {
        let zero = now();
        let at = |ms: u64| zero + Duration::from_millis(ms);
        let times = [(at(1), at(9)), (at(0), at(4)), (at(2), at(6))];
        assert_eq!(took(&times), (Duration::from_millis(9), Duration::from_millis(6)));
    }

    #[test]
    fn the_echo_answers_with_what_it_got() {
        let mut line = echo().unwrap();
        assert!(round_trips(&mut line).unwrap() > Duration::ZERO);
    }
}
