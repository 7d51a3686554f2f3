//! How far something is that takes long: told to people, and given up when nothing happens any more.

use std::future::Future;
use std::io::IsTerminal;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::{Failure, output, stderr};

use super::GIVE_UP;

const TICK: Duration = Duration::from_secs(1);
/// Ticks between two lines: to a terminal, and to a log.
const SAY_TICKS: (u64, u64) = (2, 15);

/// Messages of which something was done.
#[derive(Debug)]
pub(super) struct Progress {
    done: AtomicU64,
    total: u64,
    what: &'static str,
}

impl Progress {
    /// Nothing is done yet.
    pub(super) fn new(what: &'static str, total: u64) -> Self {
        Self { done: AtomicU64::new(0), total, what }
    }

    /// So many more are done.
    pub(super) fn add(&self, count: u64) {
        self.done.fetch_add(count, Ordering::Relaxed);
    }

    /// Waits for the work.
    ///
    /// # Errors
    /// The work's own, or that nothing was done for [`GIVE_UP`].
    pub(super) async fn watch<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let mut work = pin!(work);
        let every = if std::io::stderr().is_terminal() { SAY_TICKS.0 } else { SAY_TICKS.1 };
        let (mut before, mut quiet) = (0, Duration::ZERO);
        for tick in 1_u64.. {
            if let Ok(ended) = tokio::time::timeout(TICK, &mut work).await {
                return ended;
            }
            let done = self.done.load(Ordering::Relaxed);
            quiet = if done == before { quiet + TICK } else { Duration::ZERO };
            before = done;
            let line = || {
                let (done, total) = (output::thousands(done), output::thousands(self.total));
                format!("{done} of {total} messages are {}", self.what)
            };
            if quiet >= GIVE_UP {
                return Err(Failure::new(format!("{}, and nothing more happened for {GIVE_UP:?}", line())));
            }
            if tick.is_multiple_of(every) {
                stderr::say(&line());
            }
        }
        unreachable!("the ticks have no end")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_that_stands_still_is_given_up_and_work_that_goes_on_is_not() {
        let progress = Progress::new("sent", 100);
        let slow = async {
            for _ in 0..100 {
                tokio::time::sleep(GIVE_UP / 2).await;
                progress.add(1);
            }
            Ok(7)
        };
        assert_eq!(progress.watch(slow).await, Ok(7));
        let stuck = progress.watch(std::future::pending::<Result<(), Failure>>()).await;
        let said = stuck.unwrap_err().to_string();
        assert!(said.starts_with("100 of 100 messages are sent, and nothing more happened"), "{said}");
    }
}
