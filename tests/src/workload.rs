//! One producer and one consumer that run all the while, as processes of their own.

use std::io::Write;
use std::process::ChildStdin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::check::{assert_same, compare};
use crate::clock::Deadline;
use crate::cluster::{Cluster, LIMIT};
use crate::program::{Background, Stdout};

/// Lines that are sent at a time, and how often.
const BATCH: usize = 2;
const EVERY: Duration = Duration::from_millis(5);
/// Longest wait of a message for its confirm: no outage of a scenario is as long.
const TIMEOUT: &str = "120";

/// Messages `first..end`, each different from the others.
#[must_use]
pub fn numbered(first: usize, end: usize) -> Vec<String> {
    (first..end).map(|number| format!("message {number:08}")).collect()
}

/// A producer (`baton send`, fed slowly) and a consumer (`baton receive --follow`) on a queue of their own.
#[derive(Debug)]
pub struct Workload {
    queue: String,
    producer: Background,
    consumer: Background,
    feed: Feed,
}

/// Result of a workload.
#[derive(Debug, Clone, Copy)]
pub struct Account {
    /// Messages sent; each was confirmed, received and acknowledged, once and in order.
    pub sent: usize,
    /// The longest time without a message at the consumer.
    pub longest_silence: Duration,
}

impl Workload {
    /// Creates the queue and starts both; returns when the first messages have come through.
    ///
    /// # Panics
    /// If none does.
    #[must_use]
    #[track_caller]
    pub fn start(cluster: &Cluster, queue: &str) -> Self {
        cluster.create_queue(queue);
        let mut producer = cluster.spawn(&["send", queue, "--timeout", TIMEOUT], Stdout::Collect);
        let consumer = cluster.spawn(&["receive", queue, "--follow"], Stdout::Collect);
        let feed = Feed::start(producer.stdin());
        let mut workload = Self { queue: queue.to_owned(), producer, consumer, feed };
        workload.flows();
        workload
    }

    /// Waits until messages that were sent after this call have been received.
    ///
    /// # Panics
    /// If none comes through in time.
    #[track_caller]
    pub fn flows(&mut self) {
        let target = self.feed.fed() + BATCH;
        let flowed = Deadline::within(LIMIT).poll(EVERY, || self.consumer.printed() >= target);
        assert!(flowed, "messages do not flow: {}", self.how_it_is());
    }

    /// The number of messages received so far.
    #[must_use]
    pub fn received(&self) -> usize {
        self.consumer.printed()
    }

    /// Stops sending, waits until everything was confirmed, received and acknowledged, and checks it.
    ///
    /// # Panics
    /// If a message is missing, comes twice or out of order, or was never confirmed.
    #[track_caller]
    pub fn finish(mut self, cluster: &Cluster) -> Account {
        self.feed.stop();
        let done = Deadline::within(LIMIT).poll(EVERY, || !self.producer.runs());
        assert!(done, "the producer does not end: {}", self.how_it_is());
        let sent = self.feed.fed();
        let complete = Deadline::within(LIMIT).poll(EVERY, || self.consumer.printed() >= sent);
        let difference = compare(&numbered(0, sent), &self.consumer.lines());
        assert!(complete, "messages are missing: {difference}; {}", self.how_it_is());
        // Empty only when all was acknowledged; more copies would have come by then.
        let settled = Deadline::within(LIMIT).poll(Duration::from_millis(50), || cluster.queue(&self.queue).depth == 0);
        assert!(settled, "{} messages were not acknowledged: {}", cluster.queue(&self.queue).depth, self.how_it_is());

        let Self { producer, consumer, .. } = self;
        let producer = producer.wait(LIMIT);
        assert_eq!(producer.code, Some(0), "the producer: {}", producer.stderr);
        assert_eq!(producer.last_word(), format!("confirmed {sent}"), "every message was confirmed");
        let times = consumer.times();
        let silences = times.windows(2).map(|pair| pair[1] - pair[0]);
        let longest_silence = silences.max().unwrap_or_default();
        let consumer = consumer.terminate(LIMIT);
        assert_same(&numbered(0, sent), &consumer.lines);
        assert_eq!(consumer.code, Some(0), "SIGTERM is how a consumer that goes on ends: {}", consumer.stderr);
        Account { sent, longest_silence }
    }

    fn how_it_is(&mut self) -> String {
        format!(
            "{} sent, {} received; the producer {} and said {:?}, the consumer {} and said {:?}",
            self.feed.fed(),
            self.consumer.printed(),
            if self.producer.runs() { "runs" } else { "ended" },
            self.producer.stderr(),
            if self.consumer.runs() { "runs" } else { "ended" },
            self.consumer.stderr(),
        )
    }
}

/// Feeds a producer (`baton send`) numbered lines at a steady, slow pace, until it is dropped.
#[derive(Debug)]
pub struct Feed {
    fed: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Feed {
    /// Begins.
    #[must_use]
    pub fn start(stdin: ChildStdin) -> Self {
        let this = Self { fed: Arc::default(), stop: Arc::default() };
        let (fed, stop) = (Arc::clone(&this.fed), Arc::clone(&this.stop));
        // Not joined: a producer that does not read must not block a scenario forever.
        std::thread::spawn(move || feed(stdin, &fed, &stop));
        this
    }

    /// The number of lines fed so far, as [`numbered`] names them. Final once it was stopped and the producer ended.
    #[must_use]
    pub fn fed(&self) -> usize {
        self.fed.load(Ordering::Acquire)
    }

    /// Ends the producer's input.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Writes numbered lines at a steady, slow pace until it is stopped; then the input ends.
fn feed(mut stdin: ChildStdin, fed: &AtomicUsize, stop: &AtomicBool) {
    while !stop.load(Ordering::Acquire) {
        let first = fed.load(Ordering::Acquire);
        let lines: String = numbered(first, first + BATCH).iter().flat_map(|line| [line.as_str(), "\n"]).collect();
        if stdin.write_all(lines.as_bytes()).is_err() {
            // The producer ended; why is seen in its exit code.
            return;
        }
        fed.store(first + BATCH, Ordering::Release);
        std::thread::sleep(EVERY);
    }
}
