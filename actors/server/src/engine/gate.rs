//! The last look at the lease before something leaves this server (invariant 2).
//!
//! What the core decided is kept here until the shell asks for it with the time and the lease of that moment, one
//! thing at a time: a process that was paused asks after the pause.

use std::collections::VecDeque;
use std::time::Duration;

use baton_domain::clock::BootTime;
use baton_domain::seeded::{self, Bug};

use super::EngineConfig;
use super::message::{Now, Release};

/// A lease longer than this is not renewed by heartbeats (a store of one replica).
const ENDLESS: Duration = Duration::from_secs(3_600);
/// How often a lease that does not hold is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

#[derive(Debug)]
struct Waiting {
    release: Release,
    decided: BootTime,
    lease_then: BootTime,
}

/// What waits to leave, in order. Bounded by what its makers bound: requests pending and bytes of deliveries.
#[derive(Debug, Default)]
pub(super) struct Gate {
    waiting: VecDeque<Waiting>,
    shut_since: Option<BootTime>,
    looked: BootTime,
}

impl Gate {
    pub(super) fn push(&mut self, release: Release, now: Now) {
        self.waiting.push_back(Waiting { release, decided: now.boot, lease_then: now.lease_until });
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The next thing that may leave now.
    pub(super) fn pop(&mut self, now: BootTime, lease_until: BootTime, config: &EngineConfig) -> Option<Release> {
        let first = self.waiting.front()?;
        let old = now.since(first.decided) > Duration::from_millis(config.pause_ms);
        let renewed = lease_until > first.lease_then || lease_until.since(now) > ENDLESS;
        self.looked = now;
        if (now < lease_until && (!old || renewed)) || seeded::is(Bug::FencingOff) {
            self.shut_since = None;
            return self.waiting.pop_front().map(|waiting| waiting.release);
        }
        self.shut_since.get_or_insert(now);
        None
    }

    /// Whether it was shut for so long that the engine must stop.
    pub(super) fn shut_for_good(&self, now: BootTime, config: &EngineConfig) -> bool {
        self.shut_since.is_some_and(|since| now.since(since) >= Duration::from_millis(config.lease_wait_ms))
    }

    /// When to look again.
    pub(super) fn deadline(&self) -> Option<BootTime> {
        self.shut_since.map(|_| self.looked + LOOK_AGAIN)
    }

    /// Drops deliveries: nobody has seen them.
    pub(super) fn drop_deliveries(&mut self) {
        self.waiting.retain(|waiting| matches!(waiting.release, Release::Reply { .. }));
    }

    /// Takes out all that waits; it must not leave any more.
    pub(super) fn shut(&mut self) -> impl Iterator<Item = Release> + use<> {
        self.shut_since = None;
        std::mem::take(&mut self.waiting).into_iter().map(|waiting| waiting.release)
    }
}
