//! Queues: requests to the engine, wherever it runs.

use std::time::Duration;

use baton_client::protocol::{
    ConsumerStatus, Delivery, EngineError, EngineReply, EngineRequest, Kind, QueueStatus, decode, encode,
};
use baton_client::wire::Service;
use baton_domain::{ChangeId, MessageId, QueueName, SettingsPatch};

use super::{Client, ClientError, ToQueueName};

/// Time limit of an attempt; then the engine is located again.
const CALL: Duration = Duration::from_secs(5);
/// Retry delay after the engine reported that it is busy.
const BUSY: Duration = Duration::from_millis(20);

/// A page of the messages of a queue.
#[doc(hidden)]
#[derive(Debug)]
pub struct Page {
    /// The messages.
    pub messages: Vec<Delivery>,
    /// Start of the next page; `None` after the last one.
    pub next: Option<MessageId>,
    /// Messages stored later have a greater id, regardless of their lane.
    pub newest: MessageId,
}

/// Conditions for deleting a destination; by default none.
///
/// ```
/// use baton::client::DeleteOnly;
///
/// let only = DeleteOnly::default().if_empty(true);
/// assert!(only.if_empty && !only.if_unused);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeleteOnly {
    /// Only if it has no messages, delayed ones included.
    pub if_empty: bool,
    /// Only if it has no consumers.
    pub if_unused: bool,
}

impl DeleteOnly {
    /// Sets whether it must have no messages.
    #[must_use]
    pub fn if_empty(self, if_empty: bool) -> Self {
        Self { if_empty, ..self }
    }

    /// Sets whether it must have no consumers.
    #[must_use]
    pub fn if_unused(self, if_unused: bool) -> Self {
        Self { if_unused, ..self }
    }
}

/// Counts of a deleted destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deleted {
    /// Number of messages, delayed ones included.
    pub messages: u64,
    /// Number of consumers: each ends.
    pub consumers: u64,
}

impl Client {
    /// Creates a queue; returns false if it already exists. Waits for the engine, also through a failover.
    ///
    /// ```no_run
    /// # async fn example(client: baton::Client) -> Result<(), baton::ClientError> {
    /// let is_new = client.create_queue("orders").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ClientError`]; after [`ClientError::NoEngine`] the outcome is unknown.
    pub async fn create_queue(&self, queue: impl ToQueueName) -> Result<bool, ClientError> {
        let queue = &queue.to_queue_name()?;
        match self.change(EngineRequest::CreateQueue { name: queue.clone() }).await? {
            EngineReply::Created { created } => Ok(created),
            reply => Err(unexpected(&reply)),
        }
    }

    /// Deletes a queue and its messages. Waits for the engine, also through a failover.
    ///
    /// ```no_run
    /// # async fn example(client: baton::Client) -> Result<(), baton::ClientError> {
    /// client.delete_queue("orders").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ClientError`]; after [`ClientError::NoEngine`] the outcome is unknown.
    pub async fn delete_queue(&self, queue: impl ToQueueName) -> Result<(), ClientError> {
        let queue = &queue.to_queue_name()?;
        match self.change(EngineRequest::DeleteQueue { name: queue.clone() }).await? {
            EngineReply::Done => Ok(()),
            reply => Err(unexpected(&reply)),
        }
    }

    /// Deletes a destination and its messages, unless `only` forbids it, and returns their counts at the moment of
    /// deletion. Waits for the engine, also through a failover.
    ///
    /// ```no_run
    /// # async fn example(client: baton::Client) -> Result<(), baton::ClientError> {
    /// use baton::client::DeleteOnly;
    ///
    /// let deleted = client.delete("orders", DeleteOnly::default().if_unused(true)).await?;
    /// println!("{} messages went with it", deleted.messages);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`EngineError::QueueNotEmpty`] and [`EngineError::QueueInUse`] if a condition of `only` fails; else as
    /// [`Client::delete_queue`].
    pub async fn delete(&self, name: impl ToQueueName, only: DeleteOnly) -> Result<Deleted, ClientError> {
        let name = &name.to_queue_name()?;
        let DeleteOnly { if_empty, if_unused } = only;
        match self.change(EngineRequest::Delete { name: name.clone(), if_empty, if_unused }).await? {
            EngineReply::Deleted { messages, consumers } => Ok(Deleted { messages, consumers }),
            reply => Err(unexpected(&reply)),
        }
    }

    /// Creates a destination: a queue, a topic space or a durable subscription. Returns true if it is new, false if it
    /// already exists with the same values of the named settings. Waits for the engine, also through a failover.
    ///
    /// ```no_run
    /// # async fn example(client: baton::Client) -> Result<(), baton::ClientError> {
    /// use baton::client::{Kind, SettingsPatch};
    ///
    /// let is_new = client.create("orders", Kind::Queue, SettingsPatch::default().max_messages(10_000)).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`EngineError::QueueExists`] if the name belongs to a destination of another kind, [`EngineError::QueueDiffers`] if
    /// its settings differ, [`EngineError::Refused`] if a pattern is invalid or the topic space does not exist; else as
    /// [`Client::create_queue`].
    pub async fn create(
        &self,
        name: impl ToQueueName,
        kind: Kind,
        settings: SettingsPatch,
    ) -> Result<bool, ClientError> {
        let name = &name.to_queue_name()?;
        match self.change(EngineRequest::Create { name: name.clone(), kind, settings: Box::new(settings) }).await? {
            EngineReply::Created { created } => Ok(created),
            reply => Err(unexpected(&reply)),
        }
    }

    /// Changes settings of a destination, effective at once: those named in the patch only. Returns the number of changes
    /// made to its settings so far. Waits for the engine, also through a failover.
    ///
    /// ```no_run
    /// # async fn example(client: baton::Client) -> Result<(), baton::ClientError> {
    /// use baton::client::SettingsPatch;
    ///
    /// client.configure("orders", SettingsPatch::default().max_messages(20_000), None).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`EngineError::NoSuchQueue`]; [`EngineError::OtherVersion`] if the number of changes is not `if_version`; else as
    /// [`Client::create_queue`].
    pub async fn configure(
        &self,
        name: impl ToQueueName,
        patch: SettingsPatch,
        if_version: Option<u64>,
    ) -> Result<u64, ClientError> {
        let name = &name.to_queue_name()?;
        let request = EngineRequest::Configure { name: name.clone(), patch: Box::new(patch), if_version };
        match self.change(request).await? {
            EngineReply::Configured { version } => Ok(version),
            reply => Err(unexpected(&reply)),
        }
    }

    /// Browses messages of a queue in the order of delivery, without consuming them: from `from` on (`None`: from the first
    /// one), at most `limit`. Also returns the start of the next page; `None` after the last one. A page may be empty
    /// without being the last.
    ///
    /// ```no_run
    /// # async fn example(client: baton::Client) -> Result<(), baton::ClientError> {
    /// let mut from = None;
    /// loop {
    ///     let (messages, next) = client.browse("orders", from, 100).await?;
    ///     messages.iter().for_each(|delivery| println!("{}", delivery.id));
    ///     let Some(next) = next else { break };
    ///     from = Some(next);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn browse(
        &self,
        queue: impl ToQueueName,
        from: Option<MessageId>,
        limit: u32,
    ) -> Result<(Vec<Delivery>, Option<MessageId>), ClientError> {
        let queue = &queue.to_queue_name()?;
        let page = self.browse_page(queue, from, limit).await?;
        Ok((page.messages, page.next))
    }

    /// As [`Client::browse`], with the end of the queue at that time.
    ///
    /// # Errors
    /// [`ClientError`].
    #[doc(hidden)]
    pub async fn browse_page(
        &self,
        queue: impl ToQueueName,
        from: Option<MessageId>,
        limit: u32,
    ) -> Result<Page, ClientError> {
        let queue = &queue.to_queue_name()?;
        match self.engine(EngineRequest::Browse { queue: queue.clone(), from, limit }).await? {
            (EngineReply::Messages { messages, next, newest }, _) => Ok(Page { messages, next, newest }),
            (reply, _) => Err(unexpected(&reply)),
        }
    }

    /// Moves messages of an exception destination back to their source queues; returns their number. Messages that a
    /// consumer holds, and messages whose source queue is gone, stay.
    ///
    /// ```no_run
    /// # async fn example(client: baton::Client) -> Result<(), baton::ClientError> {
    /// let (letters, _) = client.browse("system.exception", None, 100).await?;
    /// client.replay("system.exception", letters.iter().map(|letter| letter.id).collect()).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ClientError`]; after [`ClientError::NoEngine`] the outcome is unknown.
    pub async fn replay(&self, queue: impl ToQueueName, messages: Vec<MessageId>) -> Result<u64, ClientError> {
        let queue = &queue.to_queue_name()?;
        self.moved(EngineRequest::Replay { queue: queue.clone(), messages }).await
    }

    /// Deletes the messages that a queue has now, those in flight included; returns their number, without those of an
    /// attempt whose answer was lost in a failover.
    ///
    /// ```no_run
    /// # async fn example(client: baton::Client) -> Result<(), baton::ClientError> {
    /// let deleted = client.purge("orders").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ClientError`]; after [`ClientError::NoEngine`] the outcome is unknown.
    pub async fn purge(&self, queue: impl ToQueueName) -> Result<u64, ClientError> {
        let queue = &queue.to_queue_name()?;
        let through = self.browse_page(queue, None, 1).await?.newest;
        self.moved(EngineRequest::Purge { queue: queue.clone(), through }).await
    }

    async fn moved(&self, request: EngineRequest) -> Result<u64, ClientError> {
        match self.engine(request).await? {
            (EngineReply::Moved { messages }, _) => Ok(messages),
            (reply, _) => Err(unexpected(&reply)),
        }
    }

    /// The queues, by name. Waits for the engine, also through a failover.
    ///
    /// ```no_run
    /// # async fn example(client: baton::Client) -> Result<(), baton::ClientError> {
    /// for queue in client.queues().await? {
    ///     println!("{}: {} messages", queue.name, queue.depth);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn queues(&self) -> Result<Vec<QueueStatus>, ClientError> {
        match self.engine(EngineRequest::ListQueues).await? {
            (EngineReply::Queues(queues), _) => Ok(queues),
            (reply, _) => Err(unexpected(&reply)),
        }
    }

    /// The consumers of a queue or subscription, or all, by queue in the order of attachment. Their counters start with the
    /// engine. Waits for the engine, also through a failover.
    ///
    /// ```no_run
    /// # async fn example(client: baton::Client) -> Result<(), baton::ClientError> {
    /// for consumer in client.consumers(None).await? {
    ///     println!("{consumer:?}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ClientError`]; [`EngineError::NoSuchQueue`] if there is no such queue.
    pub async fn consumers(&self, queue: Option<&QueueName>) -> Result<Vec<ConsumerStatus>, ClientError> {
        match self.engine(EngineRequest::ListConsumers { queue: queue.cloned() }).await? {
            (EngineReply::Consumers(consumers), _) => Ok(consumers),
            (reply, _) => Err(unexpected(&reply)),
        }
    }

    /// Makes a change at most once, however often it is sent until the engine answers.
    async fn change(&self, request: EngineRequest) -> Result<EngineReply, ClientError> {
        let change = ChangeId::random();
        let request = Box::new(request);
        let first = EngineRequest::Once { change, again: false, request: request.clone() };
        let again = EngineRequest::Once { change, again: true, request };
        self.engine_within(encode(&first), encode(&again)).await.map(|(reply, _)| reply)
    }

    /// Sends a request to the engine, wherever it runs, until it answers. The flag is true if an earlier attempt may have
    /// succeeded.
    pub(super) async fn engine(&self, request: EngineRequest) -> Result<(EngineReply, bool), ClientError> {
        let request = encode(&request);
        self.engine_within(request.clone(), request).await
    }

    async fn engine_within(&self, first: Vec<u8>, again: Vec<u8>) -> Result<(EngineReply, bool), ClientError> {
        let within = self.inner.deadline;
        tokio::time::timeout(within, self.engine_answer(first, again))
            .await
            .unwrap_or_else(|_| Err(ClientError::NoEngine { within, why: self.troubles() }))
    }

    /// Sends `first` until an attempt may have succeeded without an answer, and `again` from then on.
    async fn engine_answer(&self, first: Vec<u8>, again: Vec<u8>) -> Result<(EngineReply, bool), ClientError> {
        let session = &self.inner.session;
        let mut engine = session.engine();
        let mut retried = false;
        loop {
            let at = engine.borrow_and_update().clone();
            if let Some(at) = at {
                let request = if retried { &again } else { &first };
                let news = match at.peer.call(Service::Engine, request.clone(), CALL).await {
                    Ok(bytes) => match decode(&bytes)? {
                        EngineReply::Error(EngineError::Busy) => {
                            tokio::time::sleep(BUSY).await;
                            continue;
                        }
                        EngineReply::Error(EngineError::NotStarted { news }) => Some(news),
                        EngineReply::Error(EngineError::Unknown) => {
                            retried = true;
                            None
                        }
                        reply => {
                            session.works(at.epoch);
                            return Ok((reply, retried));
                        }
                    },
                    Err(_) => {
                        retried = true;
                        None
                    }
                };
                session.trouble(at.epoch, news);
            }
            // The session reports again once a server names the engine, even if it is the same.
            engine.changed().await.map_err(|_| ClientError::Closed)?;
        }
    }
}

pub(super) fn unexpected(reply: &EngineReply) -> ClientError {
    match reply {
        EngineReply::Error(error) => ClientError::Engine(error.clone()),
        reply => ClientError::Protocol(format!("{reply:?}")),
    }
}
