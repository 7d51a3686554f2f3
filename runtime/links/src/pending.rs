//! Connections of strangers: a fixed number at a time, of which the oldest ends to make room for the next one. A silent
//! stranger cannot lock others out, because an honest peer is served within a few milliseconds.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::{AbortHandle, JoinSet};

struct PendingConnection {
    task: AbortHandle,
    /// Set once the connection is no longer a stranger's.
    settled: Arc<AtomicBool>,
}

/// The tasks that serve them. Dropping it ends them all.
pub struct Pending {
    tasks: JoinSet<()>,
    queue: VecDeque<PendingConnection>,
    most: usize,
}

impl Pending {
    /// Room for `most` connections, at least one.
    pub fn new(most: usize) -> Self {
        Self { tasks: JoinSet::new(), queue: VecDeque::new(), most: most.max(1) }
    }

    /// Serves one more. The task sets the given flag once its connection no longer counts. Returns true if the oldest one
    /// was ended to make room: because there are too many, or for another reason (`scarce`).
    pub fn serve<F>(&mut self, scarce: bool, serve: impl FnOnce(Arc<AtomicBool>) -> F) -> bool
    where
        F: Future<Output = ()> + Send + 'static,
    {
        while self.tasks.try_join_next().is_some() {}
        self.queue.retain(|one| !one.task.is_finished() && !one.settled.load(Ordering::Relaxed));
        let full = scarce || self.queue.len() >= self.most;
        if full {
            self.end_oldest();
        }
        let settled = Arc::new(AtomicBool::new(false));
        let task = self.tasks.spawn(serve(settled.clone()));
        self.queue.push_back(PendingConnection { task, settled });
        full
    }

    /// Ends the oldest: no further connection can be accepted.
    pub fn end_oldest(&mut self) {
        if let Some(oldest) = self.queue.pop_front() {
            oldest.task.abort();
        }
    }

    /// Waits until all have ended.
    pub async fn ended(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}
