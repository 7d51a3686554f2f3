//! Puts a load on a peer and measures, as `baton bench` does with Baton: each producer has its window of unconfirmed
//! messages, each message is timed from its sending to its confirm, each consumer acknowledges its messages.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use baton_tests::clock::now;
use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::JoinSet;

use super::stop::{WHY, until_stopped};
use super::workload::{Load, Sample};
use crate::spread::percentile;

/// Time that a load may take beyond its seconds: a backlog that is filled and drained at 1,500 messages/s.
pub(super) const LIMIT: Duration = Duration::from_secs(300);

/// A running peer, to which clients connect.
pub(super) trait Peer {
    type Producer: Producer;
    type Consumer: Consumer;

    /// Makes the queue for a load, empty and on three replicas.
    async fn create(&self, load: &Load) -> Result<(), String>;
    /// A producer on a connection of its own.
    async fn producer(&self) -> Result<Self::Producer, String>;
    /// A consumer on a connection of its own.
    async fn consumer(&self, load: &Load) -> Result<Self::Consumer, String>;
    /// Deletes the queue with all that is in it.
    async fn delete(&self) -> Result<(), String>;
}

/// Sends messages.
pub(super) trait Producer: Send + Sync + 'static {
    /// Sends one; the returned future ends with the confirm.
    fn send(&self, body: &Bytes) -> impl Future<Output = Result<Confirm, String>> + Send;
}

/// Ends when the message is confirmed, as far as the peer confirms.
pub(super) type Confirm = BoxFuture<'static, Result<(), String>>;

/// Receives messages.
pub(super) trait Consumer: Send + 'static {
    /// Receives one and acknowledges it.
    fn consume(&mut self) -> impl Future<Output = Result<(), String>> + Send;
}

/// Ends of a producer.
#[derive(Debug, Clone, Copy)]
enum SendEnd {
    At(Instant),
    Sent(usize),
}

/// Puts the load on a queue made for it.
///
/// # Errors
/// If the peer refuses something, or takes too long, or it is time to stop.
pub(super) async fn run<P: Peer>(peer: &P, load: &Load) -> Result<Sample, String> {
    let limit = Duration::from_secs(load.secs) + LIMIT;
    tokio::select! {
        sample = on_a_new_queue(peer, load, limit) => sample,
        () = tokio::time::sleep(2 * limit) => Err("making and deleting the queue does not end".to_owned()),
        () = until_stopped() => Err(WHY.to_owned()),
    }
}

async fn on_a_new_queue<P: Peer>(peer: &P, load: &Load, limit: Duration) -> Result<Sample, String> {
    peer.create(load).await?;
    let measured = async { if load.backlog > 0 { drain(peer, load).await } else { measure(peer, load).await } };
    let measured = tokio::time::timeout(limit, measured).await;
    // Deleted whatever happened: the next load finds an empty one.
    let deleted = peer.delete().await;
    let sample = measured.map_err(|_| format!("it took longer than {limit:?}"))??;
    deleted.map(|()| sample)
}

async fn measure<P: Peer>(peer: &P, load: &Load) -> Result<Sample, String> {
    let consumed = Count::new(usize::MAX);
    let mut consumers = consumers(peer, load, &consumed).await?;
    let mut producers = producers(peer, load).await?;
    let began = now();
    let until = SendEnd::At(began + Duration::from_secs(load.secs));
    let latencies = produce(&mut producers, load, until).await?;
    let (seconds, consumed) = ((now() - began).as_secs_f64(), consumed.so_far());
    if let Some(ended) = consumers.try_join_next() {
        flat(ended)?;
    }
    Ok(sample(latencies, consumed, seconds))
}

/// Fills the queue, then measures how long it takes to drain it.
async fn drain<P: Peer>(peer: &P, load: &Load) -> Result<Sample, String> {
    let mut filling = producers(peer, load).await?;
    let each = load.backlog / load.producers;
    let sent = produce(&mut filling, load, SendEnd::Sent(each)).await?.len();
    let (began, consumed) = (now(), Count::new(sent));
    let mut consumers = consumers(peer, load, &consumed).await?;
    tokio::select! {
        () = consumed.all.notified() => {}
        Some(ended) = consumers.join_next() => flat(ended)?,
    }
    Ok(sample(Vec::new(), consumed.so_far(), (now() - began).as_secs_f64()))
}

async fn producers<P: Peer>(peer: &P, load: &Load) -> Result<Vec<P::Producer>, String> {
    let mut producers = Vec::new();
    for _ in 0..load.producers {
        producers.push(peer.producer().await?);
    }
    Ok(producers)
}

async fn consumers<P: Peer>(
    peer: &P,
    load: &Load,
    consumed: &Arc<Count>,
) -> Result<JoinSet<Result<(), String>>, String> {
    let mut tasks = JoinSet::new();
    for _ in 0..load.consumers {
        let (mut consumer, consumed) = (peer.consumer(load).await?, Arc::clone(consumed));
        tasks.spawn(async move {
            loop {
                consumer.consume().await?;
                consumed.add();
            }
        });
    }
    Ok(tasks)
}

/// Messages of all consumers.
#[derive(Debug)]
struct Count {
    messages: AtomicUsize,
    expected: usize,
    all: Notify,
}

impl Count {
    fn new(expected: usize) -> Arc<Self> {
        Arc::new(Self { messages: AtomicUsize::new(0), expected, all: Notify::new() })
    }

    fn add(&self) {
        if self.messages.fetch_add(1, Ordering::Relaxed) + 1 == self.expected {
            self.all.notify_one();
        }
    }

    fn so_far(&self) -> usize {
        self.messages.load(Ordering::Relaxed)
    }
}

/// Lets all producers send, side by side; answers how long each message took to its confirm, in microseconds.
async fn produce<P: Producer>(producers: &mut Vec<P>, load: &Load, until: SendEnd) -> Result<Vec<u64>, String> {
    let (mut tasks, mut all) = (JoinSet::new(), Vec::new());
    for producer in producers.drain(..) {
        tasks.spawn(send(producer, Bytes::from(vec![b'x'; load.size]), load.window, until));
    }
    while let Some(ended) = tasks.join_next().await {
        all.extend(flat(ended)?);
    }
    Ok(all)
}

/// Sends as fast as the window allows. A second task times the confirms, in the order of the messages, in which they
/// arrive.
async fn send<P: Producer>(producer: P, body: Bytes, window: usize, until: SendEnd) -> Result<Vec<u64>, String> {
    let room = Arc::new(Semaphore::new(window));
    // The semaphore bounds it.
    let (pass, mut sent) = mpsc::unbounded_channel::<(Instant, Confirm, _)>();
    let timed = tokio::spawn(async move {
        let mut latencies = Vec::new();
        while let Some((sent_at, confirm, permit)) = sent.recv().await {
            confirm.await?;
            latencies.push(u64::try_from((now() - sent_at).as_micros()).unwrap_or(u64::MAX));
            drop(permit);
        }
        Ok::<_, String>(latencies)
    });
    let mut count = 0;
    while match until {
        SendEnd::At(end) => now() < end,
        SendEnd::Sent(messages) => count < messages,
    } {
        let permit = Arc::clone(&room).acquire_owned().await.map_err(|error| error.to_string())?;
        let sent_at = now();
        let confirm = producer.send(&body).await?;
        if pass.send((sent_at, confirm, permit)).is_err() {
            // The confirms ended: the reason is there.
            break;
        }
        count += 1;
    }
    drop(pass);
    flat(timed.await)
}

fn flat<T>(ended: Result<Result<T, String>, tokio::task::JoinError>) -> Result<T, String> {
    ended.map_err(|error| format!("a client broke off: {error}"))?
}

fn sample(mut latencies_us: Vec<u64>, consumed: usize, seconds: f64) -> Sample {
    latencies_us.sort_unstable();
    let ms = |percent| percentile(&latencies_us, percent) as f64 / 1e3;
    Sample {
        produced_per_s: latencies_us.len() as f64 / seconds,
        consumed_per_s: consumed as f64 / seconds,
        confirm_p50_ms: ms(50),
        confirm_p99_ms: ms(99),
    }
}
