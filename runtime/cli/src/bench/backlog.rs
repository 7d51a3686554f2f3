//! Messages sent before the measurement, and consumers that drain them.

use std::sync::Arc;
use std::time::Duration;

use baton::client::{Client, ConsumerOptions};
use baton_domain::QueueName;
use baton_domain::clock::BootTime;
use futures::{StreamExt, TryStreamExt, stream};
use tokio::task::JoinSet;

use crate::{Failure, output};

use super::consume::{self, Goal};
use super::figures::Measured;
use super::meter::Meter;
use super::progress::Progress;
use super::queues::Queues;
use super::schedule::share;
use super::sender::{Body, Sender};
use super::{BenchArgs, all, produce};

/// Concurrent senders.
const AT_ONCE: usize = 16;
/// Minimum number of senders, however few queues there are.
const SENDERS: usize = 4;
/// Max unconfirmed messages per sender, and roughly the max unconfirmed bytes.
const WINDOW: usize = 4_096;
const WINDOW_BYTES: usize = 16 * 1024 * 1024;

/// Sends this number of messages, spread over the queues.
pub(super) async fn send(client: &Client, queues: &Queues, size: usize, count: u64) -> Result<(), Failure> {
    let progress = Progress::new("sent", count);
    let names = queues.names();
    let a_queue = SENDERS.div_ceil(names.len()) as u64;
    let parts = (0..).zip(names).flat_map(|(number, queue)| {
        let of_queue = share(count, names.len() as u64, number);
        (0..a_queue).map(move |part| (queue, share(of_queue, a_queue, part)))
    });
    let parts = stream::iter(parts).map(|(queue, count)| send_part(client, queue, size, count, &progress));
    progress.watch(parts.buffer_unordered(AT_ONCE).try_collect()).await
}

async fn send_part(
    client: &Client,
    queue: &QueueName,
    size: usize,
    mut left: u64,
    progress: &Progress,
) -> Result<(), Failure> {
    let window = (WINDOW_BYTES / size.max(1)).clamp(1, WINDOW);
    let sender = Sender::spawn(client, queue, window, Body::new(size, false)).await?;
    let more = |_| {
        let more = left > 0;
        left = left.saturating_sub(1);
        more
    };
    produce::send(sender, window, more, |sent, _| progress.add(sent.count() as u64)).await
}

/// Drains the backlog. Measured from before the consumers attach until their last acknowledgement is committed.
pub(super) async fn drain(
    client: &Client,
    queues: &Queues,
    args: &BenchArgs,
    backlog: u64,
) -> Result<Measured, Failure> {
    let progress = Arc::new(Progress::new("received", backlog));
    let number_of_queues = queues.names().len();
    let goal = |number| Arc::new(Goal::of(share(backlog, number_of_queues as u64, number), Arc::clone(&progress)));
    let goals: Vec<_> = (0..number_of_queues as u64).map(goal).collect();
    let started = BootTime::now();
    let mut tasks = JoinSet::new();
    for number in 0..args.consumers as usize {
        let consumer = client.consumer(queues.of(number), ConsumerOptions::default()).await?;
        let goal = Arc::clone(&goals[number % number_of_queues]);
        tasks.spawn(consume::receive(consumer, false, goal, Meter::new(started)));
    }
    let meters = progress.watch(all(tasks)).await?;
    let elapsed = BootTime::now().since(started);
    // A message delivered twice, because its consumer lost its link, would be counted in place of one not delivered.
    match queues.depth(client).await? {
        0 => {}
        left => {
            let left = output::counted(left, "message");
            return Err(Failure::new(format!(
                "{left} redelivered and not drained: a link failed during the run, so run the bench again"
            )));
        }
    }
    Ok(Measured {
        produced: Meter::new(started),
        consumed: Meter::sum(started, &meters),
        delivery: false,
        elapsed,
        silence: Duration::ZERO,
    })
}
