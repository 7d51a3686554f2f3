//! Messages through a failover: sends and receives without a pause, and says what the failover cost.
//!
//! While it runs, kill -9 the server that it names, and the next. The count goes on, nothing is lost, nothing comes
//! twice; with three servers and two witnesses any two may be down.

use std::error::Error;

use baton::client::{ConsumerOptions, Message, ProducerEvent, ProducerOptions, QueueName};
use tokio::sync::mpsc;
use tokio::time::{Duration, sleep};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let queue = QueueName::new("fail-over")?;
    let client = baton_examples::connect(&queue).await?;

    let (told, mut events) = mpsc::unbounded_channel();
    let sink = std::sync::Arc::new(move |event| drop(told.send(event)));
    let producer = client.producer_with_events(&queue, ProducerOptions::default(), sink).await?;
    let sending = tokio::spawn(async move {
        for number in 1_u64.. {
            // Waits while the window is full. The confirmation may be dropped: the message is sent all the same.
            if producer.send(Message::new(number.to_string())).await.is_err() {
                return;
            }
            sleep(Duration::from_millis(1)).await;
        }
    });

    let consumer = client.consumer(&queue, ConsumerOptions::default()).await?;
    let mut last = 0_u64;
    loop {
        tokio::select! {
            received = consumer.recv() => {
                let received = received?;
                let number: u64 = std::str::from_utf8(&received.message.body)?.parse()?;
                // A run before this one may have left some: they come first.
                if number != last + 1 && number != 1 {
                    println!("{number} came after {last}");
                }
                last = number;
                received.ack().await?;
                if last.is_multiple_of(1_000) {
                    println!("{last} received, in order");
                }
            }
            Some(event) = events.recv() => match event {
                ProducerEvent::Connected { server, epoch } => println!("the engine is on {server} (epoch {epoch})"),
                ProducerEvent::Disconnected => println!("the engine is gone after message {last}"),
                ProducerEvent::Resent { from, through } => println!("resent {from} to {through}"),
                ProducerEvent::Confirmed { .. } => {}
                ProducerEvent::LinkLost { .. } => println!("a message may be lost"),
                ProducerEvent::Refused { why, .. } => println!("refused: {why}"),
                ProducerEvent::Failed { why, .. } => return Err(why.into()),
            },
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    sending.abort();
    // Commits what was acknowledged, and hands back the rest.
    consumer.close().await?;
    client.close().await;
    Ok(())
}
