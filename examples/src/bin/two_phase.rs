//! Takes an order and prepares a bill for it, as one participant of a transaction that an outside coordinator decides.
//!
//! The coordinator here is the operator: it decides by the name, when it likes, also after this program and the
//! engine's server are gone.
//!
//! ```text
//! echo "ten tons of coal" | baton send example/orders --cluster /tmp/cluster/cluster.toml
//! cargo run --release --bin two_phase -- /tmp/cluster/cluster.toml trade/1
//! baton transaction list --cluster /tmp/cluster/cluster.toml
//! baton transaction resolve trade/1 commit --cluster /tmp/cluster/cluster.toml
//! ```

use std::error::Error;

use baton::Message;
use baton::client::{ConsumerOptions, QueueName, TransactionError, TransactionName};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (orders, bills) = (QueueName::new("example/orders")?, QueueName::new("example/bills")?);
    let name = std::env::args().nth(2).ok_or("name the transaction, as its coordinator does")?;
    let name = TransactionName::new(name)?;
    let client = baton_examples::connect(&orders).await?;
    client.create_queue(&bills).await?;
    let consumer = client.consumer(&orders, ConsumerOptions::default().credit(1)).await?;
    let order = consumer.recv().await?;
    let text = String::from_utf8_lossy(&order.message.body).into_owned();
    let mut transactions = client.transactions();
    let mut transaction = transactions.begin();
    transaction.send(&bills, Message::new(format!("bill for {text}")));
    transaction.acknowledge(&consumer, order.id);
    let mut outcome = transaction.prepare(&name).await;
    while let Err(TransactionError::InDoubt(why)) = &outcome {
        // Asked again, the engine says what became of it.
        println!("asking again: {why}");
        outcome = transaction.prepare(&name).await;
    }
    outcome?;
    println!("{name} is prepared: {text}");
    consumer.close().await?;
    client.close().await;
    Ok(())
}
