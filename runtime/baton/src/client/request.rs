//! Temporary destinations: non-durable subscriptions, and reply queues.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use baton_client::protocol::Kind;
use baton_domain::{Message, NameError, QueueName, random};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{
    Client, ClientError, Consumer, ConsumerFailure, ConsumerOptions, Producer, ProducerFailure, ProducerOptions,
    Received, SendError, ToQueueName,
};

/// Error of a request, or of its reply.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// No reply in time. The request is not delivered any more, unless it has its own time to live; a consumer that already
    /// holds it may still reply, and the reply is dropped.
    #[error("no reply within {0:?}")]
    Timeout(Duration),
    /// It was not sent. The error hands the message back.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The producer of the requests ended.
    #[error(transparent)]
    Producer(#[from] ProducerFailure),
    /// The consumer of the replies ended.
    #[error("the consumer of the replies ended")]
    Consumer(#[from] ConsumerFailure),
    /// The request names no valid reply destination.
    #[error("the request names no reply destination")]
    ReplyTo(#[source] NameError),
    /// There is no producer for the reply.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// Sends requests to one queue and waits for the replies, which arrive at its own temporary queue.
///
/// The reply queue is temporary: it lasts as long as this process is linked to the cluster, a failover included.
#[derive(Debug)]
pub struct Requester {
    producer: Producer,
    consumer: Consumer,
    reply_to: QueueName,
    waiting: Waiting,
    listening: JoinHandle<()>,
}

type Waiting = Arc<Mutex<HashMap<String, oneshot::Sender<Message>>>>;

fn lock(waiting: &Waiting) -> std::sync::MutexGuard<'_, HashMap<String, oneshot::Sender<Message>>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Requester {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// 128 random bits as text.
fn random_id() -> String {
    format!("{:032x}", u128::from_ne_bytes(random::bytes()))
}

/// A unique name.
fn own_name(what: &str) -> Result<QueueName, NameError> {
    QueueName::new(format!("{what}.{}", random_id()))
}

impl Client {
    /// A consumer of messages published from now on in a topic space, under topics that match the pattern, filtered by the
    /// selector (empty: all). Its subscription is not durable: it is deleted when the consumer is closed, or is gone for
    /// longer than a failover takes.
    ///
    /// ```no_run
    /// # async fn example(client: baton::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let prices = client.subscriber("prices", "metal/#", "tons >= 100", baton::ConsumerOptions::default()).await?;
    /// let price = prices.recv().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ClientError::Spawn`]. An invalid pattern or space is reported by the consumer's `recv`.
    pub async fn subscriber(
        &self,
        space: impl ToQueueName,
        topic: &str,
        selector: &str,
        options: ConsumerOptions,
    ) -> Result<Consumer, ClientError> {
        let space = &space.to_queue_name()?;
        let (topic, selector) = (topic.to_owned(), selector.to_owned());
        let kind = Kind::Subscription { space: space.clone(), topic, selector };
        self.consumer(&own_name("subscriber")?, options.temporary(kind)).await
    }

    /// A requester, which sends requests to `queue` and receives their replies.
    ///
    /// ```no_run
    /// # async fn example(client: baton::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    ///
    /// let squares = client.requester("squares").await?;
    /// let answer = squares.request(baton::Message::new("7"), Duration::from_secs(5)).await?;
    /// squares.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ClientError::Spawn`].
    pub async fn requester(&self, queue: impl ToQueueName) -> Result<Requester, ClientError> {
        let queue = &queue.to_queue_name()?;
        let reply_to = own_name("answers")?;
        let options = ConsumerOptions::default().temporary(Kind::Queue);
        let consumer = self.consumer(&reply_to, options).await?;
        let producer = self.producer(queue, ProducerOptions::default()).await?;
        let waiting = Waiting::default();
        let listening = tokio::spawn(listen(consumer.clone(), Arc::clone(&waiting)));
        Ok(Requester { producer, consumer, reply_to, waiting, listening })
    }

    /// Sends replies: keeps a producer for each reply destination.
    ///
    /// ```no_run
    /// # async fn example(client: baton::Client, requests: baton::Consumer) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut responder = client.responder();
    /// loop {
    ///     let request = requests.recv().await?;
    ///     responder.answer(&request, baton::Message::new("49")).await?;
    ///     request.ack().await?; // after the reply: each request is answered at least once
    /// }
    /// # }
    /// ```
    #[must_use]
    pub fn responder(&self) -> Responder {
        Responder { client: self.clone(), producers: HashMap::new() }
    }
}

async fn listen(consumer: Consumer, waiting: Waiting) {
    while let Ok(received) = consumer.recv().await {
        // A reply that nobody waits for any more is acknowledged.
        if consumer.acknowledge(received.id).is_err() {
            break;
        }
        if let Some(waiter) = lock(&waiting).remove(received.message.correlation_id()) {
            let _ = waiter.send(received.message);
        }
    }
    // Ends all waiting requests.
    lock(&waiting).clear();
}

impl Requester {
    /// Sends a request and waits for its reply. A correlation id is replaced by one of this requester's. Unless the request
    /// has its own time to live, it expires with the wait: afterwards nobody needs the reply.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn request(&self, message: Message, timeout: Duration) -> Result<Message, RequestError> {
        let id = random_id();
        let (sender, receiver) = oneshot::channel();
        lock(&self.waiting).insert(id.clone(), sender);
        let message = lives_for(message, timeout);
        let message = message.with_reply_to(self.reply_to.as_str()).with_correlation_id(id.as_str());
        let exchange = async {
            self.producer.send(message).await?;
            receiver.await.map_err(|_| self.ended())
        };
        let outcome = tokio::time::timeout(timeout, exchange).await;
        lock(&self.waiting).remove(&id);
        outcome.unwrap_or(Err(RequestError::Timeout(timeout)))
    }

    /// Closes the requester: its queue is deleted at once.
    ///
    /// # Errors
    /// [`RequestError::Producer`] or [`RequestError::Consumer`] if the deletion is not confirmed; the queue then goes
    /// automatically.
    pub async fn close(self) -> Result<(), RequestError> {
        self.producer.close().await?;
        Ok(self.consumer.close().await?)
    }

    /// The reason for which no reply arrives any more.
    fn ended(&self) -> RequestError {
        RequestError::Consumer(self.consumer.try_recv().err().unwrap_or(ConsumerFailure::Closed))
    }
}

/// Default time to live of a request.
fn lives_for(message: Message, time: Duration) -> Message {
    let own_ms = message.properties.as_ref().map_or(0, |properties| properties.time_to_live_ms);
    // 0 would be unlimited.
    if own_ms == 0 { message.with_time_to_live(time.max(Duration::from_millis(1))) } else { message }
}

/// Max reply destinations whose producers are kept.
const PRODUCERS: usize = 1_000;

/// Sends replies to the destinations named in requests.
#[derive(Debug)]
pub struct Responder {
    client: Client,
    producers: HashMap<QueueName, Producer>,
}

impl Responder {
    /// Sends a reply to a request, and waits until a majority has it. Acknowledge the request after that: then it is
    /// replied to at least once.
    ///
    /// # Errors
    /// [`RequestError::ReplyTo`] if the request names no reply destination; [`RequestError::Send`] if that is gone: nobody
    /// waits any more.
    pub async fn answer(&mut self, request: &Received, answer: Message) -> Result<(), RequestError> {
        let place = QueueName::new(request.message.reply_to()).map_err(RequestError::ReplyTo)?;
        if self.producers.len() >= PRODUCERS && !self.producers.contains_key(&place) {
            self.producers.clear();
        }
        let producer = match self.producers.get(&place) {
            Some(producer) => producer,
            None => {
                let producer = self.client.producer(&place, ProducerOptions::default()).await?;
                self.producers.entry(place.clone()).or_insert(producer)
            }
        };
        let answer = answer.with_correlation_id(request.message.correlation_id());
        if let Err(error) = producer.send_confirmed(answer).await {
            self.producers.remove(&place);
            return Err(error.into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_lives_as_long_as_somebody_waits_unless_it_says_otherwise() {
        let lives = |message: Message, ms| lives_for(message, Duration::from_millis(ms)).expires_ms(1_000, 0);
        assert_eq!(lives(Message::new("a"), 500), 1_500);
        assert_eq!(lives(Message::new("a"), 0), 1_001);
        assert_eq!(lives(Message::new("a").with_time_to_live(Duration::from_secs(9)), 500), 10_000);
    }
}
