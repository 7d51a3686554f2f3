//! Publishes prices under hierarchical topics, to a durable subscription with a selector and to a subscriber that is there
//! only now.
//!
//! ```text
//! cargo run --release --bin topics -- /tmp/cluster/cluster.toml
//! ```

use std::error::Error;
use std::time::Duration;

use baton::Message;
use baton::client::{ConsumerOptions, Kind, ProducerOptions, QueueName, SettingsPatch};

/// After so long without a message there is none left.
const QUIET: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let client = baton_examples::connect("example/log").await?;
    let prices = QueueName::new("example/prices")?;
    client.create(&prices, Kind::TopicSpace, SettingsPatch::default()).await?;
    // It is kept in the store until it is deleted, whether somebody takes from it or not.
    let large = QueueName::new("example/large-metal-trades")?;
    let (topic, selector) = ("metal/#".to_owned(), "tons >= 100".to_owned());
    client
        .create(&large, Kind::Subscription { space: prices.clone(), topic, selector }, SettingsPatch::default())
        .await?;
    // This one goes with its consumer. `*` is one level, `#` any number of them.
    let subscriber = client.subscriber(&prices, "*/spot", "", ConsumerOptions::default()).await?;
    // What is published before a subscription is there is not for it.
    tokio::time::sleep(Duration::from_millis(500)).await;

    let producer = client.producer(&prices, ProducerOptions::default()).await?;
    for (topic, tons) in [("metal/copper/future", 500), ("metal/spot", 3), ("grain/spot", 900), ("metal/spot", 100)] {
        let message = Message::new(format!("{tons} tons of {topic}")).with_topic(topic);
        producer.send(message.with_header("tons", tons.to_string())).await?;
    }
    producer.close().await?;

    let durable = client.consumer(&large, ConsumerOptions::default()).await?;
    for (name, consumer) in [("spot", subscriber), ("large", durable)] {
        while let Ok(received) = tokio::time::timeout(QUIET, consumer.recv()).await {
            let received = received?;
            println!("{name}: {}", String::from_utf8_lossy(&received.message.body));
            received.ack().await?;
        }
        consumer.close().await?;
    }
    client.delete_queue(&large).await?;
    client.close().await;
    Ok(())
}
