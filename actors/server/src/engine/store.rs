//! What the engine needs of the store, as a trait, so that its tests can bring their own.

use baton_domain::clock::BootTime;
use baton_domain::seeded::{self, Bug};
use baton_domain::{Command, Committed, ConsumerId, InDoubt, MessageId, ProducerId, QueueId, StoredMessage, Timer};
use baton_replica::{CommitError, QueueRecord, Store, StoreError, StoreStatus};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::watch;

/// The store, as the engine uses it. See [`Store`] for what each promises.
pub trait EngineStore: Clone + Send + Sync + 'static {
    /// [`Store::commit`].
    fn commit(&self, command: Command) -> BoxFuture<'static, Result<Committed, CommitError>>;
    /// [`Store::queues`].
    ///
    /// # Errors
    /// If the store cannot be read.
    fn queues(&self) -> Result<Vec<QueueRecord>, StoreError>;
    /// [`Store::consumers`].
    ///
    /// # Errors
    /// If the store cannot be read.
    fn consumers(&self) -> Result<Vec<(ConsumerId, QueueId)>, StoreError>;
    /// [`Store::page`].
    ///
    /// # Errors
    /// If the store cannot be read.
    fn page(
        &self,
        queue: QueueId,
        from: MessageId,
        max_messages: usize,
        max_bytes: usize,
    ) -> Result<Vec<(MessageId, StoredMessage)>, StoreError>;
    /// [`Store::in_doubt`].
    ///
    /// # Errors
    /// If the store cannot be read.
    fn in_doubt(&self) -> Result<Vec<InDoubt>, StoreError>;
    /// [`Store::idle_producers`].
    ///
    /// # Errors
    /// If the store cannot be read.
    fn idle_producers(&self, before_ms: u64, limit: usize) -> Result<Vec<ProducerId>, StoreError>;
    /// [`Store::timers`].
    ///
    /// # Errors
    /// If the store cannot be read.
    fn timers(
        &self,
        after: Option<Timer>,
        until_ms: u64,
        limit: usize,
    ) -> Result<(Vec<Timer>, Option<u64>), StoreError>;
    /// When the lease of that term runs out: [`baton_replica::Lease::until_in`].
    fn lease_until(&self, term: u64) -> BootTime;
    /// [`Store::status`].
    fn status(&self) -> watch::Receiver<StoreStatus>;
}

/// [`Bug::FencingOff`]: commits as an engine would that does not give up its writes when its server loses leadership.
fn commit_at_any_time(store: Store, command: Command) -> BoxFuture<'static, Result<Committed, CommitError>> {
    const AGAIN: std::time::Duration = std::time::Duration::from_millis(5);
    // At once, as the order of the calls is the order in the log.
    let first = store.commit(command.clone());
    async move {
        let mut result = first.await;
        while matches!(result, Err(CommitError::NotLeader { .. } | CommitError::Unknown)) {
            tokio::time::sleep(AGAIN).await;
            result = store.commit(command.clone()).await;
        }
        result
    }
    .boxed()
}

impl EngineStore for Store {
    fn commit(&self, command: Command) -> BoxFuture<'static, Result<Committed, CommitError>> {
        if seeded::is(Bug::FencingOff) {
            return commit_at_any_time(self.clone(), command);
        }
        self.commit(command)
    }

    fn queues(&self) -> Result<Vec<QueueRecord>, StoreError> {
        self.queues()
    }

    fn consumers(&self) -> Result<Vec<(ConsumerId, QueueId)>, StoreError> {
        self.consumers()
    }

    fn page(
        &self,
        queue: QueueId,
        from: MessageId,
        max_messages: usize,
        max_bytes: usize,
    ) -> Result<Vec<(MessageId, StoredMessage)>, StoreError> {
        self.page(queue, from, max_messages, max_bytes)
    }

    fn in_doubt(&self) -> Result<Vec<InDoubt>, StoreError> {
        self.in_doubt()
    }

    fn idle_producers(&self, before_ms: u64, limit: usize) -> Result<Vec<ProducerId>, StoreError> {
        self.idle_producers(before_ms, limit)
    }

    fn timers(
        &self,
        after: Option<Timer>,
        until_ms: u64,
        limit: usize,
    ) -> Result<(Vec<Timer>, Option<u64>), StoreError> {
        self.timers(after, until_ms, limit)
    }

    fn lease_until(&self, term: u64) -> BootTime {
        self.lease().until_in(term)
    }

    fn status(&self) -> watch::Receiver<StoreStatus> {
        self.status()
    }
}
