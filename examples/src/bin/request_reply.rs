//! Asks and answers: requests go to a queue, answers to a place that is there as long as who asked.
//!
//! ```text
//! cargo run --release --bin request_reply -- /tmp/cluster/cluster.toml
//! ```

use std::error::Error;
use std::time::Duration;

use baton::Message;
use baton::client::{Client, ConsumerOptions, QueueName};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let queue = QueueName::new("example/squares")?;
    let client = baton_examples::connect(&queue).await?;
    let answering = tokio::spawn(answer(client.clone(), queue.clone()));
    let requester = client.requester(&queue).await?;
    for number in 1..=5_u32 {
        let request = Message::new(number.to_string());
        let answer = requester.request(request, Duration::from_secs(20)).await?;
        println!("{number} squared is {}", String::from_utf8_lossy(&answer.body));
    }
    requester.close().await?;
    answering.abort();
    client.delete_queue(&queue).await?;
    client.close().await;
    Ok(())
}

/// Squares numbers; what is no number is of no use to anybody.
async fn answer(client: Client, queue: QueueName) -> Result<(), String> {
    let consumer = client.consumer(&queue, ConsumerOptions::default()).await.map_err(|error| error.to_string())?;
    let mut responder = client.responder();
    loop {
        let request = consumer.recv().await.map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&request.message.body).into_owned();
        let settled = match text.parse::<u64>() {
            Ok(number) => {
                // Before it is acknowledged: a request is answered at least once, whatever fails.
                if let Err(error) = responder.answer(&request, Message::new((number * number).to_string())).await {
                    eprintln!("nobody waits for the answer: {error}");
                }
                request.ack().await
            }
            Err(error) => request.reject(format!("{text:?} is no number: {error}")).await,
        };
        settled.map_err(|error| error.to_string())?;
    }
}
