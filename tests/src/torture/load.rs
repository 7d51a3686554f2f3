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

/// What is done with a queue.
struct Use {
    queue: &'static str,
    producers: usize,
    consumers: usize,
    /// How many lines a producer is fed at a time.
    batch: u64,
    /// Its consumers come when all faults are over. Where consumers keep up, hardly a message that was confirmed is still
    /// in the store when a fault begins: only one that rests there shows that the store keeps it.
    rests: bool,
}

/// The queues.
const QUEUES: [Use; 4] = [
    Use { queue: "orders", producers: 2, consumers: 1, batch: 2, rests: false },
    Use { queue: "events", producers: 1, consumers: 2, batch: 3, rests: false },
    Use { queue: "audit", producers: 1, consumers: 1, batch: 10, rests: false },
    Use { queue: "ledger", producers: 1, consumers: 1, batch: 2, rests: true },
];
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
        for it in &QUEUES {
            access.ok(&["queue", "create", it.queue], SOON)?;
            if !it.rests {
                load.consume(it);
            }
            for number in 1..=it.producers {
                load.produce(format!("{}-producer{number}", it.queue), it.queue, it.batch);
            }
        }
        Ok(load)
    }

    fn consume(&mut self, it: &Use) {
        for number in 1..=it.consumers {
            let process = self.access.spawn(&["receive", it.queue, "--follow", "--json"]);
            self.consumers.push((format!("{}-consumer{number}", it.queue), it.queue, process));
        }
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

    /// Starts the consumers that came not yet, stops sending, waits until everything came out and was acknowledged, for at most `limit`, and ends everyone.
    #[must_use]
    pub(crate) fn finish(mut self, clock: RunClock, limit: Duration) -> Account {
        QUEUES.iter().filter(|it| it.rests).for_each(|it| self.consume(it));
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
            let received = stamped.map(|(text, then)| Received::printed(at(then), text)).collect();
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
