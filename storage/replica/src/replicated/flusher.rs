//! Group commit: one thread syncs the log for all waiting callers, as long as there are any.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use baton_domain::clock::BootTime;
use openraft::storage::IOFlushed;

use super::types::RaftConfig;
use crate::disk::{LogFiles, SyncedMark};
use crate::failure::Failure;

#[derive(Default)]
struct Queue {
    waiting: Vec<IOFlushed<RaftConfig>>,
    stopping: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
    log: Arc<LogFiles>,
    mark: SyncedMark,
    failure: Failure,
    /// Start of the sync that has not returned; zero between syncs.
    syncing_since: AtomicU64,
}

/// The thread that syncs the log. Stops, with all waiting completed, when dropped.
pub(super) struct Flusher {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// In the place of the thread, where time is simulated.
    #[cfg(test)]
    disk: Option<Arc<crate::simulation::disk::Disk>>,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind our locks is never left half-changed: a panic elsewhere does not make it unusable.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Flusher {
    pub(super) fn start(log: Arc<LogFiles>, mark: SyncedMark, failure: Failure) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            changed: Condvar::new(),
            log,
            mark,
            failure,
            syncing_since: AtomicU64::new(0),
        });
        #[cfg(test)]
        if let Some(disk) = crate::simulation::disk::under(shared.log.dir()) {
            return Ok(Self { shared, thread: None, disk: Some(disk) });
        }
        let worker = shared.clone();
        let thread = std::thread::Builder::new().name("baton-log-sync".into()).spawn(move || worker.run())?;
        Ok(Self {
            shared,
            thread: Some(thread),
            #[cfg(test)]
            disk: None,
        })
    }

    /// Completes `callback` once all that was written before this call is on disk.
    pub(super) fn submit(&self, callback: IOFlushed<RaftConfig>) {
        lock(&self.shared.queue).waiting.push(callback);
        #[cfg(test)]
        if let Some(disk) = &self.disk {
            let shared = self.shared.clone();
            return disk.later(move || shared.sync_waiting(shared.take_waiting()));
        }
        self.shared.changed.notify_one();
        // On a busy processor that thread gets its turn now, and not after all that this one does besides.
        std::thread::yield_now();
    }
}

impl Flusher {
    /// For how long a sync has not returned: a disk that hangs says nothing.
    pub(super) fn waits(&self) -> Duration {
        match self.shared.syncing_since.load(Ordering::Acquire) {
            0 => Duration::ZERO,
            since => crate::clock::boot_time().since(BootTime(since)),
        }
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        lock(&self.shared.queue).stopping = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn run(&self) {
        loop {
            let waiting = {
                let mut queue = lock(&self.queue);
                while queue.waiting.is_empty() && !queue.stopping {
                    queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
                }
                std::mem::take(&mut queue.waiting)
            };
            if waiting.is_empty() {
                return;
            }
            self.sync_waiting(waiting);
        }
    }

    #[cfg(test)]
    fn take_waiting(&self) -> Vec<IOFlushed<RaftConfig>> {
        std::mem::take(&mut lock(&self.queue).waiting)
    }

    /// Syncs once for all that wait.
    fn sync_waiting(&self, waiting: Vec<IOFlushed<RaftConfig>>) {
        self.syncing_since.store(crate::clock::boot_time().0, Ordering::Release);
        // Read before the sync: the mark must not promise what came during it.
        let sequence = self.log.sequence();
        let result = self.sync();
        self.syncing_since.store(0, Ordering::Release);
        for callback in waiting {
            callback.io_completed(match &result {
                Ok(()) => Ok(()),
                Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
            });
        }
        // Nobody waits for the mark: an older one promises less and is never wrong.
        if result.is_ok()
            && let Err(error) = self.mark.write(sequence)
        {
            self.fail(&error);
        }
    }

    fn fail(&self, error: &io::Error) {
        self.failure.set(format!("the log could not be synced: {error}"));
    }

    fn sync(&self) -> io::Result<()> {
        // After a sync that failed the kernel may have dropped the pages and call the next one a success: never again.
        if let Some(why) = self.failure.get() {
            return Err(io::Error::other(why.to_owned()));
        }
        let result = self.log.sync();
        if let Err(error) = &result {
            self.fail(error);
        }
        result
    }
}
