//! Workers: four jobs at a time. A job that panics fails its delivery, one of no use is rejected, and both become dead
//! letters. Workers that are closed finish their jobs first.
//!
//! ```text
//! cargo run --release --bin workers -- /tmp/cluster/cluster.toml
//! ```

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use baton::client::{
    ConsumerOptions, ExceptionDestination, Kind, ProducerOptions, QueueName, SettingsPatch, Settlement, WorkerOptions,
    WorkersEvent,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

#[derive(Serialize, Deserialize)]
enum Job {
    Sweep(u32),
    Break,
    Fly,
    Paint,
}

static RUNNING: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);
static PAINTING: Notify = Notify::const_new();

async fn work(job: Job) -> Settlement {
    MOST.fetch_max(RUNNING.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(50)).await;
    RUNNING.fetch_sub(1, Ordering::SeqCst);
    match job {
        Job::Sweep(room) => println!("swept room {room}"),
        Job::Break => panic!("the tool broke"),
        Job::Fly => return Settlement::Reject("nobody can fly".to_owned()),
        Job::Paint => {
            PAINTING.notify_one();
            tokio::time::sleep(Duration::from_secs(1)).await;
            println!("painted");
        }
    }
    Settlement::Ack
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (jobs, failed) = (QueueName::new("example/work")?, QueueName::new("example/failed-work")?);
    let client = baton_examples::connect(&failed).await?;
    let exception = ExceptionDestination::Queue(failed.clone());
    let settings = SettingsPatch::default().exception(exception).max_failed_deliveries(2);
    client.create(&jobs, Kind::Queue, settings).await?;
    let producer = client.typed_producer::<Job>(&jobs, ProducerOptions::default()).await?;
    for room in 1..=20 {
        producer.send(&Job::Sweep(room)).await?;
    }
    producer.send(&Job::Break).await?;
    producer.send(&Job::Fly).await?.await?;

    let events = Arc::new(|event| {
        if let WorkersEvent::Closed(outcome) = event {
            println!("closed: {outcome:?}");
        }
    });
    let workers = client.workers(&jobs, WorkerOptions::default().workers(4).events(events), work).await?;
    let letters = client.consumer(&failed, ConsumerOptions::default()).await?;
    for _ in 0..2 {
        let letter = letters.recv().await?;
        println!("dead letter: {}", letter.message.header("baton-exception-reason").unwrap_or_default());
        letter.ack().await?;
    }
    letters.close().await?;
    producer.send(&Job::Paint).await?.await?;
    PAINTING.notified().await;
    workers.close().await?;
    println!("{} jobs at a time", MOST.load(Ordering::SeqCst));
    client.close().await;
    Ok(())
}
