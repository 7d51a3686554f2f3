//! Moves messages in transactions: each message goes to two queues, its body with the transaction's tag behind it. Some
//! transactions are rolled back.

use std::time::Duration;

use baton::client::{Transaction, TransactionError};
use baton::{Client, Message, QueueName, Received};
use baton_tools::torture::Event;
use tokio::signal::unix::Signal;

use crate::consume::{consumer, print, words};
use crate::{Failure, argument, ended};

/// The most messages of one transaction.
const AT_ONCE: usize = 8;
/// The credit: some messages wait at this process for the next transaction.
const CREDIT: u32 = 32;
/// Every Nth transaction is rolled back.
const ROLLED_BACK: u64 = 8;
/// Pause after a transaction that the engine rolled back.
const PAUSE: Duration = Duration::from_millis(100);

pub(crate) async fn run(client: &Client, arguments: &[String], end: &mut Signal) -> Result<(), Failure> {
    let name = argument(arguments, 0)?;
    let from = QueueName::new(argument(arguments, 1)?)?;
    let to = [QueueName::new(argument(arguments, 2)?)?, QueueName::new(argument(arguments, 3)?)?];
    let consumer = consumer(client, &from, CREDIT).await?;
    let mut transactions = client.transactions();
    for number in 1_u64.. {
        let first = tokio::select! {
            first = consumer.recv() => first?,
            () = ended(end) => break,
        };
        let mut taken = vec![first];
        while taken.len() < AT_ONCE
            && let Some(next) = consumer.try_recv()?
        {
            taken.push(next);
        }
        taken.iter().for_each(print);
        let tag = format!("{name}/{number}");
        let mut transaction = transactions.begin();
        for queue in &to {
            taken.iter().for_each(|received| transaction.send(queue, tagged(received, &tag)));
        }
        let ids: Vec<_> = taken.iter().map(|received| received.id).collect();
        ids.iter().for_each(|id| transaction.acknowledge(&consumer, *id));
        let commit = number % ROLLED_BACK != 0;
        Event::Ending { tag: tag.clone(), ids: words(&ids), commit }.print();
        if !commit {
            transaction.roll_back();
            Event::Ended { tag, committed: false, why: "by itself".to_owned() }.print();
        } else if !committed(transaction, tag).await {
            tokio::time::sleep(PAUSE).await;
        }
    }
    Ok(consumer.close().await?)
}

fn tagged(received: &Received, tag: &str) -> Message {
    Message::new(format!("{} {tag}", String::from_utf8_lossy(&received.message.body)))
}

/// Commits a transaction; false if it was rolled back.
async fn committed(mut transaction: Transaction<'_>, tag: String) -> bool {
    loop {
        match transaction.commit().await {
            Ok(()) => {
                Event::Ended { tag, committed: true, why: String::new() }.print();
                return true;
            }
            // The engine knows the outcome when it is asked again.
            Err(TransactionError::InDoubt(why)) => eprintln!("{tag} is in doubt: {why}"),
            Err(TransactionError::RolledBack(why)) => {
                transaction.roll_back();
                Event::Ended { tag, committed: false, why: why.to_string() }.print();
                return false;
            }
        }
    }
}
