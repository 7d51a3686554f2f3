//! Local transactions: receive, send and acknowledge on several destinations as one.
//!
//! ```no_run
//! # async fn example(client: baton::Client, orders: baton::Consumer, bills: baton::QueueName) -> Result<(), Box<dyn std::error::Error>> {
//! let mut transactions = client.transactions();
//! loop {
//!     let order = orders.recv().await?;
//!     let mut transaction = transactions.begin();
//!     transaction.send(&bills, baton::Message::new(order.message.body.clone()));
//!     transaction.acknowledge(&orders, order.id);
//!     // Both or none, whatever fails: each order makes one bill.
//!     transaction.commit().await?;
//! }
//! # }
//! ```

use std::time::Duration;

use baton_client::protocol::{EngineError, EngineReply, EngineRequest, InDoubtStatus};
use baton_domain::{Message, MessageId, QueueName, SessionId, TransactionName, TransactionSend};

use super::queues::unexpected;
use super::{Client, ClientError, Consumer};

/// Retry delay of a transaction that was refused temporarily.
const AGAIN: Duration = Duration::from_millis(20);

/// A transaction that is not known to be committed. There is no third outcome: callers can handle both.
#[derive(Debug, thiserror::Error)]
pub enum TransactionError {
    /// Nothing was done, and never will be: another consumer holds a message by now, or a destination is gone. The messages
    /// are still with their consumers: hand them back with [`Transaction::roll_back`].
    #[error("the transaction was rolled back")]
    RolledBack(#[source] RollBackReason),
    /// No answer in time: the outcome is unknown. Call [`Transaction::commit`] again to learn it.
    #[error("the outcome of the transaction is unknown")]
    InDoubt(#[source] ClientError),
}

/// The reason for a rollback.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RollBackReason {
    /// The engine refused it.
    #[error(transparent)]
    Engine(EngineError),
    /// It was never sent: no engine was found in time.
    #[error(transparent)]
    NotSent(ClientError),
}

/// A session of transactions, one at a time.
#[derive(Debug)]
pub struct Transactions {
    client: Client,
    session: Session,
}

/// The transaction numbering. A transaction in doubt keeps its number; later ones use another session.
#[derive(Debug, Clone, Copy)]
struct Session {
    id: SessionId,
    /// The next transaction's number; 0 until the engine knows the session.
    next: u64,
}

impl Session {
    fn draw() -> Self {
        Self { id: SessionId::random(), next: 0 }
    }
}

/// Sends and acknowledgements that take effect together. Dropped without a commit, nothing is sent, and the messages
/// to acknowledge stay with their consumers.
#[derive(Debug)]
pub struct Transaction<'a> {
    of: &'a mut Transactions,
    session: Session,
    sends: Vec<(QueueName, Vec<Message>)>,
    acknowledged: Vec<(Consumer, Vec<MessageId>)>,
    /// It was sent, and the answer is unknown: a later refusal says nothing about that attempt.
    in_doubt: bool,
}

impl Client {
    /// A session of transactions.
    ///
    /// ```no_run
    /// # async fn example(client: baton::Client, bills: baton::QueueName) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut transactions = client.transactions();
    /// let mut transaction = transactions.begin();
    /// transaction.send(&bills, baton::Message::new("one"));
    /// transaction.send(&bills, baton::Message::new("two"));
    /// transaction.commit().await?; // both or none
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn transactions(&self) -> Transactions {
        Transactions { client: self.clone(), session: Session::draw() }
    }

    /// Transactions that are prepared and not decided, by name.
    ///
    /// ```no_run
    /// # async fn example(client: baton::Client) -> Result<(), baton::ClientError> {
    /// for transaction in client.in_doubt().await? {
    ///     client.resolve(&transaction.name, true).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn in_doubt(&self) -> Result<Vec<InDoubtStatus>, ClientError> {
        match self.engine(EngineRequest::ListInDoubt).await? {
            (EngineReply::InDoubt(transactions), _) => Ok(transactions),
            (reply, _) => Err(unexpected(&reply)),
        }
    }

    /// Decides a prepared transaction: commits all of it or nothing. Returns false if no transaction of that name is in
    /// doubt.
    ///
    /// ```no_run
    /// # async fn example(client: baton::Client) -> Result<(), baton::ClientError> {
    /// let found = client.resolve(&baton::TransactionName::new("trade/1")?, true).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ClientError`]; after [`ClientError::NoEngine`] the outcome is unknown.
    pub async fn resolve(&self, name: &TransactionName, commit: bool) -> Result<bool, ClientError> {
        match self.engine(EngineRequest::Resolve { name: name.clone(), commit }).await? {
            // The first attempt did it, and its answer was lost.
            (EngineReply::Resolved { found }, retried) => Ok(found || retried),
            (reply, _) => Err(unexpected(&reply)),
        }
    }
}

impl Transactions {
    /// Begins a transaction.
    pub fn begin(&mut self) -> Transaction<'_> {
        let session = self.session;
        Transaction { of: self, session, sends: Vec::new(), acknowledged: Vec::new(), in_doubt: false }
    }
}

impl Transaction<'_> {
    /// Sends a message to a queue or topic space with the commit; it is not delivered before.
    pub fn send(&mut self, queue: &QueueName, message: Message) {
        match self.sends.last_mut().filter(|(last, _)| last == queue) {
            Some((_, messages)) => messages.push(message),
            None => self.sends.push((queue.clone(), vec![message])),
        }
    }

    /// Acknowledges a message that this consumer received, with the commit.
    pub fn acknowledge(&mut self, consumer: &Consumer, message: MessageId) {
        match self.acknowledged.iter_mut().find(|(known, _)| known.id() == consumer.id()) {
            Some((_, messages)) => messages.push(message),
            None => self.acknowledged.push((consumer.clone(), vec![message])),
        }
    }

    /// Commits, and returns once the transaction is on disk at a majority. Waits for the engine, also through a failover,
    /// and for room in a full store or queue, up to the client's deadline.
    ///
    /// # Errors
    /// [`TransactionError`].
    pub async fn commit(&mut self) -> Result<(), TransactionError> {
        self.end(None).await
    }

    /// Prepares the transaction, and leaves the decision to an external coordinator, which knows it by that name: see
    /// [`Client::resolve`]. Returns once it is on disk at a majority. From then on it survives this process and every
    /// server; the messages it acknowledges are withheld until it is decided.
    ///
    /// # Errors
    /// [`TransactionError`]; after [`TransactionError::InDoubt`] call it again with the same name.
    pub async fn prepare(&mut self, name: &TransactionName) -> Result<(), TransactionError> {
        self.end(Some(name)).await
    }

    async fn end(&mut self, name: Option<&TransactionName>) -> Result<(), TransactionError> {
        self.open_session().await?;
        let mut outcome = self.end_in_session(name).await;
        if let Err(TransactionError::RolledBack(RollBackReason::Engine(EngineError::ProducerUnknown))) = outcome {
            // The engine forgets a session that was idle for a day. Nothing of this transaction was done: in a new
            // session it is the first one.
            self.session = Session::draw();
            self.open_session().await?;
            outcome = self.end_in_session(name).await;
        }
        outcome?;
        for (consumer, messages) in self.acknowledged.drain(..) {
            // A closed consumer holds nothing any more.
            let _ = consumer.settled_elsewhere(messages);
        }
        self.sends.clear();
        self.in_doubt = false;
        self.session.next += 1;
        self.of.session = self.session;
        Ok(())
    }

    /// Registers the session with the engine, if necessary.
    async fn open_session(&mut self) -> Result<(), TransactionError> {
        if self.session.next > 0 {
            return Ok(());
        }
        let request = EngineRequest::OpenSession { session: self.session.id };
        let why = match self.of.client.engine(request).await {
            Ok((EngineReply::Producer { next, .. }, _)) => {
                self.session.next = next;
                return Ok(());
            }
            Ok((EngineReply::Error(error), _)) => RollBackReason::Engine(error),
            Ok((reply, _)) => RollBackReason::NotSent(unexpected(&reply)),
            Err(error) => RollBackReason::NotSent(error),
        };
        Err(TransactionError::RolledBack(why))
    }

    async fn end_in_session(&mut self, name: Option<&TransactionName>) -> Result<(), TransactionError> {
        // While the outcome of this one is unknown, its number must not be reused.
        self.of.session = Session::draw();
        let within = self.of.client.inner.deadline;
        let mut refused = None;
        let outcome = tokio::time::timeout(within, self.try_end(name, &mut refused)).await;
        outcome.unwrap_or_else(|_| match refused {
            Some(why) if !self.in_doubt => self.undone(why),
            Some(why) => Err(TransactionError::InDoubt(ClientError::Engine(why))),
            None => {
                let why = self.of.client.troubles();
                Err(TransactionError::InDoubt(ClientError::NoEngine { within, why }))
            }
        })
    }

    /// Nothing of it was done: the number is free.
    fn undone(&mut self, why: EngineError) -> Result<(), TransactionError> {
        self.of.session = self.session;
        Err(TransactionError::RolledBack(RollBackReason::Engine(why)))
    }

    /// Sends the transaction until there is a final answer; meanwhile `refused` holds the last temporary refusal.
    async fn try_end(
        &mut self,
        name: Option<&TransactionName>,
        refused: &mut Option<EngineError>,
    ) -> Result<(), TransactionError> {
        let batch = |(queue, messages): &(QueueName, Vec<Message>)| TransactionSend {
            queue: queue.clone(),
            messages: messages.clone().into(),
        };
        let sends: Vec<_> = self.sends.iter().map(batch).collect();
        let request = || {
            let (session, number, sends) = (self.session.id, self.session.next, sends.clone());
            let acknowledged = self.acknowledged.iter().map(|(of, messages)| (of.id(), messages.clone())).collect();
            match name.cloned() {
                None => EngineRequest::Transact { session, number, sends, acknowledged },
                Some(name) => EngineRequest::Prepare { name, session, number, sends, acknowledged },
            }
        };
        loop {
            let in_doubt = std::mem::replace(&mut self.in_doubt, true);
            let (reply, retried) = match self.of.client.engine(request()).await {
                Ok(answer) => answer,
                Err(error) => return Err(TransactionError::InDoubt(error)),
            };
            self.in_doubt = in_doubt || retried;
            match reply {
                EngineReply::Done => return Ok(()),
                // A consumer that has not found the new engine yet; a store or a queue that accepts nothing now.
                EngineReply::Error(
                    error @ (EngineError::ConsumerUnknown
                    | EngineError::StoreFull { .. }
                    | EngineError::QueueFull { .. }
                    | EngineError::SendPaused(_)),
                ) => {
                    *refused = Some(error);
                    tokio::time::sleep(AGAIN).await;
                }
                // A session in use is not forgotten: if this one is, the clock jumped, and the outcome is unknown.
                EngineReply::Error(error @ EngineError::ProducerUnknown) if self.in_doubt => {
                    return Err(TransactionError::InDoubt(ClientError::Engine(error)));
                }
                EngineReply::Error(error) => return self.undone(error),
                reply => return Err(TransactionError::InDoubt(unexpected(&reply))),
            }
        }
    }

    /// Rolls back: the messages to acknowledge go back to their queues, with a failed delivery counted.
    pub fn roll_back(self) {
        for (consumer, messages) in &self.acknowledged {
            // A closed consumer has handed back everything.
            messages.iter().for_each(|message| drop(consumer.refuse(*message)));
        }
    }
}
