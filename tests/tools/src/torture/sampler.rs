//! Asks `baton status` all the while, for the timeline.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::access::Access;
use super::history::{RunClock, Sample};

/// Interval of the samples.
const EVERY: Duration = Duration::from_millis(250);

/// A thread that asks until it is stopped.
#[derive(Debug)]
pub(crate) struct Sampler {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Sample>>,
}

impl Sampler {
    /// Begins.
    #[must_use]
    pub(crate) fn start(access: Access, clock: RunClock) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut samples = Vec::new();
            while !stopped.load(Ordering::Acquire) {
                let asked_ms = clock.ms();
                let answer = access.status();
                samples.push(Sample { asked_ms, at_ms: clock.ms(), answer });
                std::thread::sleep(EVERY);
            }
            samples
        });
        Self { stop, thread }
    }

    /// Ends, with all answers.
    #[must_use]
    pub(crate) fn stop(self) -> Vec<Sample> {
        self.stop.store(true, Ordering::Release);
        self.thread.join().unwrap_or_default()
    }
}
