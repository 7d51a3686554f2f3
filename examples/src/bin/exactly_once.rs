//! Takes orders and makes a bill for each, exactly one: both in one transaction, whatever fails in between.
//!
//! ```text
//! seq 1000 | baton send example/orders --cluster /tmp/cluster/cluster.toml
//! cargo run --release --bin exactly_once -- /tmp/cluster/cluster.toml
//! ```

use std::error::Error;
use std::time::Duration;

use baton::Message;
use baton::client::{ConsumerOptions, QueueName, TransactionError};

/// How many orders one transaction takes at most.
const AT_ONCE: usize = 20;
/// After so long without an order it is done.
const QUIET: Duration = Duration::from_secs(3);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (orders, bills) = (QueueName::new("example/orders")?, QueueName::new("example/bills")?);
    let client = baton_examples::connect(&orders).await?;
    client.create_queue(&bills).await?;
    let consumer = client.consumer(&orders, ConsumerOptions::default().credit(100)).await?;
    let mut transactions = client.transactions();
    let mut made = 0;
    while let Ok(first) = tokio::time::timeout(QUIET, consumer.recv()).await {
        let mut taken = vec![first?];
        while taken.len() < AT_ONCE
            && let Some(next) = consumer.try_recv()?
        {
            taken.push(next);
        }
        let mut transaction = transactions.begin();
        for order in &taken {
            let text = String::from_utf8_lossy(&order.message.body).into_owned();
            transaction.send(&bills, Message::new(format!("bill for {text}")));
            transaction.acknowledge(&consumer, order.id);
        }
        loop {
            match transaction.commit().await {
                Ok(()) => {
                    made += taken.len();
                    println!("{made} bills made");
                    break;
                }
                // Asked again, the engine reports the outcome.
                Err(TransactionError::InDoubt(why)) => println!("asking again: {why}"),
                Err(TransactionError::RolledBack(why)) => {
                    println!("rolled back: {why}");
                    transaction.roll_back();
                    break;
                }
            }
        }
    }
    consumer.close().await?;
    client.close().await;
    println!("done after {made} bills");
    Ok(())
}
