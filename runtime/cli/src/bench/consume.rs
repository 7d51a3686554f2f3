//! Consumers: each has its own meter and acknowledges everything it receives.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use baton::client::{Client, Consumer, ConsumerEvent, ConsumerFailure, ConsumerOptions};
use baton_domain::clock::BootTime;
use tokio::sync::{mpsc, watch};

use crate::Failure;

use super::meter::Meter;
use super::progress::Progress;
use super::queues::Queues;
use super::sender::sent_at;

/// Max messages between two clock reads.
const BATCH: u64 = 256;

/// The goal of the consumers of one queue, or of all queues.
#[derive(Debug)]
pub(super) struct Goal {
    left: AtomicU64,
    reached: watch::Sender<bool>,
    progress: Arc<Progress>,
}

impl Goal {
    /// This number of messages.
    pub(super) fn of(count: u64, progress: Arc<Progress>) -> Self {
        Self { left: AtomicU64::new(count), reached: watch::Sender::new(count == 0), progress }
    }

    /// Any number of messages, until [`Goal::reach`].
    pub(super) fn open() -> Self {
        Self::of(u64::MAX, Arc::new(Progress::new("received", u64::MAX)))
    }

    /// Ends the consumers.
    pub(super) fn reach(&self) {
        self.reached.send_replace(true);
    }

    fn took(&self, count: u64) {
        self.progress.add(count);
        if self.left.fetch_sub(count, Ordering::Relaxed) <= count {
            self.reach();
        }
    }
}

/// Consumers that are attached, spread over the queues.
pub(super) async fn attach(client: &Client, queues: &Queues, count: usize) -> Result<Vec<Consumer>, Failure> {
    let (sink, mut events) = mpsc::unbounded_channel();
    let mut consumers = Vec::with_capacity(count);
    for number in 0..count {
        let sink = sink.clone();
        let tell = Arc::new(move |event| drop(sink.send(event)));
        consumers.push(client.consumer_with_events(queues.of(number), ConsumerOptions::default(), tell).await?);
    }
    let mut missing = count;
    while missing > 0 {
        match events.recv().await {
            Some(ConsumerEvent::Connected { .. }) => missing -= 1,
            Some(ConsumerEvent::Failed(why)) => return Err(Failure::new(why.to_string())),
            Some(ConsumerEvent::Closed) => return Err(Failure::new("a consumer was closed")),
            Some(_) => {}
            None => return Err(Failure::new("a consumer stopped")),
        }
    }
    Ok(consumers)
}

/// Receives and acknowledges until the goal is reached and the acknowledgements are committed. For `stamped` messages,
/// latency counts from the send time.
pub(super) async fn receive(
    consumer: Consumer,
    stamped: bool,
    goal: Arc<Goal>,
    mut meter: Meter,
) -> Result<Meter, Failure> {
    let failed = |error: ConsumerFailure| Failure::new(error.to_string());
    let mut reached = goal.reached.subscribe();
    while !*reached.borrow_and_update() {
        let mut next = tokio::select! {
            first = consumer.recv() => Some(first.map_err(failed)?),
            // The goal lives as long as this task.
            _ = reached.changed() => None,
        };
        let now = BootTime::now();
        let mut count = 0;
        while let Some(received) = next {
            consumer.acknowledge(received.id).map_err(failed)?;
            if stamped && let Some(sent_at) = sent_at(&received.message) {
                meter.latency(sent_at, now);
            }
            count += 1;
            next = if count < BATCH { consumer.try_recv().map_err(failed)? } else { None };
        }
        meter.count(count, now);
        goal.took(count);
    }
    consumer.flush().await.map_err(failed)?;
    Ok(meter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_reached_by_its_last_message_or_when_it_is_enough() {
        let goal = |count| Goal::of(count, Arc::new(Progress::new("received", count)));
        let five = goal(5);
        for (count, expected) in [(0, false), (4, false), (1, true)] {
            five.took(count);
            assert_eq!(*five.reached.borrow(), expected, "after {count} more");
        }
        assert!(*goal(0).reached.borrow());
        let open = Goal::open();
        open.took(1_000_000);
        assert!(!*open.reached.borrow());
        open.reach();
        assert!(*open.reached.borrow());
    }
}
