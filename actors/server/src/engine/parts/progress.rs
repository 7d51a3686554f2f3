//! A consumer's progress with the messages that it is given.

use baton_domain::clock::BootTime;

#[derive(Debug, Clone, Copy)]
pub(in crate::engine) struct Progress {
    /// Number of messages that it acknowledged.
    acknowledged: u64,
    /// While it holds messages: since when it has settled none. The later of its last settlement and the time at which it
    /// got the first message after it had none.
    since: BootTime,
}

impl Progress {
    pub(in crate::engine) fn new(now: BootTime) -> Self {
        Self { acknowledged: 0, since: now }
    }

    pub(in crate::engine) fn acknowledged(self) -> u64 {
        self.acknowledged
    }

    /// Milliseconds without a settlement.
    pub(in crate::engine) fn idle_ms(self, now: BootTime) -> u64 {
        u64::try_from(now.since(self.since).as_millis()).unwrap_or(u64::MAX)
    }

    /// It is given messages; it held `held_before`.
    pub(in crate::engine) fn takes(&mut self, held_before: u32, now: BootTime) {
        if held_before == 0 {
            self.since = now;
        }
    }

    /// It settled messages, `acknowledged` of them with success.
    pub(in crate::engine) fn settles(&mut self, acknowledged: usize, now: BootTime) {
        self.acknowledged += acknowledged as u64;
        self.since = now;
    }

    /// One of its acknowledgements is not done after all.
    pub(in crate::engine) fn takes_back(&mut self) {
        self.acknowledged = self.acknowledged.saturating_sub(1);
    }
}
