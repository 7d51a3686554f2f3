//! A worker that cannot do some of its jobs: what fails twice, and what it rejects, goes to an exception destination with the
//! reason; from there it is put back when the worker has learned its trade. Urgent jobs come first, later ones later.
//!
//! ```text
//! cargo run --release --bin exceptions -- /tmp/cluster/cluster.toml
//! ```

use std::error::Error;
use std::time::Duration;

use baton::Message;
use baton::client::{
    Client, Consumer, ConsumerOptions, ExceptionDestination, Kind, ProducerOptions, QueueName, SettingsPatch,
};

/// After so long without a job there is none left.
const QUIET: Duration = Duration::from_secs(3);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (jobs, failed) = (QueueName::new("example/jobs")?, QueueName::new("example/failed-jobs")?);
    let client = baton_examples::connect(&failed).await?;
    let settings = SettingsPatch::default()
        .exception(ExceptionDestination::Queue(failed.clone()))
        .max_failed_deliveries(2)
        .redelivery_delay_ms(200);
    client.create(&jobs, Kind::Queue, settings).await?;
    let producer = client.producer(&jobs, ProducerOptions::default()).await?;
    producer.send(Message::new("sweep")).await?;
    producer.send(Message::new("weld")).await?;
    producer.send(Message::new("???")).await?;
    producer.send(Message::new("lock up").with_delay(Duration::from_secs(1))).await?;
    producer.send(Message::new("put out the fire").with_priority(9)).await?;
    producer.send(Message::new("too late").with_time_to_live(Duration::from_millis(1))).await?;
    producer.close().await?;
    tokio::time::sleep(Duration::from_millis(50)).await;

    let consumer = client.consumer(&jobs, ConsumerOptions::default().credit(1)).await?;
    work(&consumer, false).await?;
    let (found, _) = client.browse(&failed, None, 100).await?;
    for job in &found {
        let reason = job.message.header("baton-exception-reason").unwrap_or("nobody knows why");
        println!("set aside: {} ({reason})", String::from_utf8_lossy(&job.message.body));
    }
    replay(&client, &failed, found.iter().filter(|job| job.message.body == "weld").map(|job| job.id).collect()).await?;
    work(&consumer, true).await?;
    consumer.close().await?;
    client.close().await;
    Ok(())
}

async fn work(consumer: &Consumer, can_weld: bool) -> Result<(), Box<dyn Error>> {
    while let Ok(received) = tokio::time::timeout(QUIET, consumer.recv()).await {
        let received = received?;
        match &received.message.body[..] {
            b"???" => received.reject("not a job").await?,
            b"weld" if !can_weld => received.requeue().await?,
            job => {
                println!("done: {}", String::from_utf8_lossy(job));
                received.ack().await?;
            }
        }
    }
    Ok(consumer.flush().await?)
}

async fn replay(client: &Client, failed: &QueueName, jobs: Vec<baton::MessageId>) -> Result<(), Box<dyn Error>> {
    println!("{} put back", client.replay(failed, jobs).await?);
    Ok(())
}
