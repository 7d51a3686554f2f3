//! Queues: requests to the engine, wherever it is.

use std::time::Duration;

use baton_actors::producer::Resumed;
use baton_actors::protocol::{
    ConsumerStatus, Delivery, EngineError, EngineReply, EngineRequest, Kind, QueueStatus, decode, encode,
};
use baton_actors::wire::Service;
use baton_storage::{MessageId, ProducerId, QueueName, Settings};

use super::{Client, ClientError, Producer, ProducerOptions};

/// How long the engine has to answer before it is looked for anew.
const CALL: Duration = Duration::from_secs(5);
/// How long to wait after the engine said that it is busy.
const BUSY: Duration = Duration::from_millis(20);

/// When a destination is to be deleted; by default in any case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeleteOnly {
    /// Only if it has no messages, delayed ones included.
    pub if_empty: bool,
    /// Only if it has no consumers.
    pub if_unused: bool,
}

/// What went with a destination that was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deleted {
    /// How many messages it had, delayed ones included.
    pub messages: u64,
    /// How many consumers it had: each ends.
    pub consumers: u64,
}

impl Client {
    /// Creates a queue; false if it is there already. Waits for the engine, also through a failover.
    ///
    /// # Errors
    /// [`ClientError`]; after [`ClientError::NoEngine`] it may have been done or not.
    pub async fn create_queue(&self, queue: &QueueName) -> Result<bool, ClientError> {
        match self.engine(EngineRequest::CreateQueue { name: queue.clone() }).await? {
            (EngineReply::Created { created }, retried) => Ok(created || retried),
            (reply, _) => Err(unexpected(&reply)),
        }
    }

    /// Deletes a queue and all that it holds. Waits for the engine, also through a failover.
    ///
    /// # Errors
    /// [`ClientError`]; after [`ClientError::NoEngine`] it may have been done or not.
    pub async fn delete_queue(&self, queue: &QueueName) -> Result<(), ClientError> {
        match self.engine(EngineRequest::DeleteQueue { name: queue.clone() }).await? {
            (EngineReply::Done, _) => Ok(()),
            // The first try did it, and its answer was lost.
            (EngineReply::Error(EngineError::NoSuchQueue(_)), true) => Ok(()),
            (EngineReply::Error(error), _) => Err(ClientError::Engine(error)),
            (reply, _) => Err(unexpected(&reply)),
        }
    }

    /// Deletes a destination and all that it holds, unless `only` says otherwise, and answers what went with it; `None` if
    /// an earlier try did it whose answer was lost. Messages and consumers are counted in the moment in which it is deleted.
    /// Waits for the engine, also through a failover.
    ///
    /// # Errors
    /// [`EngineError::QueueNotEmpty`] and [`EngineError::QueueInUse`] if it is not as `only` says; else as
    /// [`Client::delete_queue`].
    pub async fn delete(&self, name: &QueueName, only: DeleteOnly) -> Result<Option<Deleted>, ClientError> {
        let DeleteOnly { if_empty, if_unused } = only;
        match self.engine(EngineRequest::Delete { name: name.clone(), if_empty, if_unused }).await? {
            (EngineReply::Deleted { messages, consumers }, _) => Ok(Some(Deleted { messages, consumers })),
            // The first try did it, and its answer was lost.
            (EngineReply::Error(EngineError::NoSuchQueue(_)), true) => Ok(None),
            (reply, _) => Err(unexpected(&reply)),
        }
    }

    /// Creates a destination: a queue, a topic space or a durable subscription. Answers whether it is new; if it was
    /// there, it is the same. Waits for the engine, also through a failover.
    ///
    /// # Errors
    /// [`EngineError::QueueExists`] if there is another one of that name, [`EngineError::Refused`] if a pattern is not
    /// one or there is no such topic space; else as [`Client::create_queue`].
    pub async fn create(&self, name: &QueueName, kind: Kind, settings: Settings) -> Result<bool, ClientError> {
        match self.engine(EngineRequest::Create { name: name.clone(), kind, settings: Box::new(settings) }).await? {
            (EngineReply::Created { created }, retried) => Ok(created || retried),
            (reply, _) => Err(unexpected(&reply)),
        }
    }

    /// A producer with a name, which goes on where it, or a process before, ended: the number tells which message of its
    /// own source is next; all before are stored. So a process that reads from a source that it can read again sends each
    /// message once, however often it is killed. One process at a time may have the name: of two, one would take the
    /// other's messages for copies of its own. After 24 hours without a message the name is forgotten, and begins anew.
    ///
    /// # Errors
    /// [`ClientError`]; [`EngineError::NoSuchQueue`] if there is no such queue.
    pub async fn named_producer(
        &self,
        queue: &QueueName,
        name: &str,
        options: ProducerOptions,
    ) -> Result<(Producer, u64), ClientError> {
        let producer = ProducerId::named(queue, name);
        let request = EngineRequest::OpenProducer { producer, queue: queue.clone(), known: false };
        match self.engine(request).await? {
            (EngineReply::Producer { next, .. }, _) => {
                let options = ProducerOptions { resumed: Some(Resumed { producer, next }), ..options };
                Ok((self.producer(queue, options).await?, next))
            }
            (reply, _) => Err(unexpected(&reply)),
        }
    }

    /// Changes how a destination behaves, from now on. Waits for the engine, also through a failover.
    ///
    /// # Errors
    /// [`EngineError::NoSuchQueue`]; else as [`Client::create_queue`].
    pub async fn configure(&self, name: &QueueName, settings: Settings) -> Result<(), ClientError> {
        match self.engine(EngineRequest::Configure { name: name.clone(), settings: Box::new(settings) }).await? {
            (EngineReply::Created { .. }, _) => Ok(()),
            (reply, _) => Err(unexpected(&reply)),
        }
    }

    /// Looks at messages of a queue, in the order of delivery, without taking them: from `from` on (`None`: from the
    /// first one), at most so many. Answers also from where to go on; `None` after the last one. A part may be empty and
    /// not the last.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn browse(
        &self,
        queue: &QueueName,
        from: Option<MessageId>,
        limit: u32,
    ) -> Result<(Vec<Delivery>, Option<MessageId>), ClientError> {
        match self.engine(EngineRequest::Browse { queue: queue.clone(), from, limit }).await? {
            (EngineReply::Messages { messages, next }, _) => Ok((messages, next)),
            (reply, _) => Err(unexpected(&reply)),
        }
    }

    /// Moves messages of an exception destination back to where they came from; answers how many. Those that somebody
    /// holds, and those that came from a queue that is gone, stay.
    ///
    /// # Errors
    /// [`ClientError`]; after [`ClientError::NoEngine`] it may have been done or not.
    pub async fn replay(&self, queue: &QueueName, messages: Vec<MessageId>) -> Result<u64, ClientError> {
        self.moved(EngineRequest::Replay { queue: queue.clone(), messages }).await
    }

    /// Deletes all messages of a queue, also those that consumers hold; answers how many.
    ///
    /// # Errors
    /// [`ClientError`]; after [`ClientError::NoEngine`] it may have been done or not.
    pub async fn purge(&self, queue: &QueueName) -> Result<u64, ClientError> {
        self.moved(EngineRequest::Purge { queue: queue.clone() }).await
    }

    async fn moved(&self, request: EngineRequest) -> Result<u64, ClientError> {
        match self.engine(request).await? {
            (EngineReply::Moved { messages }, _) => Ok(messages),
            (reply, _) => Err(unexpected(&reply)),
        }
    }

    /// The queues, by name. Waits for the engine, also through a failover.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn queues(&self) -> Result<Vec<QueueStatus>, ClientError> {
        match self.engine(EngineRequest::ListQueues).await? {
            (EngineReply::Queues(queues), _) => Ok(queues),
            (reply, _) => Err(unexpected(&reply)),
        }
    }

    /// The consumers of a queue or subscription, or all, by queue and in the order in which they attached. What they did is
    /// counted since the engine started where it is. Waits for the engine, also through a failover.
    ///
    /// # Errors
    /// [`ClientError`]; [`EngineError::NoSuchQueue`] if there is no such queue.
    pub async fn consumers(&self, queue: Option<&QueueName>) -> Result<Vec<ConsumerStatus>, ClientError> {
        match self.engine(EngineRequest::ListConsumers { queue: queue.cloned() }).await? {
            (EngineReply::Consumers(consumers), _) => Ok(consumers),
            (reply, _) => Err(unexpected(&reply)),
        }
    }

    /// Asks the engine, wherever it is, until it answers. The flag tells whether an earlier try may have done it.
    pub(super) async fn engine(&self, request: EngineRequest) -> Result<(EngineReply, bool), ClientError> {
        let within = self.inner.deadline;
        let work = self.engine_answer(encode(&request));
        tokio::time::timeout(within, work)
            .await
            .unwrap_or_else(|_| Err(ClientError::NoEngine { within, why: self.troubles() }))
    }

    async fn engine_answer(&self, request: Vec<u8>) -> Result<(EngineReply, bool), ClientError> {
        let session = &self.inner.session;
        let mut engine = session.engine();
        let mut retried = false;
        loop {
            let at = engine.borrow_and_update().clone();
            if let Some(at) = at {
                let news = match at.peer.call(Service::Engine, request.clone(), CALL).await {
                    Ok(bytes) => match decode(&bytes).map_err(|error| ClientError::Protocol(error.to_string()))? {
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
            // The session tells again once a server names the engine, even if it is the same.
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
