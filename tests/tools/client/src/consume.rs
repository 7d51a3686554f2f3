//! Takes messages, holds each for a while, and acknowledges it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use baton::client::ConsumerEvent;
use baton::{Client, Consumer, ConsumerOptions, MessageId, QueueName, Received};
use baton_tools::torture::Event;
use tokio::signal::unix::Signal;
use tokio::time::{Instant, sleep_until};

use crate::{Failure, argument, ended, number};

/// Bytes of a body that are printed: all that names the message.
const NAMING: usize = 64;
/// Messages that are acknowledged at once.
const AT_ONCE: usize = 50;

pub(crate) async fn run(client: &Client, arguments: &[String], end: &mut Signal) -> Result<(), Failure> {
    let queue = QueueName::new(argument(arguments, 0)?)?;
    let hold = Duration::from_millis(number(arguments, 2)?);
    let consumer = consumer(client, &queue, number(arguments, 1)?).await?;
    let mut held: VecDeque<(Instant, MessageId)> = VecDeque::new();
    loop {
        let due = held.front().map_or_else(|| Instant::now() + Duration::from_secs(3600), |(due, _)| *due);
        tokio::select! {
            biased;
            () = ended(end) => break,
            () = sleep_until(due), if !held.is_empty() => acknowledge(&consumer, &mut held, Instant::now())?,
            received = consumer.recv() => {
                let received = received?;
                print(&received);
                held.push_back((Instant::now() + hold, received.id));
            }
        }
    }
    consumer.pause()?;
    while !held.is_empty() {
        let last = held.back().map_or_else(Instant::now, |(due, _)| *due);
        acknowledge(&consumer, &mut held, last)?;
    }
    Ok(consumer.close().await?)
}

/// A consumer whose events are printed.
pub(crate) async fn consumer(client: &Client, queue: &QueueName, credit: u32) -> Result<Consumer, Failure> {
    let events = |event| match event {
        ConsumerEvent::Connected { epoch, .. } => Event::Connected { epoch: epoch.to_string() }.print(),
        ConsumerEvent::Settled { messages } => Event::Settled { ids: words(&messages) }.print(),
        // The checker has no use for the others.
        _ => {}
    };
    let options = ConsumerOptions::default().credit(credit);
    Ok(client.consumer_with_events(queue, options, Arc::new(events)).await?)
}

/// Says that a message came.
pub(crate) fn print(received: &Received) {
    let body = &received.message.body;
    let body = String::from_utf8_lossy(&body[..body.len().min(NAMING)]).trim_end().to_owned();
    let (id, epoch) = (received.id.to_string(), received.epoch.to_string());
    Event::Got { id, epoch, redeliveries: received.redeliveries, body }.print();
}

/// Ids as they are printed.
pub(crate) fn words(ids: &[MessageId]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}

/// Acknowledges messages that were held for long enough.
fn acknowledge(consumer: &Consumer, held: &mut VecDeque<(Instant, MessageId)>, until: Instant) -> Result<(), Failure> {
    let mut ids = Vec::new();
    while let Some((_, id)) = held.pop_front_if(|(due, _)| *due <= until) {
        ids.push(id);
        if ids.len() == AT_ONCE {
            break;
        }
    }
    Event::Acknowledging { ids: words(&ids) }.print();
    for id in ids {
        consumer.acknowledge(id)?;
    }
    Ok(())
}
