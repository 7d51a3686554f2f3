//! Producers with names, which go on where an earlier process ended.

use baton_client::producer::Resumed;
use baton_client::protocol::{EngineReply, EngineRequest, Opening};
use baton_domain::{ProducerId, QueueName, Reliability, Written};

use super::queues::unexpected;
use super::{Client, ClientError, Producer, ProducerOptions, ToQueueName};

/// A producer's name and its state at the engine.
#[doc(hidden)]
#[derive(Debug)]
pub struct Named {
    /// True if this client took it over.
    claimed: bool,
    /// The messages stored under it.
    pub written: Written,
    registration: u64,
    /// The largest message that the engine accepts, in bytes.
    pub message_bytes: u64,
    /// True if each message needs a topic.
    pub publishes: bool,
    /// The destination's default reliability level.
    pub reliability: Reliability,
}

impl Client {
    /// A producer with a name, which continues where it, or an earlier process, ended: the returned number is that of the
    /// next message of its source; all earlier ones are stored. So a process with a repeatable source sends each message
    /// exactly once, however often it is killed. One process at a time owns the name: the previous owner fails with
    /// [`ProducerFailure::Fenced`](super::ProducerFailure::Fenced), and nothing more of it is stored. A name without a
    /// message for 24 hours is forgotten and starts again.
    ///
    /// To check that the stored messages came from the same source, use [`Client::written_under`] and
    /// [`Client::claim_producer`].
    ///
    /// ```no_run
    /// # async fn example(client: baton::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let lines = ["one", "two", "three"]; // the same each time the program starts
    /// let (producer, next) = client.named_producer("orders", "import/1", baton::ProducerOptions::default()).await?;
    /// for line in lines.iter().skip(next as usize - 1) {
    ///     producer.send(baton::Message::new(*line)).await?;
    /// }
    /// producer.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ClientError`]; [`EngineError::NoSuchQueue`](super::EngineError::NoSuchQueue) if there is no such queue.
    pub async fn named_producer(
        &self,
        queue: impl ToQueueName,
        name: &str,
        options: ProducerOptions,
    ) -> Result<(Producer, u64), ClientError> {
        let queue = &queue.to_queue_name()?;
        match self.open_named(queue, name, Opening::Claim { seen: None }).await? {
            Named { claimed: true, written, registration, .. } => {
                let next = written.last + 1;
                Ok((self.resumed(queue, name, next, registration, options).await?, next))
            }
            Named { claimed: false, .. } => {
                Err(ClientError::Protocol("a producer name that cannot be claimed".to_owned()))
            }
        }
    }

    /// The messages stored under a producer's name so far.
    ///
    /// ```no_run
    /// # async fn example(client: baton::Client) -> Result<(), baton::ClientError> {
    /// let written = client.written_under("orders", "import/1").await?;
    /// println!("{} messages are stored", written.last);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Client::named_producer`].
    pub async fn written_under(&self, queue: impl ToQueueName, name: &str) -> Result<Written, ClientError> {
        let queue = &queue.to_queue_name()?;
        Ok(self.look_up_name(queue, name).await?.written)
    }

    /// The state of a producer's name, and the limits of its destination.
    ///
    /// # Errors
    /// [`ClientError`].
    #[doc(hidden)]
    pub async fn look_up_name(&self, queue: impl ToQueueName, name: &str) -> Result<Named, ClientError> {
        let queue = &queue.to_queue_name()?;
        self.open_named(queue, name, Opening::First).await
    }

    /// As [`Client::named_producer`], if the messages stored under the name are still those `seen`; else returns the
    /// current ones, and the name keeps its owner.
    ///
    /// ```no_run
    /// # async fn example(client: baton::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let seen = client.written_under("orders", "import/1").await?;
    /// match client.claim_producer("orders", "import/1", seen, baton::ProducerOptions::default()).await? {
    ///     Ok(producer) => drop(producer.send(baton::Message::new("next")).await?),
    ///     Err(now) => println!("another process stored messages up to {}", now.last),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Client::named_producer`].
    pub async fn claim_producer(
        &self,
        queue: impl ToQueueName,
        name: &str,
        seen: Written,
        options: ProducerOptions,
    ) -> Result<Result<Producer, Written>, ClientError> {
        let queue = &queue.to_queue_name()?;
        match self.open_named(queue, name, Opening::Claim { seen: Some(seen) }).await? {
            Named { claimed: true, written, registration, .. } => {
                Ok(Ok(self.resumed(queue, name, written.last + 1, registration, options).await?))
            }
            Named { claimed: false, written, .. } => Ok(Err(written)),
        }
    }

    async fn open_named(&self, queue: &QueueName, name: &str, opening: Opening) -> Result<Named, ClientError> {
        let producer = ProducerId::named(queue, name);
        match self.engine(EngineRequest::OpenProducer { producer, queue: queue.clone(), opening }).await? {
            (EngineReply::Producer { next, registration, digest, claimed, limits, publishes, reliability, .. }, _) => {
                let written = Written { last: next.saturating_sub(1), digest };
                Ok(Named {
                    claimed,
                    written,
                    registration,
                    message_bytes: limits.message_bytes,
                    publishes,
                    reliability,
                })
            }
            (reply, _) => Err(unexpected(&reply)),
        }
    }

    async fn resumed(
        &self,
        queue: &QueueName,
        name: &str,
        next: u64,
        registration: u64,
        options: ProducerOptions,
    ) -> Result<Producer, ClientError> {
        let resumed = Resumed { producer: ProducerId::named(queue, name), next, registration };
        self.producer(queue, options.resumed(resumed)).await
    }
}
