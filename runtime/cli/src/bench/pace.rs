//! Producers at a steady rate. One thread sends the messages that are due, because the runtime's timer has a resolution
//! of a millisecond; one task per producer receives the confirms. The number of a message gives its due time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use baton_domain::clock::BootTime;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::{Failure, output};

use super::meter::{Meter, Silence};
use super::schedule::Schedule;
use super::sender::{Outlet, Sender};
use super::{BenchArgs, GIVE_UP, all};

/// Minimum sleep of the pacer: messages due meanwhile are sent together.
const SHORTEST: Duration = Duration::from_micros(100);
/// Maximum sleep of the pacer; then it checks for cancellation.
const LONGEST: Duration = Duration::from_millis(50);
/// Time between two checks for room in a window.
const RETRY: Duration = Duration::from_millis(1);

/// Sends on schedule, until all messages are confirmed.
pub(super) async fn measure(
    senders: Vec<Sender>,
    args: &BenchArgs,
    schedule: Schedule,
    silence: &Arc<Silence>,
) -> Result<Vec<Meter>, Failure> {
    let mut producers = Vec::with_capacity(senders.len());
    let mut tasks = JoinSet::new();
    for (producer, sender) in (0..).zip(senders) {
        let confirmed = Arc::new(AtomicU64::new(0));
        let window = u64::from(args.window);
        producers.push(PacedProducer {
            outlet: sender.outlet().clone(),
            window,
            due: 0,
            sent: 0,
            confirmed: Arc::clone(&confirmed),
        });
        tasks.spawn(take_confirms(sender, schedule, producer, confirmed, Arc::clone(silence)));
    }
    // Dropping it ends the thread.
    let (wanted, _until_here) = oneshot::channel::<()>();
    std::thread::Builder::new()
        .name("pacer".to_owned())
        .spawn(move || pace(schedule, producers, || !wanted.is_closed()))
        .map_err(|error| Failure::new(format!("cannot start the thread for --rate: {error}")))?;
    let longest = Duration::from_secs(args.secs) + GIVE_UP;
    tokio::time::timeout(longest, all(tasks)).await.unwrap_or_else(|_| {
        let total = output::thousands(schedule.total());
        Err(Failure::new(format!(
            "the cluster cannot keep up with --rate: {total} messages took longer than {longest:?}; use a lower rate"
        )))
    })
}

async fn take_confirms(
    mut sender: Sender,
    schedule: Schedule,
    producer: u64,
    confirmed: Arc<AtomicU64>,
    silence: Arc<Silence>,
) -> Result<Meter, Failure> {
    let mut meter = Meter::new(schedule.due(0));
    let mut before = 0;
    while before < schedule.share(producer) {
        let through = sender.confirmed().await?;
        let now = BootTime::now();
        confirmed.store(through, Ordering::Relaxed);
        for own in before..through {
            meter.latency(schedule.due_of(producer, own), now);
        }
        meter.count(through - before, now);
        silence.broken(now);
        before = through;
    }
    Ok(meter)
}

/// A producer, as the pacer sees it.
struct PacedProducer {
    outlet: Outlet,
    window: u64,
    /// Messages due so far, sent, and confirmed.
    due: u64,
    sent: u64,
    confirmed: Arc<AtomicU64>,
}

impl PacedProducer {
    /// Sends the messages that are due and have room in the window. False: some are left.
    fn catch_up(&mut self, schedule: &Schedule, producer: u64) -> bool {
        let room_until = self.confirmed.load(Ordering::Relaxed) + self.window;
        // With the producer gone nothing more is sent; the task that receives its confirms reports the reason.
        while self.sent < self.due.min(room_until) && self.outlet.send(schedule.due_of(producer, self.sent)) {
            self.sent += 1;
        }
        self.sent == self.due
    }
}

/// Runs until all messages are sent, or the bench is cancelled.
fn pace(schedule: Schedule, mut producers: Vec<PacedProducer>, wanted: impl Fn() -> bool) {
    let mut next = 0;
    let mut behind: Vec<usize> = Vec::new();
    while wanted() {
        let now = BootTime::now();
        while next < schedule.total() && schedule.due(next) <= now {
            let producer = usize::try_from(schedule.producer_of(next)).unwrap_or(usize::MAX);
            let paced = &mut producers[producer];
            if paced.sent == paced.due {
                behind.push(producer);
            }
            paced.due += 1;
            next += 1;
        }
        behind.retain(|producer| !producers[*producer].catch_up(&schedule, *producer as u64));
        if next == schedule.total() && behind.is_empty() {
            return;
        }
        let until_due = schedule.due(next).since(BootTime::now());
        std::thread::sleep(if behind.is_empty() { until_due.clamp(SHORTEST, LONGEST) } else { RETRY });
    }
}
