//! Queues: requests to the engine, wherever it is.

use std::time::Duration;

use baton_client::producer::Resumed;
use baton_client::protocol::{
    ConsumerStatus, Delivery, EngineError, EngineReply, EngineRequest, Kind, Opening, QueueStatus, decode, encode,
};
use baton_client::wire::Service;
use baton_domain::{MessageId, ProducerId, QueueName, Reliability, SettingsPatch, Written};

use super::{Client, ClientError, Producer, ProducerOptions};

/// How long the engine has to answer before it is looked for anew.
const CALL: Duration = Duration::from_secs(5);
/// How long to wait after the engine said that it is busy.
const BUSY: Duration = Duration::from_millis(20);

/// A producer's name, as the engine knows it.
#[doc(hidden)]
#[derive(Debug)]
pub struct Named {
    /// Whether it was taken over.
    claimed: bool,
    /// What was written under it.
    pub written: Written,
    registration: u64,
    /// The largest message that the engine takes, in bytes.
    pub message_bytes: u64,
    /// Whether each message needs a topic.
    pub publishes: bool,
    /// What its destination promises, where a message asks for nothing else.
    pub reliability: Reliability,
}

/// A part of what is in a queue.
#[doc(hidden)]
#[derive(Debug)]
pub struct Page {
    /// The messages.
    pub messages: Vec<Delivery>,
    /// Where to go on.
    pub next: Option<MessageId>,
    /// What is stored from then on has a greater id, its lane left aside.
    pub newest: MessageId,
}

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
    /// there, nothing that the settings name is otherwise. Waits for the engine, also through a failover.
    ///
    /// # Errors
    /// [`EngineError::QueueExists`] if there is one of another kind, [`EngineError::QueueDiffers`] if it behaves otherwise
    /// than the settings say, [`EngineError::Refused`] if a pattern is not one or there is no such topic space; else as
    /// [`Client::create_queue`].
    pub async fn create(&self, name: &QueueName, kind: Kind, settings: SettingsPatch) -> Result<bool, ClientError> {
        match self.engine(EngineRequest::Create { name: name.clone(), kind, settings: Box::new(settings) }).await? {
            (EngineReply::Created { created }, retried) => Ok(created || retried),
            (reply, _) => Err(unexpected(&reply)),
        }
    }

    /// A producer with a name, which goes on where it, or a process before, ended: the number tells which message of its
    /// own source is next; all before are stored. So a process that reads from a source that it can read again sends each
    /// message once, however often it is killed. One process at a time has the name: whoever had it before fails with
    /// [`ProducerFailure::Fenced`](super::ProducerFailure::Fenced), and nothing more of it is stored. After 24 hours without
    /// a message the name is forgotten, and begins anew.
    ///
    /// Whether what is stored under the name came from the same source, [`Client::written_under`] and
    /// [`Client::claim_producer`] tell.
    ///
    /// # Errors
    /// [`ClientError`]; [`EngineError::NoSuchQueue`] if there is no such queue.
    pub async fn named_producer(
        &self,
        queue: &QueueName,
        name: &str,
        options: ProducerOptions,
    ) -> Result<(Producer, u64), ClientError> {
        match self.open_named(queue, name, Opening::Claim { seen: None }).await? {
            Named { claimed: true, written, registration, .. } => {
                let next = written.last + 1;
                Ok((self.resumed(queue, name, next, registration, options).await?, next))
            }
            Named { claimed: false, .. } => Err(ClientError::Protocol("a name that nobody can have".to_owned())),
        }
    }

    /// What was stored under a producer's name so far.
    ///
    /// # Errors
    /// As [`Client::named_producer`].
    pub async fn written_under(&self, queue: &QueueName, name: &str) -> Result<Written, ClientError> {
        Ok(self.look_up_name(queue, name).await?.written)
    }

    /// What is known of a producer's name, and what its destination takes.
    ///
    /// # Errors
    /// [`ClientError`].
    #[doc(hidden)]
    pub async fn look_up_name(&self, queue: &QueueName, name: &str) -> Result<Named, ClientError> {
        self.open_named(queue, name, Opening::First).await
    }

    /// As [`Client::named_producer`], if what was stored under the name is still what was `seen`; else answers what it is
    /// now, and whoever has the name keeps it.
    ///
    /// # Errors
    /// As [`Client::named_producer`].
    pub async fn claim_producer(
        &self,
        queue: &QueueName,
        name: &str,
        seen: Written,
        options: ProducerOptions,
    ) -> Result<Result<Producer, Written>, ClientError> {
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
        let resumed = Some(Resumed { producer: ProducerId::named(queue, name), next, registration });
        self.producer(queue, ProducerOptions { resumed, ..options }).await
    }

    /// Changes how a destination behaves, from now on: what the patch names, and nothing else. Answers how often its
    /// settings were changed. Waits for the engine, also through a failover.
    ///
    /// # Errors
    /// [`EngineError::NoSuchQueue`]; [`EngineError::OtherVersion`] if the settings were not changed `if_version` times so
    /// far; else as [`Client::create_queue`].
    pub async fn configure(
        &self,
        name: &QueueName,
        patch: SettingsPatch,
        if_version: Option<u64>,
    ) -> Result<u64, ClientError> {
        let request = EngineRequest::Configure { name: name.clone(), patch: Box::new(patch), if_version };
        match self.engine(request).await? {
            (EngineReply::Configured { version }, _) => Ok(version),
            // The first try did it, and its answer was lost.
            (EngineReply::Error(EngineError::OtherVersion { version, .. }), true)
                if if_version.is_some_and(|asked| version == asked + 1) =>
            {
                Ok(version)
            }
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
        let page = self.browse_page(queue, from, limit).await?;
        Ok((page.messages, page.next))
    }

    /// As [`Client::browse`], with what says where the queue ended at that time.
    ///
    /// # Errors
    /// [`ClientError`].
    #[doc(hidden)]
    pub async fn browse_page(
        &self,
        queue: &QueueName,
        from: Option<MessageId>,
        limit: u32,
    ) -> Result<Page, ClientError> {
        match self.engine(EngineRequest::Browse { queue: queue.clone(), from, limit }).await? {
            (EngineReply::Messages { messages, next, newest }, _) => Ok(Page { messages, next, newest }),
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
