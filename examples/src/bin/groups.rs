//! Two workers share a queue of account entries: those of one account go to one worker at a time, in order.
//!
//! ```text
//! cargo run --release --bin groups -- /tmp/cluster/cluster.toml
//! ```

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use baton::Message;
use baton::client::{Client, ConsumerOptions, ProducerOptions, QueueName};

const ACCOUNTS: usize = 5;
const ENTRIES: usize = 200;
/// After so long without an entry a worker is done.
const QUIET: Duration = Duration::from_secs(3);

/// What was done for each account: which worker, and which entry.
type Done = Arc<Mutex<BTreeMap<String, Vec<(usize, usize)>>>>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let entries = QueueName::new("example/entries")?;
    let client = baton_examples::connect(&entries).await?;
    let producer = client.producer(&entries, ProducerOptions::default()).await?;
    for number in 1..=ENTRIES {
        let account = format!("account-{}", number % ACCOUNTS);
        producer.send(Message::new(number.to_string()).with_group(account)).await?;
    }
    producer.close().await?;
    println!("{ENTRIES} entries sent");
    let done = Done::default();
    let (first, second) = tokio::join!(work(&client, &entries, 1, &done), work(&client, &entries, 2, &done));
    println!("worker 1 did {}, worker 2 did {}", first?, second?);
    for (account, entries) in done.lock().map_err(|_| "a worker failed")?.iter() {
        let in_order = entries.is_sorted_by_key(|(_, entry)| *entry);
        println!("{account}: {} entries, {}", entries.len(), if in_order { "in order" } else { "NOT in order" });
    }
    client.close().await;
    Ok(())
}

/// Takes entries with a few at a time in hand, so that both workers get some.
async fn work(client: &Client, entries: &QueueName, worker: usize, done: &Done) -> Result<usize, String> {
    let failed = |error: &dyn std::fmt::Display| error.to_string();
    let options = ConsumerOptions::default().credit(4);
    let consumer = client.consumer(entries, options).await.map_err(|error| failed(&error))?;
    let mut count = 0;
    while let Ok(received) = tokio::time::timeout(QUIET, consumer.recv()).await {
        let received = received.map_err(|error| failed(&error))?;
        let entry = String::from_utf8_lossy(&received.message.body).parse().map_err(|error| failed(&error))?;
        // The work: while it goes on, nobody else has an entry of this account.
        tokio::time::sleep(Duration::from_millis(2)).await;
        let account = received.message.group().to_owned();
        done.lock().map_err(|_| "the other worker failed")?.entry(account).or_default().push((worker, entry));
        received.ack().await.map_err(|error| failed(&error))?;
        count += 1;
    }
    consumer.close().await.map_err(|error| failed(&error))?;
    Ok(count)
}
