//! Timers of the store: when to look for those that are due.
//!
//! The store keeps the timers in order of their times; the engine looks for those that are due and proposes to do them.
//! It remembers one time, that of the next look, and how far it looked: so the number of timers costs no memory.

use std::time::Duration;

use baton_domain::Timer;
use baton_domain::clock::BootTime;

use crate::engine::message::{Effect, Now};

/// Maximum number of timers that are looked for, and done by one operation, at a time.
pub(in crate::engine) const TIMERS: usize = 512;
/// Time after which expired messages are looked for again that found their exception destination full.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// Time and start of the next look.
#[derive(Debug)]
pub(in crate::engine) struct Timers {
    due: Option<BootTime>,
    /// All up to this one were found.
    found: Option<Timer>,
    /// Some of these were left out, for they could not be done.
    left_out: bool,
    looking: bool,
}

impl Timers {
    /// Of an engine that just started: it knows nothing.
    pub(in crate::engine) fn new(now: Now) -> Self {
        Self { due: Some(now.boot), found: None, left_out: false, looking: false }
    }

    pub(in crate::engine) fn deadline(&self) -> Option<BootTime> {
        self.due.filter(|_| !self.looking)
    }

    /// The store has a new timer; 0: it has none.
    pub(in crate::engine) fn note(&mut self, due_ms: u64, now: Now) {
        if due_ms == 0 {
            return;
        }
        if self.found.is_some_and(|found| found.due_ms >= due_ms) {
            self.found = None;
        }
        self.wake_at(due_ms, now);
    }

    fn wake_at(&mut self, due_ms: u64, now: Now) {
        self.wake_by(now.boot + Duration::from_millis(due_ms.saturating_sub(now.unix_ms)));
    }

    fn wake_by(&mut self, due: BootTime) {
        self.due = Some(self.due.map_or(due, |known| known.min(due)));
    }

    /// A look found timers up to this one; some were `left_out`; the next one is due at `next_ms`.
    pub(in crate::engine) fn found(&mut self, last: Option<Timer>, left_out: bool, next_ms: Option<u64>, now: Now) {
        self.looking = false;
        self.found = last.or(self.found);
        self.left_out |= left_out;
        if self.left_out && next_ms.is_none_or(|next_ms| next_ms > now.unix_ms) {
            // Timers that could not be done are looked for from the beginning, after a while.
            (self.found, self.left_out) = (None, false);
            self.wake_by(now.boot + LOOK_AGAIN);
        }
        next_ms.into_iter().for_each(|next_ms| self.wake_at(next_ms, now));
    }

    /// Looks, if it is time.
    pub(in crate::engine) fn look(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.deadline().is_some_and(|due| due <= now.boot) {
            (self.looking, self.due) = (true, None);
            effects.push(Effect::FindTimers { after: self.found, until_ms: now.unix_ms, limit: TIMERS });
        }
    }
}
