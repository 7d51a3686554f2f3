//! Typed producers and consumers: values of one type instead of bytes, as MessagePack with field names, so that fields
//! can be added.

use std::error::Error;
use std::marker::PhantomData;

use baton_domain::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{
    Client, ClientError, Confirmation, Consumer, ConsumerFailure, ConsumerOptions, Producer, ProducerFailure,
    ProducerOptions, Received, SendError, ToQueueName,
};

/// The header with the content type of a body.
pub const CONTENT_TYPE: &str = "content-type";
/// Its value for typed messages.
pub const MESSAGE_PACK: &str = "application/msgpack";

/// Error of sending a value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendValueError {
    /// The value cannot be encoded: its own serializer failed.
    #[error("the value cannot be encoded")]
    Encode(#[source] Box<dyn Error + Send + Sync>),
    /// The producer did not accept it. The error hands the message back.
    #[error(transparent)]
    Send(#[from] SendError),
}

/// A producer of values of one type. Cheap to clone.
#[derive(Debug)]
pub struct TypedProducer<T> {
    producer: Producer,
    values: PhantomData<fn(T)>,
}

impl<T> Clone for TypedProducer<T> {
    fn clone(&self) -> Self {
        Self { producer: self.producer.clone(), values: PhantomData }
    }
}

impl<T: Serialize> TypedProducer<T> {
    /// Sends a value; waits while the producer's window is full. The confirmation resolves when a majority has it.
    ///
    /// # Errors
    /// [`SendValueError`].
    pub async fn send(&self, value: &T) -> Result<Confirmation, SendValueError> {
        self.send_with(value, |message| message).await
    }

    /// Sends a value in a message that `ask` modifies: headers, priority, time to live and the like.
    ///
    /// # Errors
    /// [`SendValueError`].
    pub async fn send_with(
        &self,
        value: &T,
        ask: impl FnOnce(Message) -> Message,
    ) -> Result<Confirmation, SendValueError> {
        let body = rmp_serde::to_vec_named(value).map_err(|error| SendValueError::Encode(error.into()))?;
        let message = ask(Message::new(body).with_header(CONTENT_TYPE, MESSAGE_PACK));
        Ok(self.producer.send(message).await?)
    }

    /// As [`Producer::flush`].
    ///
    /// # Errors
    /// [`ProducerFailure`], with the messages that are not confirmed.
    pub async fn flush(&self) -> Result<(), ProducerFailure> {
        self.producer.flush().await
    }

    /// As [`Producer::close`].
    ///
    /// # Errors
    /// [`ProducerFailure`], with the messages that are not confirmed.
    pub async fn close(&self) -> Result<(), ProducerFailure> {
        self.producer.close().await
    }

    /// The underlying producer of messages.
    #[must_use]
    pub fn untyped(&self) -> &Producer {
        &self.producer
    }
}

/// A received value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedValue<T> {
    /// The value.
    pub value: T,
    /// Its message.
    pub received: Received,
}

impl<T> ReceivedValue<T> {
    /// As [`Received::ack`].
    ///
    /// # Errors
    /// [`ConsumerFailure::Closed`]: the value will be delivered again.
    pub async fn ack(&self) -> Result<(), ConsumerFailure> {
        self.received.ack().await
    }

    /// As [`Received::ack_confirmed`].
    ///
    /// # Errors
    /// [`ConsumerFailure`] says why that will never be known.
    pub async fn ack_confirmed(&self) -> Result<(), ConsumerFailure> {
        self.received.ack_confirmed().await
    }

    /// As [`Received::requeue`].
    ///
    /// # Errors
    /// [`ConsumerFailure::Closed`]: the value will be delivered again all the same.
    pub async fn requeue(&self) -> Result<(), ConsumerFailure> {
        self.received.requeue().await
    }

    /// As [`Received::reject`].
    ///
    /// # Errors
    /// [`ConsumerFailure::Closed`]: the value will be delivered again.
    pub async fn reject(&self, reason: impl Into<String>) -> Result<(), ConsumerFailure> {
        self.received.reject(reason).await
    }
}

/// The value in a message, or the reason for which there is none.
pub(super) fn value_of<T: DeserializeOwned>(message: &Message) -> Result<T, String> {
    baton_domain::msgpack::read_user(&message.body)
        .map_err(|error| format!("the body is not a valid {}: {error}", std::any::type_name::<T>()))
}

/// A consumer of values of one type.
#[derive(Debug)]
pub struct TypedConsumer<T> {
    consumer: Consumer,
    values: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> TypedConsumer<T> {
    /// The next value, when there is one. A message that cannot be decoded becomes a dead letter, with the reason in its
    /// headers, and is skipped.
    ///
    /// # Errors
    /// [`ConsumerFailure`] once the consumer ended.
    pub async fn recv(&self) -> Result<ReceivedValue<T>, ConsumerFailure> {
        loop {
            let received = self.consumer.recv().await?;
            match value_of(&received.message) {
                Ok(value) => return Ok(ReceivedValue { value, received }),
                Err(reason) => {
                    tracing::warn!(id = %received.id, reason, "rejected a message that cannot be decoded");
                    self.consumer.reject(received.id, reason)?;
                }
            }
        }
    }

    /// As [`Consumer::close`].
    ///
    /// # Errors
    /// [`ConsumerFailure`] says why the outcome of some settlements is not known.
    pub async fn close(&self) -> Result<(), ConsumerFailure> {
        self.consumer.close().await
    }

    /// The underlying consumer of messages.
    #[must_use]
    pub fn untyped(&self) -> &Consumer {
        &self.consumer
    }
}

impl Client {
    /// A producer of values for a queue, as [`Client::producer`].
    ///
    /// ```no_run
    /// # async fn example(client: baton::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// #[derive(serde::Serialize)]
    /// struct Order {
    ///     number: u32,
    /// }
    ///
    /// let orders = client.typed_producer::<Order>("orders", baton::ProducerOptions::default()).await?;
    /// orders.send(&Order { number: 1 }).await?.await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ClientError::Spawn`].
    pub async fn typed_producer<T: Serialize>(
        &self,
        queue: impl ToQueueName,
        options: ProducerOptions,
    ) -> Result<TypedProducer<T>, ClientError> {
        let queue = &queue.to_queue_name()?;
        Ok(TypedProducer { producer: self.producer(queue, options).await?, values: PhantomData })
    }

    /// A consumer of values of a queue, as [`Client::consumer`].
    ///
    /// ```no_run
    /// # async fn example(client: baton::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// #[derive(serde::Deserialize)]
    /// struct Order {
    ///     number: u32,
    /// }
    ///
    /// let orders = client.typed_consumer::<Order>("orders", baton::ConsumerOptions::default()).await?;
    /// let order = orders.recv().await?;
    /// println!("order {}", order.value.number);
    /// order.ack().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ClientError::Spawn`].
    pub async fn typed_consumer<T: DeserializeOwned>(
        &self,
        queue: impl ToQueueName,
        options: ConsumerOptions,
    ) -> Result<TypedConsumer<T>, ClientError> {
        let queue = &queue.to_queue_name()?;
        Ok(TypedConsumer { consumer: self.consumer(queue, options).await?, values: PhantomData })
    }
}
