//! Failures of dials and of accepted connections: kept for people who ask, and logged once. Only a proof by a server
//! has a further effect: it shows that this process's store is from before a recovery.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use baton_client::peers::PeerKind;
use baton_domain::clock::BootTime;
use ractor::ActorRef;

use super::State;
use crate::failure::Failure;
use crate::message::{FailedHandshake, Message};
use crate::preamble::GenerationMismatch;
use crate::refusal::{Refusal, RefusalNotice, RefusalReason};
use crate::table::{DialFailure, Event, TargetId};

/// The most refusals that are kept.
const REFUSALS_MAX: usize = 256;
/// Shortest time between two logged refusals of one kind, for accepted connections: anybody can cause them at will.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// Time of the last log line per kind of refusal, and the number of refusals that were not logged since.
#[derive(Debug, Default)]
pub(super) struct LogThrottle(HashMap<RefusalReason, (BootTime, u64)>);

impl LogThrottle {
    /// `Some` if one more is to be logged, with the number of refusals before it that were not logged.
    fn admit(&mut self, reason: RefusalReason, now: BootTime) -> Option<u64> {
        match self.0.get_mut(&reason) {
            Some((logged, kept_back)) if now.since(*logged) < LOG_EVERY => {
                *kept_back += 1;
                None
            }
            Some(last) => Some(std::mem::replace(last, (now, 0)).1),
            None => {
                self.0.insert(reason, (now, 0));
                Some(0)
            }
        }
    }
}

impl State {
    /// Forgets the failures of that process.
    pub(super) fn clear(&mut self, name: &str) {
        let addresses: Vec<String> = self.table.addresses(name).map(str::to_owned).collect();
        let gone = |key: &String| key == name || addresses.contains(key);
        self.logged_secrets.retain(|key| !gone(key));
        self.published.failures.send_if_modified(|failures| retain(failures, |key| !gone(key)));
        self.published.refusals.send_if_modified(|refusals| retain(refusals, |key| !gone(key)));
    }

    pub(super) fn dial_failed(&mut self, myself: &ActorRef<Message>, target: TargetId, failed: FailedHandshake) {
        self.dials.remove(&target);
        let FailedHandshake { them, failure } = failed;
        let found = them.map(|them| them.name);
        let Some((name, address)) = self.table.target(target) else { return };
        let (name, address) = (name.map(str::to_owned).or_else(|| found.clone()), address.to_owned());
        let failure = match failure {
            Failure::Broken(error) => {
                tracing::debug!(address, %error, "dial failed");
                self.published.failures.send_if_modified(|failures| {
                    let text = error.to_string();
                    failures.insert(address, text.clone()).as_ref() != Some(&text)
                });
                DialFailure::Broken
            }
            Failure::Generation(mismatch) => {
                let who = name.clone().unwrap_or_else(|| address.clone());
                let text = self.different_generations(mismatch, &who);
                let reason = RefusalReason::OlderGeneration;
                self.record_dialed(Refusal { name, address, reason, text, at: BootTime::now() });
                DialFailure::Refused(reason)
            }
            Failure::RefusedByUs(RefusalNotice { reason, text })
            | Failure::RefusedByPeer(RefusalNotice { reason, text }) => {
                if reason.needs_attention() {
                    self.record_dialed(Refusal { name, address, reason, text, at: BootTime::now() });
                } else {
                    tracing::debug!(address, text, "dial not needed");
                }
                DialFailure::Refused(reason)
            }
        };
        self.step(myself, Event::DialFailed { target, found, failure });
    }

    /// Keeps a refusal for people who ask; true if it differs from the last one.
    fn record(&self, key: String, refusal: Refusal) -> bool {
        self.published.refusals.send_if_modified(|refusals| {
            // A process that returns from another port is not a new refusal.
            let same = |known: &Refusal| known.reason == refusal.reason && known.text == refusal.text;
            if refusals.get(&key).is_some_and(same) || (refusals.len() >= REFUSALS_MAX && !refusals.contains_key(&key))
            {
                return false;
            }
            refusals.insert(key, refusal);
            true
        })
    }

    /// Keeps and logs a refusal of a dialed address.
    fn record_dialed(&mut self, refusal: Refusal) {
        let (line, key, reason) = (refusal.to_string(), refusal.address.clone(), refusal.reason);
        let news = self.record(key.clone(), refusal);
        if self.logs_wrong_secrets(&key, reason).unwrap_or(news) {
            tracing::warn!("{line}");
        } else {
            tracing::debug!("{line}");
        }
    }

    /// True if a refusal about secrets between this server and that one is to be logged: once, and only by a server
    /// that others have let in. A server that nobody lets in has the wrong secrets itself, and says so once for all of
    /// them (`server/isolation.rs`). `None`: the refusal is about something else.
    fn logs_wrong_secrets(&mut self, key: &str, reason: RefusalReason) -> Option<bool> {
        if !reason.is_of_secrets() || self.shared.config.kind == PeerKind::Client {
            return None;
        }
        let log = self.table.has_server() && self.logged_secrets.len() < REFUSALS_MAX;
        Some(log && self.logged_secrets.insert(key.to_owned()))
    }

    /// The verdict on a server that proved itself and whose store is of another generation, in words. Where this
    /// process's store is the older one, it is reported as outdated.
    fn different_generations(&self, mismatch: GenerationMismatch, them: &str) -> String {
        let text = mismatch.describe(&self.me, them);
        if mismatch.mine_is_older() {
            self.published.outdated.send_replace(Some(text.clone()));
        }
        text
    }

    pub(super) fn accept_failed(&mut self, address: String, failed: FailedHandshake) {
        let FailedHandshake { them, failure } = failed;
        let server = them.as_ref().filter(|them| them.server).map(|them| them.name.clone());
        let name = them.map(|them| them.name);
        let proved = matches!(failure, Failure::Generation(_));
        let (reason, text) = match failure {
            Failure::Broken(error) => {
                return tracing::debug!(address, %error, "an accepted connection failed");
            }
            // From a process that proved nothing and that was not dialed.
            Failure::RefusedByPeer(RefusalNotice { text, .. }) => {
                return tracing::debug!(address, text, "an accepted connection was refused");
            }
            Failure::Generation(mismatch) => {
                let them = name.clone().unwrap_or_else(|| address.clone());
                (RefusalReason::OlderGeneration, self.different_generations(mismatch, &them))
            }
            Failure::RefusedByUs(RefusalNotice { reason, text }) => (reason, text),
        };
        if !reason.needs_attention() {
            return tracing::debug!(address, text, "an accepted connection was not needed");
        }
        let who = name.clone().unwrap_or_else(|| "a process".to_owned());
        // This process may be the misconfigured one: known servers are reported for as long as they have no link. A
        // stranger, who may take any name, is not.
        let known = server.filter(|name| proved || self.table.addresses(name).next().is_some());
        let log = known.as_ref().and_then(|name| self.logs_wrong_secrets(name, reason));
        match log.map_or_else(|| self.log_throttle.admit(reason, BootTime::now()), |log| log.then_some(0)) {
            Some(0) => tracing::warn!(address, "refused {who}: {text}"),
            Some(before) => tracing::warn!(address, before, "refused {who}, and others before it: {text}"),
            None => tracing::debug!(address, "refused {who}: {text}"),
        }
        if let Some(key) = known {
            self.record(key, Refusal { name, address, reason, text, at: BootTime::now() });
        }
    }
}

fn retain<V>(map: &mut BTreeMap<String, V>, keep: impl Fn(&String) -> bool) -> bool {
    let before = map.len();
    map.retain(|key, _| keep(key));
    map.len() != before
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_fills_no_log() {
        let mut throttle = LogThrottle::default();
        let at = |ms| BootTime(0) + Duration::from_millis(ms);
        assert_eq!(throttle.admit(RefusalReason::WrongCookie, at(0)), Some(0));
        for ms in 1..10_000 {
            assert_eq!(throttle.admit(RefusalReason::WrongCookie, at(ms)), None);
        }
        assert_eq!(throttle.admit(RefusalReason::OtherCluster, at(5_000)), Some(0), "another kind is news");
        assert_eq!(throttle.admit(RefusalReason::WrongCookie, at(10_000)), Some(9_999));
    }
}
