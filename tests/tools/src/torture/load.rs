//! The workload: several producers and consumers, each a process of its own, that run all the time.

mod recorded;

use std::io::Write;
use std::process::ChildStdin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use baton_tests::clock::Deadline;
use baton_tests::program::{Background, Output};

use super::access::Access;
use super::dice::Dice;
use super::history::{Consumer, Producer, RunClock, line};
use super::operation::Operation;
use super::queues::{DEAD, QUEUES, QueueUse, Way, comes_out, way};
use super::received::Received;
use recorded::Recorded;

/// Interval of feeding.
const EVERY: Duration = Duration::from_millis(10);
/// Longest wait of a message for its confirm: longer than any outage that a run forgives.
const TIMEOUT: &str = "120";
const SOON: Duration = Duration::from_secs(20);
/// Deadline of a consumer's end after SIGTERM.
const END: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(50);

/// A producer.
#[derive(Debug)]
struct FedProducer {
    name: String,
    queue: &'static str,
    batch: u64,
    process: Background,
    feeder: JoinHandle<()>,
    fed: Arc<AtomicU64>,
}

/// A consumer.
#[derive(Debug)]
struct RunningConsumer {
    name: String,
    queue: &'static str,
    from_ms: u64,
    process: Background,
}

/// The producers and consumers.
#[derive(Debug)]
pub(crate) struct Load {
    access: Access,
    clock: RunClock,
    producers: Vec<FedProducer>,
    consumers: Vec<RunningConsumer>,
    /// Clients that move messages on, between producers and consumers.
    movers: Vec<Background>,
    /// Clients that print each operation.
    recorded: Option<Recorded>,
    /// Operations of clients that faults started.
    pub operations: Vec<Operation>,
    /// Producers that faults started, when they have ended.
    pub ended: Vec<Producer>,
    /// Of those that were killed.
    killed: (Vec<Producer>, Vec<Consumer>),
    stop: Arc<AtomicBool>,
}

/// The replacement of a client that was killed.
#[derive(Debug)]
pub(crate) struct Successor {
    /// A new name.
    pub name: String,
    queue: &'static str,
    /// Of a producer.
    batch: Option<u64>,
}

/// The result of the load.
#[derive(Debug)]
pub(crate) struct Account {
    /// Of the producers.
    pub producers: Vec<Producer>,
    /// Of the consumers.
    pub consumers: Vec<Consumer>,
    /// The other receivers of messages.
    pub others: Vec<Consumer>,
    /// Operations of clients, with their answers.
    pub operations: Vec<Operation>,
    /// The number of messages in an exception destination with a bound when all faults were over.
    pub dead: Option<u64>,
    /// True if all producers ended by themselves and all queues were drained in time.
    pub drained: bool,
    /// Messages left in the queues.
    pub left: u64,
}

impl Load {
    /// Creates the queues and starts everyone; if it is to be `whole`, with a queue whose messages rest in the store, and
    /// clients that print each operation, some of which are killed all the while.
    ///
    /// # Errors
    /// If a queue cannot be created.
    pub(crate) fn start(access: &Access, clock: RunClock, whole: bool) -> Result<Self, String> {
        let (access, stop) = (access.clone(), Arc::new(AtomicBool::new(false)));
        let mut load = Self {
            access,
            clock,
            producers: Vec::new(),
            consumers: Vec::new(),
            movers: Vec::new(),
            recorded: None,
            operations: Vec::new(),
            ended: Vec::new(),
            killed: Default::default(),
            stop,
        };
        if whole {
            load.recorded = Some(Recorded::start(&load.access, clock)?);
        }
        for it in QUEUES.iter().filter(|it| whole || !(it.rests || it.way == Way::Recorded)) {
            load.make(it.queue)?;
            if !it.rests {
                load.consume_all(it);
            }
            for number in 1..=it.producers {
                load.produce(format!("{}-producer{number}", it.queue), it.queue, it.batch);
            }
        }
        Ok(load)
    }

    /// Creates the destinations, and starts the movers.
    fn make(&mut self, queue: &'static str) -> Result<(), String> {
        let out = comes_out(queue);
        let (commands, mover): (Vec<Vec<&str>>, Option<Vec<&str>>) = match way(queue) {
            Way::Queue | Way::Group | Way::Select => (vec![vec!["queue", "create", queue]], None),
            Way::Recorded => (Vec::new(), None),
            Way::Topic => (
                vec![
                    vec!["topic", "create", queue],
                    vec!["subscription", "create", &out, "--space", queue, "--topic", "torture/#"],
                ],
                None,
            ),
            Way::SetAside => (
                vec![vec!["queue", "create", &out], vec!["queue", "create", queue, "--exception", &out]],
                Some(vec!["receive", queue, "--follow", "--reject", "tortured"]),
            ),
            Way::Transfer => (
                vec![vec!["queue", "create", &out], vec!["queue", "create", queue]],
                Some(vec!["transfer", queue, &out, "--follow"]),
            ),
        };
        for command in commands {
            self.access.ok(&command, SOON)?;
        }
        if let Some(mover) = mover {
            self.movers.push(self.access.spawn(&mover));
        }
        Ok(())
    }

    fn consume_all(&mut self, it: &QueueUse) {
        for number in 1..=it.consumers {
            self.consume(format!("{}-consumer{number}", it.queue), it.queue);
        }
    }

    fn consume(&mut self, name: String, queue: &'static str) {
        let from_ms = self.clock.ms();
        let out = comes_out(queue);
        let mut command = vec!["receive", &out, "--follow", "--json"];
        if way(queue) == Way::Select {
            command.extend(["--selector", "priority = 4"]);
        }
        let process = self.access.spawn(&command);
        self.consumers.push(RunningConsumer { name, queue, from_ms, process });
    }

    fn produce(&mut self, name: String, queue: &'static str, batch: u64) {
        let mut command = vec!["send", queue, "--timeout", TIMEOUT];
        if way(queue) == Way::Topic {
            command.extend(["--topic", "torture/news"]);
        }
        if way(queue) == Way::Group {
            command.extend(["--group", &name]);
        }
        let mut process = self.access.spawn(&command);
        let fed = Arc::new(AtomicU64::new(0));
        let feeder = {
            let (stdin, name, fed, stop) = (process.stdin(), name.clone(), Arc::clone(&fed), Arc::clone(&self.stop));
            std::thread::spawn(move || feed(stdin, &name, batch, &fed, &stop))
        };
        self.producers.push(FedProducer { name, queue, batch, process, feeder, fed });
    }

    /// Kills a consumer with SIGKILL and returns its name: its unacknowledged messages go to others.
    pub(crate) fn kill_consumer(&mut self, dice: &mut Dice) -> Option<(String, Successor)> {
        let at = pick(self.consumers.len(), dice)?;
        let taking = self.consumers.swap_remove(at);
        let successor = Successor { name: next_name(&taking.name), queue: taking.queue, batch: None };
        let killed_ms = self.clock.ms();
        let consumer = taking.finish(self.clock, Some(killed_ms), Background::kill);
        let name = consumer.name.clone();
        self.killed.1.push(consumer);
        Some((name, successor))
    }

    /// Kills a producer with SIGKILL and returns its name: its unconfirmed messages may be stored or not.
    pub(crate) fn kill_producer(&mut self, dice: &mut Dice) -> Option<(String, Successor)> {
        let at = pick(self.producers.len(), dice)?;
        let fed = self.producers.swap_remove(at);
        let successor = Successor { name: next_name(&fed.name), queue: fed.queue, batch: Some(fed.batch) };
        let killed_ms = self.clock.ms();
        let producer = fed.finish(Some(killed_ms));
        let name = producer.name.clone();
        self.killed.0.push(producer);
        Some((name, successor))
    }

    /// Starts one in the place of one that was killed.
    pub(crate) fn succeed(&mut self, successor: Successor) {
        match successor.batch {
            Some(batch) => self.produce(successor.name, successor.queue, batch),
            None => self.consume(successor.name, successor.queue),
        }
    }

    /// A register has these fields, and is written to from now on.
    pub(crate) fn begins(&mut self, register: &str, fields: &[&str]) {
        self.operations.push(recorded::beginning(register, fields));
    }

    /// The number of lines that all consumers have printed.
    #[must_use]
    pub(crate) fn received(&self) -> usize {
        self.consumers.iter().map(|consumer| consumer.process.printed()).sum()
    }

    /// Starts the consumers that came not yet, stops sending, waits until everything came out and was acknowledged, for at
    /// most `limit`, and ends everyone.
    #[must_use]
    pub(crate) fn finish(mut self, limit: Duration) -> Account {
        let resting: Vec<&str> = self.producers.iter().map(|producer| producer.queue).collect();
        QUEUES.iter().filter(|it| it.rests && resting.contains(&it.queue)).for_each(|it| self.consume_all(it));
        self.stop.store(true, Ordering::Release);
        let queues = self.access.queues().unwrap_or_default();
        let dead = queues.into_iter().find(|queue| queue.name == DEAD).map(|queue| queue.depth);
        if let Some(recorded) = &mut self.recorded {
            recorded.stop_sending();
        }
        let deadline = Deadline::within(limit);
        let mut drained = deadline.poll(PAUSE, || {
            let recorded = self.recorded.as_mut().is_none_or(Recorded::all_sent);
            recorded && self.producers.iter_mut().all(|producer| !producer.process.runs())
        });
        let mut left = 0;
        // Empty only when all was acknowledged; more copies would have come by then.
        drained &= deadline.poll(PAUSE * 4, || match self.access.queues() {
            Ok(queues) => {
                left = queues.iter().map(|queue| queue.depth + queue.delayed).sum();
                left == 0
            }
            Err(_) => false,
        });
        self.movers.into_iter().for_each(|mover| drop(mover.kill()));
        let (mut producers, mut consumers) = self.killed;
        producers.extend(self.producers.into_iter().map(|producer| producer.finish(None)));
        for consumer in &self.consumers {
            consumer.process.tell_to_end();
        }
        let finish = |consumer: RunningConsumer| consumer.finish(self.clock, None, |process| process.wait_or_kill(END));
        consumers.extend(self.consumers.into_iter().map(finish));
        let recorded = self.recorded.map(Recorded::finish).unwrap_or_default();
        producers.extend(recorded.producers);
        consumers.extend(recorded.consumers);
        producers.extend(self.ended);
        let (others, mut operations) = (recorded.others, recorded.operations);
        operations.extend(self.operations);
        Account { producers, consumers, others, operations, dead, drained, left }
    }
}

impl RunningConsumer {
    fn finish(self, clock: RunClock, killed_ms: Option<u64>, end: impl FnOnce(Background) -> Output) -> Consumer {
        let times = self.process.times();
        let output = end(self.process);
        // Lines that came after the times were taken come at the end.
        let last = times.last().copied();
        let stamped = output.lines.into_iter().zip(times.into_iter().map(Some).chain(std::iter::repeat(last)));
        let at = |then: Option<Instant>| then.map_or_else(|| clock.ms(), |then| clock.at(then));
        let mut received: Vec<_> = stamped.map(|(text, then)| Received::printed(at(then), text)).collect();
        // One that was killed while it wrote leaves a part of a line.
        if killed_ms.is_some() && received.last().is_some_and(|last| last.epoch.is_none()) {
            received.pop();
        }
        let (name, queue, from_ms) = (self.name, self.queue.to_owned(), self.from_ms);
        let (destination, code, said) = (comes_out(self.queue), output.code, output.stderr);
        Consumer { name, queue, destination, received, from_ms, killed_ms, code, said }
    }
}

impl FedProducer {
    fn finish(self, killed_ms: Option<u64>) -> Producer {
        // Still running is its answer: it is killed, and its confirms are not known.
        let output = if killed_ms.is_some() { self.process.kill() } else { self.process.wait_or_kill(Duration::ZERO) };
        let _ = self.feeder.join();
        let confirmed = output.last_word().strip_prefix("confirmed ").and_then(|count| count.parse().ok());
        let fed = self.fed.load(Ordering::Acquire);
        Producer {
            name: self.name,
            queue: self.queue.to_owned(),
            fed,
            code: output.code,
            killed_ms,
            confirmed,
            said: output.stderr,
        }
    }
}

fn pick(count: usize, dice: &mut Dice) -> Option<usize> {
    let all: Vec<usize> = (0..count).collect();
    (count > 0).then(|| *dice.pick(&all))
}

/// The name after `name`: `orders-producer1`, then `orders-producer1.2`, then `orders-producer1.3`.
fn next_name(name: &str) -> String {
    let (first, number) = name.split_once('.').unwrap_or((name, "1"));
    format!("{first}.{}", number.parse::<u64>().unwrap_or(1) + 1)
}

/// Writes numbered lines at a steady pace until it is stopped; then the input ends.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_successor_has_a_name_that_nobody_had() {
        assert_eq!(next_name("orders-producer1"), "orders-producer1.2");
        assert_eq!(next_name("orders-producer1.2"), "orders-producer1.3");
    }
}
