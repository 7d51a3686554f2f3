//! The limit of restarts of an actor: pure.

use std::collections::VecDeque;
use std::time::Duration;

use baton_domain::clock::BootTime;

/// Maximum restarts within the window.
const MOST: usize = 5;
/// The window.
const WINDOW: Duration = Duration::from_secs(60);

/// Recent restarts of one actor.
#[derive(Debug, Default)]
pub(super) struct Restarts(VecDeque<BootTime>);

impl Restarts {
    /// True if the actor may be restarted at `now`; the restart is then counted.
    pub(super) fn allow(&mut self, now: BootTime) -> bool {
        while self.0.front().is_some_and(|first| now.since(*first) >= WINDOW) {
            self.0.pop_front();
        }
        let allowed = self.0.len() < MOST;
        if allowed {
            self.0.push_back(now);
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_restarts_a_minute_are_allowed_and_no_more() {
        let mut restarts = Restarts::default();
        let at = |seconds: u64| BootTime(seconds * 1_000_000_000);
        assert!((0..5).all(|second| restarts.allow(at(second))));
        assert!(!restarts.allow(at(30)));
        assert!(restarts.allow(at(60)));
        assert!(!restarts.allow(at(60)));
    }
}
