//! The five reliability levels side by side: how long a send takes at each, and what a failure of the engine's server
//! leaves. Kill that server between the two listings to see it.
//!
//! ```text
//! cargo run --release --bin levels -- /tmp/cluster/cluster.toml
//! ```

use std::error::Error;
use std::time::Duration;

use baton::client::{Client, Producer, ProducerOptions, QueueName};
use baton::{Message, Reliability};
use tokio::time::Instant;

const MESSAGES: u32 = 200;
/// How long there is to kill a server.
const WHILE: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let queue = QueueName::new("example/levels")?;
    let client = baton_examples::connect(&queue).await?;
    client.purge(&queue).await?;
    let producer = client.producer(&queue, ProducerOptions::default()).await?;
    // The first send also connects.
    send(&producer, Reliability::AssuredPersistent).await?;
    for level in Reliability::ALL {
        let begun = Instant::now();
        for _ in 0..MESSAGES {
            send(&producer, level).await?;
        }
        println!("{level:<26} {:>6} us a send", (begun.elapsed() / MESSAGES).as_micros());
    }
    list(&client, &queue).await?;
    println!("now kill the engine's server, or move the engine");
    tokio::time::sleep(WHILE).await;
    list(&client, &queue).await?;
    client.close().await;
    Ok(())
}

/// One message, confirmed as its level says.
async fn send(producer: &Producer, level: Reliability) -> Result<(), Box<dyn Error>> {
    producer.send(Message::new("x").with_reliability(level)).await?.await?;
    Ok(())
}

async fn list(client: &Client, queue: &QueueName) -> Result<(), Box<dyn Error>> {
    let all = client.queues().await?;
    let known = all.iter().find(|known| known.name == *queue).ok_or("the queue is gone")?;
    println!("{} messages, {} of them in memory alone", known.depth, known.nonpersistent);
    Ok(())
}
