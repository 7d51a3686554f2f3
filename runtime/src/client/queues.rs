//! Queues: requests to the engine, wherever it is.

use std::time::Duration;

use baton_actors::protocol::{EngineError, EngineReply, EngineRequest, QueueStatus, decode, encode};
use baton_actors::wire::Service;
use baton_storage::QueueName;

use super::{Client, ClientError};

/// How long the engine has to answer before it is looked for anew.
const CALL: Duration = Duration::from_secs(5);
/// How long to wait after the engine said that it is busy.
const BUSY: Duration = Duration::from_millis(20);

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

    /// Asks the engine, wherever it is, until it answers. The flag tells whether an earlier try may have done it.
    async fn engine(&self, request: EngineRequest) -> Result<(EngineReply, bool), ClientError> {
        let within = self.inner.deadline;
        let work = self.engine_answer(encode(&request));
        tokio::time::timeout(within, work).await.unwrap_or(Err(ClientError::NoEngine { within }))
    }

    async fn engine_answer(&self, request: Vec<u8>) -> Result<(EngineReply, bool), ClientError> {
        let session = &self.inner.session;
        let mut engine = session.engine();
        let mut retried = false;
        loop {
            let at = engine.borrow_and_update().clone();
            if let Some(at) = at {
                let news = match at.peer.call(Service::Engine, &request, CALL).await {
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

fn unexpected(reply: &EngineReply) -> ClientError {
    match reply {
        EngineReply::Error(error) => ClientError::Engine(error.clone()),
        reply => ClientError::Protocol(format!("{reply:?}")),
    }
}
