//! The workload: several producers and consumers, each a process of its own, that run all the while.

use std::io::Write;
use std::process::ChildStdin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::access::Access;
use super::history::{Consumer, Producer, Received, RunClock, line};
use crate::clock::Deadline;
use crate::program::Background;

/// The queues, each with how many producers and consumers it has, and how many lines a producer is fed at a time.
pub(crate) const QUEUES: [(&str, usize, usize, u64); 3] =
    [("orders", 2, 1, 2), ("events", 1, 2, 3), ("audit", 1, 1, 10)];
/// How often it is fed.
const EVERY: Duration = Duration::from_millis(10);
/// How long a message may wait for its confirm: longer than any outage that a run forgives.
const TIMEOUT: &str = "120";
const SOON: Duration = Duration::from_secs(20);
/// How long a consumer may take to end after SIGTERM.
const END: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug)]
struct Fed {
    name: String,
    queue: &'static str,
    process: Background,
    feeder: JoinHandle<()>,
    fed: Arc<AtomicU64>,
}

/// The producers and consumers.
#[derive(Debug)]
pub(crate) struct Load {
    access: Access,
    producers: Vec<Fed>,
    consumers: Vec<(String, &'static str, Background)>,
    stop: Arc<AtomicBool>,
}

/// What they did.
#[derive(Debug)]
pub(crate) struct Account {
    /// Of the producers.
    pub producers: Vec<Producer>,
    /// Of the consumers.
    pub consumers: Vec<Consumer>,
    /// Whether all producers ended by themselves and all queues were drained in time.
    pub drained: bool,
    /// Messages left in the queues.
    pub left: u64,
}

impl Load {
    /// Creates the queues and starts everyone.
    ///
    /// # Errors
    /// If a queue cannot be created.
    pub(crate) fn start(access: &Access) -> Result<Self, String> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut load = Self { access: access.clone(), producers: Vec::new(), consumers: Vec::new(), stop };
        for (queue, producers, consumers, batch) in QUEUES {
            access.ok(&["queue", "create", queue], SOON)?;
            for number in 1..=consumers {
                let process = access.spawn(&["receive", queue, "--follow"]);
                load.consumers.push((format!("{queue}-consumer{number}"), queue, process));
            }
            for number in 1..=producers {
                load.produce(format!("{queue}-producer{number}"), queue, batch);
            }
        }
        Ok(load)
    }

    fn produce(&mut self, name: String, queue: &'static str, batch: u64) {
        let mut process = self.access.spawn(&["send", queue, "--timeout", TIMEOUT]);
        let fed = Arc::new(AtomicU64::new(0));
        let feeder = {
            let (stdin, name, fed, stop) = (process.stdin(), name.clone(), Arc::clone(&fed), Arc::clone(&self.stop));
            std::thread::spawn(move || feed(stdin, &name, batch, &fed, &stop))
        };
        self.producers.push(Fed { name, queue, process, feeder, fed });
    }

    /// How many lines all consumers have printed.
    #[must_use]
    pub(crate) fn received(&self) -> usize {
        self.consumers.iter().map(|(_, _, process)| process.printed()).sum()
    }

    /// Stops sending, waits until everything came out and was acknowledged, for at most `limit`, and ends everyone.
    #[must_use]
    pub(crate) fn finish(mut self, clock: RunClock, limit: Duration) -> Account {
        self.stop.store(true, Ordering::Release);
        let deadline = Deadline::within(limit);
        let mut drained = deadline.poll(PAUSE, || self.producers.iter_mut().all(|producer| !producer.process.runs()));
        let mut left = 0;
        // Empty only when all was acknowledged; more copies would have come by then.
        drained &= deadline.poll(PAUSE * 4, || match self.access.queues() {
            Ok(queues) => {
                left = queues.iter().map(|queue| queue.depth).sum();
                left == 0
            }
            Err(_) => false,
        });
        let producers = self.producers.into_iter().map(Fed::finish).collect();
        for (_, _, process) in &self.consumers {
            process.tell_to_end();
        }
        let finish = |(name, queue, process): (String, &str, Background)| {
            let times = process.times();
            let output = process.wait_or_kill(END);
            // Lines that came after the times were taken come at the end.
            let last = times.last().copied();
            let stamped = output.lines.into_iter().zip(times.into_iter().map(Some).chain(std::iter::repeat(last)));
            let at = |then: Option<std::time::Instant>| then.map_or_else(|| clock.ms(), |then| clock.at(then));
            let received = stamped.map(|(line, then)| Received { at_ms: at(then), line }).collect();
            Consumer { name, queue: queue.to_owned(), received, code: output.code, said: output.stderr }
        };
        let consumers = self.consumers.into_iter().map(finish).collect();
        Account { producers, consumers, drained, left }
    }
}

impl Fed {
    fn finish(self) -> Producer {
        // One that still runs gave its answer by that: it is killed, and what it got confirmed is not known.
        let output = self.process.wait_or_kill(Duration::ZERO);
        let _ = self.feeder.join();
        let confirmed = output.last_word().strip_prefix("confirmed ").and_then(|count| count.parse().ok());
        let fed = self.fed.load(Ordering::Acquire);
        Producer {
            name: self.name,
            queue: self.queue.to_owned(),
            fed,
            code: output.code,
            confirmed,
            said: output.stderr,
        }
    }
}

/// Writes numbered lines at a steady pace until told to stop; then the input ends.
fn feed(mut stdin: ChildStdin, name: &str, batch: u64, fed: &AtomicU64, stop: &AtomicBool) {
    while !stop.load(Ordering::Acquire) {
        let first = fed.load(Ordering::Acquire);
        let lines: String = (first..first + batch).map(|number| line(name, number) + "\n").collect();
        // Counted before: part of it may be read even if the producer ends.
        fed.store(first + batch, Ordering::Release);
        if stdin.write_all(lines.as_bytes()).is_err() {
            // The producer ended; why is seen in its exit code.
            return;
        }
        std::thread::sleep(EVERY);
    }
}
