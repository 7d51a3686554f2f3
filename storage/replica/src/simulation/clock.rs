//! The simulated time, as our own code sees it: tokio's paused clock.

use std::cell::Cell;

use baton_domain::clock::BootTime;
use tokio::time::Instant;

/// A machine that was up for a while: times before the beginning exist.
const BEGIN: BootTime = BootTime(1_000_000_000_000);

thread_local! {
    static BEGAN: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// As long as it lives, time on this thread is simulated. Make it inside of a paused runtime.
pub(crate) struct Simulated;

impl Simulated {
    pub(crate) fn begin() -> Self {
        BEGAN.set(Some(Instant::now()));
        Self
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        BEGAN.set(None);
    }
}

/// Now, if time is simulated here.
pub(crate) fn now() -> Option<BootTime> {
    BEGAN.get().map(|began| BEGIN + began.elapsed())
}
