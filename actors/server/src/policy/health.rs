//! Whether this server's engine instance is fit: an engine that fails here, in whatever way, must go elsewhere instead of
//! being started here again and again.

use std::time::Duration;

use baton_client::protocol::EngineState;
use baton_domain::Epoch;
use baton_domain::clock::BootTime;
use baton_replica::Shortage;

use super::observation::Observation;
use super::view::PolicyTiming;

/// So many times within this time an engine may stop by itself (its lease ran out, a read of the store failed).
const STOPS: usize = 3;
const STOPS_WITHIN: Duration = Duration::from_secs(60);

/// What the policy remembers of its engine instance.
#[derive(Debug, Default)]
pub(super) struct EngineHealth {
    trouble: Option<Trouble>,
    /// How often that came one after the other.
    failures: u32,
    /// The activation that runs, and since when.
    runs: Option<(Epoch, BootTime)>,
    /// When it stopped by itself lately.
    stops: Vec<BootTime>,
    missing_since: Option<BootTime>,
    missing: bool,
    /// What the store is short of, and since when.
    short: Option<(Shortage, BootTime)>,
    at_need: bool,
}

/// Why it is better not to run it here, and until when.
#[derive(Debug)]
struct Trouble {
    why: String,
    since: BootTime,
    until: BootTime,
}

impl EngineHealth {
    /// Why it cannot run here, in words.
    pub(super) fn trouble(&self) -> Option<&str> {
        let missing = self.missing.then_some("its engine instance failed and is not running");
        let failed = self.trouble.as_ref().map(|trouble| trouble.why.as_str());
        failed.or(missing).or(self.short.map(|(shortage, _)| shortage.words()))
    }

    /// Whether it is to run here all the same where no other server is fit. Not at once after it failed: each attempt costs
    /// clients one, too.
    pub(super) fn at_need(&self) -> bool {
        self.at_need
    }

    /// It could not start, or did not last.
    pub(super) fn failed(&mut self, why: String, now: BootTime, timing: &PolicyTiming) {
        self.failures += 1;
        let pause = timing.engine_failure_cooldown * 2_u32.pow((self.failures - 1).min(4));
        self.trouble = Some(Trouble { why, since: now, until: now + pause });
        self.at_need = false;
        self.stops.clear();
    }

    /// Takes a look. `serves` says that nobody asked it to stop.
    pub(super) fn observe(&mut self, seen: &Observation, serves: bool, timing: &PolicyTiming) {
        let now = seen.now;
        self.trouble.take_if(|trouble| now >= trouble.until);
        self.missing_since = seen.engine_missing.then(|| self.missing_since.unwrap_or(now));
        self.missing = self.missing_since.is_some_and(|since| now.since(since) >= timing.engine_missing_max);
        // Without it nothing that this server leads gets onto its own disk, and the others must not wait for that.
        if seen.sync_waits >= timing.sync_waits_max && self.trouble.is_none() {
            self.failed("its disk hangs: a sync has not returned".to_owned(), now, timing);
        }
        // The engine cannot write here what a majority of the others has room for. Over as soon as there is room again.
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
