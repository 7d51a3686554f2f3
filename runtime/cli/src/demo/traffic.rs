//! The demo's producers and consumers: they run all the time, and enter every message in the ledger.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use baton::client::{Client, Confirmation, Consumer, ConsumerOptions, Producer, ProducerOptions};
use baton_domain::clock::BootTime;
use baton_domain::{Message, QueueName};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::{Failure, requests};

use super::board::Board;

/// One consumer per queue, which sees the order of every producer's messages.
const QUEUES: [&str; 2] = ["demo/orders", "demo/events"];
/// Producers per queue.
const PRODUCERS: u32 = 2;
/// Interval between two messages of a producer: enough traffic to see every gap, light on the machine.
const PACE: Duration = Duration::from_millis(4);
/// Longer than any failover: a message given up counts as not confirmed.
const GIVE_UP: Duration = Duration::from_secs(60);
/// Confirmations that wait to be counted.
const CONFIRMS_WAITING: usize = 100_000;

/// Running producers and consumers.
pub(super) struct Traffic {
    stop: Arc<AtomicBool>,
    producers: JoinSet<Result<(), Failure>>,
    consuming: JoinSet<Result<(), Failure>>,
    consumers: Vec<Consumer>,
    queues: Vec<QueueName>,
}

/// The producer and number of a message, from its body.
fn body(stream: u32, number: u64) -> String {
    format!("{stream} {number}")
}

fn parse(body: &[u8]) -> Option<(u32, u64)> {
    let (stream, number) = std::str::from_utf8(body).ok()?.split_once(' ')?;
    Some((stream.parse().ok()?, number.parse().ok()?))
}

impl Traffic {
    /// Creates the queues and starts producers and consumers.
    pub(super) async fn start(client: &Client, board: &Arc<Board>) -> Result<Self, Failure> {
        let mut traffic = Self {
            stop: Arc::default(),
            producers: JoinSet::new(),
            consuming: JoinSet::new(),
            consumers: Vec::new(),
            queues: Vec::new(),
        };
        let mut stream = 0;
        for name in QUEUES {
            let queue = QueueName::new(name).map_err(|error| Failure::new(error.to_string()))?;
            client.create_queue(&queue).await?;
            let consumer = client.consumer(&queue, ConsumerOptions::default()).await?;
            traffic.consuming.spawn(consume(consumer.clone(), Arc::clone(board)));
            traffic.consumers.push(consumer);
            for _ in 0..PRODUCERS {
                stream += 1;
                let options = ProducerOptions::default().give_up(GIVE_UP);
                let producer = client.producer(&queue, options).await?;
                traffic.producers.spawn(produce(producer, stream, Arc::clone(board), Arc::clone(&traffic.stop)));
            }
            traffic.queues.push(queue);
        }
        Ok(traffic)
    }

    /// An error if a producer or consumer ended that was not told to.
    pub(super) fn check(&mut self) -> Result<(), Failure> {
        let ended = self.producers.try_join_next().or_else(|| self.consuming.try_join_next());
        match ended {
            None => Ok(()),
            Some(Ok(Err(failure))) => Err(failure),
            Some(Ok(Ok(())) | Err(_)) => Err(Failure::new("a producer or consumer ended unexpectedly")),
        }
    }

    /// Stops the producers and waits until all messages are confirmed, received and off the queues; `limit` bounds each
    /// step. The ledger has what is missing then.
    pub(super) async fn end(mut self, client: &Client, board: &Board, limit: Duration) -> Result<(), Failure> {
        self.stop.store(true, Ordering::Relaxed);
        let flushed = async {
            while let Some(ended) = self.producers.join_next().await {
                ended.map_err(|error| Failure::new(format!("a producer ended unexpectedly: {error}")))??;
            }
            Ok(())
        };
        tokio::time::timeout(limit, flushed)
            .await
            .unwrap_or_else(|_| Err(Failure::new(format!("not all messages were confirmed within {limit:?}"))))?;
        let deadline = BootTime::now() + limit;
        while !self.all_is_out(client, board).await? && BootTime::now() < deadline {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        for consumer in &self.consumers {
            // The account reports missing messages; an error of closing would only hide it.
            let _ = tokio::time::timeout(requests::SOON, consumer.close()).await;
        }
        Ok(())
    }

    /// True if every confirmed message is received, and none is left that could be delivered twice.
    async fn all_is_out(&self, client: &Client, board: &Board) -> Result<bool, Failure> {
        {
            let shown = board.look();
            if shown.received < shown.confirmed {
                return Ok(false);
            }
        }
        let queues = client.queues().await?;
        Ok(self.queues.iter().all(|name| queues.iter().any(|status| status.name == *name && status.depth == 0)))
    }
}

async fn produce(producer: Producer, stream: u32, board: Arc<Board>, stop: Arc<AtomicBool>) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::new(format!("producer {stream}: {error}"));
    let (pass, confirmations) = mpsc::channel(CONFIRMS_WAITING);
    let counted = tokio::spawn(count(confirmations, stream, Arc::clone(&board)));
    let mut pace = tokio::time::interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) && !counted.is_finished() {
        pace.tick().await;
        number += 1;
        let message = Message::new(body(stream, number));
        {
            let mut shown = board.look();
            shown.ledger.sent(stream);
            shown.sent += 1;
        }
        let confirmation = producer.send(message).await.map_err(|error| failed(&error))?;
        if pass.send(confirmation).await.is_err() {
            break;
        }
    }
    drop(pass);
    counted.await.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
    producer.close().await.map_err(|error| failed(&error))
}

async fn count(mut confirmations: mpsc::Receiver<Confirmation>, stream: u32, board: Arc<Board>) -> Result<(), Failure> {
    while let Some(confirmation) = confirmations.recv().await {
        confirmation.await.map_err(|error| Failure::new(error.to_string()))?;
        let mut shown = board.look();
        shown.ledger.confirmed(stream);
        shown.confirmed += 1;
        shown.silence.confirmed(BootTime::now());
    }
    Ok(())
}

async fn consume(consumer: Consumer, board: Arc<Board>) -> Result<(), Failure> {
    let failed = |error: baton::client::ConsumerFailure| Failure::new(format!("a consumer: {error}"));
    loop {
        let received = consumer.recv().await.map_err(failed)?;
        let (stream, number) =
            parse(&received.message.body).ok_or_else(|| Failure::new("received a message that was never sent"))?;
        {
            let mut shown = board.look();
            shown.ledger.received(stream, number);
            shown.received += 1;
        }
        consumer.acknowledge(received.id).map_err(failed)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_says_whose_message_it_is() {
        assert_eq!(parse(body(3, 17).as_bytes()), Some((3, 17)));
        for wrong in [&b""[..], b"3", b"x 1", b"1 x", b"\xff 1"] {
            assert_eq!(parse(wrong), None);
        }
    }
}
