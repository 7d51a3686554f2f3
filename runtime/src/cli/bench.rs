//! `baton bench`: throughput and latency, on a queue of its own that it deletes.

mod figures;

use std::sync::Arc;
use std::time::Duration;

use baton_storage::clock::BootTime;
use baton_storage::{Message, QueueName};
use bytes::Bytes;
use clap::Args;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::client::{Client, Confirmation, Consumer, ConsumerOptions, Producer, ProducerOptions};

use super::signals::StopSignals;
use super::target::Target;
use super::{Failure, output, session};

use figures::{Figures, Meter};

/// How long an unconfirmed message may take before the bench gives up: longer than any fail over.
const GIVE_UP: Duration = Duration::from_secs(30);

/// Options of `baton bench`.
#[derive(Debug, Clone, Args)]
pub(super) struct BenchArgs {
    #[command(flatten)]
    target: Target,
    /// Producers, side by side
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    producers: u32,
    /// Consumers, side by side
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1_000))]
    consumers: u32,
    /// Unconfirmed messages a producer
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    window: u32,
    /// Bytes a message
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(0..=8_388_608))]
    size: u32,
    /// How long, in seconds
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    secs: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: BenchArgs) -> Result<(), Failure> {
    let mut signals = StopSignals::listen()?;
    let client = session::connect(&args.target, session::FAIL_OVER).await?;
    let queue = own_queue()?;
    client.create_queue(&queue).await?;
    let measured = tokio::select! {
        measured = Box::pin(measure(&client, &queue, &args)) => measured,
        code = signals.next() => Err(Failure::quiet(code)),
    };
    // Deleted whatever happened: it belongs to this run alone.
    let deleted = client.delete_queue(&queue).await;
    client.close().await;
    let figures = measured?;
    if args.json {
        output::print_json(&figures.as_json())?;
    } else {
        output::print(&figures.as_text())?;
    }
    Ok(deleted?)
}

fn own_queue() -> Result<QueueName, Failure> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| Failure::new(format!("no random name for the queue: {error}")))?;
    QueueName::new(format!("baton-bench-{:016x}", u64::from_be_bytes(bytes)))
        .map_err(|error| Failure::new(error.to_string()))
}

async fn measure(client: &Client, queue: &QueueName, args: &BenchArgs) -> Result<Figures, Failure> {
    let meter = Arc::new(Meter::new(BootTime::now()).map_err(Failure::new)?);
    let until = BootTime::now() + Duration::from_secs(args.secs);
    let mut consumers = JoinSet::new();
    for _ in 0..args.consumers {
        let consumer = client.consumer(queue, ConsumerOptions::default()).await?;
        consumers.spawn(consume(consumer, Arc::clone(&meter)));
    }
    let mut producers = JoinSet::new();
    let window = args.window as usize;
    for _ in 0..args.producers {
        let options = ProducerOptions {
            window_messages: window,
            // The window is counted in messages alone.
            window_bytes: (window * (args.size as usize + 64)).max(1024 * 1024),
            give_up: Some(GIVE_UP),
            ..ProducerOptions::default()
        };
        let producer = client.producer(queue, options).await?;
        let body = Bytes::from(vec![b'x'; args.size as usize]);
        producers.spawn(produce(producer, body, until, window, Arc::clone(&meter)));
    }
    while let Some(ended) = producers.join_next().await {
        ended.map_err(|error| Failure::new(format!("a producer broke off: {error}")))??;
    }
    let figures = meter.figures(BootTime::now());
    while let Some(ended) = consumers.try_join_next() {
        ended.map_err(|error| Failure::new(format!("a consumer broke off: {error}")))??;
    }
    consumers.shutdown().await;
    Ok(figures)
}

/// Sends as fast as the window allows; the confirms are timed beside it.
async fn produce(
    producer: Producer,
    body: Bytes,
    until: BootTime,
    window: usize,
    meter: Arc<Meter>,
) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::new(error.to_string());
    let (pass, confirmations) = mpsc::channel::<(BootTime, Confirmation)>(window);
    let timed = tokio::spawn(time_confirms(confirmations, meter));
    while BootTime::now() < until {
        let sent_at = BootTime::now();
        let confirmation = producer.send(Message::new(body.clone())).await.map_err(|error| failed(&error))?;
        if pass.send((sent_at, confirmation)).await.is_err() {
            // The confirms ended: the reason is there.
            break;
        }
    }
    drop(pass);
    timed.await.map_err(|error| failed(&error))??;
    producer.close().await.map_err(|error| failed(&error))
}

/// Confirms come in the order of the messages.
async fn time_confirms(
    mut confirmations: mpsc::Receiver<(BootTime, Confirmation)>,
    meter: Arc<Meter>,
) -> Result<(), Failure> {
    while let Some((sent_at, confirmation)) = confirmations.recv().await {
        confirmation.await.map_err(|error| Failure::new(error.to_string()))?;
        meter.confirmed(sent_at, BootTime::now());
    }
    Ok(())
}

async fn consume(consumer: Consumer, meter: Arc<Meter>) -> Result<(), Failure> {
    let failed = |error: crate::client::ConsumerFailure| Failure::new(error.to_string());
    loop {
        let received = consumer.recv().await.map_err(failed)?;
        consumer.acknowledge(received.id).map_err(failed)?;
        meter.consumed();
    }
}
