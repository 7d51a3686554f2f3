//! Values instead of bytes, and what becomes of a message that is no such value.
//!
//! ```text
//! cargo run --release --bin typed -- /tmp/cluster/cluster.toml
//! ```

use std::error::Error;

use baton::Message;
use baton::client::{ConsumerOptions, ExceptionDestination, Kind, ProducerOptions, QueueName, SettingsPatch};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
struct Order {
    number: u32,
    item: String,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (orders, set_aside) = (QueueName::new("example/orders")?, QueueName::new("example/orders/wrong")?);
    let client = baton_examples::connect(&set_aside).await?;
    let settings = SettingsPatch::default().exception(ExceptionDestination::Queue(set_aside.clone()));
    client.create(&orders, Kind::Queue, settings).await?;

    let producer = client.typed_producer::<Order>(&orders, ProducerOptions::default()).await?;
    producer.untyped().send(Message::new("no order at all")).await?.await?;
    producer.send(&Order { number: 1, item: "a lamp".to_owned() }).await?.await?;
    producer
        .send_with(&Order { number: 2, item: "a chair".to_owned() }, |message| message.with_priority(9))
        .await?
        .await?;

    let consumer = client.typed_consumer::<Order>(&orders, ConsumerOptions::default()).await?;
    for _ in 0..2 {
        let received = consumer.recv().await?;
        println!("order {}: {}", received.value.number, received.value.item);
        received.ack().await?;
    }
    consumer.close().await?;

    let wrong = client.consumer(&set_aside, ConsumerOptions::default()).await?;
    let received = wrong.recv().await?;
    println!("set aside: {}", received.message.header("baton-exception-reason").unwrap_or_default());
    received.ack().await?;
    wrong.close().await?;
    for queue in [orders, set_aside] {
        client.delete_queue(&queue).await?;
    }
    client.close().await;
    Ok(())
}
