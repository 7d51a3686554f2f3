//! What went wrong with whom: kept for who asks, and logged once.

use std::collections::BTreeMap;

use ractor::ActorRef;

use super::{Message, State};
use crate::links::connect::Refusing;
use crate::links::handshake::Failure;
use crate::links::refusal::{Refusal, RefusalReason, Refused};
use crate::links::table::{Ended, Event, TargetId};

/// The most refusals that are kept.
const REFUSALS_MAX: usize = 256;

impl State {
    /// Forgets what went wrong with that process.
    pub(super) fn clear(&self, name: &str) {
        let addresses: Vec<_> = self.table.addresses(name).map(str::to_owned).collect();
        let gone = |key: &String| key == name || addresses.contains(key);
        self.outlets.failures.send_if_modified(|failures| retain(failures, |key| !gone(key)));
        self.outlets.refusals.send_if_modified(|refusals| retain(refusals, |key| !gone(key)));
    }

    pub(super) fn dial_ended(&mut self, myself: &ActorRef<Message>, target: TargetId, refusing: Refusing) {
        self.dials.remove(&target);
        let Refusing { them, failure } = refusing;
        let found = them.map(|them| them.name);
        let Some((name, address)) = self.table.target(target) else { return };
        let (name, address) = (name.map(str::to_owned).or_else(|| found.clone()), address.to_owned());
        let ended = match failure {
            Failure::Broken(error) => {
                tracing::debug!(address, %error, "a dial failed");
                self.outlets.failures.send_if_modified(|failures| {
                    let text = error.to_string();
                    failures.insert(address, text.clone()).as_ref() != Some(&text)
                });
                Ended::Failed
            }
            Failure::Refused(Refused { reason, text }) => {
                if reason.needs_attention() {
                    self.record(address.clone(), Refusal { name, address, reason, text });
                } else {
                    tracing::debug!(address, text, "a dial was not needed");
                }
                Ended::Refused(reason)
            }
        };
        self.step(myself, Event::DialEnded { target, found, ended });
    }

    /// Keeps a refusal for who asks, and logs it if it is news.
    fn record(&self, key: String, refusal: Refusal) {
        self.outlets.refusals.send_if_modified(|refusals| {
            if refusals.get(&key) == Some(&refusal) || (refusals.len() >= REFUSALS_MAX && !refusals.contains_key(&key))
            {
                return false;
            }
            tracing::warn!("{refusal}");
            refusals.insert(key, refusal);
            true
        });
    }

    pub(super) fn turned(&mut self, address: String, authenticated: bool, refusing: Refusing) {
        let Refusing { them, failure } = refusing;
        let known_server =
            them.as_ref().is_some_and(|them| them.server && self.table.addresses(&them.name).next().is_some());
        let name = them.map(|them| them.name);
        match failure {
            Failure::Broken(error) => tracing::debug!(address, %error, "an accepted connection came to nothing"),
            Failure::Refused(Refused { reason, text }) if reason.needs_attention() => {
                let who = name.clone().unwrap_or_else(|| "a process".to_owned());
                let line = format!("{who} was not let in: {text}");
                if line != self.last_turned {
                    tracing::warn!(address, "{line}");
                    self.last_turned = line;
                }
                // It may be this process that has to do something about it. A client that is wrong is only
                // that; who tells of an older generation has proved that it is a server.
                if (known_server || reason == RefusalReason::OlderGeneration)
                    && matches!(
                        reason,
                        RefusalReason::OlderGeneration | RefusalReason::WrongCookie | RefusalReason::WrongServerKey
                    )
                    && let Some(key) = name.clone()
                {
                    self.record(key, Refusal { name, address, reason, text });
                }
            }
            Failure::Refused(Refused { text, .. }) => {
                tracing::debug!(address, authenticated, text, "an accepted connection was not needed");
            }
        }
    }
}

fn retain<V>(map: &mut BTreeMap<String, V>, keep: impl Fn(&String) -> bool) -> bool {
    let before = map.len();
    map.retain(|key, _| keep(key));
    map.len() != before
}
