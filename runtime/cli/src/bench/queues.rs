//! The queues of one run.

use baton::client::{Client, ClientError};
use baton_client::protocol::EngineError;
use baton_domain::{QueueName, random};
use futures::{StreamExt, TryStreamExt, stream};

use crate::Failure;

/// Concurrent requests when many queues are created or deleted.
const AT_ONCE: usize = 32;

/// Queues with unique names.
pub(super) struct Queues(Vec<QueueName>);

impl Queues {
    /// Draws names; nothing is created yet.
    pub(super) fn draw(count: u32) -> Result<Self, Failure> {
        let run = random::number();
        let name = |number| match count {
            1 => format!("baton-bench-{run:016x}"),
            _ => format!("baton-bench-{run:016x}-{number}"),
        };
        let names = (1..=count).map(|number| QueueName::new(name(number)));
        names.collect::<Result<_, _>>().map(Self).map_err(|error| Failure::new(error.to_string()))
    }

    /// All queues.
    pub(super) fn names(&self) -> &[QueueName] {
        &self.0
    }

    /// The queue of the producer or consumer with this index, round robin.
    pub(super) fn of(&self, number: usize) -> &QueueName {
        &self.0[number % self.0.len()]
    }

    /// Creates the queues.
    pub(super) async fn create(&self, client: &Client) -> Result<(), Failure> {
        let created = stream::iter(&self.0).map(|name| client.create_queue(name)).buffer_unordered(AT_ONCE);
        Ok(created.try_for_each(|_| async { Ok(()) }).await?)
    }

    /// Deletes the queues that were created.
    pub(super) async fn delete(&self, client: &Client) -> Result<(), Failure> {
        let delete = |name| async move {
            match client.delete_queue(name).await {
                Ok(()) | Err(ClientError::Engine(EngineError::NoSuchQueue(_))) => Ok(()),
                Err(error) => Err(Failure::from(error)),
            }
        };
        stream::iter(&self.0).map(delete).buffer_unordered(AT_ONCE).try_collect().await
    }

    /// Total number of messages in them.
    pub(super) async fn depth(&self, client: &Client) -> Result<u64, Failure> {
        let queues = client.queues().await?;
        Ok(queues.iter().filter(|queue| self.0.contains(&queue.name)).map(|queue| queue.depth).sum())
    }
}
