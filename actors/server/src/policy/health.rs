//! The fitness of this server's engine instance. An engine that fails here must move to another server instead of being
//! restarted here again and again.

use std::time::Duration;

use baton_client::protocol::EngineState;
use baton_domain::Epoch;
use baton_domain::clock::BootTime;
use baton_replica::Shortage;

use super::observation::Observation;
use super::view::PolicyTiming;

/// Unrequested stops (its lease ran out, a read of the store failed) that make the instance unfit.
const STOPS: usize = 3;
/// The period in which they are counted.
const STOPS_WITHIN: Duration = Duration::from_secs(60);

/// The policy's record of its engine instance.
#[derive(Debug, Default)]
pub(super) struct EngineHealth {
    trouble: Option<Trouble>,
    /// Consecutive failures.
    failures: u32,
    /// The running activation, and the time since which it runs.
    runs: Option<(Epoch, BootTime)>,
    /// Recent unrequested stops.
    stops: Vec<BootTime>,
    missing_since: Option<BootTime>,
    missing: bool,
    /// The shortage of the store, and its start.
    short: Option<(Shortage, BootTime)>,
    at_need: bool,
}

/// The reason not to run the engine here, and its end.
#[derive(Debug)]
struct Trouble {
    why: String,
    since: BootTime,
    until: BootTime,
}

impl EngineHealth {
    /// The reason why it cannot run here, as text.
    pub(super) fn trouble(&self) -> Option<&str> {
        let missing = self.missing.then_some("its engine instance failed and is not running");
        let failed = self.trouble.as_ref().map(|trouble| trouble.why.as_str());
        failed.or(missing).or(self.short.map(|(shortage, _)| shortage.words()))
    }

    /// May host as a last resort, when no other server is fit. Not right after a failure: each attempt costs clients an
    /// attempt, too.
    pub(super) fn at_need(&self) -> bool {
        self.at_need
    }

    /// It did not start, or stopped soon.
    pub(super) fn failed(&mut self, why: String, now: BootTime, timing: &PolicyTiming) {
        self.failures += 1;
        let pause = timing.engine_failure_cooldown * 2_u32.pow((self.failures - 1).min(4));
        self.trouble = Some(Trouble { why, since: now, until: now + pause });
        self.at_need = false;
        self.stops.clear();
    }

    /// Takes in an observation. `serves` is true if no stop was requested.
    pub(super) fn observe(&mut self, seen: &Observation, serves: bool, timing: &PolicyTiming) {
        let now = seen.now;
        self.trouble.take_if(|trouble| now >= trouble.until);
        self.missing_since = seen.engine_missing.then(|| self.missing_since.unwrap_or(now));
        self.missing = self.missing_since.is_some_and(|since| now.since(since) >= timing.engine_missing_max);
        // While a sync hangs, this leader writes nothing to its own disk, and the others must not wait for that.
        if seen.disk_hangs(timing) && self.trouble.is_none() {
            self.failed("its disk hangs: a sync has not returned".to_owned(), now, timing);
        }
        // The other servers have room for messages that this one cannot write. Ends as soon as there is room again.
        let since = self.short.map_or(now, |(_, since)| since);
        self.short = seen.shortage.map(|shortage| (shortage, since));
        let since = self.trouble.as_ref().map(|trouble| trouble.since).or(self.short.map(|(_, since)| since));
        self.at_need = !self.missing && since.is_some_and(|since| now.since(since) >= timing.hand_over_damping);
        match seen.engine {
            (EngineState::Started, Some(epoch)) => {
                let since = self.runs.filter(|(before, _)| *before == epoch).map_or(now, |(_, since)| since);
                self.runs = Some((epoch, since));
                if now.since(since) >= timing.engine_failure_cooldown {
                    self.failures = 0;
                }
            }
            (EngineState::Standby, _) => {
                let stopped_by_itself = serves && self.runs.is_some_and(|(epoch, _)| epoch == seen.cluster.epoch());
                self.runs = None;
                if stopped_by_itself {
                    self.stops.retain(|at| now.since(*at) < STOPS_WITHIN);
                    self.stops.push(now);
                    if self.stops.len() >= STOPS {
                        self.failed(format!("its engine stopped repeatedly: {}", seen.engine_why), now, timing);
                    }
                }
            }
            (EngineState::Starting | EngineState::Started | EngineState::Stopping, _) => {}
        }
    }
}
